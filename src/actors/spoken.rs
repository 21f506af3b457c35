//! When nodes last spoke over this leader's links to them: whoever is no member may become one only if it lives.
//!
//! A Node is ready for ten seconds after its process died, and for as long again under the next leader; a standby that is
//! dead keeps one that lives out. Deliberately forgets what was said before a member was left out, since it may have
//! been left out for its silence: it must speak again, which takes one that lives a poll at most.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use actix::prelude::*;
use tokio::time::Instant;

use crate::raft::PeerId;

/// A node answered its leader.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct NodeSpoke(pub PeerId);

/// What the leader's membership keeper has heard of nodes.
#[derive(Debug, Default)]
pub(super) struct Spoken {
    words: BTreeMap<PeerId, Instant>,
    members: BTreeSet<PeerId>,
}

impl Spoken {
    /// A node answered.
    pub(super) fn on_word(&mut self, id: PeerId, now: Instant) {
        self.words.insert(id, now);
    }

    /// These are the members now.
    pub(super) fn on_members(&mut self, members: impl Iterator<Item = PeerId>) {
        let before = std::mem::replace(&mut self.members, members.collect());
        for left_out in before.difference(&self.members) {
            self.words.remove(left_out);
        }
    }

    /// Forgets all others.
    pub(super) fn retain(&mut self, is_known: impl Fn(PeerId) -> bool) {
        self.words.retain(|id, _| is_known(*id));
    }

    /// How long a node has said nothing.
    pub(super) fn silence(&self, id: PeerId, now: Instant) -> Duration {
        let word = self.words.get(&id);
        word.map_or(Duration::MAX, |word| now.duration_since(*word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_left_out_must_speak_again() {
        let (mut spoken, began) = (Spoken::default(), Instant::now());
        let at = |ms| began + Duration::from_millis(ms);
        let (stays, goes) = (PeerId(1), PeerId(2));
        assert_eq!(spoken.silence(goes, at(0)), Duration::MAX, "never heard");
        spoken.on_members([stays, goes].into_iter());
        for id in [stays, goes] {
            spoken.on_word(id, at(0));
            assert_eq!(spoken.silence(id, at(700)), Duration::from_millis(700));
        }
        spoken.on_members([stays].into_iter());
        assert_eq!(spoken.silence(stays, at(700)), Duration::from_millis(700));
        assert_eq!(spoken.silence(goes, at(700)), Duration::MAX);
        spoken.on_word(goes, at(900));
        spoken.on_members([stays].into_iter());
        assert_eq!(spoken.silence(goes, at(1_000)), Duration::from_millis(100));
        spoken.retain(|id| id == stays);
        assert_eq!(spoken.silence(goes, at(1_000)), Duration::MAX, "forgotten");
    }
}
