//! Elections: pre-votes, votes, loyalty to a leader that is heard, and the leader's own check that it is heard.
//!
//! Deliberately holds no data; whom to ask and what a majority is, quorum.rs knows.

use std::collections::BTreeMap;
use std::time::Duration;

use super::leadership::Leadership;
use super::message::Message;
use super::node::{Part, Raft};
use super::quorum::Tally;
use super::types::{Index, Payload, PeerId, Term};

impl Raft {
    /// True if this peer votes in the newest configuration of its log, or still does in the one it knows committed.
    /// The latter because its log may be the only one complete enough to win, even to commit the configuration that
    /// leaves it out (dissertation 4.2.2); it then counts no vote of its own.
    pub(super) fn may_stand(&self) -> bool {
        let committed = self.log.configuration_at(self.log.commit());
        let newest = self.log.configuration();
        newest.is_voter(self.id()) || committed.is_voter(self.id())
    }

    /// True while it leads, or has heard a leader less than an election timeout ago and has not seen it gone. The
    /// loyal help nobody to depose their leader.
    pub(super) fn is_loyal(&self) -> bool {
        self.leader.is_some()
            && (matches!(self.part, Part::Leader(_))
                || self.now.saturating_sub(self.leader_heard) < self.config.election_timeout)
    }

    /// Waits for a leader, one to two election timeouts.
    pub(super) fn rest(&mut self) {
        let timeout = self.config.election_timeout;
        self.deadline = self.now + timeout + self.random_below(timeout);
    }

    /// Stops being loyal, since the leader's process is gone, and stands within a heartbeat. What the leader had sent
    /// before may still arrive, so for a heartbeat its messages do not win this peer back; if it lives after all, a
    /// later one does, and nobody else was any less loyal for this peer's error.
    pub(super) fn forsake_leader(&mut self) {
        self.leader = None;
        self.forsaken_until = self.now + self.config.heartbeat;
        let delay = self.random_below(self.config.heartbeat);
        self.deadline = self.deadline.min(self.now + delay);
    }

    /// Asks who would vote for it, and asks again after one to two heartbeats: asking disturbs nobody, and others may
    /// learn any moment that the leader is gone.
    pub(super) fn ask_pre_votes(&mut self) {
        self.counters.pre_votes += 1;
        self.leader = None;
        self.part = Part::PreCandidate(BTreeMap::from([(self.id(), true)]));
        self.deadline = self.now + self.between_heartbeats();
        let (last, last_term) = (self.log.last(), self.log.last_term());
        self.ask_voters(&Message::PreVote { last, last_term });
        self.count_pre_votes();
    }

    pub(super) fn on_pre_vote(&mut self, from: PeerId, term: Term, last: Index, last_term: Term) {
        let granted =
            term >= self.term() && !self.is_loyal() && self.log.is_up_to_date(last, last_term);
        if granted {
            self.let_go_first(from);
        }
        self.out.send(from, Message::PreVoteReply { term, granted });
    }

    /// Gives the asker a little time, so that two peers that wake together do not split the vote. If both already
    /// ask, the lower one lets go.
    fn let_go_first(&mut self, asker: PeerId) {
        match self.part {
            Part::PreCandidate(_) if self.id() < asker => self.part = Part::Follower,
            Part::Follower => {}
            _ => return,
        }
        let pause = self.between_heartbeats();
        self.deadline = self.deadline.max(self.now + pause);
    }

    pub(super) fn on_pre_vote_reply(&mut self, from: PeerId, term: Term, granted: bool) {
        if term != self.term() {
            return;
        }
        if let Part::PreCandidate(answers) = &mut self.part {
            answers.insert(from, granted);
            self.count_pre_votes();
        }
    }

    fn count_pre_votes(&mut self) {
        if let Part::PreCandidate(answers) = &self.part
            && self.log.configuration().tally(answers) == Tally::Won
        {
            self.stand(false);
        }
    }

    /// Stands for election in the next term.
    pub(super) fn stand(&mut self, transfer: bool) {
        self.counters.elections += 1;
        self.become_follower(self.term() + 1);
        self.vote = Some(self.id());
        self.part = Part::Candidate(BTreeMap::from([(self.id(), true)]));
        self.rest();
        let (last, last_term) = (self.log.last(), self.log.last_term());
        self.ask_voters(&Message::Vote {
            last,
            last_term,
            transfer,
        });
        self.count_votes();
    }

    pub(super) fn on_vote(&mut self, from: PeerId, last: Index, last_term: Term) {
        let free = self.vote == Some(from) || (self.vote.is_none() && self.leader.is_none());
        let granted = free && self.log.is_up_to_date(last, last_term);
        if granted {
            self.vote = Some(from);
            self.part = Part::Follower;
            self.rest();
        }
        self.out.send(from, Message::VoteReply { granted });
    }

    pub(super) fn on_vote_reply(&mut self, from: PeerId, granted: bool) {
        if let Part::Candidate(answers) = &mut self.part {
            answers.insert(from, granted);
            self.count_votes();
        }
    }

    fn count_votes(&mut self) {
        let Part::Candidate(answers) = &self.part else {
            return;
        };
        match self.log.configuration().tally(answers) {
            Tally::Won => self.lead(),
            Tally::Open => {}
            Tally::Lost => {
                // A split vote: nobody leads this term, so there is nobody to wait for.
                self.become_follower(self.term());
                let delay = self.random_below(self.config.election_timeout / 2);
                self.deadline = self.now + delay;
            }
        }
    }

    fn lead(&mut self) {
        self.counters.elections_won += 1;
        let last = self.log.last();
        let configuration = self.log.configuration();
        let leadership = Leadership::new(configuration, self.id(), last, self.now);
        self.part = Part::Leader(Box::new(leadership));
        self.leader = Some(self.id());
        self.incoming = None;
        self.log.push(self.term(), Payload::Empty);
    }

    /// A leader's share of a tick: its quorum, its heartbeats, what has taken too long.
    pub(super) fn on_leader_tick(&mut self) {
        let (id, now, timeout) = (self.id(), self.now, self.config.election_timeout);
        let Part::Leader(leadership) = &mut self.part else {
            return;
        };
        for progress in leadership.progress.values_mut() {
            progress.on_tick(timeout, now);
        }
        let configuration = self.log.configuration();
        if !leadership.is_quorum(configuration, id, |peer| peer.silent(now) < timeout) {
            self.counters.quorums_lost += 1;
            return self.become_follower(self.term());
        }
        self.expire_transfer();
        self.beat_if_due();
    }

    fn ask_voters(&mut self, message: &Message) {
        let configuration = self.log.configuration();
        for voter in configuration.voters.union(&configuration.outgoing) {
            if *voter != self.out.id {
                self.out.send(*voter, message.clone());
            }
        }
    }

    /// A random time between one and two heartbeats.
    fn between_heartbeats(&mut self) -> Duration {
        let heartbeat = self.config.heartbeat;
        heartbeat + self.random_below(heartbeat)
    }
}
