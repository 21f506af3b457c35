//! Leader completeness: what was committed in an earlier term is in the log of every later leader (dissertation 3.6.3).

use super::{Step, Verdict, ensure};
use crate::core::history::History;

/// Looks at a new leader's log.
pub fn check(step: &Step<'_>, history: &History) -> Verdict {
    if !step.was_elected() {
        return Ok(());
    }
    let (log, term) = (step.raft.log(), step.raft.term());
    for index in log.base() + 1..=history.committed_up_to() {
        let Some(committed) = history.committed_at(index) else {
            continue;
        };
        if committed.seen < term {
            ensure(log.term(index) == Some(committed.entry.term), || {
                format!(
                    "n{} leads term {term} without entry {index}, committed in term {}",
                    step.peer.0, committed.seen
                )
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::made::{Made, entry, leader, refusal, remembered};
    use super::*;

    /// n1 leads term 2 and has the entry 2@2.
    fn judged(committed_term: u64, seen_in: u64) -> Verdict {
        let mut history = remembered(&[1, 2, 3], &[]);
        history.commit(&entry(2, committed_term, "a"), seen_in);
        check(&Made::elected(leader(1, &[1, 2, 3])).step(), &history)
    }

    #[test]
    fn what_an_earlier_term_committed_must_be_there() {
        assert!(refusal(judged(1, 1)).contains("without entry 2, committed in term 1"));
    }

    #[test]
    fn a_leader_with_all_of_it_is_accepted() {
        assert_eq!(judged(2, 1), Ok(()));
        // Committed in its own term or later: not what it is asked for.
        assert_eq!(judged(1, 2), Ok(()));
    }
}
