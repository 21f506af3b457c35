//! Successive configurations: every quorum of one meets every quorum of the next; a leader begins none before the last
//! one and an entry of its own term are committed (dissertation 4.1, 4.3; raft-dev 2015); and the plan promotes only
//! members that keep up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kagero::raft::{Configuration, Index, PeerId, Role};

use super::{Step, Verdict, Why, ensure, is_quorum};
use crate::core::history::History;

/// For how long a promoted member must at least have been one: the core's own second of quick rounds, by a clock that is
/// not skewed where the plan is followed.
const MEMBER_BEFORE_PROMOTION: Duration = Duration::from_secs(1);

/// When each member was first seen in a configuration, and what a promoted one must have.
#[derive(Debug, Default)]
pub struct Configurations {
    members_since: BTreeMap<PeerId, Duration>,
}

impl Configurations {
    /// Looks at configurations that a leader has just written.
    pub fn on_step(&mut self, step: &Step<'_>, history: &History) -> Verdict {
        let log = step.raft.log();
        if step.ready.restore.is_some() {
            let known = log.configurations().next().map(|(_, known)| known);
            let right = history.configuration_at(log.base());
            ensure(known == Some(right), || {
                format!("n{} restored and has another configuration", step.peer.0)
            })?;
        }
        let index = log.configuration_index();
        // Or it led, and what it wrote let it go.
        let retired = step.before.role == Role::Leader && step.before.term == step.raft.term();
        let own = step.raft.role() == Role::Leader || retired;
        if !own || index <= step.before.last {
            return Ok(());
        }
        let new = log.configuration();
        for member in new.members() {
            self.members_since.entry(member).or_insert(step.now);
        }
        let mut previous = (
            step.before.configuration.0,
            history.configuration_before(&step.before),
        );
        // Within one step a change may begin, be committed and be left, where one voter decides alone.
        for (at, next) in log
            .configurations()
            .filter(|(at, _)| *at > step.before.last)
        {
            Self::follows(step, history, previous, (at, next))?;
            previous = (at, next);
        }
        if matches!(step.cause.why, Why::Plan) {
            self.promoted(step, history, new)?;
        }
        Ok(())
    }

    fn follows(
        step: &Step<'_>,
        history: &History,
        (before, old): (Index, &Configuration),
        (at, new): (Index, &Configuration),
    ) -> Verdict {
        let (peer, commit) = (step.peer.0, step.raft.log().commit());
        ensure(before <= commit, || {
            format!("n{peer}: two changes in flight, {before} and {at}")
        })?;
        let held = history.held(step.peer);
        let own =
            held.and_then(|held| held.term(commit)) == Some(step.before.term) || step.was_elected();
        ensure(own, || {
            format!("n{peer}: change {at} before an entry of its own term was committed")
        })?;
        ensure(overlap(old, new), || {
            format!("the quorums of {before} and {at} can miss each other")
        })
    }

    fn promoted(&self, step: &Step<'_>, history: &History, new: &Configuration) -> Verdict {
        let old = history.configuration_before(&step.before);
        for peer in new.voters.difference(&old.voters) {
            let since = self.members_since.get(peer);
            let member_for = since.map_or(Duration::ZERO, |at| step.now.saturating_sub(*at));
            // An append under way at most: what is missing is in flight.
            let has = history
                .held(*peer)
                .map_or(0, crate::core::history::Held::last);
            let lacks = step.before.commit.saturating_sub(has);
            ensure(member_for >= MEMBER_BEFORE_PROMOTION, || {
                format!("n{} was promoted after {member_for:?}", peer.0)
            })?;
            ensure(lacks <= step.config.log_entries_kept as u64 + 64, || {
                format!("n{} was promoted and lacks {lacks} entries", peer.0)
            })?;
        }
        Ok(())
    }
}

