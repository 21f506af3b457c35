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

impl Report {
    fn acts(&self) -> [(&'static str, String); 6] {
        let Self {
            pods,
            lost_node,
            new_leader,
            pods_lost,
            pods_replaced,
            voters,
            ..
        } = self;
        let nodes = self.machines.len();
        let runtime = format!("{:?}", self.runtime).to_lowercase();
        let [formed, deployed, election, healed, rejoined] = [
            self.formed,
            self.deployed,
            self.election,
            self.healed,
            self.rejoined,
        ]
        .map(|time| format!("{:.2} s", time.as_secs_f64()));
        let killed = format!("{lost_node}, the leader, by SIGKILL, and its {pods_lost} pods");
        let whole =
            format!("{pods_replaced} pods replaced, all {pods} running {healed} after the kill");
        let quorum = format!(
            "{voters} of {voters} voters {rejoined} after {lost_node} was started again, empty"
        );
        [
            (
                "cluster",
                format!("{nodes} nodes ({runtime}), formed in {formed}"),
            ),
            ("deployed", format!("{pods} pods running after {deployed}")),
            ("lost", killed),
            (
                "election",
                format!("{new_leader} led {election} after the kill"),
            ),
            ("whole", whole),
            ("quorum", quorum),
        ]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            to,
            "The cluster lost its leader's machine and carried on.\n"
        )?;
        for (name, value) in self.acts() {
            writeln!(to, "  {name:<9} {value}")?;
        }
        let (node, pods, memory, written) = ("node", "pods", "memory", "written to disk");
        writeln!(to, "\n  {node:<8} {pods:>5}  {memory:>10}  {written:>15}")?;
        for NodeLine { name, pods, usage } in &self.machines {
            let memory = format!("{:.1} MB", usage.resident_bytes as f64 / 1e6);
            let written = format!("{} bytes", usage.disk_written_bytes);
            writeln!(to, "  {name:<8} {pods:>5}  {memory:>10}  {written:>15}")?;
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
