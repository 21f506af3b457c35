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
