//! Replication: proposing, sending, appending, acknowledging, committing.
//!
//! An append without entries is both heartbeat and consistency check: it names the entry before the next one to be
//! sent, so a follower that missed something refuses it and is sent it again. Nothing here waits for one message
//! before the next, except while a follower's log is still being found out (`progress.rs`). That what a follower has
//! is committed by now, it is told by the next append, or by a message that asks for no answer if there is none.

use std::time::Duration;

use bytes::Bytes;

use super::leadership::{Leadership, Outbox};
use super::log::Log;
use super::message::Message;
use super::node::{Part, Raft};
use super::progress::{Progress, State};
use super::types::{Config, Entry, Index, Payload, PeerId, Rejected, Term};

impl Raft {
    /// Appends the payloads, or says why not. One batch, one term, consecutive indexes.
    pub(super) fn propose(&mut self, payloads: Vec<Bytes>) -> Result<(Index, Term), Rejected> {
        let Part::Leader(leadership) = &self.part else {
            return Err(self.not_leader());
        };
        if leadership.transfer.is_some() {
            return Err(Rejected::Transferring);
        }
        let waiting = self.log.uncommitted_bytes();
        let bytes: usize = payloads.iter().map(Bytes::len).sum();
        // A batch above the cap passes alone: refused, it could never pass.
        if waiting > 0 && waiting + bytes > self.config.uncommitted_bytes_max {
            return Err(Rejected::Overloaded);
        }
        let first = self.log.last() + 1;
        for payload in payloads {
            self.log.push(self.out.term, Payload::Command(payload));
        }
        Ok((first, self.out.term))
    }

    /// Sends every member what its window allows, and where that does not carry all news, what does.
    pub(super) fn replicate_all(&mut self) {
        self.for_each_line(|line| {
            line.send_entries();
            if line.progress.round_sent < line.round {
                line.send_empty();
            }
            line.send_committed();
        });
    }

    /// Heartbeats, if they are due. A probe that has no answer yet is sent again with them.
    pub(super) fn beat_if_due(&mut self) {
        let next = self.now + self.config.heartbeat;
        match &mut self.part {
            Part::Leader(leadership) if leadership.heartbeat_at <= self.now => {
                leadership.heartbeat_at = next;
                if let Some(transfer) = &mut leadership.transfer {
                    transfer.told = false;
                }
            }
            _ => return,
        }
        self.for_each_line(|line| {
            line.doubt_probe();
            if !line.send_entries() {
                line.send_empty();
            }
        });
    }

