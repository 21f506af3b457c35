//! What a peer knows only while it leads, and whom it speaks to through the outbox.
//!
//! Deliberately only the data and its small questions; replication.rs, read.rs, snapshot.rs, membership.rs and
//! transfer.rs act on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::message::Message;
use super::progress::{Progress, State};
use super::read::{Readers, Round};
use super::types::{ClusterId, Configuration, Envelope, Index, PeerId, Ready, Snapshot, Term};

/// Who speaks, in which term, and what the step under way has to say.
#[derive(Clone, Debug)]
pub struct Outbox {
    /// This peer.
    pub id: PeerId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its term.
    pub term: Term,
    /// What the caller will be given.
    pub ready: Ready,
}

impl Outbox {
    /// Addresses a message in the current term.
    pub fn send(&mut self, to: PeerId, message: Message) {
        self.ready.messages.push(Envelope {
            cluster: self.cluster,
            from: self.id,
            to,
            term: self.term,
            message,
        });
    }
}

/// A leader's knowledge.
///
/// Invariant: `progress` has every member but the leader, and beside them only members that a configuration not yet
/// committed leaves out.
#[derive(Clone, Debug)]
pub struct Leadership {
    /// The other members.
    pub progress: BTreeMap<PeerId, Progress>,
    /// The first entry of its own term: once committed, so is everything before it.
    pub first: Index,
    /// When the next heartbeat is due.
    pub heartbeat_at: Duration,
    /// The newest read round.
    pub round: u64,
    /// Reads that wait for the next round.
    pub readers: Readers,
    /// The round under way.
    pub asked: Option<Round>,
    /// The handing-over under way.
    pub transfer: Option<Handover>,
    /// The newest snapshot, while somebody needs it.
    pub image: Option<Arc<Snapshot>>,
    /// The commit index and the time when a snapshot was last asked for and not yet given.
    pub image_asked: Option<(Index, Duration)>,
}

/// Leadership on its way to another voter.
#[derive(Clone, Copy, Debug)]
pub struct Handover {
    /// To whom.
    pub target: PeerId,
    /// When to give up.
    pub until: Duration,
    /// The target was told since the last heartbeat.
    pub told: bool,
}

impl Leadership {
    /// A new leader's, which guesses that everybody has its log.
    pub fn new(configuration: &Configuration, id: PeerId, last: Index, now: Duration) -> Self {
        let progress = configuration
            .members()
            .filter(|member| *member != id)
            .map(|member| (member, Progress::new(last, now)))
            .collect();
        Self {
            progress,
            first: last + 1,
            heartbeat_at: now,
            round: 0,
            readers: Readers::default(),
            asked: None,
            transfer: None,
            image: None,
            image_asked: None,
        }
    }

    /// True if the peers that satisfy the condition, and this one, form a quorum.
    pub fn is_quorum(
        &self,
        configuration: &Configuration,
        id: PeerId,
        said_yes: impl Fn(&Progress) -> bool,
    ) -> bool {
        configuration
            .is_quorum(|peer| peer == id || self.progress.get(&peer).is_some_and(&said_yes))
    }

    /// The highest index that listening members still need from the log: the least of what they have.
    pub fn needed_after(&self, silent_max: Duration, now: Duration) -> Index {
        let asked = self.image_asked.map(|(index, _)| index);
        self.progress
            .values()
            .filter(|progress| progress.silent(now) < silent_max)
            .filter_map(|progress| match &progress.state {
                State::Snapshot(transfer) => transfer.image.as_ref().map(|image| image.index),
                _ => Some(progress.matched).filter(|matched| *matched > 0),
            })
            .chain(asked)
            .min()
            .unwrap_or(Index::MAX)
    }
}