/// True if no quorum of one can decide without somebody of every quorum of the other.
fn overlap(old: &Configuration, new: &Configuration) -> bool {
    let halves = [&old.voters, &old.outgoing, &new.voters, &new.outgoing];
    let all: BTreeSet<PeerId> = halves.into_iter().flatten().copied().collect();
    let all: Vec<PeerId> = all.into_iter().collect();
    let position = |peer: PeerId| all.binary_search(&peer).unwrap_or(all.len());
    (0_u32..1 << all.len()).all(|subset| {
        let inside = |peer| subset & (1 << position(peer)) != 0;
        !(is_quorum(old, inside) && is_quorum(new, |peer| !inside(peer)))
    })
}

#[cfg(test)]
mod tests {
    use super::super::made::{Made, leader, refusal, remembered, voters};
    use super::*;
    use kagero::raft::{Change, Input};

    /// n1, alone, has just taken n2 as a learner.
    fn changed() -> Made {
        let mut raft = leader(1, &[1]);
        let before = Made::of(raft.clone()).before;
        let change = Change::AddLearner(PeerId(2), bytes::Bytes::new());
        raft.step(Input::Reconfigure(0, change), Duration::from_secs(5));
        let mut made = Made::of(raft);
        made.before = before;
        assert!(made.raft.log().configuration_index() > before.last);
        made
    }

    #[test]
    fn a_change_after_the_last_is_committed_is_accepted() {
        let made = changed();
        let history = remembered(&[1], &[&made.raft]);
        let told = Configurations::default().on_step(&made.step(), &history);
        assert_eq!(told, Ok(()));
    }

    #[test]
    fn quorums_that_can_miss_each_other_are_refused() {
        let made = changed();
        let history = remembered(&[7, 8, 9], &[&made.raft]);
        let told = Configurations::default().on_step(&made.step(), &history);
        assert!(refusal(told).contains("can miss each other"));
    }

    #[test]
    fn two_changes_in_flight_are_refused() {
        let mut made = changed();
        made.before.configuration.0 = made.raft.log().commit() + 1;
        let history = remembered(&[1], &[&made.raft]);
        let told = Configurations::default().on_step(&made.step(), &history);
        assert!(refusal(told).contains("two changes in flight"));
    }

    #[test]
    fn a_change_before_the_leaders_own_entry_is_refused() {
        let mut made = changed();
        (made.before.term, made.before.role) = (1, Role::Leader);
        let history = remembered(&[1], &[&made.raft]);
        let mut step = made.step();
        // It led its term before as well; only the entry at its commit index is of another.
        step.before.term = made.raft.term();
        let nothing_of_it = remembered(&[1], &[]);
        let told = Configurations::default().on_step(&step, &nothing_of_it);
        assert!(refusal(told).contains("before an entry of its own term"));
        assert_eq!(
            Configurations::default().on_step(&step, &history),
            Ok(()),
            "with it, it may"
        );
    }

    #[test]
    fn a_member_promoted_too_soon_is_refused() {
        let mut made = changed();
        made.cause.why = Why::Plan;
        let history = remembered(&[1], &[&made.raft]);
        let mut checker = Configurations::default();
        checker.members_since.insert(PeerId(2), made.now);
        let both = voters(&[1, 2]);
        let told = checker.promoted(&made.step(), &history, &both);
        assert!(refusal(told).contains("n2 was promoted after 0ns"));
        let since = made.now.saturating_sub(MEMBER_BEFORE_PROMOTION);
        checker.members_since.insert(PeerId(2), since);
        let told = checker.promoted(&made.step(), &history, &both);
        assert_eq!(told, Ok(()));
    }

    #[test]
    fn overlap_is_of_quorums() {
        assert!(overlap(&voters(&[1, 2, 3]), &voters(&[1, 2, 3, 4])));
        assert!(!overlap(&voters(&[1, 2, 3]), &voters(&[3, 4, 5])));
        let joint = Configuration {
            outgoing: voters(&[1, 2, 3]).voters,
            ..voters(&[3, 4, 5])
        };
        assert!(overlap(&voters(&[1, 2, 3]), &joint));
        assert!(overlap(&joint, &voters(&[3, 4, 5])));
    }
}
