//! Changes of membership: any that somebody may ask for, wise or not; or those of the plan that ships, and no other.

use std::collections::BTreeMap;
use std::time::Duration;

use kagero::raft::{Candidate, Change, Input, Limits, PeerId, plan_membership};
use rand::Rng;
use rand::seq::IteratorRandom;

use super::checkers::{Cause, Why};
use super::coverage::Mark;
use super::faults::PEERS_MAX;
use super::world::{World, contact};

/// The plan's limits: the shipped ones, but quicker.
const MEMBER_SILENT_MAX: Duration = Duration::from_millis(400);
const STANDBYS_MAX: usize = 1;
const VOTERS_WANTED: usize = 3;
/// The plan is asked in so many of a thousand moments.
const PLAN_PER_MILLE: u32 = 200;

impl World {
    /// Any change to living voters, by anybody who believes to lead; it must be safe.
    pub(super) fn change(&mut self) {
        let Some(leader) = self.self_declared_leader() else {
            return;
        };
        let Some(node) = self.peers.get(&leader) else {
            return;
        };
        let configuration = node.raft.log().configuration().clone();
        let change = match self.rng.random_range(0..8) {
            0..4 if self.next_peer <= PEERS_MAX => {
                let peer = self.join();
                self.coverage.mark(Mark::LearnerAdded);
                Change::AddLearner(peer, contact(peer))
            }
            4 => {
                self.coverage.mark(Mark::LearnersRemoved);
                Change::RemoveLearners(configuration.learners)
            }
            _ => {
                self.coverage.mark(Mark::VotersSet);
                let only_near = self.rng.random::<bool>();
                let fit = |peer: &PeerId| {
                    let far = self.cut.contains(&(leader, *peer));
                    self.peers.contains_key(peer) && !(only_near && far)
                };
                let members: Vec<PeerId> = configuration.members().filter(fit).collect();
                let size = self.rng.random_range(1..=5);
                let voters = members.into_iter().choose_multiple(&mut self.rng, size);
                Change::SetVoters(voters.into_iter().collect())
            }
        };
        let input = Input::Reconfigure(0, change);
        self.step(leader, input, Cause::new(Why::Other));
    }

    /// Lets the leader's shell plan, as the shipped one does.
    pub(super) fn plan_if_due(&mut self) {
        if !self.chance(PLAN_PER_MILLE) {
            return;
        }
        if self.peers.len() < VOTERS_WANTED + STANDBYS_MAX && self.next_peer <= PEERS_MAX {
            self.join();
        }
        let Some(leader) = self.self_declared_leader() else {
            return;
        };
        let Some(node) = self.peers.get(&leader) else {
            return;
        };
        let status = node.raft.status(node.seen);
        let living = self.peers.keys().map(|peer| (*peer, false));
        let dead = self.dead.iter().map(|peer| (*peer, true));
        let known: BTreeMap<PeerId, Candidate> = living
            .chain(dead)
            .map(|(peer, proven_dead)| {
                let candidate = Candidate {
                    proven_dead,
                    may_vote: true,
                    name: format!("n{}", peer.0),
                    contact: contact(peer),
                    ..Candidate::default()
                };
                (peer, candidate)
            })
            .collect();
        let limits = Limits {
            standbys_max: STANDBYS_MAX,
            member_silent_max: MEMBER_SILENT_MAX,
            ..Limits::default()
        };
        if let Some(change) = plan_membership(&status, &known, VOTERS_WANTED, &limits) {
            self.coverage.mark(Mark::Planned);
            let old = &status.configuration.voters;
            let promotes = matches!(&change, Change::SetVoters(new) if !new.is_subset(old));
            self.coverage.mark_if(Mark::Promoted, promotes);
            let input = Input::Reconfigure(0, change);
            self.step(leader, input, Cause::new(Why::Plan));
        }
    }
}