    fn for_each_line(&mut self, write: impl Fn(&mut Line<'_>)) {
        let Part::Leader(leadership) = &mut self.part else {
            return;
        };
        for (peer, progress) in &mut leadership.progress {
            write(&mut Line {
                peer: *peer,
                progress,
                log: &self.log,
                config: &self.config,
                now: self.now,
                round: leadership.round,
                out: &mut self.out,
            });
        }
    }

    pub(super) fn on_append(
        &mut self,
        from: PeerId,
        (prev, prev_term): (Index, Term),
        commit: Index,
        round: u64,
        entries: Vec<Entry>,
    ) {
        self.follow(from);
        // What is committed here is in every later leader's log, so below the commit index the logs agree.
        if self.log.term(prev) != Some(prev_term) && prev >= self.log.commit() {
            let hint = self
                .log
                .find_agreement(prev.min(self.log.last()), prev_term);
            let hint = hint.max(self.log.commit());
            let hint_term = self.log.term(hint).expect("commit ≤ hint ≤ last are kept");
            let refusal = Message::AppendRefused {
                prev,
                hint,
                hint_term,
                round,
            };
            return self.out.send(from, refusal);
        }
        let matched = self.log.splice(prev, entries).max(self.log.commit());
        self.log
            .commit_to(commit.min(matched).max(self.log.commit()));
        self.forget_overtaken_incoming();
        self.out.send(from, Message::Appended { matched, round });
    }

    pub(super) fn on_appended(&mut self, from: PeerId, matched: Index, round: u64) {
        let (base, last, now) = (self.log.base(), self.log.last(), self.now);
        let Some(progress) = self.heard(from, round) else {
            return;
        };
        assert!(matched <= last, "followers agree only with what was sent");
        let snapshot = matches!(progress.state, State::Snapshot(_));
        progress.on_matched(matched, base, last, now);
        if snapshot && matches!(progress.state, State::Replicate) {
            self.counters.snapshots_sent += 1;
        }
    }

    /// In this term the leader's log only grows and this peer's follows it, so what this peer once said agrees still does.
    pub(super) fn on_committed(&mut self, from: PeerId, index: Index) {
        self.follow(from);
        assert!(
            index <= self.log.last(),
            "only what it acknowledged is said to be committed"
        );
        self.log.commit_to(index.max(self.log.commit()));
    }

    pub(super) fn on_append_refused(
        &mut self,
        from: PeerId,
        prev: Index,
        (hint, hint_term): (Index, Term),
        round: u64,
    ) {
        let agreement = self.log.find_agreement(hint, hint_term);
        let Some(progress) = self.heard(from, round) else {
            return;
        };
        if progress.on_refused(prev, agreement) {
            self.counters.appends_refused += 1;
        }
    }

    /// Notes that a member spoke in this term.
    pub(super) fn heard(&mut self, from: PeerId, round: u64) -> Option<&mut Progress> {
        let now = self.now;
        let progress = self.leadership()?.progress.get_mut(&from)?;
        progress.heard = now;
        progress.round = progress.round.max(round);
        Some(progress)
    }

    /// Commits what a quorum has, if it is of this leader's own term (dissertation 3.6.2). True if there was news.
    pub(super) fn advance_commit(&mut self) -> bool {
        let Part::Leader(leadership) = &self.part else {
            return false;
        };
        let reached = leadership.reached(&self.log, self.out.id);
        let news = reached > self.log.commit() && reached >= leadership.first;
        if news {
            self.log.commit_to(reached);
        }
        news
    }
}

impl Leadership {
    fn reached(&self, log: &Log, id: PeerId) -> Index {
        log.configuration().reached(|peer| {
            if peer == id {
                log.last()
            } else {
                self.progress.get(&peer).map_or(0, |p| p.matched)
            }
        })
    }
}

/// Everything needed to write to one member.
struct Line<'a> {
    peer: PeerId,
    progress: &'a mut Progress,
    log: &'a Log,
    config: &'a Config,
    now: Duration,
    round: u64,
    out: &'a mut Outbox,
}

impl Line<'_> {
    /// Sends what the window allows. If what comes next is no longer in the log, a snapshot must, whatever is still on
    /// the way: nothing after it could be checked against what the member has. True if anything was sent.
    fn send_entries(&mut self) -> bool {
        let waits = matches!(self.progress.state, State::Snapshot(_));
        if self.progress.next <= self.log.base() && !waits {
            self.progress.await_snapshot(self.now);
        }
        let mut spoken = false;
        while self.progress.next <= self.log.last()
            && let Some(window) = self.progress.window(self.config)
        {
            let (entries, bytes) = self.log.batch(self.progress.next, window);
            self.send(entries, bytes);
            spoken = true;
        }
        spoken
    }

    /// Tells a member in step that more of what it has is committed. Who is left out is told so at once, by an append
    /// after all that it was sent: nobody waits for its answer, and until it knows it might stand for election.
    fn send_committed(&mut self) {
        let commit = self.log.commit();
        if self.progress.commit_sent >= commit || !matches!(self.progress.state, State::Replicate) {
            return;
        }
        if !self.log.configuration().is_member(self.peer) {
            return self.send_empty();
        }
        let index = commit.min(self.progress.matched);
        if self.progress.commit_sent < index {
            self.out.send(self.peer, Message::Committed { index });
            self.progress.commit_sent = index;
        }
    }

    /// Takes an unanswered probe for lost, unless the member has been silent for long: it may never read the entries.
    fn doubt_probe(&mut self) {
        let listens = self.progress.silent(self.now) < self.config.election_timeout;
        if let State::Probe { sent } = &mut self.progress.state {
            *sent = !listens;
        }
    }

    fn send_empty(&mut self) {
        self.send(Vec::new(), 0);
    }

    fn send(&mut self, entries: Vec<Entry>, bytes: usize) {
        let prev = self.progress.next - 1;
        // Before the log's base only 0 is known to match. Such an append still renews the lease, and its answer
        // says what the member has committed.
        let (prev, prev_term) = match self.log.term(prev) {
            Some(term) => (prev, term),
            None => (0, 0),
        };
        let last = prev + entries.len() as Index;
        let message = Message::Append {
            prev,
            prev_term,
            commit: self.log.commit(),
            round: self.round,
            entries,
        };
        self.out.send(self.peer, message);
        self.progress.commit_sent = self.log.commit();
        self.progress.round_sent = self.round;
        self.progress.on_sent(last, bytes);
    }
}
