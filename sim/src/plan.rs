//! What to simulate: the machines, how their processes are told to run, and what is to happen to them.

use std::time::Duration;

use kagero::actors::manifests::Manifest;
use kagero::raft::Config;
use kagero::store::HistoryBounds;

use crate::faults::Schedule;

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where all chance comes from.
    pub seed: u64,
    /// Machines, named n1, n2, …
    pub nodes: usize,
    /// The first so many of them are the seeds that every node is told.
    pub seeds: usize,
    /// Voters wanted.
    pub voters: usize,
    /// Failure domains, in which the machines stand in turn; none if 0.
    pub zones: usize,
    /// The simulated time after which the run has failed.
    pub limit: Duration,
    /// The faults that a scenario with a schedule lets loose.
    pub schedule: Schedule,
    /// How often the cluster's state is kept in the world's bucket, if it is.
    pub snapshot_interval: Option<Duration>,
    /// What every node is told to apply once the cluster has formed.
    pub manifests: Vec<Manifest>,
    /// Whether the cloud tells what became of machines.
    pub cloud_tells: bool,
    /// Whether nodes recover from the loss of a majority by themselves.
    pub auto_recover: bool,
    /// Whether a client writes during outages, so that their ends are measured exactly.
    pub probed: bool,
    /// The bounds and times of every node's consensus.
    pub consensus: Config,
    /// How much every node keeps for watches that begin in the past.
    pub watch_history: HistoryBounds,
}

impl Plan {
    /// A cluster of this many machines, of which at most three are seeds and voters.
    pub fn of(seed: u64, nodes: usize) -> Self {
        Self {
            seed,
            nodes,
            seeds: nodes.min(3),
            voters: nodes.min(3),
            zones: 0,
            limit: Duration::from_secs(240),
            schedule: Schedule::default(),
            snapshot_interval: None,
            manifests: Vec::new(),
            cloud_tells: false,
            auto_recover: false,
            probed: false,
            consensus: Config::default(),
            watch_history: HistoryBounds::default(),
        }
    }

    /// Names of the machines, in order.
    pub fn names(&self) -> Vec<String> {
        (1..=self.nodes).map(|n| format!("n{n}")).collect()
    }

    /// The zone that a machine stands in, if there are any.
    pub fn zone(&self, machine: &str) -> Option<String> {
        let at = self.names().iter().position(|name| name == machine)?;
        Some(format!("z{}", at.checked_rem(self.zones)? + 1))
    }
}
