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
