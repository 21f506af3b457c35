//! One peer: its state, the step function and what every role shares.
//!
//! Deliberately without the rules themselves: election, replication, reads, snapshots, membership and transfer are
//! `impl Raft` blocks in files of their own.

use std::time::Duration;

use rand::rngs::StdRng;

use super::types::{
    ClusterId, Config, Configuration, Counters, Input, PeerId, Ready, Role, Start, Status,
};

/// A consensus peer. Pure: time comes in with every call, chance through the generator given at the start.
#[derive(Debug)]
pub struct Raft {
    config: Config,
    id: PeerId,
    cluster: ClusterId,
    configuration: Configuration,
    counters: Counters,
    entropy: StdRng,
    deadline: Duration,
}

impl Raft {
    /// A peer that has just come into being. `id` must never have been used before.
    pub fn new(
        config: Config,
        id: PeerId,
        cluster: ClusterId,
        start: Start,
        now: Duration,
        entropy: StdRng,
    ) -> Self {
        let configuration = match start {
            Start::Bootstrap(configuration) => configuration,
            Start::Join => Configuration::default(),
        };
        Self {
            config,
            id,
            cluster,
            configuration,
            counters: Counters::default(),
            entropy,
            deadline: now,
        }
    }

    /// Takes one input and says what follows from it. `now` must never go back.
    pub fn step(&mut self, _input: Input, now: Duration) -> Ready {
        self.deadline = now + self.config.heartbeat;
        Ready::default()
    }

    /// When [`Input::Tick`] is next useful. Ticking at this time makes elections as quick as their random delays
    /// allow; ticking only every half heartbeat is safe too.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// What metrics and the membership plan need to know.
    pub fn status(&self, _now: Duration) -> Status {
        let _ = &self.entropy;
        Status {
            id: self.id,
            role: Role::Follower,
            term: self.cluster.generation,
            leader: None,
            last: 0,
            commit: 0,
            applied: 0,
            configuration: self.configuration.clone(),
            progress: std::collections::BTreeMap::new(),
        }
    }

    /// Counts since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}
