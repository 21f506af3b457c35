//! `kagero evict`: an operator's word that a node's machine will be taken away soon.
//!
//! Deliberately without waiting for what follows: leadership and votes go elsewhere, pods are replaced, and
//! `kubectl get nodes,pods -w` shows it.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use jiff::SignedDuration;

use super::client::{Client, ClientError};
use super::edges;
use super::status::Output;
use crate::actors::messages::{EVICT_MS_MAX, Evict, Evicted};

pub(super) const EXAMPLES: &str = "Examples:
  kagero evict n2 --in 30s                             n2's machine goes away in 30 seconds
  kagero evict n2 --in 2m --api 10.0.0.1:6443          through any node's API
  kagero evict n2 --in 0s -o json | jq -r .deadline

The node stops leading and voting if others can, takes no new pods (cordon, taint kagero.dev/evicting), and its pods are
started elsewhere before they are asked to go, 2 seconds before the end at the latest. A process that starts on the node
afterwards is as good as any. To take it back: kubectl annotate node n2 kagero.dev/eviction-

Exit codes: 0 announced, 1 failed (no such node, no answer), 2 bad usage.";

/// Where a node takes announcements.
pub const PATH: &str = "/kagero/v1/evictions";

/// What `kagero evict` takes.
#[derive(Args, Debug)]
pub struct EvictArgs {
    /// The node's name
    #[arg(value_name = "NODE")]
    pub node: String,
    /// When its machine goes away: 30s, 2m, 1m30s
    #[arg(long = "in", value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub within: Duration,
    /// API of any node
    #[arg(long, env = "KAGERO_API", value_name = "HOST:PORT", default_value = "127.0.0.1:6443", value_parser = super::address)]
    pub api: String,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
}

impl EvictArgs {
    /// Announces it.
    pub(super) async fn execute(self) -> anyhow::Result<()> {
        let client = Client::new(edges::network(), self.api.as_str());
        let request = serde_json::to_value(Evict {
            node: self.node.clone(),
            in_ms: u64::try_from(self.within.as_millis()).context("--in")?,
        })?;
        let answer = match client.post(PATH, &request).await {
            Err(ClientError::Refused {
                code: 404, reason, ..
            }) if reason == "NotFound" => anyhow::bail!(
                "no node {:?} in the cluster of {}: `kagero status` lists them",
                self.node,
                self.api
            ),
            answer => answer.with_context(|| format!("asking {}", self.api))?,
        };
        let evicted: Evicted = serde_json::from_value(answer).context("not a kagero API")?;
        super::print(match self.output {
            Output::Json => serde_json::to_string_pretty(&evicted)? + "\n",
            Output::Table => format!(
                "node {} (incarnation {}) goes away at {}\n",
                evicted.node, evicted.incarnation, evicted.deadline
            ),
        });
        Ok(())
    }
}

/// A time from now, as people write it.
fn duration(text: &str) -> Result<Duration, String> {
    let expected = "expected a duration such as 30s, 2m or 1m30s";
    let said: SignedDuration = text.parse().map_err(|_| expected.to_owned())?;
    let said = Duration::try_from(said).map_err(|_| format!("{expected}, not of the past"))?;
    if said > Duration::from_millis(EVICT_MS_MAX) {
        return Err("expected no more than a day".to_owned());
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit_and_lies_ahead() {
        for (text, seconds) in [
            ("0s", 0),
            ("30s", 30),
            ("2m", 120),
            ("1m30s", 90),
            ("24h", 86_400),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        for text in ["", "30", "soon", "-5s", "25h", "30 s ago", "9999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
