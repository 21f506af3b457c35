//! What an incarnation knows only grows: neither its store's revision nor its term ever goes back.

use std::collections::BTreeMap;

use kagero::actors::doors::Known;
use kagero::raft::{PeerId, Term};
use kagero::store::Revision;

/// The highest (revision, term) seen of each incarnation.
#[derive(Debug, Default)]
pub struct Revisions(BTreeMap<PeerId, (Revision, Term)>);

/// An incarnation forgot something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{node} went back from (revision, term) {before:?} to {after:?}")]
pub struct WentBack {
    /// Whose store.
    pub node: String,
    /// Seen first.
    pub before: (Revision, Term),
    /// Seen later.
    pub after: (Revision, Term),
}

impl Revisions {
    /// Compares what a node knows now with what it did.
    pub fn look(&mut self, node: &str, known: &Known) -> Result<(), WentBack> {
        let standing = &known.standing;
        self.add(node, standing.id, (known.view.revision(), standing.term))
    }

    fn add(&mut self, node: &str, id: PeerId, after: (Revision, Term)) -> Result<(), WentBack> {
        let before = self.0.insert(id, after).unwrap_or_default();
        if after.0 >= before.0 && after.1 >= before.1 {
            return Ok(());
        }
        Err(WentBack {
            node: node.to_owned(),
            before,
            after,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_back_is_found_and_a_new_incarnation_may_begin_anew() {
        let mut revisions = Revisions::default();
        assert_eq!(revisions.add("n1", PeerId(1), (7, 2)), Ok(()));
        assert_eq!(revisions.add("n1", PeerId(2), (0, 0)), Ok(()));
        assert!(revisions.add("n1", PeerId(1), (6, 2)).is_err());
        assert!(revisions.add("n1", PeerId(1), (8, 1)).is_err());
    }
}
