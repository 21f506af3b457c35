//! Linearizable reads without log entries: ReadIndex (dissertation 6.4), batched.
//!
//! A leader's round is a number that every append carries and every answer echoes: once a quorum has echoed it, nobody
//! else led when it began, so its commit index then is safe to read at. One round is under way at a time and serves
//! all reads that came before it. A follower likewise has one batch at its leader at a time. Lease reads are
//! deliberately absent: they would trust clocks.

use std::collections::BTreeMap;
use std::time::Duration;

use super::leadership::Leadership;
use super::message::Message;
use super::node::{Part, Raft};
use super::types::{Index, PeerId, Rejected, Tag};

/// Reads that wait for a round or for the leader's answer; more are refused. About 1 MiB of memory.
const READS_WAITING_MAX: usize = 65_536;

/// Who waits for a read index.
#[derive(Clone, Debug, Default)]
pub struct Readers {
    /// This peer's own callers.
    own: Vec<Tag>,
    /// Each follower's newest batch. It has one under way at a time and asks for it again, so that an older one is
    /// given up, and one asked many times is answered once.
    batches: BTreeMap<PeerId, u64>,
}

/// A round under way.
#[derive(Clone, Debug)]
pub struct Round {
    /// Its number; a quorum must echo it or a later one.
    pub number: u64,
    /// The commit index when it began.
    pub index: Index,
    /// Whom it serves.
    pub readers: Readers,
}

/// A follower's reads on their way to the leader.
#[derive(Clone, Debug, Default)]
pub struct Forwarding {
    batch: u64,
    waiting: Vec<Tag>,
    asked: Option<Asked>,
}

#[derive(Clone, Debug)]
struct Asked {
    tags: Vec<Tag>,
    since: Duration,
    sent: Duration,
}

impl Forwarding {
    /// Reads that wait, asked or not.
    pub fn waiting(&self) -> usize {
        self.waiting.len() + self.asked.as_ref().map_or(0, |asked| asked.tags.len())
    }
}

impl Readers {
    fn len(&self) -> usize {
        self.own.len() + self.batches.len()
    }
}

impl Leadership {
    /// Readers that wait, in the round under way or for the next.
    pub fn reads_waiting(&self) -> usize {
        self.readers.len() + self.asked.as_ref().map_or(0, |round| round.readers.len())
    }
}

impl Raft {
    pub(super) fn on_read(&mut self, tag: Tag) {
        let waiting = match &mut self.part {
            Part::Leader(leadership) if leadership.readers.own.len() < READS_WAITING_MAX => {
                return leadership.readers.own.push(tag);
            }
            Part::Leader(_) => READS_WAITING_MAX,
            _ => self.forwarding.waiting.len(),
        };
        if waiting >= READS_WAITING_MAX {
            return self.out.ready.reads.push((tag, Err(Rejected::Overloaded)));
        }
        if self.leader.is_none() {
            let refusal = self.not_leader();
            return self.out.ready.reads.push((tag, Err(refusal)));
        }
        self.forwarding.waiting.push(tag);
        self.forward_reads();
    }

    pub(super) fn on_forwarded_read(&mut self, from: PeerId, batch: u64) {
        match &mut self.part {
            Part::Leader(leadership) => {
                let newest = leadership.readers.batches.entry(from).or_default();
                *newest = batch.max(*newest);
            }
            _ => self
                .out
                .send(from, Message::ReadReply { batch, index: None }),
        }
    }

    pub(super) fn on_read_reply(&mut self, batch: u64, index: Option<Index>) {
        if batch != self.forwarding.batch {
            return;
        }
        let Some(asked) = self.forwarding.asked.take() else {
            return;
        };
        let answer = index.ok_or_else(|| self.not_leader());
        let reads = asked.tags.into_iter().map(|tag| (tag, answer.clone()));
        self.out.ready.reads.extend(reads);
        self.forward_reads();
    }

    /// Asks again what was not answered within a heartbeat, and gives up after an election timeout.
    pub(super) fn retry_forwarded(&mut self) {
        let (now, leader) = (self.now, self.leader);
        let Some(asked) = &mut self.forwarding.asked else {
            return;
        };
        if now.saturating_sub(asked.since) >= self.config.election_timeout {
            self.refuse_forwarded();
        } else if let Some(leader) = leader
            && now.saturating_sub(asked.sent) >= self.config.heartbeat
        {
            asked.sent = now;
            let batch = self.forwarding.batch;
            self.out.send(leader, Message::Read { batch });
        }
    }

    /// The leader asked is not the leader any more, or does not answer.
    pub(super) fn refuse_forwarded(&mut self) {
        let refusal = self.not_leader();
        let asked = self.forwarding.asked.take();
        let waiting = std::mem::take(&mut self.forwarding.waiting);
        let tags = asked.into_iter().flat_map(|asked| asked.tags);
        for tag in tags.chain(waiting) {
            self.out.ready.reads.push((tag, Err(refusal.clone())));
        }
    }

    /// This peer leads no more: its own callers must ask elsewhere; followers notice by themselves.
    pub(super) fn refuse_readers(&mut self) {
        let Some(leadership) = self.leadership() else {
            return;
        };
        let asked = leadership.asked.take().map(|round| round.readers.own);
        let readers = std::mem::take(&mut leadership.readers).own;
        for tag in asked.into_iter().flatten().chain(readers) {
            let refusal = Rejected::NotLeader { leader: None };
            self.out.ready.reads.push((tag, Err(refusal)));
        }
    }

    /// Ends the round that a quorum has echoed, then begins the next. A leader alone needs no echo.
    pub(super) fn advance_reads(&mut self) {
        self.finish_round();
        if self.begin_round() {
            self.replicate_all();
            self.finish_round();
        }
    }

    fn begin_round(&mut self) -> bool {
        let commit = self.log.commit();
        let Part::Leader(leadership) = &mut self.part else {
            return false;
        };
        // Before it has committed an entry of its own term, a leader does not know what is committed.
        if leadership.asked.is_some() || leadership.readers.len() == 0 || commit < leadership.first
        {
            return false;
        }
        leadership.round += 1;
        leadership.asked = Some(Round {
            number: leadership.round,
            index: commit,
            readers: std::mem::take(&mut leadership.readers),
        });
        self.counters.read_rounds += 1;
        true
    }

    fn finish_round(&mut self) {
        let Part::Leader(leadership) = &mut self.part else {
            return;
        };
        let Some(asked) = &leadership.asked else {
            return;
        };
        let (configuration, id) = (self.log.configuration(), self.out.id);
        if !leadership.is_quorum(configuration, id, |peer| peer.round >= asked.number) {
            return;
        }
        let Some(Round { index, readers, .. }) = leadership.asked.take() else {
            return;
        };
        for tag in readers.own {
            self.out.ready.reads.push((tag, Ok(index)));
        }
        for (peer, batch) in readers.batches {
            let index = Some(index);
            self.out.send(peer, Message::ReadReply { batch, index });
        }
    }

    fn forward_reads(&mut self) {
        let Some(leader) = self.leader else {
            return;
        };
        if self.forwarding.asked.is_some() || self.forwarding.waiting.is_empty() {
            return;
        }
        self.forwarding.batch += 1;
        self.forwarding.asked = Some(Asked {
            tags: std::mem::take(&mut self.forwarding.waiting),
            since: self.now,
            sent: self.now,
        });
        let batch = self.forwarding.batch;
        self.out.send(leader, Message::Read { batch });
    }
}
