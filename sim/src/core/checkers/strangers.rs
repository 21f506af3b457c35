//! A message of another cluster or generation, or for another incarnation, changes nothing and is not answered.

use kagero::raft::Role;

use super::{Step, Verdict, Why, ensure};

/// Looks at what such a message did.
pub fn check(step: &Step<'_>) -> Verdict {
    if !matches!(step.cause.why, Why::Stranger) {
        return Ok(());
    }
    let (raft, before, log) = (step.raft, &step.before, step.raft.log());
    let same = raft.term() == before.term
        && raft.role() == before.role
        && raft.leader() == before.leader
        && log.last() == before.last
        && log.commit() == before.commit
        && step.written.replaced.is_none()
        && step.ready.restore.is_none();
    // A leader may find, at any step, that it is time to send something again.
    let silent = before.role == Role::Leader || step.ready.messages.is_empty();
    ensure(same && silent, || {
        format!("n{} heeded a message that is not for it", step.peer.0)
    })
}

#[cfg(test)]
mod tests {
    use kagero::raft::Message;

    use super::super::made::{Made, founder, refusal};
    use super::*;

    fn shown() -> Made {
        let mut made = Made::of(founder(1, &[1, 2, 3]));
        made.cause.why = Why::Stranger;
        made
    }

    #[test]
    fn whoever_does_nothing_about_it_is_accepted() {
        assert_eq!(check(&shown().step()), Ok(()));
    }

    #[test]
    fn a_change_or_an_answer_is_refused() {
        let mut changed = shown();
        changed.before.term = 0;
        assert!(refusal(check(&changed.step())).contains("n1 heeded"));
        let mut answered = Made::sent(founder(1, &[1, 2, 3]), 2, Message::TimeoutNow);
        assert_eq!(check(&answered.step()), Ok(()), "of its own cluster");
        answered.cause.why = Why::Stranger;
        assert!(refusal(check(&answered.step())).contains("n1 heeded"));
    }
}
