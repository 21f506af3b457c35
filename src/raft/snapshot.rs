//! Snapshots: to members whose next entry is gone from the log, in pieces, going on where a silence began.
//!
//! The state machine makes them; this file only asks (`Ready::snapshot_wanted`), cuts, sends, collects and drops them.
//! The bytes are shared by all transfers, and by nothing once nobody needs them.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::leadership::Leadership;
use super::message::{Chunk, Message};
use super::node::{Part, Raft};
use super::progress::{State, Transfer};
use super::types::{Config, Configuration, Index, PeerId, Snapshot, Term};

/// After how long a member's silence its transfer no longer holds the snapshot in memory.
const TRANSFER_SILENT_MAX: Duration = Duration::from_secs(10);
/// After how long an unanswered [`super::Ready::snapshot_wanted`] is asked again.
const IMAGE_ASKED_MAX: Duration = Duration::from_secs(10);
/// Bytes set aside at once for a snapshot under way; a larger one grows as it arrives, so a damaged length does no harm.
const INCOMING_RESERVE_BYTES_MAX: u64 = 64 << 20;

/// A snapshot being received.
///
/// Invariant: `data.len() ≤ total`.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The leader that sends it. Another leader's encoding of the same state may differ.
    pub from: PeerId,
    /// What it covers.
    pub index: Index,
    term: Term,
    configuration: Configuration,
    total: u64,
    data: BytesMut,
}

impl Raft {
    /// The state machine gave a snapshot. One that cannot be followed by what the log still has is of no use.
    pub(super) fn on_image(&mut self, index: Index, data: Bytes) {
        assert!(
            index <= self.log.commit(),
            "nobody has applied what is not committed"
        );
        let Part::Leader(leadership) = &mut self.part else {
            return;
        };
        leadership.image_asked = None;
        let useful = index >= self.log.base();
        if let Some(term) = self.log.term(index).filter(|_| useful) {
            leadership.image = Some(Arc::new(Snapshot {
                index,
                term,
                configuration: self.log.configuration_at(index).clone(),
                data,
            }));
        }
    }

    /// Sends pieces to whoever waits for them, asks the state machine if there is no snapshot to cut, and drops the
    /// one that nobody needs.
    pub(super) fn pump_snapshots(&mut self) {
        let (base, now) = (self.log.base(), self.now);
        let Part::Leader(leadership) = &mut self.part else {
            return;
        };
        let image = leadership.image.take().filter(|image| image.index >= base);
        let mut wanted = false;
        let mut held = false;
        for (peer, progress) in &mut leadership.progress {
            let silent = progress.silent(now);
            let State::Snapshot(transfer) = &mut progress.state else {
                continue;
            };
            if silent >= TRANSFER_SILENT_MAX || transfer.is_overtaken(base) {
                *transfer = Transfer::new(now);
            }
            if transfer.image.is_none() && silent < self.config.election_timeout {
                transfer.image.clone_from(&image);
                wanted |= image.is_none();
            }
            held |= transfer.image.is_some();
            for chunk in transfer.next_chunks(&self.config, now) {
                self.out.send(*peer, Message::Chunk(chunk));
            }
        }
        leadership.image = image.filter(|_| held);
        if wanted && leadership.may_ask_image(now) {
            // One that is asked for again may be on its way since: it is of the first index at least.
            let asked = leadership.image_asked.map(|(index, _)| index);
            let index = asked.unwrap_or_else(|| self.log.commit());
            leadership.image_asked = Some((index, now));
            self.out.ready.snapshot_wanted = true;
        }
        if !wanted {
            leadership.image_asked = None;
        }
    }

    pub(super) fn on_chunk_received(&mut self, from: PeerId, index: Index, offset: u64) {
        let chunk_bytes = self.config.snapshot_chunk_bytes as u64;
        let now = self.now;
        if let Some(progress) = self.heard(from, 0)
            && let State::Snapshot(transfer) = &mut progress.state
            && transfer.image.as_ref().is_some_and(|i| i.index == index)
        {
            transfer.on_received(offset / chunk_bytes, now);
        }
    }

