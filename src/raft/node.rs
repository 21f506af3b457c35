//! One peer: its state, the step function and what every role shares.
//!
//! Deliberately without the rules themselves: election, replication, reads, snapshots, membership and transfer are
//! `impl Raft` blocks in files of their own.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::leadership::{Leadership, Outbox};
use super::log::Log;
use super::message::Message;
use super::read::Forwarding;
use super::snapshot::Incoming;
use super::types::{
    BOOTSTRAP_INDEX, BOOTSTRAP_TERM, ClusterId, Config, Configuration, Counters, Envelope, Input,
    PeerId, Ready, Rejected, Role, Start, Status, Term, Usage,
};

/// How many times the usual bytes are kept for members that listen but lag, beside as many as the snapshot that is
/// under way has: with more to follow it, another snapshot would be the shorter way.
const KEPT_FOR_LAGGARDS: usize = 4;

/// What a peer is, with what it knows only as that.
#[derive(Clone, Debug)]
pub(super) enum Part {
    Follower,
    PreCandidate(BTreeMap<PeerId, bool>),
    Candidate(BTreeMap<PeerId, bool>),
    Leader(Box<Leadership>),
}

/// A consensus peer. Pure: time comes in with every call, chance through the generator given at the start.
///
/// Invariants:
/// - the term never decreases, and `vote` is given at most once in a term;
/// - `leader` is this peer exactly while it leads;
/// - `deadline` is when a voter that does not lead will stand (again) for election.
#[derive(Clone, Debug)]
pub struct Raft {
    pub(super) config: Config,
    pub(super) out: Outbox,
    pub(super) vote: Option<PeerId>,
    pub(super) part: Part,
    pub(super) leader: Option<PeerId>,
    pub(super) leader_heard: Duration,
    /// Until then this term's leader was seen gone, and is not followed.
    pub(super) forsaken_until: Duration,
    pub(super) deadline: Duration,
    pub(super) log: Log,
    pub(super) forwarding: Forwarding,
    pub(super) incoming: Option<Incoming>,
    pub(super) counters: Counters,
    pub(super) now: Duration,
    /// The last tick: what is looked at then must not wait while messages keep coming.
    ticked: Duration,
    entropy: StdRng,
}

impl Raft {
    /// A peer that has just come into being. `id` must never have been used before.
    ///
    /// A founder may stand for election within the first election timeout; one that is the only voter does at its
    /// first tick.
    pub fn new(
        config: Config,
        id: PeerId,
        cluster: ClusterId,
        start: Start,
        now: Duration,
        entropy: StdRng,
    ) -> Self {
        let (log, term) = match start {
            Start::Bootstrap(configuration) => (
                Log::new(BOOTSTRAP_INDEX, BOOTSTRAP_TERM, configuration),
                BOOTSTRAP_TERM,
            ),
            Start::Recovered {
                index,
                term,
                configuration,
            } => (Log::new(index, term, configuration), term),
            Start::Join => (Log::new(0, 0, Configuration::default()), 0),
        };
        let mut raft = Self {
            config,
            out: Outbox {
                id,
                cluster,
                term,
                ready: Ready::default(),
            },
            vote: None,
            part: Part::Follower,
            leader: None,
            leader_heard: now,
            forsaken_until: Duration::ZERO,
            deadline: now,
            log,
            forwarding: Forwarding::default(),
            incoming: None,
            counters: Counters::default(),
            now,
            ticked: now,
            entropy,
        };
        if raft.log.configuration().voters.len() > 1 {
            raft.deadline = now + raft.random_below(raft.config.election_timeout);
        }
        raft
    }

    /// Takes one input and says what follows from it. A `now` that goes back is taken as the latest one seen.
    pub fn step(&mut self, input: Input, now: Duration) -> Ready {
        self.now = self.now.max(now);
        let before = (self.role(), self.leader, self.out.term);
        match input {
            Input::Tick => self.on_tick(),
            Input::Message(envelope) => self.on_envelope(envelope),
            Input::Propose(tag, payloads) => {
                let answer = self.propose(payloads);
                self.out.ready.proposed.push((tag, answer));
            }
            Input::Read(tag) => self.on_read(tag),
            Input::Reconfigure(tag, change) => {
                let answer = self.reconfigure(change);
                self.out.ready.proposed.push((tag, answer));
            }
            Input::Transfer(target) => self.on_transfer(target),
            Input::Unreachable(peer) => self.on_unreachable(peer),
            Input::Snapshot { index, data } => self.on_image(index, data),
        }
        self.settle();
        if self.leader != before.1 {
            self.refuse_forwarded();
        }
        self.out.ready.role_changed = before != (self.role(), self.leader, self.out.term);
        std::mem::take(&mut self.out.ready)
    }

