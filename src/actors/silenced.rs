//! Members that fell silent for so long that they are left out, remembered until their Nodes say so too.
//!
//! Consensus gives a member up after ten seconds of silence, its Node is called not ready by the link to it, a little
//! later. In between it must not become a member again: it would take the place of a standby that lives for ten seconds
//! more. Deliberately forgets soon: of one that is no member, the Node tells.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::raft::{Limits, PeerId, Status};

/// A Node is called not ready so much later than consensus gives its process up, at most: the link looks every 500 ms,
/// and what it writes must be committed.
const LAG_MS: u64 = 2_000;

/// When each of them was last seen to be a silent member.
#[derive(Debug, Default)]
pub(super) struct Silenced(BTreeMap<PeerId, Instant>);

impl Silenced {
    /// What the leader sees now.
    pub(super) fn on_status(&mut self, status: &Status, limits: &Limits, now: Instant) {
        let lag = Duration::from_millis(LAG_MS);
        self.0.retain(|_, seen| now.duration_since(*seen) < lag);
        let silent = status.progress.iter();
        let silent = silent.filter(|(_, progress)| progress.silent >= limits.member_silent_max);
        self.0.extend(silent.map(|(id, _)| (*id, now)));
    }

    /// Whether this one was a silent member a moment ago.
    pub(super) fn has(&self, id: PeerId) -> bool {
        self.0.contains_key(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::{Configuration, PeerProgress, Role};

    const ONE: PeerId = PeerId(2);

    /// Peer 1 leads; the other has been silent for so long, if it is a member.
    fn status(silent_ms: Option<u64>) -> Status {
        let progress = silent_ms.map(|silent_ms| PeerProgress {
            matched: 1,
            silent: Duration::from_millis(silent_ms),
            gone: false,
            caught_up: true,
            snapshot: None,
        });
        Status {
            id: PeerId(1),
            role: Role::Leader,
            term: 1,
            leader: Some(PeerId(1)),
            last: 1,
            commit: 1,
            applied: 1,
            configuration: Configuration::default(),
            progress: progress
                .map(|progress| (ONE, progress))
                .into_iter()
                .collect(),
        }
    }

    #[test]
    fn one_that_was_left_out_for_its_silence_is_remembered_until_its_node_tells() {
        let (mut silenced, limits, began) =
            (Silenced::default(), Limits::default(), Instant::now());
        let mut sees = |silent_ms, at_ms| {
            let now = began + Duration::from_millis(at_ms);
            silenced.on_status(&status(silent_ms), &limits, now);
            silenced.has(ONE)
        };
        assert!(!sees(Some(9_999), 0), "it may speak yet");
        assert!(sees(Some(10_000), 200));
        assert!(sees(None, 400), "left out");
        assert!(sees(None, 200 + LAG_MS - 1));
        assert!(!sees(None, 200 + LAG_MS));
    }
}
