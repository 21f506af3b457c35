//! What the demo saw, for people.

use std::fmt;
use std::time::Duration;

use crate::cli::RuntimeChoice;
use crate::cli::machine::Usage;

/// What was seen, in the order of the acts.
#[derive(Debug)]
pub struct Report {
    /// What ran the pods.
    pub runtime: RuntimeChoice,
    /// How many pods were wanted.
    pub pods: usize,
    /// Processes started → all voters there.
    pub formed: Duration,
    /// Deployment created → all pods running.
    pub deployed: Duration,
    /// The machine that was lost.
    pub lost_node: String,
    /// Who led after it.
    pub new_leader: String,
    /// SIGKILL → a survivor's API names a new leader.
    pub election: Duration,
    /// Pods on the lost machine.
    pub pods_lost: usize,
    /// Pods that run now and did not exist then.
    pub pods_replaced: usize,
    /// SIGKILL → all pods running on living machines.
    pub healed: Duration,
    /// Lost machine started again → all voters there.
    pub rejoined: Duration,
    /// Voters, all of them.
    pub voters: usize,
    /// Every machine at the end.
    pub machines: Vec<NodeLine>,
}

/// One machine at the end.
#[derive(Debug)]
pub struct NodeLine {
    /// Its node's name.
    pub name: String,
    /// Pods bound to it.
    pub pods: usize,
    /// What its `kagero` process uses.
    pub usage: Usage,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            runtime: RuntimeChoice::Auto,
            pods: 0,
            formed: Duration::ZERO,
            deployed: Duration::ZERO,
            lost_node: String::new(),
            new_leader: String::new(),
            election: Duration::ZERO,
            pods_lost: 0,
            pods_replaced: 0,
            healed: Duration::ZERO,
            rejoined: Duration::ZERO,
            voters: 0,
            machines: Vec::new(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
        let runtime = format!("{:?}", self.runtime).to_lowercase();
        let (nodes, pods, lost) = (self.machines.len(), self.pods, &self.lost_node);
        let lines = [
            (
                "cluster",
                format!(
                    "{nodes} nodes ({runtime}), formed in {}",
                    seconds(self.formed)
                ),
            ),
            (
                "deployed",
                format!("{pods} pods running after {}", seconds(self.deployed)),
            ),
            (
                "lost",
                format!(
                    "{lost}, the leader, by SIGKILL, and its {} pods",
                    self.pods_lost
                ),
            ),
            (
                "election",
                format!(
                    "{} led {} after the kill",
                    self.new_leader,
                    seconds(self.election)
                ),
            ),
            (
                "whole",
                format!(
                    "{} pods replaced, all {pods} running {} after the kill",
                    self.pods_replaced,
                    seconds(self.healed)
                ),
            ),
            (
                "quorum",
                format!(
                    "{} of {0} voters {} after {lost} was started again, empty",
                    self.voters,
                    seconds(self.rejoined)
                ),
            ),
        ];
        writeln!(
            to,
            "The cluster lost its leader's machine and carried on.\n"
        )?;
        for (name, value) in lines {
            writeln!(to, "  {name:<9} {value}")?;
        }
        writeln!(
            to,
            "\n  {:<8} {:>5}  {:>10}  {:>15}",
            "node", "pods", "memory", "written to disk"
        )?;
        for machine in &self.machines {
            let memory = format!("{:.1} MB", machine.usage.resident_bytes as f64 / 1e6);
            let written = format!("{} bytes", machine.usage.disk_written_bytes);
            writeln!(
                to,
                "  {:<8} {:>5}  {memory:>10}  {written:>15}",
                machine.name, machine.pods
            )?;
        }
        writeln!(to, "\n  memory: resident set of the node's kagero process")?;
        writeln!(
            to,
            "  written to disk: its write_bytes in /proc/<pid>/io since it started; pods not counted"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_says_everything() {
        let report = Report {
            runtime: RuntimeChoice::Process,
            pods: 30,
            lost_node: "n2".into(),
            new_leader: "n3".into(),
            election: Duration::from_millis(312),
            pods_lost: 10,
            pods_replaced: 10,
            healed: Duration::from_millis(16_040),
            voters: 3,
            machines: vec![NodeLine {
                name: "n1".into(),
                pods: 15,
                usage: Usage {
                    resident_bytes: 14_200_000,
                    disk_written_bytes: 0,
                },
            }],
            ..Report::default()
        };
        let text = report.to_string();
        for part in [
            "(process)",
            "n2, the leader, by SIGKILL, and its 10 pods",
            "n3 led 0.31 s after",
            "10 pods replaced, all 30 running 16.04 s after",
            "3 of 3 voters",
            "14.2 MB          0 bytes",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
    }
}
