//! Membership changes: learners one at a time, voters by joint consensus (dissertation 4.3).
//!
//! A configuration is in force from the moment it is in the log. The leader leaves a joint configuration by itself as
//! soon as it is committed, also one that an earlier leader began. Deliberately without a plan: what to change,
//! roster.rs proposes and the shell decides.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::message::Message;
use super::node::{Part, Raft};
use super::progress::Progress;
use super::types::{Change, Configuration, Index, Payload, PeerId, Rejected, Term};

impl Raft {
    /// Begins the change, or says why not.
    pub(super) fn reconfigure(&mut self, change: Change) -> Result<(Index, Term), Rejected> {
        let Part::Leader(leadership) = &self.part else {
            return Err(self.not_leader());
        };
        if leadership.transfer.is_some() {
            return Err(Rejected::Transferring);
        }
        let configuration = self.log.configuration();
        let settled = self.log.configuration_index() <= self.log.commit();
        // The own-term rule closes the hole found in single-server changes (raft-dev, 2015) for all changes.
        if configuration.is_joint() || !settled || self.log.commit() < leadership.first {
            return Err(Rejected::ChangeInFlight);
        }
        let next = configuration
            .changed(change)
            .map_err(Rejected::InvalidChange)?;
        Ok((self.push_configuration(next), self.term()))
    }

    /// Leaves a committed joint configuration, and forgets the members that a committed one leaves out.
    pub(super) fn advance_membership(&mut self) {
        let Part::Leader(leadership) = &mut self.part else {
            return;
        };
        let commit = self.log.commit();
        if self.log.configuration_index() > commit || commit < leadership.first {
            return;
        }
        let configuration = self.log.configuration();
        if configuration.is_joint() {
            let next = configuration.left_joint();
            self.push_configuration(next);
            // A single voter's word is enough at once.
            self.advance_commit();
        }
    }

    /// After a configuration without it was committed, helps one of the others to lead, and steps down. Members left out
    /// have been told for the last time by then, so that they need not find out by asking for votes (`replication.rs`).
    pub(super) fn retire_if_removed(&mut self) {
        let id = self.id();
        let Part::Leader(leadership) = &mut self.part else {
            return;
        };
        let configuration = self.log.configuration();
        if self.log.configuration_index() > self.log.commit() || configuration.is_joint() {
            return;
        }
        if leadership.progress.len() + 1 > configuration.contacts.len() {
            leadership
                .progress
                .retain(|peer, _| configuration.is_member(*peer));
        }
        if configuration.is_voter(id) {
            return;
        }
        let best = configuration
            .voters
            .iter()
            .max_by_key(|peer| leadership.progress.get(peer).map_or(0, |p| p.matched));
        if let Some(best) = best {
            self.out.send(*best, Message::TimeoutNow);
        }
        self.become_follower(self.term());
    }

    fn push_configuration(&mut self, configuration: Configuration) -> Index {
        let (id, now, last) = (self.id(), self.now, self.log.last());
        if let Some(leadership) = self.leadership() {
            for member in configuration.members().filter(|member| *member != id) {
                let unknown = || Progress::new(last, now);
                leadership.progress.entry(member).or_insert_with(unknown);
            }
        }
        self.log
            .push(self.out.term, Payload::Configuration(configuration))
    }
}

impl Configuration {
    /// The configuration that begins the change, or why it makes no sense.
    fn changed(&self, change: Change) -> Result<Self, String> {
        match change {
            Change::AddLearner(peer, contact) => self.with_learner(peer, contact),
            Change::RemoveLearners(peers) => self.without_learners(&peers),
            Change::SetVoters(voters) => self.joint_with(voters),
        }
    }

    fn with_learner(&self, peer: PeerId, contact: Bytes) -> Result<Self, String> {
        if self.is_member(peer) {
            return Err(format!("{peer} is a member already"));
        }
        let mut next = self.clone();
        next.learners.insert(peer);
        next.contacts.insert(peer, contact);
        Ok(next)
    }

    fn without_learners(&self, peers: &BTreeSet<PeerId>) -> Result<Self, String> {
        if peers.is_empty() {
            return Err("no learner is named".into());
        }
        if let Some(peer) = peers.difference(&self.learners).next() {
            return Err(format!("{peer} is not a learner"));
        }
        let mut next = self.clone();
        next.learners.retain(|peer| !peers.contains(peer));
        next.contacts.retain(|peer, _| !peers.contains(peer));
        Ok(next)
    }

    fn joint_with(&self, voters: BTreeSet<PeerId>) -> Result<Self, String> {
        if voters.is_empty() {
            return Err("a cluster needs a voter".into());
        }
        if voters == self.voters {
            return Err("these are the voters already".into());
        }
        if let Some(peer) = voters.iter().find(|peer| !self.is_member(**peer)) {
            return Err(format!("{peer} is not a member"));
        }
        let mut next = self.clone();
        next.outgoing = std::mem::replace(&mut next.voters, voters);
        next.learners.retain(|peer| !next.voters.contains(peer));
        Ok(next)
    }

    /// The new half alone; whoever voted only in the old one is no member any more.
    fn left_joint(&self) -> Self {
        let mut next = self.clone();
        next.outgoing.clear();
        next.contacts
            .retain(|peer, _| next.voters.contains(peer) || next.learners.contains(peer));
        next
    }
}
