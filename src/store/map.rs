//! The map itself and its O(1) views.

use std::sync::Arc;

use imbl::OrdMap;

use super::{Command, Event, Operation, Outcome, Record, Revision};

/// An immutable state of the store, cheap to clone and to keep.
#[derive(Clone, Debug, Default)]
pub struct View {
    records: OrdMap<Arc<str>, Record>,
    revision: Revision,
}

impl View {
    /// The revision it reflects.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// One record.
    pub fn get(&self, key: &str) -> Option<&Record> {
        self.records.get(key)
    }

    /// The records whose key starts with `prefix`, in order of key.
    pub fn range<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Record)> {
        self.range_from(prefix, prefix)
    }

    /// The same, from `start` on (inclusive).
    pub fn range_from<'a>(
        &'a self,
        prefix: &'a str,
        start: &str,
    ) -> impl Iterator<Item = (&'a str, &'a Record)> {
        let records = self.records.range(Arc::<str>::from(start)..);
        records
            .map(|(key, record)| (&**key, record))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

/// What applying a command came to.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The answer for the proposer.
    pub outcome: Outcome,
    /// The changes, none if it conflicted or was a repeat.
    pub events: Vec<Event>,
}

/// The state machine.
#[derive(Debug, Default)]
pub struct Store {
    view: View,
}

impl Store {
    /// An empty store at revision 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// The current state.
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// Applies one command.
    pub fn apply(&mut self, command: &Command) -> Applied {
        let view = &mut self.view;
        for compare in &command.transaction.compare {
            let actual = view
                .get(&compare.key)
                .map_or(0, |record| record.mod_revision);
            if actual != compare.mod_revision {
                let outcome = Outcome::Conflict {
                    key: compare.key.clone(),
                    actual,
                };
                return Applied {
                    outcome,
                    events: Vec::new(),
                };
            }
        }
        let revision = view.revision + 1;
        let mut events = Vec::new();
        for operation in &command.transaction.operations {
            let (key, value) = match operation {
                Operation::Put { key, value } => (key, Some(value)),
                Operation::Delete { key } => (key, None),
            };
            let key: Arc<str> = key.as_str().into();
            let previous = view.records.remove(&key);
            let current = value.map(|value| Record {
                create_revision: previous.as_ref().map_or(revision, |p| p.create_revision),
                mod_revision: revision,
                version: previous.as_ref().map_or(1, |p| p.version + 1),
                value: value.clone(),
            });
            if let Some(current) = &current {
                view.records.insert(key.clone(), current.clone());
            }
            if previous.is_some() || current.is_some() {
                events.push(Event {
                    revision,
                    key,
                    previous,
                    current,
                });
            }
        }
        if !events.is_empty() {
            view.revision = revision;
        }
        Applied {
            outcome: Outcome::Committed {
                revision: view.revision,
            },
            events,
        }
    }
}