    /// When [`Input::Tick`] is next useful: never more than a heartbeat after the last one. Ticking then makes elections as quick as
    /// their random delays allow; ticking at every half heartbeat is as safe.
    pub fn deadline(&self) -> Duration {
        let next = match &self.part {
            Part::Leader(leadership) => leadership.heartbeat_at,
            _ if self.may_stand() => self.deadline,
            _ => Duration::MAX,
        };
        next.min(self.ticked + self.config.heartbeat)
    }

    /// What metrics and the membership plan need to know.
    pub fn status(&self, now: Duration) -> Status {
        let progress = match &self.part {
            Part::Leader(leadership) => leadership
                .progress
                .iter()
                .map(|(peer, progress)| (*peer, progress.report(&self.config, now)))
                .collect(),
            _ => BTreeMap::new(),
        };
        Status {
            id: self.out.id,
            role: self.role(),
            term: self.out.term,
            leader: self.leader,
            last: self.log.last(),
            commit: self.log.commit(),
            applied: self.log.commit(),
            configuration: self.log.configuration().clone(),
            progress,
        }
    }

    /// Counts since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What it keeps, against the bounds of [`Config`].
    pub fn usage(&self) -> Usage {
        let mut usage = Usage {
            reads_waiting: self.forwarding.waiting(),
            ..Usage::default()
        };
        if let Part::Leader(leadership) = &self.part {
            usage.reads_waiting += leadership.reads_waiting();
            usage.snapshot_bytes = leadership.image.as_ref().map_or(0, |i| i.data.len());
            for progress in leadership.progress.values() {
                let (messages, bytes) = progress.inflight();
                usage.inflight_messages = usage.inflight_messages.max(messages);
                usage.inflight_bytes = usage.inflight_bytes.max(bytes);
            }
        }
        usage
    }

    /// This peer.
    pub fn id(&self) -> PeerId {
        self.out.id
    }

    /// Its term.
    pub fn term(&self) -> Term {
        self.out.term
    }

    /// The leader it follows, or itself.
    pub fn leader(&self) -> Option<PeerId> {
        self.leader
    }