    pub(super) fn on_chunk(&mut self, from: PeerId, chunk: Chunk) {
        self.follow(from);
        if self.log.term(chunk.index) == Some(chunk.term) {
            // The log came by itself; nothing of it need be replaced.
            let commit = chunk.index.max(self.log.commit());
            self.log.commit_to(commit);
            self.forget_overtaken_incoming();
        }
        if chunk.index <= self.log.commit() {
            let matched = self.log.commit();
            return self.out.send(from, Message::Appended { matched, round: 0 });
        }
        let index = chunk.index;
        let offset = self.collect(from, chunk);
        match self.take_complete() {
            Some(snapshot) => self.install(from, snapshot),
            None => self
                .out
                .send(from, Message::ChunkReceived { index, offset }),
        }
    }

    /// Drops a half-received snapshot that the log has overtaken.
    pub(super) fn forget_overtaken_incoming(&mut self) {
        let commit = self.log.commit();
        self.incoming.take_if(|incoming| incoming.index <= commit);
    }

    /// Adds the piece if it is the next one; returns how much of its snapshot is here.
    fn collect(&mut self, from: PeerId, chunk: Chunk) -> u64 {
        let newer = self
            .incoming
            .as_ref()
            .is_none_or(|known| known.index < chunk.index);
        if newer && let Some(configuration) = chunk.configuration {
            let reserve = chunk.total.min(INCOMING_RESERVE_BYTES_MAX) as usize;
            self.incoming = Some(Incoming {
                from,
                index: chunk.index,
                term: chunk.term,
                configuration,
                total: chunk.total,
                data: BytesMut::with_capacity(reserve),
            });
        }
        match &mut self.incoming {
            Some(incoming) if incoming.index == chunk.index && incoming.total == chunk.total => {
                if incoming.data.len() as u64 == chunk.offset {
                    incoming.data.extend_from_slice(&chunk.data);
                }
                incoming.data.len() as u64
            }
            _ => 0,
        }
    }

    fn take_complete(&mut self) -> Option<Snapshot> {
        let complete = |incoming: &mut Incoming| incoming.data.len() as u64 >= incoming.total;
        let incoming = self.incoming.take_if(complete)?;
        Some(Snapshot {
            index: incoming.index,
            term: incoming.term,
            configuration: incoming.configuration,
            data: incoming.data.freeze(),
        })
    }

    fn install(&mut self, from: PeerId, snapshot: Snapshot) {
        self.counters.snapshots_installed += 1;
        self.counters.laggards_restored += u64::from(self.log.commit() > 0);
        self.log.restore(&snapshot);
        let matched = snapshot.index;
        self.out.ready.restore = Some(snapshot);
        self.out.send(from, Message::Appended { matched, round: 0 });
    }
}

impl Leadership {
    fn may_ask_image(&self, now: Duration) -> bool {
        self.image_asked
            .is_none_or(|(_, asked)| now.saturating_sub(asked) >= IMAGE_ASKED_MAX)
    }
}

impl Transfer {
    /// One that has not begun.
    pub fn new(now: Duration) -> Self {
        Self {
            image: None,
            acked: 0,
            sent: 0,
            reported: 0,
            moved: now,
        }
    }

    /// True if the log no longer has what comes after the snapshot.
    fn is_overtaken(&self, base: Index) -> bool {
        self.image.as_ref().is_some_and(|image| image.index < base)
    }

    fn on_received(&mut self, pieces: u64, now: Duration) {
        self.reported = pieces;
        if pieces > self.acked {
            self.acked = pieces;
            self.sent = self.sent.max(pieces);
            self.moved = now;
        }
    }

