//! Watches from the store's history: every change after a revision, in order, once, transactions whole; or the word
//! that the history no longer reaches back, and only then.

use kagero::raft::PeerId;
use kagero::store::{Compacted, Revision, Store};

use super::ensure;
use super::model::Change;
use super::state_machine::equal;

/// Follows one peer's history from a revision; true if it reached back so far.
pub fn check(
    peer: PeerId,
    store: &Store,
    changes: &[Change],
    (after, prefix): (Revision, &str),
) -> Result<bool, String> {
    let known = |change: &&Change| {
        change.0 > after && change.0 <= store.revision() && change.1.starts_with(prefix)
    };
    match store.history(after, prefix) {
        Ok(events) => {
            let expected: Vec<&Change> = changes.iter().filter(known).collect();
            let same = events.len() == expected.len()
                && events
                    .iter()
                    .zip(expected)
                    .all(|(event, change)| equal((event, change)));
            ensure(same, || {
                format!(
                    "n{}'s watch of {prefix:?} after {after} is not what changed",
                    peer.0
                )
            })?;
            Ok(true)
        }
        Err(Compacted { oldest }) => {
            let reaches = store.history(oldest, "").is_ok();
            ensure(
                oldest > after && oldest <= store.revision() && reaches,
                || {
                    format!(
                        "n{}'s history says it begins at {oldest}, asked {after}",
                        peer.0
                    )
                },
            )?;
            Ok(false)
        }
    }
}
