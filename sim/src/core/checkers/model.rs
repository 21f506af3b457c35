//! The store as anybody would write it in an hour: a plain map, a plain table of outcomes. What the real one answers is
//! compared with this one's answers.

use std::collections::BTreeMap;

use bytes::Bytes;
use kagero::store::{Command, Operation, Outcome, ProposalId, Revision, Transaction};

/// (created, changed, version, value).
pub type Row = (Revision, Revision, u64, Bytes);
/// (revision, key, before, after).
pub type Change = (Revision, String, Option<Row>, Option<Row>);

/// The model.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// What there is.
    pub rows: BTreeMap<String, Row>,
    /// The global revision.
    pub revision: Revision,
    outcomes: BTreeMap<ProposalId, Outcome>,
}

impl Model {
    /// What a command should come to; repeats change nothing.
    pub fn apply(&mut self, command: &Command) -> (Outcome, Vec<Change>) {
        if let Some(known) = self.outcomes.get(&command.id) {
            return (known.clone(), Vec::new());
        }
        let (outcome, changes) = self.execute(&command.transaction);
        self.outcomes.insert(command.id, outcome.clone());
        (outcome, changes)
    }

    /// True if this proposal was applied.
    pub fn knows(&self, id: ProposalId) -> bool {
        self.outcomes.contains_key(&id)
    }

    fn execute(&mut self, transaction: &Transaction) -> (Outcome, Vec<Change>) {
        for compare in &transaction.compare {
            let actual = self.rows.get(&compare.key).map_or(0, |row| row.1);
            if actual != compare.mod_revision {
                let key = compare.key.clone();
                return (Outcome::Conflict { key, actual }, Vec::new());
            }
        }
        let next = self.revision + 1;
        let mut changes = Vec::new();
        for operation in &transaction.operations {
            match operation {
                Operation::Put { key, value } => {
                    let old = self.rows.get(key).cloned();
                    let created = old.as_ref().map_or(next, |row| row.0);
                    let version = old.as_ref().map_or(0, |row| row.2) + 1;
                    let new = (created, next, version, value.clone());
                    self.rows.insert(key.clone(), new.clone());
                    changes.push((next, key.clone(), old, Some(new)));
                }
                Operation::Delete { key } => {
                    if let Some(old) = self.rows.remove(key) {
                        changes.push((next, key.clone(), Some(old), None));
                    }
                }
            }
        }
        if !changes.is_empty() {
            self.revision = next;
        }
        let revision = self.revision;
        (Outcome::Committed { revision }, changes)
    }
}
