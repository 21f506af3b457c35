//! The core and the membership plan together, at production timings: how fast a cluster is whole again.
//!
//! No faults of the network here; peers die, others come, and the leader's plan is followed as the shell will follow it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::cluster::{Cluster, contact};
use crate::raft::{Candidate, Config, Input, Limits, PeerId, Role, Start, plan_membership};

/// Time goes on by so much at once; a message takes no longer.
const STEP: Duration = Duration::from_millis(1);
/// How often the shell plans.
const PLAN_EVERY_STEPS: u64 = 100;

struct World {
    cluster: Cluster,
    proven_dead: BTreeSet<PeerId>,
    steps: u64,
}

impl World {
    fn new(founders: u64, seed: u64) -> Self {
        let mut cluster = Cluster::new(Config::default(), seed);
        cluster.bootstrap(&(1..=founders).map(PeerId).collect::<Vec<_>>());
        Self {
            cluster,
            proven_dead: BTreeSet::new(),
            steps: 0,
        }
    }

    fn join(&mut self, peer: u64) {
        self.cluster.start(PeerId(peer), Start::Join);
    }

    /// The process dies; whoever is connected to it sees that, even before its last messages arrive.
    fn kill(&mut self, peer: PeerId) {
        self.vanish(peer);
        for other in self.cluster.nodes.keys().copied().collect::<Vec<_>>() {
            self.cluster.step(other, Input::Unreachable(peer));
        }
    }

    /// The machine dies without a word.
    fn vanish(&mut self, peer: PeerId) {
        self.cluster.crash(peer);
    }

    /// Lets time pass until something holds, and says how long that took.
    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> Duration {
        let since = self.cluster.now;
        while !holds(self) {
            self.step();
            let waited = self.cluster.now.saturating_sub(since);
            assert!(waited < Duration::from_secs(60), "never: {what}");
        }
        self.cluster.now.saturating_sub(since)
    }

    fn step(&mut self) {
        self.steps += 1;
        self.cluster.now += STEP;
        for envelope in std::mem::take(&mut self.cluster.wires) {
            self.cluster.deliver(envelope);
        }
        self.cluster.tick();
        if self.steps.is_multiple_of(PLAN_EVERY_STEPS)
            && let Some(leader) = self.cluster.leader()
        {
            self.plan(leader);
        }
    }

    fn plan(&mut self, leader: PeerId) {
        let status = self.cluster.nodes[&leader].raft.status(self.cluster.now);
        let living = self.cluster.nodes.keys().map(|peer| (*peer, false));
        let dead = self.proven_dead.iter().map(|peer| (*peer, true));
        let known = living.chain(dead).map(|(peer, proven_dead)| {
            let candidate = Candidate {
                proven_dead,
                may_vote: true,
                name: format!("n{}", peer.0),
                contact: contact(peer),
                ..Candidate::default()
            };
            (peer, candidate)
        });
        let known: BTreeMap<PeerId, Candidate> = known.collect();
        let change = plan_membership(&status, &known, 3, &Limits::default());
        if let Some(change) = change {
            self.cluster.step(leader, Input::Reconfigure(0, change));
        }
    }

    /// Three living voters, all of whom know it.
    fn is_whole(&self) -> bool {
        let Some(leader) = self.cluster.leader() else {
            return false;
        };
        let configuration = self.cluster.nodes[&leader].raft.log.configuration();
        let voters = &configuration.voters;
        voters.len() == 3
            && !configuration.is_joint()
            && voters.iter().all(|voter| {
                let node = self.cluster.nodes.get(voter);
                node.is_some_and(|node| node.raft.log.configuration() == configuration)
            })
    }

    fn leads(&self) -> bool {
        self.cluster.leader().is_some_and(|leader| {
            let node = &self.cluster.nodes[&leader];
            node.raft.role() == Role::Leader && node.raft.log.last_term() == node.raft.term()
        })
    }

    fn propose(&mut self) {
        let leader = self.cluster.leader().expect("there is a leader");
        let payload = Bytes::from(self.steps.to_string());
        self.cluster.step(leader, Input::Propose(0, vec![payload]));
    }
}

#[test]
fn a_killed_leader_is_followed_within_tens_of_milliseconds() {
    let mut slowest = Duration::ZERO;
    for seed in 0..50 {
        let mut world = World::new(3, seed);
        world.until("a first leader", World::leads);
        world.until("whole", World::is_whole);
        let leader = world.cluster.leader().expect("just seen");
        world.kill(leader);
        slowest = slowest.max(world.until("another leader", World::leads));
    }
    assert!(slowest < Duration::from_millis(80), "took {slowest:?}");
}

#[test]
fn a_vanished_leader_is_followed_after_an_election_timeout() {
    for seed in 0..20 {
        let mut world = World::new(3, seed);
        world.until("a first leader", World::leads);
        let leader = world.cluster.leader().expect("just seen");
        world.vanish(leader);
        let took = world.until("another leader", World::leads);
        assert!(took < Duration::from_millis(1_200), "took {took:?}");
    }
}

#[test]
fn one_founder_grows_to_three_voters_and_replaces_each_that_dies() {
    let mut world = World::new(1, 1);
    world.until("a first leader", World::leads);
    for peer in 2..=4 {
        world.join(peer);
    }
    world.until("three voters", World::is_whole);
    for next in 5..=10 {
        world.propose();
        let leader = world.cluster.leader().expect("whole");
        let configuration = world.cluster.nodes[&leader].raft.log.configuration();
        let victim = *configuration.voters.first().expect("three voters");
        world.kill(victim);
        world.join(next);
        let limit = if next % 2 == 0 {
            world.proven_dead.insert(victim);
            // If it led, the next leader must first see a standby keep up for a second.
            Duration::from_millis(1_500)
        } else {
            // A voter that is merely silent is given ten seconds.
            Duration::from_secs(11)
        };
        let took = world.until("whole again", World::is_whole);
        assert!(took < limit, "took {took:?}");
    }
    let leader = world.cluster.leader().expect("whole");
    assert_eq!(world.cluster.nodes[&leader].machine.commands.len(), 6);
}
