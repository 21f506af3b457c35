//! Durability: a write that was acknowledged exists until somebody deletes it, and no two share a revision.

use std::collections::{BTreeMap, BTreeSet};

use kagero::store::Revision;
use serde_json::Value;

/// Names of objects whose creation was acknowledged, by revision.
#[derive(Debug, Default)]
pub struct Acknowledged(BTreeMap<Revision, String>, Forgiven);

/// Those that a restore's record says may be lost.
type Forgiven = BTreeMap<Revision, String>;

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unkept {
    /// Acknowledged objects do not exist.
    #[error("{} acknowledged writes are lost: {names:?}", names.len())]
    Lost {
        /// Which.
        names: Vec<String>,
    },
    /// One revision was given to two writes.
    #[error("{first} and {second} were both acknowledged at revision {revision}")]
    Shared {
        /// The revision.
        revision: Revision,
        /// Acknowledged first.
        first: String,
        /// Acknowledged later.
        second: String,
    },
    /// An acknowledgement names no revision.
    #[error("{name} was acknowledged without a resourceVersion")]
    Unversioned {
        /// Whose.
        name: String,
    },
}

impl Acknowledged {
    /// Remembers an acknowledgement.
    pub fn add(&mut self, name: &str, revision: Option<Revision>) -> Result<(), Unkept> {
        let Some(revision) = revision else {
            let name = name.to_owned();
            return Err(Unkept::Unversioned { name });
        };
        match self.0.insert(revision, name.to_owned()) {
            None => Ok(()),
            Some(first) => Err(Unkept::Shared {
                revision,
                first,
                second: name.to_owned(),
            }),
        }
    }

    /// A restore's record says that what was written after one revision, and before another, may be lost: it is promised
    /// no more. Gives how many these are.
    pub fn forgive(&mut self, after: Revision, before: Revision) -> usize {
        let may_be_lost = |at: &Revision| *at > after && *at < before;
        let (forgiven, kept): (Forgiven, Forgiven) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(at, _)| may_be_lost(at));
        self.0 = kept;
        let count = forgiven.len();
        self.1.extend(forgiven);
        count
    }

    /// Revisions of those that a list does not have, those that may be lost among them.
    pub fn missing(&self, list: &Value) -> Vec<Revision> {
        let items = list["items"].as_array().map(Vec::as_slice);
        let names = items.unwrap_or_default().iter();
        let found: BTreeSet<&str> = names
            .filter_map(|item| item["metadata"]["name"].as_str())
            .collect();
        let missing = self.0.iter().chain(&self.1);
        let missing = missing.filter(|(_, name)| !found.contains(name.as_str()));
        missing.map(|(revision, _)| *revision).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Compares with a list that the API gave.
pub fn check(acknowledged: &Acknowledged, list: &Value) -> Result<(), Unkept> {
    let missing = acknowledged.missing(list);
    let names = missing
        .iter()
        .filter_map(|revision| acknowledged.0.get(revision));
    let names: Vec<String> = names.cloned().collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(Unkept::Lost { names })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lost_write_and_a_revision_given_twice_are_found() {
        let mut acknowledged = Acknowledged::default();
        assert_eq!(acknowledged.add("a", Some(4)), Ok(()));
        assert_eq!(acknowledged.add("b", Some(5)), Ok(()));
        let list = json!({ "items": [{ "metadata": { "name": "a" } }] });
        let names = vec!["b".to_owned()];
        assert_eq!(check(&acknowledged, &list), Err(Unkept::Lost { names }));
        assert!(acknowledged.add("c", Some(5)).is_err());
        assert_eq!(acknowledged.forgive(3, 5), 1, "a, at 4");
        let nothing = json!({ "items": [] });
        assert_eq!(acknowledged.missing(&nothing), [5, 4]);
        let names = vec!["c".to_owned()];
        assert_eq!(check(&acknowledged, &nothing), Err(Unkept::Lost { names }));
        assert_eq!(
            acknowledged.forgive(5, 9),
            0,
            "what is in the snapshot is promised"
        );
        assert!(acknowledged.add("d", None).is_err());
    }
}