    /// What decides its next steps: all but what it counted, and how long chance makes it wait before it stands.
    pub fn essence(&self) -> impl fmt::Debug + '_ {
        let who = (&self.out.term, &self.vote, &self.part, &self.leader);
        let heard = (&self.leader_heard, &self.forsaken_until, &self.now);
        (who, heard, &self.log, &self.forwarding, &self.incoming)
    }

    /// Its log, to read.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Its role.
    pub fn role(&self) -> Role {
        match self.part {
            Part::Follower => Role::Follower,
            Part::PreCandidate(_) => Role::PreCandidate,
            Part::Candidate(_) => Role::Candidate,
            Part::Leader(_) => Role::Leader,
        }
    }

    pub(super) fn leadership(&mut self) -> Option<&mut Leadership> {
        match &mut self.part {
            Part::Leader(leadership) => Some(leadership),
            _ => None,
        }
    }

    pub(super) fn not_leader(&self) -> Rejected {
        Rejected::NotLeader {
            leader: self.leader,
        }
    }

    /// A random time in `[0, limit)`.
    pub(super) fn random_below(&mut self, limit: Duration) -> Duration {
        limit.mul_f64(self.entropy.random::<f64>())
    }

    /// Goes to `term`, where nobody leads yet as far as it knows, and follows.
    pub(super) fn become_follower(&mut self, term: Term) {
        assert!(term >= self.out.term, "the term never decreases");
        if term > self.out.term {
            self.out.term = term;
            self.vote = None;
            self.forsaken_until = Duration::ZERO;
        }
        if !matches!(self.part, Part::Follower) {
            self.refuse_readers();
            self.part = Part::Follower;
            self.rest();
        }
        self.leader = None;
    }

    /// Obeys the leader of the current term and renews the lease on it, unless its process was just seen gone: then
    /// what it had sent is still taken, but wins it no time.
    pub(super) fn follow(&mut self, leader: PeerId) {
        assert!(
            !matches!(self.part, Part::Leader(_)),
            "a term has one leader"
        );
        assert!(
            self.leader.is_none_or(|known| known == leader),
            "a term has one leader"
        );
        if self.now < self.forsaken_until {
            return;
        }
        self.part = Part::Follower;
        self.leader = Some(leader);
        self.leader_heard = self.now;
        self.rest();
        if self.incoming.as_ref().is_some_and(|i| i.from != leader) {
            self.incoming = None;
        }
    }

    fn on_tick(&mut self) {
        self.ticked = self.now;
        if matches!(self.part, Part::Leader(_)) {
            return self.on_leader_tick();
        }
        if self.leader.is_some() && !self.is_loyal() {
            self.leader = None;
        }
        if self.now >= self.deadline && self.may_stand() {
            self.ask_pre_votes();
        }
        self.retry_forwarded();
    }

    fn on_unreachable(&mut self, peer: PeerId) {
        let now = self.now;
        if let Some(leadership) = self.leadership() {
            if let Some(progress) = leadership.progress.get_mut(&peer) {
                progress.on_unreachable(now);
            }
        } else if self.leader.or(self.vote) == Some(peer) && peer != self.id() {
            // The leader, or whoever was about to be.
            self.forsake_leader();
        }
    }

    fn on_envelope(&mut self, envelope: Envelope) {
        if envelope.cluster != self.out.cluster {
            self.counters.dropped_cluster += 1;
            return;
        }
        if envelope.to != self.out.id || envelope.from == self.out.id {
            self.counters.dropped_recipient += 1;
            return;
        }
        match envelope.term.cmp(&self.out.term) {
            Ordering::Less => self.on_old_message(envelope),
            Ordering::Equal => self.on_message(envelope),
            Ordering::Greater => {
                let changes_term = match envelope.message {
                    Message::PreVote { .. } => false,
                    // Whoever was removed or cut off may not depose a leader that others still hear
                    // (dissertation 4.2.3).
                    Message::Vote { transfer, .. } if !transfer && self.is_loyal() => return,
                    _ => true,
                };
                if changes_term {
                    self.become_follower(envelope.term);
                }
                self.on_message(envelope);
            }
        }
    }

    /// Tells an asker or a leader of an earlier term that there is a later one; the rest is only late.
    fn on_old_message(&mut self, envelope: Envelope) {
        let answer = match envelope.message {
            Message::PreVote { .. } => Message::PreVoteReply {
                term: envelope.term,
                granted: false,
            },
            Message::Vote { .. } => Message::VoteReply { granted: false },
            Message::Append { .. } | Message::Chunk { .. } => Message::Appended {
                matched: 0,
                round: 0,
            },
            // A pre-vote is asked of peers of earlier terms too, and changes no term; the answer names what it answers.
            Message::PreVoteReply { term, granted } => {
                return self.on_pre_vote_reply(envelope.from, term, granted);
            }
            _ => {
                self.counters.dropped_term += 1;
                return;
            }
        };
        self.out.send(envelope.from, answer);
    }

    fn on_message(&mut self, envelope: Envelope) {
        let from = envelope.from;
        match envelope.message {
            Message::PreVote { last, last_term } => {
                self.on_pre_vote(from, envelope.term, last, last_term);
            }
            Message::PreVoteReply { term, granted } => self.on_pre_vote_reply(from, term, granted),
            Message::Vote {
                last, last_term, ..
            } => self.on_vote(from, last, last_term),
            Message::VoteReply { granted } => self.on_vote_reply(from, granted),
            Message::Append {
                prev,
                prev_term,
                commit,
                round,
                entries,
            } => self.on_append(from, (prev, prev_term), commit, round, entries),
            Message::Appended { matched, round } => self.on_appended(from, matched, round),
            Message::Committed { index } => self.on_committed(from, index),
            Message::AppendRefused {
                prev,
                hint,
                hint_term,
                round,
            } => self.on_append_refused(from, prev, (hint, hint_term), round),
            Message::Chunk(chunk) => self.on_chunk(from, chunk),
            Message::ChunkReceived { index, offset } => {
                self.on_chunk_received(from, index, offset);
            }
            Message::TimeoutNow => self.on_timeout_now(from),
            Message::Read { batch } => self.on_forwarded_read(from, batch),
            Message::ReadReply { batch, index } => self.on_read_reply(batch, index),
        }
    }

    /// Draws the consequences of what the step changed: commits, sends, answers reads, hands out, compacts.
    fn settle(&mut self) {
        if matches!(self.part, Part::Leader(_)) {
            self.advance_commit();
            self.advance_membership();
            self.replicate_all();
            self.pump_snapshots();
            self.advance_transfer();
            self.advance_reads();
            self.retire_if_removed();
        }
        self.log.hand_out(&mut self.out.ready.committed);
        self.compact();
    }

    fn compact(&mut self) {
        let before = self.log.base();
        self.compact_log();
        self.counters.compactions += u64::from(self.log.base() > before);
    }

    fn compact_log(&mut self) {
        let (entries, bytes) = (self.config.log_entries_kept, self.config.log_bytes_kept);
        let applied = self.log.commit();
        let Part::Leader(leadership) = &self.part else {
            return self.log.compact(entries, bytes, applied);
        };
        let floor = leadership.needed_after(self.config.election_timeout, self.now);
        self.log.compact(entries, bytes, floor);
        let image = leadership.image.as_ref().map_or(0, |i| i.data.len());
        let bytes = bytes.saturating_mul(KEPT_FOR_LAGGARDS) + image;
        self.log.compact(usize::MAX, bytes, applied);
    }
}