    /// The pieces that the window allows, all since the last acknowledged one again after a silence.
    fn next_chunks(&mut self, config: &Config, now: Duration) -> Vec<Chunk> {
        let Some(image) = &self.image else {
            return Vec::new();
        };
        let bytes = config.snapshot_chunk_bytes;
        let pieces = image.data.len().div_ceil(bytes).max(1) as u64;
        if self.sent == self.acked {
            self.moved = now;
        } else if now.saturating_sub(self.moved) >= config.election_timeout {
            (self.acked, self.sent, self.moved) = (self.reported, self.reported, now);
        }
        let window = (config.inflight_bytes_max / bytes)
            .clamp(1, config.inflight_messages_max)
            .max(1) as u64;
        let until = pieces.min(self.acked + window);
        let chunks = (self.sent..until).map(|piece| cut(image, piece as usize * bytes, bytes));
        let chunks = chunks.collect();
        self.sent = self.sent.max(until);
        chunks
    }
}

/// One piece; shares the snapshot's bytes.
fn cut(image: &Snapshot, offset: usize, bytes: usize) -> Chunk {
    let end = image.data.len().min(offset + bytes);
    Chunk {
        index: image.index,
        term: image.term,
        configuration: (offset == 0).then(|| image.configuration.clone()),
        total: image.data.len() as u64,
        offset: offset as u64,
        data: image.data.slice(offset..end),
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::super::types::{Change, ClusterId, Envelope, Input, Ready, Role, Start};
    use super::*;

    const CLUSTER: ClusterId = ClusterId {
        id: 7,
        generation: 0,
    };
    const LEADER: PeerId = PeerId(1);
    const LEARNER: PeerId = PeerId(2);

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Leads alone, and keeps next to nothing of its log.
    fn leader() -> Raft {
        let config = Config {
            log_entries_kept: 2,
            ..Config::default()
        };
        let founding = Configuration {
            voters: [LEADER].into(),
            contacts: [(LEADER, Bytes::new())].into(),
            ..Configuration::default()
        };
        let start = Start::Bootstrap(founding);
        let entropy = StdRng::seed_from_u64(1);
        let mut raft = Raft::new(config, LEADER, CLUSTER, start, at(0), entropy);
        raft.step(Input::Tick, at(0));
        assert_eq!(raft.role(), Role::Leader);
        let change = Change::AddLearner(LEARNER, Bytes::new());
        raft.step(Input::Reconfigure(1, change), at(0));
        raft
    }

    /// The learner says that it has nothing; a write follows.
    fn ask(raft: &mut Raft, now: Duration) -> bool {
        let refusal = Envelope {
            cluster: CLUSTER,
            from: LEARNER,
            to: LEADER,
            term: raft.term(),
            message: Message::AppendRefused {
                prev: raft.log().base() + 1,
                hint: 0,
                hint_term: 0,
                round: 0,
            },
        };
        let Ready {
            snapshot_wanted, ..
        } = raft.step(Input::Message(refusal), now);
        raft.step(Input::Propose(2, vec![Bytes::from_static(b"x")]), now);
        snapshot_wanted
    }

    /// To encode a large state may take longer than the core waits before it asks again.
    #[test]
    fn what_is_asked_for_twice_may_be_as_old_as_the_first_time() {
        let mut raft = leader();
        let asked = raft.log().commit();
        assert!(ask(&mut raft, at(0)));
        let again = (1..=300).filter(|round| {
            let ticked = raft.step(Input::Tick, at(round * 50));
            ask(&mut raft, at(round * 50)) | ticked.snapshot_wanted
        });
        assert_eq!(again.count(), 1, "after 10 s");
        let data = Bytes::from_static(b"state");
        let given = raft.step(Input::Snapshot { index: asked, data }, at(15_000));
        let sent = |envelope: &Envelope| matches!(&envelope.message, Message::Chunk(chunk) if chunk.index == asked);
        assert!(given.messages.iter().any(sent), "{given:?}");
        assert!(!given.snapshot_wanted);
    }
}
