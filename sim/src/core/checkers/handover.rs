//! A leader that hands over tells only a peer that has its whole log to stand (dissertation 3.10): another could not
//! win, and the cluster would be without a leader for nothing.

use kagero::raft::{Message, Role};

use super::{Step, Verdict, ensure};
use crate::core::history::History;

/// Looks at orders to stand that come from a leader which goes on leading.
pub fn check(step: &Step<'_>, history: &History) -> Verdict {
    if step.raft.role() != Role::Leader {
        return Ok(());
    }
    for envelope in &step.ready.messages {
        if envelope.message == Message::TimeoutNow {
            let log = step.raft.log();
            let target = history.held(envelope.to);
            let whole = target.is_some_and(|held| held.has(log.last(), log.last_term()));
            ensure(whole, || {
                format!("n{} was told to stand and lacks entries", envelope.to.0)
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::made::{Made, entry, follower, leader, refusal, remembered};
    use super::*;

    fn told_to_stand(term: u64) -> Verdict {
        let made = Made::sent(leader(1, &[1, 2, 3]), 2, Message::TimeoutNow);
        let target = follower(2, &[entry(2, term, "a")], 1);
        check(&made.step(), &remembered(&[1, 2, 3], &[&target]))
    }

    #[test]
    fn whoever_has_the_whole_log_may_be_told() {
        assert_eq!(told_to_stand(2), Ok(()));
    }

    #[test]
    fn whoever_lacks_entries_may_not() {
        assert!(refusal(told_to_stand(1)).contains("n2 was told to stand and lacks entries"));
    }
}
