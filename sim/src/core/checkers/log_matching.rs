//! Log matching: an index and a term name one entry, and everything before it, in all logs for ever (dissertation 3.5).
//!
//! By induction: every entry that is written anywhere must be the one known by that name, after the same predecessor.

use std::collections::BTreeMap;

use kagero::raft::{Entry, Index, PeerId, Raft, Term};

use super::{Step, Verdict, ensure};

/// Every entry ever written, with its predecessor's term where that was known.
#[derive(Debug, Default)]
pub struct LogMatching {
    known: BTreeMap<(Index, Term), (Entry, Option<Term>)>,
}

impl LogMatching {
    /// Looks at what a step may have written.
    pub fn on_step(&mut self, step: &Step<'_>) -> Verdict {
        let log = step.raft.log();
        for index in step.written.from.max(log.base() + 1)..=log.last() {
            let Some(entry) = log.get(index) else {
                continue;
            };
            let before = log.term(index - 1);
            let (known, known_before) = self
                .known
                .entry((index, entry.term))
                .or_insert_with(|| (entry.clone(), before));
            ensure(known == entry && entry.index == index, || {
                format!("n{}: two entries {index}@{}", step.peer.0, entry.term)
            })?;
            let same = before.is_none() || known_before.is_none() || before == *known_before;
            ensure(same, || {
                format!(
                    "n{}: {index}@{} follows term {before:?}, elsewhere {known_before:?}",
                    step.peer.0, entry.term
                )
            })?;
            *known_before = known_before.or(before);
        }
        Ok(())
    }

    /// Looks at a whole log: it may have changed where no step was seen to write.
    pub fn audit(&self, peer: PeerId, raft: &Raft) -> Verdict {
        let log = raft.log();
        for index in log.base() + 1..=log.last() {
            let Some(entry) = log.get(index) else {
                return Err(format!("n{} lacks entry {index} of its log", peer.0));
            };
            let known = self.known.get(&(index, entry.term));
            ensure(known.is_some_and(|(known, _)| known == entry), || {
                format!("n{}'s entry {index}@{} is unknown", peer.0, entry.term)
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{Made, entry, follower, refusal};
    use super::*;

    #[test]
    fn equal_logs_are_accepted() {
        let entries = [entry(2, 2, "a"), entry(3, 3, "b")];
        let mut checker = LogMatching::default();
        for id in [1, 2] {
            let raft = follower(id, &entries, 1);
            assert_eq!(checker.on_step(&Made::wrote(raft.clone()).step()), Ok(()));
            assert_eq!(checker.audit(raft.id(), &raft), Ok(()));
        }
        // Another term is another name.
        let other = follower(3, &[entry(2, 2, "a"), entry(3, 4, "c")], 1);
        assert_eq!(checker.on_step(&Made::wrote(other).step()), Ok(()));
    }

    #[test]
    fn two_entries_of_one_name_are_refused() {
        let mut checker = LogMatching::default();
        let one = Made::wrote(follower(1, &[entry(2, 2, "a")], 1));
        assert_eq!(checker.on_step(&one.step()), Ok(()));
        let other = Made::wrote(follower(2, &[entry(2, 2, "b")], 1));
        let told = checker.on_step(&other.step());
        assert!(refusal(told).contains("two entries 2@2"));
    }

    #[test]
    fn one_entry_after_two_predecessors_is_refused() {
        let mut checker = LogMatching::default();
        let one = Made::wrote(follower(1, &[entry(2, 2, "a"), entry(3, 3, "c")], 1));
        assert_eq!(checker.on_step(&one.step()), Ok(()));
        let other = Made::wrote(follower(2, &[entry(2, 3, "b"), entry(3, 3, "c")], 1));
        let told = checker.on_step(&other.step());
        assert!(refusal(told).contains("3@3 follows term Some(3), elsewhere Some(2)"));
    }

    #[test]
    fn an_entry_that_nobody_wrote_is_refused() {
        let raft = follower(1, &[entry(2, 2, "a")], 1);
        let told = LogMatching::default().audit(PeerId(1), &raft);
        assert!(refusal(told).contains("2@2 is unknown"));
    }
}
