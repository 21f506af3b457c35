//! A leader commits only what a quorum of the configuration in force holds, and only by way of an entry of its own term
//! (dissertation 3.6.2, 4.3). What a dead peer held when it died counts.

use kagero::raft::{Configuration, Index, Role, Term};

use super::{Step, Verdict, ensure, is_quorum};
use crate::core::history::History;

/// Looks at a leader whose commit index rose.
pub fn check(step: &Step<'_>, history: &History) -> Verdict {
    let (log, before) = (step.raft.log(), &step.before);
    let commit = log.commit();
    let leads = step.raft.role() == Role::Leader || step.before.role == Role::Leader;
    let same_term = step.raft.term() == before.term || step.was_elected();
    if !leads || !same_term || commit == before.commit {
        return Ok(());
    }
    let term = |index: Index| {
        let held = history.held(step.peer)?;
        held.term(index)
    };
    ensure(term(commit) == Some(step.raft.term()), || {
        format!(
            "n{} leads term {} and committed {commit} of term {:?}",
            step.peer.0,
            step.raft.term(),
            term(commit)
        )
    })?;
    // Up to the entry of the newest configuration before the step, that configuration decides; after it, perhaps one
    // that came into force within the step.
    let old = history.configuration_before(before);
    let (at, _) = before.configuration;
    let by_old = commit.min(at);
    if by_old > before.commit {
        judge(step, history, (by_old, term(by_old)), &[old])?;
    }
    if commit > at {
        judge(
            step,
            history,
            (commit, term(commit)),
            &[old, log.configuration()],
        )?;
    }
    Ok(())
}

fn judge(
    step: &Step<'_>,
    history: &History,
    (index, term): (Index, Option<Term>),
    configurations: &[&Configuration],
) -> Verdict {
    let Some(term) = term else {
        return Ok(());
    };
    let holds = |peer| {
        let held = history.held(peer);
        held.is_some_and(|held| held.has(index, term))
    };
    let committed = configurations.iter().any(|c| is_quorum(c, holds));
    ensure(committed, || {
        format!(
            "n{} committed {index}@{term}, which no quorum holds",
            step.peer.0
        )
    })
}

#[cfg(test)]
mod tests {
    use kagero::raft::Message;
    use kagero::raft::{BOOTSTRAP_INDEX, Raft};

    use super::super::made::{Made, entry, follower, leader, refusal, remembered, tell};
    use super::*;

    /// n1 leads term 2 and has committed its first entry.
    fn committed() -> Made {
        let mut raft = leader(1, &[1, 2, 3]);
        let held = Message::Appended {
            matched: 2,
            round: 0,
        };
        tell(&mut raft, 2, 2, held);
        assert_eq!(raft.log().commit(), 2);
        let mut made = Made::of(raft);
        made.before.commit = BOOTSTRAP_INDEX;
        made
    }

    /// Somebody with one entry of this term.
    fn holds(id: u64, term: Term) -> Raft {
        follower(id, &[entry(2, term, "a")], 1)
    }

    #[test]
    fn what_a_quorum_holds_may_be_committed() {
        let made = committed();
        let history = remembered(&[1, 2, 3], &[&made.raft, &holds(3, 2)]);
        assert_eq!(check(&made.step(), &history), Ok(()));
    }

    #[test]
    fn what_no_quorum_holds_is_refused() {
        let made = committed();
        // n2 has another entry there, n3 none.
        let history = remembered(&[1, 2, 3], &[&made.raft, &holds(2, 3)]);
        let told = check(&made.step(), &history);
        assert!(refusal(told).contains("committed 2@2, which no quorum holds"));
    }

    #[test]
    fn an_earlier_terms_entry_is_not_counted() {
        let made = committed();
        // What the leader has there is of a term before its own.
        let history = remembered(&[1, 2, 3], &[&holds(1, 1), &holds(2, 1)]);
        let told = check(&made.step(), &history);
        assert!(refusal(told).contains("leads term 2 and committed 2 of term Some(1)"));
    }
}
