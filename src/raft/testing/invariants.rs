//! What must hold in every run, whatever is lost, late, doubled or dead (dissertation, figure 3.2).
//!
//! Watches steps from outside; the one look inside a peer is at its log.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::cluster::{Cluster, Machine};
use crate::raft::node::Raft;
use crate::raft::{Entry, Index, Message, Payload, PeerId, Ready, Role, Snapshot, Term};

/// What has been seen so far.
#[derive(Debug, Default)]
pub struct Invariants {
    leaders: BTreeMap<Term, PeerId>,
    votes: BTreeMap<(PeerId, Term), PeerId>,
    /// Committed entries, with the lowest term in which a peer was seen to know it.
    committed: BTreeMap<Index, (Entry, Term)>,
}

impl Invariants {
    /// The highest index that anybody has handed out.
    pub fn committed_up_to(&self) -> Index {
        self.committed.keys().next_back().copied().unwrap_or(0)
    }

    /// Checks one step of one peer.
    pub fn on_step(&mut self, peer: PeerId, raft: &Raft, ready: &Ready) {
        for entry in &ready.committed {
            self.on_committed(entry, raft.term());
        }
        for envelope in &ready.messages {
            if envelope.message == (Message::VoteReply { granted: true }) {
                self.on_vote(peer, envelope.term, envelope.to);
            }
        }
        match raft.role() {
            Role::Candidate => self.on_vote(peer, raft.term(), peer),
            Role::Leader if ready.role_changed => self.on_leader(peer, raft),
            _ => {}
        }
    }

    /// State-machine safety, for snapshots: the state is what the committed entries make.
    pub fn on_restore(&self, snapshot: &Snapshot, machine: &Machine) {
        let commands = self.committed.range(..=snapshot.index);
        let commands: Vec<&Bytes> = commands
            .filter_map(|(_, (entry, _))| match &entry.payload {
                Payload::Command(command) => Some(command),
                _ => None,
            })
            .collect();
        let restored: Vec<&Bytes> = machine.commands.iter().collect();
        assert_eq!(restored, commands, "a snapshot is the committed state");
    }

    /// State-machine safety: no two peers are handed different entries at one index.
    fn on_committed(&mut self, entry: &Entry, term: Term) {
        let (known, seen) = self
            .committed
            .entry(entry.index)
            .or_insert_with(|| (entry.clone(), term));
        assert_eq!(known, entry, "state-machine safety");
        *seen = term.min(*seen);
    }

    /// No incarnation votes for two candidates in a term.
    fn on_vote(&mut self, voter: PeerId, term: Term, candidate: PeerId) {
        let given = *self.votes.entry((voter, term)).or_insert(candidate);
        assert_eq!(given, candidate, "{voter} voted twice in term {term}");
    }

    /// Election safety, and leader completeness: what was committed before is in the new leader's log.
    fn on_leader(&mut self, peer: PeerId, raft: &Raft) {
        let leader = *self.leaders.entry(raft.term()).or_insert(peer);
        assert_eq!(leader, peer, "two leaders in term {}", raft.term());
        for (index, (entry, seen)) in self.committed.range(raft.log.base() + 1..) {
            if *seen < raft.term() {
                let has = raft.log.get(*index);
                assert_eq!(has, Some(entry), "leader completeness");
            }
        }
    }

    /// Log matching: where two logs have one index of one term, they agree up to there.
    pub fn check_logs(cluster: &Cluster) {
        let logs: Vec<_> = cluster.nodes.values().map(|node| &node.raft.log).collect();
        for (at, left) in logs.iter().enumerate() {
            for right in &logs[at + 1..] {
                let from = left.base().max(right.base()) + 1;
                let to = left.last().min(right.last());
                let agree = |index: &Index| left.term(*index) == right.term(*index);
                let Some(top) = (from..=to).rev().find(agree) else {
                    continue;
                };
                for index in from..=top {
                    assert_eq!(left.get(index), right.get(index), "log matching");
                }
            }
        }
    }
}
