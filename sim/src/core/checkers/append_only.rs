//! Leader append-only, and nothing committed is ever replaced: a leader only adds to its log, and a follower keeps what
//! it knows committed (dissertation 3.5).

use super::{Step, Verdict, ensure};

/// Looks at what a step replaced.
pub fn check(step: &Step<'_>) -> Verdict {
    let (log, before) = (step.raft.log(), &step.before);
    let peer = step.peer.0;
    ensure(log.commit() >= before.commit, || {
        format!("n{peer}'s commit index went back")
    })?;
    let Some(replaced) = step.written.replaced else {
        return Ok(());
    };
    ensure(!step.leads_on(), || {
        format!("n{peer} leads and replaced its entry {replaced}")
    })?;
    ensure(replaced > before.commit, || {
        format!(
            "n{peer} replaced entry {replaced}, and {} is committed",
            before.commit
        )
    })
}
