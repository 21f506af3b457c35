//! Liveness: once nothing goes wrong any more, a leader emerges, finishes what was begun, and commits for all its
//! members; and what clients asked is answered. Then everything is compared once more.

use std::time::Duration;

use kagero::raft::PeerId;

use super::world::World;

/// Within so long of the last fault everything must be well: thirty election timeouts.
const WELL_WITHIN: Duration = Duration::from_secs(3);
/// How often it is looked whether all is well.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Every so many looks somebody writes.
const WRITE_EVERY: u64 = 5;

impl World {
    /// Waits until all is well; how long that took.
    pub(super) fn calm(&mut self) -> Duration {
        let began = self.now;
        self.end_faults();
        self.end_requests();
        let before = self.history.committed_up_to();
        let mut looks = 0;
        while self.failure.is_none() && !self.is_worn_out() {
            if self.history.committed_up_to() > before && self.is_well() {
                break;
            }
            if self.now.saturating_sub(began) > WELL_WITHIN {
                let told = self.told();
                self.fail(
                    "liveness",
                    format!("not well after {WELL_WITHIN:?}\n{told}"),
                );
                break;
            }
            looks += 1;
            if looks % WRITE_EVERY == 0
                && let Some(leader) = self.leader()
            {
                self.write(leader, 1);
            }
            let until = self.now + LOOK_EVERY;
            self.pass(until);
        }
        self.audit();
        self.compare();
        self.now.saturating_sub(began)
    }

    /// The leader of the highest term.
    fn leader(&self) -> Option<PeerId> {
        let leaders = self.peers.iter();
        let leaders = leaders.filter(|(id, peer)| peer.raft.leader() == Some(**id));
        let highest = leaders.max_by_key(|(_, peer)| peer.raft.term());
        highest.map(|(id, _)| *id)
    }

    /// A leader has committed all it has, in its own term, and every living member follows it and has applied the same.
    fn is_well(&self) -> bool {
        let Some(leader) = self.leader().and_then(|id| self.peers.get(&id)) else {
            return false;
        };
        let log = leader.raft.log();
        let configuration = log.configuration();
        let done = log.commit() == log.last()
            && log.last_term() == leader.raft.term()
            && !configuration.is_joint()
            && configuration.is_voter(leader.raft.id());
        let members = configuration.members().filter_map(|id| self.peers.get(&id));
        done && self.clients.reads.open(|id| configuration.is_member(id)) == 0
            && members.into_iter().all(|peer| {
                peer.machine.applied == leader.machine.applied
                    && peer.raft.leader() == leader.raft.leader()
            })
    }

    /// No acknowledged write is lost, and the leader's store is what the model says.
    fn compare(&mut self) {
        let Some((id, leader)) = self
            .leader()
            .and_then(|id| Some((id, self.peers.get(&id)?)))
        else {
            return;
        };
        let applied = (leader.machine.applied, &leader.machine.store);
        let compared = self.state.compare(id, &leader.machine.store);
        let kept = self
            .clients
            .acknowledged
            .check(&self.state.model, &self.history, applied);
        for (property, verdict) in [("state_machine", compared), ("acknowledged", kept)] {
            if let Err(text) = verdict {
                self.fail(property, text);
            }
        }
    }

    fn told(&self) -> String {
        let peers = self.peers.values();
        let lines = peers.map(|peer| format!("{:?}", peer.raft.status(peer.seen)));
        let reads = format!("{} reads are open", self.clients.reads.open(|_| true));
        lines.chain([reads]).collect::<Vec<_>>().join("\n")
    }
}
