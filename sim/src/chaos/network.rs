//! The machines' network: one namespace a machine, a veth from each to one bridge, and what breaks on the way.
//!
//! All of it lives in the network and mount namespaces of the run's own first process (`mod.rs`), so nothing is seen on
//! the host and all of it ends with that process. Partitions are nftables rules inside a machine. Slow and lossy lines are
//! `tc netem` on both ends of its veth; where the kernel has no netem, a slow line is a thin one (`tc tbf`: packets wait in
//! its queue for as long as the fault says, and what finds it full is lost), and packets are lost by nftables' dice.

use std::fmt::Write as _;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Where clients are, on the bridge.
const CLIENTS: &str = "10.77.0.254/24";
/// The machines' addresses; clients' is not among them.
const MACHINES: &str = "10.77.0.1-10.77.0.99";
/// What a thin line carries. A leader of this run sends several times as much.
const THIN_RATE: &str = "256kbit";
/// What it lets through at once; a packet must fit.
const THIN_BURST: &str = "4k";
/// How uneven netem's delays are, as a part of them.
const JITTER_PART: u32 = 4;

/// What is wrong with a machine's line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// Nothing passes at all.
    pub(super) dead: bool,
    /// No packet of it reaches other machines.
    pub(super) mute: bool,
    /// No packet of other machines reaches it.
    pub(super) deaf: bool,
    /// Milliseconds; 0 is as usual.
    pub(super) slow_ms: u32,
    /// Of a hundred packets; 0 is as usual.
    pub(super) loss_percent: u32,
}

/// The network of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network {
    has_netem: bool,
}

/// The address of a machine, by its number from 1.
pub(super) fn address(number: usize) -> String {
    format!("10.77.0.{number}")
}

/// The namespace of a machine.
pub(super) fn namespace(number: usize) -> String {
    format!("n{number}")
}

fn cable(number: usize) -> String {
    format!("cable{number}")
}

impl Network {
    /// Lays it for so many machines.
    pub(super) async fn lay(machines: usize) -> Result<Self> {
        let ip = |words: String| async move { run("ip", &words).await };
        ip("link set lo up".to_owned()).await?;
        ip("link add hub type bridge".to_owned()).await?;
        ip(format!("address add {CLIENTS} dev hub")).await?;
        ip("link set hub up".to_owned()).await?;
        for number in 1..=machines {
            let (space, cable, address) = (namespace(number), cable(number), address(number));
            ip(format!("netns add {space}")).await?;
            ip(format!(
                "link add {cable} type veth peer name eth0 netns {space}"
            ))
            .await?;
            ip(format!("link set {cable} master hub up")).await?;
            ip(format!("-n {space} address add {address}/24 dev eth0")).await?;
            ip(format!("-n {space} link set eth0 up")).await?;
            ip(format!("-n {space} link set lo up")).await?;
        }
        let probe = "qdisc add dev lo root netem delay 1ms";
        let has_netem = run("tc", probe).await.is_ok();
        if has_netem {
            run("tc", "qdisc del dev lo root").await?;
        }
        Ok(Self { has_netem })
    }

    /// How slow and lossy lines are made here.
    pub(super) fn means(self) -> &'static str {
        if self.has_netem {
            "tc netem"
        } else {
            "tc tbf and nft numgen, because this kernel has no netem"
        }
    }

    /// Makes a machine's line so.
    pub(super) async fn set(self, number: usize, line: Line) -> Result<()> {
        let state = if line.dead { "down" } else { "up" };
        run("ip", &format!("link set {} {state}", cable(number))).await?;
        if line.dead {
            return Ok(());
        }
        let loss = if self.has_netem { 0 } else { line.loss_percent };
        nft(number, &rules(line, loss)).await?;
        let how = self.discipline(line).unwrap_or_else(|| "pfifo".to_owned());
        let ends = [
            format!("qdisc replace dev {} root {how}", cable(number)),
            format!("-n {} qdisc replace dev eth0 root {how}", namespace(number)),
        ];
        for words in ends {
            run("tc", &words).await?;
        }
        Ok(())
    }

    fn discipline(self, line: Line) -> Option<String> {
        let Line {
            slow_ms,
            loss_percent,
            ..
        } = line;
        match (slow_ms, loss_percent) {
            (0, 0) => None,
            (0, loss) if self.has_netem => Some(format!("netem loss {loss}%")),
            (0, _) => None,
            (ms, loss) if self.has_netem => Some(format!(
                "netem delay {ms}ms {}ms loss {loss}%",
                ms / JITTER_PART
            )),
            (ms, _) => Some(format!(
                "tbf rate {THIN_RATE} burst {THIN_BURST} latency {ms}ms"
            )),
        }
    }
}

/// The nftables rules of a machine with such a line.
fn rules(line: Line, loss_percent: u32) -> String {
    let mut rules = String::from("flush ruleset\ntable inet chaos {\n");
    for (hook, own, whom, silent) in [
        ("input", "iifname", "ip saddr", line.deaf),
        ("output", "oifname", "ip daddr", line.mute),
    ] {
        let mut chain = format!("type filter hook {hook} priority 0; {own} lo accept;");
        if silent {
            write!(chain, " {whom} {MACHINES} drop;").expect("a String takes all");
        }
        if loss_percent > 0 {
            write!(chain, " numgen random mod 100 < {loss_percent} drop;")
                .expect("a String takes all");
        }
        writeln!(rules, "  chain {hook} {{ {chain} }}").expect("a String takes all");
    }
    rules.push_str("}\n");
    rules
}

/// Runs a command, which must succeed.
async fn run(program: &str, words: &str) -> Result<()> {
    let mut command = Command::new(program);
    command.args(words.split(' '));
    let output = command.stdin(Stdio::null()).output().await;
    let output = output.with_context(|| format!("cannot run {program}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {words}: {errors}");
    Ok(())
}

async fn nft(number: usize, rules: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &namespace(number), "nft", "-f", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("it was piped")?;
    stdin.write_all(rules.as_bytes()).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "nft refused {rules}: {errors}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mute_machine_drops_what_it_sends_to_machines_and_hears_them() {
        let line = Line {
            mute: true,
            ..Line::default()
        };
        let rules = rules(line, 0);
        let chain = |hook: &str| rules.lines().find(|line| line.contains(hook)).unwrap();
        assert!(chain("hook output").contains("ip daddr 10.77.0.1-10.77.0.99 drop"));
        assert!(!chain("hook input").contains("drop"));
    }

    #[test]
    fn lines_are_made_by_netem_where_the_kernel_has_it() {
        let line = Line {
            slow_ms: 100,
            loss_percent: 7,
            ..Line::default()
        };
        let with = |has_netem| Network { has_netem }.discipline(line).unwrap();
        assert_eq!(with(true), "netem delay 100ms 25ms loss 7%");
        assert!(with(false).starts_with("tbf "), "loss is nftables' then");
        let usual = Network { has_netem: true };
        assert_eq!(usual.discipline(Line::default()), None);
    }
}
