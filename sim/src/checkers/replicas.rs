//! State-machine safety, from outside: replicas at the same revision hold the same state, byte for byte.

use std::collections::BTreeMap;

use kagero::actors::doors::Known;
use kagero::store::Revision;

/// Two replicas that differ where they must not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("replicas differ at revision {revision}: {digests:x?}")]
pub struct Diverged {
    /// The revision both are at.
    pub revision: Revision,
    /// Nodes and their digests.
    pub digests: BTreeMap<String, u64>,
}

/// Compares all replicas that stand at the same revision.
pub fn check(known: &BTreeMap<String, Known>) -> Result<(), Diverged> {
    let mut by_revision: BTreeMap<Revision, BTreeMap<String, u64>> = BTreeMap::new();
    let mut at: BTreeMap<Revision, usize> = BTreeMap::new();
    for known in known.values() {
        *at.entry(known.view.revision()).or_default() += 1;
    }
    let compared = |known: &Known| at[&known.view.revision()] > 1;
    for (name, known) in known.iter().filter(|(_, known)| compared(known)) {
        let digests = by_revision.entry(known.view.revision()).or_default();
        digests.insert(name.clone(), known.view.digest());
    }
    for (revision, digests) in by_revision {
        let first = digests.values().next();
        if digests.values().any(|digest| Some(digest) != first) {
            return Err(Diverged { revision, digests });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::made::{known, store};
    use super::*;

    #[test]
    fn replicas_that_differ_at_one_revision_are_found() {
        let follower = |id, objects| known(id, (1, false), &store(objects));
        let all = |third| {
            BTreeMap::from([
                ("n1".to_owned(), follower(1, &[("a", "1"), ("b", "2")])),
                ("n2".to_owned(), follower(2, &[("a", "1")])),
                ("n3".to_owned(), third),
            ])
        };
        let good = all(follower(3, &[("a", "1"), ("b", "2")]));
        assert_eq!(check(&good), Ok(()), "one is behind");
        let value = check(&all(follower(3, &[("a", "1"), ("b", "3")])));
        let key = check(&all(follower(3, &[("a", "1"), ("c", "2")])));
        for diverged in [value, key] {
            let Diverged { revision, digests } = diverged.expect_err("they differ");
            assert_eq!(revision, 2);
            let names: Vec<&str> = digests.keys().map(String::as_str).collect();
            assert_eq!(names, ["n1", "n3"]);
        }
    }
}
