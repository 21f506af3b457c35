//! Election safety: a term has at most one leader, and a quorum of its own configuration voted for it
//! (dissertation 3.4; joint quorums 4.3).

use std::collections::BTreeMap;

use kagero::raft::{PeerId, Term};

use super::{Step, Verdict, ensure, is_quorum};
use crate::core::history::History;

/// Who led which term.
#[derive(Debug, Default)]
pub struct ElectionSafety {
    leaders: BTreeMap<Term, PeerId>,
}

impl ElectionSafety {
    /// Looks at elections won.
    pub fn on_step(&mut self, step: &Step<'_>, history: &History) -> Verdict {
        if !step.was_elected() {
            return Ok(());
        }
        let (peer, term) = (step.peer, step.raft.term());
        let leader = *self.leaders.entry(term).or_insert(peer);
        ensure(leader == peer, || {
            format!("term {term} has two leaders: n{} and n{}", leader.0, peer.0)
        })?;
        let configuration = history.configuration_before(&step.before);
        let voted = |voter| history.votes.get(&(voter, term)) == Some(&peer);
        ensure(is_quorum(configuration, voted), || {
            format!("n{} leads term {term} without a quorum's votes", peer.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{Made, leader, refusal, remembered};
    use super::*;

    fn with_votes(ids: &[u64], votes: &[(u64, u64)]) -> History {
        let mut history = remembered(ids, &[]);
        for (voter, to) in votes {
            history.votes.insert((PeerId(*voter), 2), PeerId(*to));
        }
        history
    }

    #[test]
    fn a_quorum_elects_one_leader() {
        let history = with_votes(&[1, 2, 3], &[(1, 1), (3, 1)]);
        let won = Made::elected(leader(1, &[1, 2, 3]));
        let mut checker = ElectionSafety::default();
        assert_eq!(checker.on_step(&won.step(), &history), Ok(()));
        let led_on = Made::of(leader(1, &[1, 2, 3]));
        assert_eq!(checker.on_step(&led_on.step(), &history), Ok(()));
    }

    #[test]
    fn two_leaders_of_a_term_are_refused() {
        let history = with_votes(&[1, 2, 3], &[(1, 1), (2, 2), (3, 1)]);
        let mut checker = ElectionSafety::default();
        let (one, other) = (leader(1, &[1, 2, 3]), leader(2, &[1, 2, 3]));
        let first = checker.on_step(&Made::elected(one).step(), &history);
        assert_eq!(first, Ok(()));
        let second = checker.on_step(&Made::elected(other).step(), &history);
        assert!(refusal(second).contains("two leaders: n1 and n2"));
    }

    #[test]
    fn a_leader_without_a_quorums_votes_is_refused() {
        let history = with_votes(&[1, 2, 3], &[(1, 1), (3, 2)]);
        let won = Made::elected(leader(1, &[1, 2, 3]));
        let told = ElectionSafety::default().on_step(&won.step(), &history);
        assert!(refusal(told).contains("without a quorum's votes"));
    }
}
