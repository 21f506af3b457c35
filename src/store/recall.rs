//! Looking back: what became of a proposal whose proposer was never told.
//!
//! The table of outcomes says whether, and at which revision; the history says what. Both are bounded, and what lies
//! before their reach is said to be forgotten, never to have not happened. Deliberately no judgement on whether a
//! proposal may still commit: that is for who knows the log.

use std::ops::RangeInclusive;

use super::{Event, Outcome, ProposalId, Revision, Store, View};

/// What became of proposals of which at most one commits.
#[derive(Clone, Debug)]
pub enum Recalled {
    /// None of those that were applied has committed.
    NotCommitted {
        /// The last name that was applied, and conflicted.
        last: Option<ProposalId>,
    },
    /// One has, with this single change.
    Committed(Box<Past>),
    /// One has, or may have; what it changed is not remembered any more.
    Forgotten,
}

/// A change, and what it was made to.
#[derive(Clone, Debug)]
pub struct Past {
    /// The present state, but for the changed key: that is as it was before.
    pub before: View,
    /// The change.
    pub event: Event,
}

impl Store {
    /// What became of the proposals with these names, of which at most one commits, and that one later than `since`.
    pub fn recall(&self, names: RangeInclusive<ProposalId>, since: Revision) -> Recalled {
        let mut last = None;
        for (name, outcome) in self.outcomes.among(names) {
            if let Outcome::Committed { revision } = outcome {
                return self.change_at(*revision);
            }
            last = Some(name);
        }
        if self.outcomes.may_lack_commits_after(since) {
            return Recalled::Forgotten;
        }
        Recalled::NotCommitted { last }
    }

    fn change_at(&self, revision: Revision) -> Recalled {
        let Some(event) = self.history.only_at(revision) else {
            return Recalled::Forgotten;
        };
        let before = self.view.before(event);
        let event = event.clone();
        Recalled::Committed(Box::new(Past { before, event }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{
        Command, Compare, HistoryBounds, OUTCOMES_REMEMBERED_MAX, Operation, Transaction,
    };

    const fn name(sequence: u64) -> ProposalId {
        ProposalId {
            origin: 7,
            sequence,
        }
    }

    fn put(store: &mut Store, id: ProposalId, key: &str, expected: Revision) -> Outcome {
        let compare = Compare {
            key: key.to_owned(),
            mod_revision: expected,
        };
        let operation = Operation::Put {
            key: key.to_owned(),
            value: id.sequence.to_string().into(),
        };
        let transaction = Transaction {
            compare: vec![compare],
            operations: vec![operation],
        };
        let time_ms = 0;
        let command = Command {
            id,
            time_ms,
            transaction,
        };
        store.apply(&command).outcome
    }

    /// A store in which 10 committed `a`, 21 changed it after a conflict of 20, and 30 changed it once more.
    fn store() -> Store {
        let mut store = Store::new();
        put(&mut store, name(10), "a", 0);
        put(&mut store, name(20), "a", 0);
        put(&mut store, name(21), "a", 1);
        put(&mut store, name(30), "a", 2);
        store
    }

    #[test]
    fn tells_the_change_and_what_it_was_made_to() {
        let store = store();
        let Recalled::Committed(past) = store.recall(name(20)..=name(29), 0) else {
            panic!("21 has committed");
        };
        assert_eq!(past.event.revision, 2);
        assert_eq!(past.event.current.unwrap().value, "21");
        let before = past.before.get("a").unwrap();
        assert_eq!((before.mod_revision, &before.value[..]), (1, &b"10"[..]));
        assert_eq!(past.before.value_bytes(), 2);
        assert_eq!(store.view().get("a").unwrap().mod_revision, 3);
        let Recalled::Committed(first) = store.recall(name(10)..=name(19), 0) else {
            panic!("10 has committed");
        };
        assert!(first.before.is_empty(), "there was none");
        assert_eq!(first.before.value_bytes(), 0);
    }

    #[test]
    fn tells_which_names_conflicted() {
        let recalled = store().recall(name(20)..=name(20), 0);
        let Recalled::NotCommitted { last } = recalled else {
            panic!("{recalled:?}");
        };
        assert_eq!(last, Some(name(20)));
        let recalled = store().recall(name(31)..=name(39), 0);
        assert!(matches!(recalled, Recalled::NotCommitted { last: None }));
    }

    #[test]
    fn what_the_history_lacks_is_forgotten_and_not_undone() {
        let bounds = HistoryBounds {
            events_max: 1,
            bytes_max: usize::MAX,
        };
        let restored = Store::restore(&store().snapshot().encode()).unwrap();
        for store in [store().with_history(bounds), restored] {
            let recalled = store.recall(name(20)..=name(29), 0);
            assert!(matches!(recalled, Recalled::Forgotten), "{recalled:?}");
        }
    }

    #[test]
    fn a_name_that_the_table_may_have_dropped_is_forgotten() {
        let mut store = Store::new();
        let most = OUTCOMES_REMEMBERED_MAX as u64;
        for revision in 1..=most {
            put(&mut store, name(revision), "a", revision - 1);
        }
        let unknown = name(most + 10)..=name(most + 19);
        let recall = |store: &Store, since| store.recall(unknown.clone(), since);
        // The oldest that is remembered is the first of all; so far nothing was dropped, though nobody could tell.
        assert!(matches!(recall(&store, 0), Recalled::Forgotten));
        assert!(matches!(recall(&store, 1), Recalled::NotCommitted { .. }));
        put(&mut store, name(most + 1), "a", most);
        assert!(matches!(recall(&store, 1), Recalled::Forgotten));
        assert!(matches!(recall(&store, 2), Recalled::NotCommitted { .. }));
    }
}
