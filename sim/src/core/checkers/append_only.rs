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

#[cfg(test)]
mod tests {
    use super::super::made::{Made, entry, follower, leader, refusal};
    use super::*;

    #[test]
    fn a_follower_may_give_up_what_is_not_committed() {
        let mut made = Made::of(follower(1, &[entry(2, 2, "a"), entry(3, 3, "b")], 2));
        made.written.replaced = Some(3);
        assert_eq!(check(&made.step()), Ok(()));
        let appended = Made::wrote(leader(1, &[1, 2, 3]));
        assert_eq!(check(&appended.step()), Ok(()));
    }

    #[test]
    fn a_committed_entry_that_is_replaced_is_refused() {
        let mut made = Made::of(follower(1, &[entry(2, 2, "a"), entry(3, 3, "b")], 2));
        made.written.replaced = Some(2);
        assert!(refusal(check(&made.step())).contains("replaced entry 2, and 2 is committed"));
    }

    #[test]
    fn a_leader_that_replaces_is_refused() {
        let mut made = Made::of(leader(1, &[1, 2, 3]));
        made.written.replaced = Some(2);
        assert!(refusal(check(&made.step())).contains("leads and replaced"));
    }

    #[test]
    fn a_commit_index_that_goes_back_is_refused() {
        let mut made = Made::of(follower(1, &[entry(2, 2, "a")], 2));
        made.before.commit = 3;
        assert!(refusal(check(&made.step())).contains("went back"));
    }
}
