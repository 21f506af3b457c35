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
