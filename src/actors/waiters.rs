//! Who waits for which log entry, and what becomes of them when another leader's entry takes its place.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use super::raft_peer::ProposeError;
use crate::raft::{Index, Term};
use crate::store::Outcome;

/// Why a proposal will not be answered with an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// Another term's entry was applied at its index: it was certainly not executed.
    Replaced,
    /// A snapshot jumped over its index: it may have been executed.
    Unknown,
}

type Answer = oneshot::Sender<Result<Outcome, ProposeError>>;

/// Waiting proposals by log index. Invariant: no key is at or below the applied index.
#[derive(Default)]
pub(super) struct Waiters {
    waiting: BTreeMap<Index, (Term, Answer)>,
}

impl Waiters {
    /// Someone waits for the entry of this index and term.
    pub(super) fn wait(&mut self, index: Index, term: Term, answer: Answer) {
        if let Some((_, older)) = self.waiting.insert(index, (term, answer)) {
            // A later term of ours wrote this index again, so the older entry was cut off uncommitted.
            let _ = older.send(Err(Lost::Replaced.into()));
        }
    }

    /// An entry was applied; `outcome` is `None` for entries that are not commands.
    pub(super) fn applied(&mut self, index: Index, term: Term, outcome: Option<Outcome>) {
        let Some((expected, answer)) = self.waiting.remove(&index) else {
            return;
        };
        let result = match outcome {
            Some(outcome) if expected == term => Ok(outcome),
            _ => Err(Lost::Replaced.into()),
        };
        // The asker may have given up; then nobody misses the answer.
        let _ = answer.send(result);
    }

    /// A snapshot replaced everything up to and including `index`.
    pub(super) fn skip_to(&mut self, index: Index) {
        let later = self.waiting.split_off(&(index + 1));
        for (_, (_, answer)) in std::mem::replace(&mut self.waiting, later) {
            let _ = answer.send(Err(Lost::Unknown.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(
        waiters: &mut Waiters,
        index: Index,
        term: Term,
    ) -> oneshot::Receiver<Result<Outcome, ProposeError>> {
        let (answer, receiver) = oneshot::channel();
        waiters.wait(index, term, answer);
        receiver
    }

    #[test]
    fn an_entry_of_the_same_term_answers_with_its_outcome() {
        let mut waiters = Waiters::default();
        let mut receiver = waiter(&mut waiters, 5, 2);
        waiters.applied(4, 2, None);
        waiters.applied(5, 2, Some(Outcome::Committed { revision: 9 }));
        assert_eq!(
            receiver.try_recv(),
            Ok(Ok(Outcome::Committed { revision: 9 }))
        );
    }

    #[test]
    fn an_entry_of_another_term_means_replaced() {
        let mut waiters = Waiters::default();
        let mut receiver = waiter(&mut waiters, 5, 2);
        waiters.applied(5, 3, Some(Outcome::Committed { revision: 9 }));
        assert_eq!(receiver.try_recv(), Ok(Err(ProposeError::Replaced)));
    }

    #[test]
    fn a_snapshot_over_the_index_means_unknown_and_spares_later_ones() {
        let mut waiters = Waiters::default();
        let (mut early, mut late) = (waiter(&mut waiters, 5, 2), waiter(&mut waiters, 9, 2));
        waiters.skip_to(7);
        assert_eq!(early.try_recv(), Ok(Err(ProposeError::Unknown)));
        assert!(late.try_recv().is_err());
    }
}
