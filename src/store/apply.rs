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

/// A generation's revisions begin at the generation, shifted by so many bits: 2^40 revisions are 34 years of 1,000
/// writes a second, and leave room for 2^24 recoveries.
const GENERATION_REVISION_BITS: u32 = 40;

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
    pub(super) view: View,
    pub(super) outcomes: Outcomes,
    pub(super) history: History,
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

    /// Begins a new generation of the cluster with these operations, at its first revision, and forgets the history:
    /// what was acknowledged in the last generation may be lost, so nobody may go on watching from one of its revisions.
    /// Like a restore, this happens outside of the log, to the state that every replica of the generation starts from.
    pub fn begin_generation(&mut self, generation: u64, operations: &[Operation]) -> Revision {
        let first = generation << GENERATION_REVISION_BITS;
        let revision = first.max(self.view.revision() + 1);
        self.change(revision, operations);
        if self.view.revision() < revision {
            self.view.advance(revision);
        }
        self.history.restart_after(revision);
        revision
    }

    fn execute(&mut self, transaction: &Transaction) -> Applied {
        if let Some(outcome) = self.conflict(transaction) {
            return Applied {
                outcome,
                events: Vec::new(),
            };
        }
        let events = self.change(self.view.revision() + 1, &transaction.operations);
        let outcome = Outcome::Committed {
            revision: self.view.revision(),
        };
        Applied { outcome, events }
    }

    /// Carries operations out at a revision, which is reached only if they change something.
    fn change(&mut self, revision: Revision, operations: &[Operation]) -> Vec<Event> {
        let mut events = Vec::with_capacity(operations.len());
        for operation in operations {
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
        events
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ProposalId;

    fn put(key: &str) -> Operation {
        Operation::Put {
            key: key.to_owned(),
            value: "value".into(),
        }
    }

    fn command(sequence: u64, key: &str) -> Command {
        let id = ProposalId {
            origin: 1,
            sequence,
        };
        let transaction = Transaction {
            compare: Vec::new(),
            operations: vec![put(key)],
        };
        Command {
            id,
            time_ms: 0,
            transaction,
        }
    }

    #[test]
    fn a_generation_begins_at_its_own_revisions_without_a_history() {
        let mut store = Store::new();
        store.apply(&command(1, "a"));
        assert_eq!(store.history(0, "").unwrap().len(), 1);
        let revision = store.begin_generation(3, &[put("record")]);
        assert_eq!((revision, store.revision()), (3 << 40, 3 << 40));
        assert_eq!(store.view().get("record").unwrap().mod_revision, 3 << 40);
        assert_eq!(store.view().get("a").unwrap().mod_revision, 1);
        let oldest = 3 << 40;
        for after in [0, 1, oldest - 1] {
            assert_eq!(store.history(after, ""), Err(Compacted { oldest }));
        }
        assert_eq!(store.history(oldest, ""), Ok(Vec::new()));
        store.apply(&command(2, "b"));
        assert_eq!(store.history(oldest, "").unwrap()[0].revision, oldest + 1);
    }

    #[test]
    fn a_generation_keeps_the_bounds_of_its_history() {
        let bounds = HistoryBounds {
            events_max: 1,
            ..HistoryBounds::default()
        };
        let mut store = Store::new().with_history(bounds);
        store.begin_generation(3, &[]);
        store.apply(&command(1, "a"));
        store.apply(&command(2, "b"));
        assert_eq!(store.usage().history_events, 1);
    }

    #[test]
    fn a_generation_never_takes_revisions_back_and_survives_a_snapshot() {
        let mut store = Store::new();
        store.begin_generation(2, &[]);
        store.apply(&command(1, "a"));
        assert_eq!(store.begin_generation(1, &[]), (2 << 40) + 2);
        let restored = Store::restore(&store.snapshot().encode()).unwrap();
        assert_eq!(restored.revision(), store.revision());
        assert_eq!(restored.view().digest(), store.view().digest());
    }

    /// A client that repeats what the last generation did is answered, not served twice.
    #[test]
    fn a_generation_remembers_what_the_last_one_did() {
        let mut store = Store::new();
        let before = store.apply(&command(1, "a")).outcome;
        store.begin_generation(1, &[]);
        assert_eq!(store.apply(&command(1, "a")).outcome, before);
    }
}
