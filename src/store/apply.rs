//! The state machine: applies one command after the other.
//!
//! Deliberately infallible: whatever stands in the committed log has an outcome, the same on every replica. A command
//! that cannot even be read is [`Command::decode`]'s to refuse.

use super::history::History;
use super::outcomes::Outcomes;
use super::{
    Command, Compacted, Event, HistoryBounds, Operation, Outcome, RestoreError, Revision, Snapshot,
    Transaction, View, snapshot,
};

/// What applying a command came to.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The answer for the proposer.
    pub outcome: Outcome,
    /// The changes, none if it conflicted or was a repeat.
    pub events: Vec<Event>,
}

/// What a store holds beside its map, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Events in the watch history.
    pub history_events: usize,
    /// Bytes that the history alone keeps alive.
    pub history_bytes: usize,
    /// Proposals whose outcome is remembered.
    pub outcomes: usize,
}

/// The state machine.
///
/// Invariants: the history's newest event is not later than the view; its oldest reach is not either.
#[derive(Debug, Default)]
pub struct Store {
    view: View,
    outcomes: Outcomes,
    history: History,
}

impl Store {
    /// An empty store at revision 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store as it was when the snapshot was taken. Its history is empty: watches from before get [`Compacted`].
    pub fn restore(snapshot: &[u8]) -> Result<Self, RestoreError> {
        let Snapshot { view, outcomes } = snapshot::decode(snapshot)?;
        Ok(Self {
            history: History::after(view.revision()),
            view,
            outcomes,
        })
    }

    /// The same store with other bounds on its history than the default. They may differ from replica to replica.
    #[must_use]
    pub fn with_history(mut self, bounds: HistoryBounds) -> Self {
        self.history.set_bounds(bounds);
        self
    }

    /// The current state. O(1).
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// The current revision.
    pub fn revision(&self) -> Revision {
        self.view.revision()
    }

    /// The replicated state as of now. O(1); encoding it is what takes time.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            view: self.view.clone(),
            outcomes: self.outcomes.clone(),
        }
    }

    /// The changes later than `after` of keys that start with `prefix`, in order. A future `after` has none yet.
    pub fn history(&self, after: Revision, prefix: &str) -> Result<Vec<Event>, Compacted> {
        self.history.since(after, prefix)
    }

    /// What it holds beside the map.
    pub fn usage(&self) -> Usage {
        Usage {
            history_events: self.history.len(),
            history_bytes: self.history.bytes(),
            outcomes: self.outcomes.len(),
        }
    }

    /// Applies one command. A repeat of a remembered proposal changes nothing and gets the same answer again.
    pub fn apply(&mut self, command: &Command) -> Applied {
        if let Some(outcome) = self.outcomes.get(command.id) {
            return Applied {
                outcome: outcome.clone(),
                events: Vec::new(),
            };
        }
        let applied = self.execute(&command.transaction);
        self.outcomes.remember(command.id, applied.outcome.clone());
        self.history.extend(&applied.events);
        applied
    }

    fn execute(&mut self, transaction: &Transaction) -> Applied {
        if let Some(outcome) = self.conflict(transaction) {
            return Applied {
                outcome,
                events: Vec::new(),
            };
        }
        let revision = self.view.revision() + 1;
        let mut events = Vec::with_capacity(transaction.operations.len());
        for operation in &transaction.operations {
            match operation {
                Operation::Put { key, value } => {
                    events.push(self.view.put(revision, key, value.clone()));
                }
                Operation::Delete { key } => events.extend(self.view.delete(revision, key)),
            }
        }
        if !events.is_empty() {
            self.view.advance(revision);
        }
        let outcome = Outcome::Committed {
            revision: self.view.revision(),
        };
        Applied { outcome, events }
    }

    /// The first comparison that fails.
    fn conflict(&self, transaction: &Transaction) -> Option<Outcome> {
        transaction.compare.iter().find_map(|compare| {
            let actual = self.view.get(&compare.key).map_or(0, |r| r.mod_revision);
            (actual != compare.mod_revision).then(|| Outcome::Conflict {
                key: compare.key.clone(),
                actual,
            })
        })
    }
}
