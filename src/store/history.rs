//! The latest events, for watches that begin in the near past.
//!
//! Each replica's own and deliberately not replicated: what is older than its reach is compacted, and the watcher lists
//! anew.

use std::collections::VecDeque;

use super::{Event, Revision};

/// Events kept by default: a watcher that lists 150,000 pods and then watches has seconds to come back at full load.
pub const HISTORY_EVENTS_MAX: usize = 16_384;

/// Bytes kept by default: the last 1,500 changes of pods, a few seconds of a roll-out of 100, and little enough that a
/// small node stays under its 30 MB.
pub const HISTORY_BYTES_MAX: usize = 4 << 20;

/// What one event costs beside its key and values: itself, and an allocation's header for each of the three.
const EVENT_OVERHEAD_BYTES: usize = size_of::<Event>() + 3 * 32;

/// How much a history may keep alive; whichever is reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryBounds {
    /// Events.
    pub events_max: usize,
    /// Bytes.
    pub bytes_max: usize,
}

impl Default for HistoryBounds {
    fn default() -> Self {
        Self {
            events_max: HISTORY_EVENTS_MAX,
            bytes_max: HISTORY_BYTES_MAX,
        }
    }
}

/// The history no longer reaches back so far (HTTP 410); the watcher lists and begins at the list's revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the history is compacted; the oldest revision to watch from is {oldest}")]
pub struct Compacted {
    /// The oldest revision after which every change is still known.
    pub oldest: Revision,
}

/// A queue of events.
///
/// Invariants: revisions never decrease along the queue; every event later than `floor` is in it and none other;
/// `bytes` is the sum of the events' costs; both bounds hold.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    events: VecDeque<Event>,
    bytes: usize,
    floor: Revision,
    bounds: HistoryBounds,
}

impl History {
    /// An empty one that knows nothing of what happened up to `floor`.
    pub(super) fn after(floor: Revision) -> Self {
        Self {
            floor,
            ..Self::default()
        }
    }

    /// Forgets everything, and knows nothing of what happened up to `floor`; its bounds stay.
    pub(super) fn restart_after(&mut self, floor: Revision) {
        *self = Self {
            floor,
            bounds: self.bounds,
            ..Self::default()
        };
    }

    pub(super) fn set_bounds(&mut self, bounds: HistoryBounds) {
        self.bounds = bounds;
        self.trim();
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends one transaction's events and drops the oldest transactions beyond the bounds.
    pub(super) fn extend(&mut self, events: &[Event]) {
        self.bytes += events.iter().map(cost).sum::<usize>();
        self.events.extend(events.iter().cloned());
        self.trim();
    }

    /// The changes later than `after` of keys that start with `prefix`, in order.
    pub(super) fn since(&self, after: Revision, prefix: &str) -> Result<Vec<Event>, Compacted> {
        if after < self.floor {
            return Err(Compacted { oldest: self.floor });
        }
        let first = self.events.partition_point(|event| event.revision <= after);
        let wanted = self.events.range(first..);
        Ok(wanted
            .filter(|event| event.key.starts_with(prefix))
            .cloned()
            .collect())
    }

    /// The change of this revision, if it is known and the only one.
    pub(super) fn only_at(&self, revision: Revision) -> Option<&Event> {
        let first = self
            .events
            .partition_point(|event| event.revision < revision);
        let mut events = self.events.range(first..);
        let event = events.next().filter(|event| event.revision == revision)?;
        let others = events.next().is_some_and(|next| next.revision == revision);
        (!others).then_some(event)
    }

    /// Transactions go whole: a watcher that begins after a revision must have seen all of it.
    fn trim(&mut self) {
        while self.events.len() > self.bounds.events_max || self.bytes > self.bounds.bytes_max {
            let oldest = self.events.front().expect("an empty history costs nothing");
            self.floor = oldest.revision;
            let later = |event: &Event| event.revision > self.floor;
            let first = self.events.iter().position(later);
            let dropped = self.events.drain(..first.unwrap_or(self.events.len()));
            self.bytes -= dropped.map(|event| cost(&event)).sum::<usize>();
        }
    }
}

/// The bytes that the history alone keeps alive for this event. A value that came is not counted: it either is still
/// in the map, or a later event, here as well, counts it as the one that went.
fn cost(event: &Event) -> usize {
    let value = event.previous.as_ref().map_or(0, |p| p.value.len());
    EVENT_OVERHEAD_BYTES + event.key.len() + value
}
