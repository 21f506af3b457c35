//! Word of what is committed waits a moment for an append to the same peer, which says it as well.
//!
//! While writes follow each other the word then costs no message, and nobody is woken for it. No write waits for it, which
//! its leader answers, and no linearizable read, which asks how far to wait. Deliberately no other message waits.

use std::collections::BTreeMap;

use crate::raft::{Envelope, Index, Message, PeerId};

/// The wait, which timers round up to 2 ms at most: what a watch at a follower lags behind because of it.
pub(super) const NOTICE_MS: u64 = 1;

/// The newest word to each peer that was not yet sent.
#[derive(Debug, Default)]
pub(super) struct Notices {
    held: BTreeMap<PeerId, Envelope>,
}

impl Notices {
    /// What must go to this peer now. Keeps the rest, of which the newest is enough.
    pub(super) fn sift(&mut self, peer: PeerId, envelopes: Vec<Envelope>) -> Vec<Envelope> {
        let is_word = |envelope: &Envelope| matches!(envelope.message, Message::Committed { .. });
        let (words, at_once): (Vec<_>, Vec<_>) = envelopes.into_iter().partition(is_word);
        if let Some(newest) = words.into_iter().next_back() {
            self.held.insert(peer, newest);
        }
        if let Some(held) = self.held.get(&peer)
            && at_once.iter().any(|envelope| says(envelope, held))
        {
            self.held.remove(&peer);
        }
        at_once
    }

    /// All that is held, to be sent.
    pub(super) fn take(&mut self) -> BTreeMap<PeerId, Envelope> {
        std::mem::take(&mut self.held)
    }

    /// Whether anything is held.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

/// Whether this message tells of what the word tells.
fn says(envelope: &Envelope, word: &Envelope) -> bool {
    let committed = |envelope: &Envelope| -> Option<Index> {
        match envelope.message {
            Message::Append { commit, .. } => Some(commit),
            Message::Committed { index } => Some(index),
            _ => None,
        }
    };
    envelope.cluster == word.cluster
        && envelope.term >= word.term
        && committed(envelope) >= committed(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::{ClusterId, Term};

    const PEER: PeerId = PeerId(2);

    fn envelope(term: Term, message: Message) -> Envelope {
        Envelope {
            cluster: ClusterId {
                id: 1,
                generation: 0,
            },
            from: PeerId(1),
            to: PEER,
            term,
            message,
        }
    }

    fn word(index: Index) -> Envelope {
        envelope(3, Message::Committed { index })
    }

    fn append(commit: Index) -> Envelope {
        let message = Message::Append {
            prev: 9,
            prev_term: 3,
            commit,
            round: 0,
            entries: Vec::new(),
        };
        envelope(3, message)
    }

    #[test]
    fn the_newest_word_waits_until_an_append_says_it() {
        let mut notices = Notices::default();
        assert_eq!(notices.sift(PEER, vec![word(4)]), []);
        assert_eq!(notices.sift(PEER, vec![word(5)]), []);
        let earlier = append(4);
        assert_eq!(notices.sift(PEER, vec![earlier.clone()]), [earlier]);
        assert!(!notices.is_empty(), "that append did not say it");
        let later = append(5);
        assert_eq!(notices.sift(PEER, vec![later.clone()]), [later]);
        assert!(notices.is_empty());
    }

    #[test]
    fn a_word_that_came_with_an_earlier_append_still_waits() {
        let mut notices = Notices::default();
        let together = vec![append(4), word(5)];
        assert_eq!(notices.sift(PEER, together), [append(4)]);
        assert_eq!(notices.take(), BTreeMap::from([(PEER, word(5))]));
        assert!(notices.is_empty());
    }

    #[test]
    fn other_messages_and_peers_say_nothing_of_it() {
        let mut notices = Notices::default();
        notices.sift(PEER, vec![word(4)]);
        notices.sift(PeerId(3), vec![append(4)]);
        let other = envelope(9, Message::TimeoutNow);
        assert_eq!(notices.sift(PEER, vec![other.clone()]), [other]);
        let before = envelope(2, append(9).message);
        notices.sift(PEER, vec![before]);
        assert_eq!(notices.take(), BTreeMap::from([(PEER, word(4))]));
    }
}
