//! `kagero recover`: an operator's word that a lost majority will not come back.
//!
//! Shows what would be done, asks, and has the node that it speaks to do it. Deliberately without a way past the node's
//! refusals: what is not proven dead is not recovered from.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use comfy_table::{Table, presets};
use tokio::time::{Instant, sleep};

use super::client::Client;
use super::status::{self, Output};
use super::{USAGE, edges};
use crate::actors::messages::{ClusterStatus, Recover, Recovery, RecoveryMember};

pub(super) const EXAMPLES: &str = "Examples:
  kagero recover --api 10.0.0.1:6443 --dry-run              what is missing, and what would be done
  kagero recover --api 10.0.0.1:6443 --dead n2,n3           asks before it does it
  kagero recover --api 10.0.0.1:6443 --dead n2,n3 --yes     for scripts

Only for a cluster that has lost a majority of its voters for good. Ask a node that survived. Every voter and standby
must answer or be proven dead: by another process that runs in its place, or by your word (--dead). If you call a living
node dead, what it acknowledges is lost.

Exit codes: 0 recovered (--dry-run: it could be), 1 refused, declined or failed, 2 bad usage.";

/// Where a node recovers its cluster.
pub const PATH: &str = "/kagero/v1/recovery";
/// Asking every member takes some seconds where some are silent, and an object store has its own time (`actors/recovery.rs`
/// adds it all up).
const DEADLINE: Duration = Duration::from_secs(60);
/// The cluster serves again within this time; the winner leads at once, the node asked must hear of it.
const SERVES_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// What `kagero recover` takes.
#[derive(Args, Debug)]
pub struct RecoverArgs {
    /// API of a node that survived
    #[arg(long, env = "KAGERO_API", value_name = "HOST:PORT", default_value = "127.0.0.1:6443", value_parser = super::address)]
    pub api: String,
    /// Nodes that are gone for good, by your word
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub dead: Vec<String>,
    /// Do it without asking
    #[arg(long, conflicts_with = "dry_run")]
    pub yes: bool,
    /// Only show what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
}

impl RecoverArgs {
    /// Plans, asks, recovers.
    pub(super) fn execute(self) -> ExitCode {
        let asks = !self.yes && !self.dry_run;
        if asks && !std::io::stdin().is_terminal() {
            eprintln!(
                "error: nobody can be asked here: say --yes to do it, or --dry-run to look at it"
            );
            return USAGE.into();
        }
        super::in_system(self.recover())
    }

    async fn recover(self) -> anyhow::Result<()> {
        let client = Client::new(edges::network(), self.api.as_str()).with_deadline(DEADLINE);
        let dead: BTreeSet<String> = self.dead.iter().cloned().collect();
        let planned = ask(&client, &dead, None).await?;
        if self.dry_run {
            return self.print(&planned);
        }
        // The answer alone goes to standard output.
        eprint!("{}", render(&planned));
        if !self.yes && !confirmed()? {
            bail!("not confirmed; nothing was changed");
        }
        let confirm = Some(planned.confirm.clone());
        let recovery = ask(&client, &dead, confirm).await?;
        let status = serves(&client, recovery.record.generation).await?;
        match self.output {
            Output::Json => self.print(&recovery),
            Output::Table => {
                let record = &recovery.record;
                println!(
                    "recovered: generation {} began with the log of {}; {} leads, revision {}",
                    record.generation, record.winner, status.leader, status.revision
                );
                println!("may be lost: {}", record.may_be_lost);
                Ok(())
            }
        }
    }

    fn print(&self, recovery: &Recovery) -> anyhow::Result<()> {
        match self.output {
            Output::Json => println!("{}", serde_json::to_string_pretty(recovery)?),
            Output::Table => print!("{}", render(recovery)),
        }
        Ok(())
    }
}

async fn ask(
    client: &Client,
    dead: &BTreeSet<String>,
    confirm: Option<String>,
) -> anyhow::Result<Recovery> {
    let dead = dead.clone();
    let request = serde_json::to_value(Recover {
        dead,
        confirm,
        unattended: false,
    })?;
    let answer = client.post(PATH, &request).await;
    let answer = answer.with_context(|| format!("asking {}", client.address()))?;
    serde_json::from_value(answer).context("not a kagero API")
}

/// Asks on the terminal. Anything but a clear yes is a no.
fn confirmed() -> anyhow::Result<bool> {
    eprint!("Recover? [y/N] ");
    std::io::stderr().flush()?;
    let mut said = String::new();
    std::io::stdin().read_line(&mut said)?;
    Ok(matches!(
        said.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}

/// Waits until the node asked serves the new generation.
async fn serves(client: &Client, generation: u64) -> anyhow::Result<ClusterStatus> {
    let until = Instant::now() + SERVES_WITHIN;
    loop {
        let missing = match client.get(status::PATH).await {
            Ok(answer) => {
                let status: ClusterStatus = serde_json::from_value(answer)?;
                if status.generation >= generation {
                    return Ok(status);
                }
                format!("it serves generation {}", status.generation)
            }
            Err(error) => error.to_string(),
        };
        if Instant::now() >= until {
            bail!(
                "generation {generation} began, but {} does not serve it: {missing}",
                client.address()
            );
        }
        sleep(LOOK).await;
    }
}

fn render(recovery: &Recovery) -> String {
    let record = &recovery.record;
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "MEMBER",
        "ROLE",
        "INCARNATION",
        "LAST",
        "FATE",
    ]);
    for member in &record.members {
        let row = |last: String, fate: &str| {
            let RecoveryMember {
                name,
                role,
                incarnation,
                ..
            } = member;
            [
                name.clone(),
                role.clone(),
                incarnation.clone(),
                last,
                fate.to_owned(),
            ]
        };
        let last = format!("term {} entry {}", member.last_term, member.last_index);
        let wins = member.name == record.winner;
        table.add_row(match (member.dead.as_str(), wins) {
            ("", true) => row(last, "survives; its log wins"),
            ("", false) => row(last, "survives"),
            (evidence, _) => row(String::new(), &format!("dead: {evidence}")),
        });
    }
    format!(
        "{}\n\ngeneration {} ends, generation {} begins\nkept: the whole log of {} ({} entries of it were not known to \
         be acknowledged)\nmay be lost: {}\n",
        table.trim_fmt(),
        record.from_generation,
        record.generation,
        record.winner,
        record.last_index.saturating_sub(record.commit_index),
        record.may_be_lost,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::messages::RecoveryRecord;

    #[test]
    fn the_plan_tells_who_is_dead_by_what_and_what_may_be_lost() {
        let member = |name: &str, dead: &str| RecoveryMember {
            name: name.into(),
            incarnation: "00000000000000aa".into(),
            role: "voter".into(),
            dead: dead.into(),
            last_term: 3,
            last_index: 40,
        };
        let record = RecoveryRecord {
            generation: 1,
            from_generation: 0,
            time: String::new(),
            coordinator: "n1".into(),
            winner: "n1".into(),
            last_term: 3,
            last_index: 40,
            commit_index: 38,
            may_be_lost: "something".into(),
            members: vec![member("n1", ""), member("n2", "the operator's word")],
        };
        let text = render(&Recovery {
            record,
            confirm: "token".into(),
            revision: None,
        });
        for part in [
            "term 3 entry 40",
            "survives; its log wins",
            "dead: the operator's word",
            "generation 0 ends, generation 1 begins",
            "(2 entries of it were not known to be acknowledged)",
            "may be lost: something",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
    }
}
