//! Which objects stand at a value that they share: an owner's UID, a node's name.
//!
//! Deliberately one flat set rather than a map of sets: most values have a handful of objects, and a persistent set
//! of its own would cost each of them a node of sixteen places.

use std::sync::Arc;

use imbl::OrdSet;

use super::ObjectKey;

/// Pairs of a value and an object's key. Cheap to clone: clones share all but what changed since.
#[derive(Clone, Debug, Default)]
pub(super) struct Index(OrdSet<(Arc<str>, Arc<ObjectKey>)>);

impl Index {
    /// Puts an object at a value.
    pub(super) fn link(&mut self, at: &str, key: &Arc<ObjectKey>) {
        let known = self.range(at).next();
        // The objects at one value share its text.
        let at = known.map_or_else(|| Arc::from(at), |(at, _)| at.clone());
        self.0.insert((at, key.clone()));
    }

    /// Takes it away from there.
    pub(super) fn unlink(&mut self, at: &str, key: &Arc<ObjectKey>) {
        self.0.remove(&(Arc::from(at), key.clone()));
    }

    /// The objects at a value, by key.
    pub(super) fn keys<'a>(&'a self, at: &str) -> impl Iterator<Item = &'a ObjectKey> + use<'a> {
        self.range(at).map(|(_, key)| &**key)
    }

    fn range<'a>(
        &'a self,
        at: &str,
    ) -> impl Iterator<Item = &'a (Arc<str>, Arc<ObjectKey>)> + use<'a> {
        let at: Arc<str> = at.into();
        let first = (at.clone(), Arc::new(ObjectKey::new("", "")));
        self.0
            .range(first..)
            .take_while(move |(other, _)| *other == at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_do_not_mix_and_clones_keep_what_they_had() {
        let key = |name: &str| Arc::new(ObjectKey::new("default", name));
        let names = |index: &Index, at| {
            let keys = index.keys(at);
            keys.map(|key| key.name.clone()).collect::<Vec<_>>()
        };
        let mut index = Index::default();
        for (at, name) in [("n1", "b"), ("n1", "a"), ("n10", "c"), ("n1", "a")] {
            index.link(at, &key(name));
        }
        let before = index.clone();
        index.unlink("n1", &key("b"));
        index.unlink("n1", &key("c"));
        assert_eq!(names(&index, "n1"), ["a"]);
        assert_eq!(names(&index, "n10"), ["c"]);
        assert_eq!(names(&index, "n"), [""; 0]);
        assert_eq!(names(&before, "n1"), ["a", "b"]);
    }
}
