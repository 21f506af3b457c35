//! No vote under a reused identity, and none twice: one id gives at most one vote in a term, whatever became of the
//! process that bears it.

use std::collections::BTreeMap;

use kagero::raft::{Message, PeerId, Role, Term};

use super::{Step, Verdict, ensure};

/// Every vote ever seen.
#[derive(Debug, Default)]
pub struct Votes {
    given: BTreeMap<(PeerId, Term), PeerId>,
    terms: BTreeMap<PeerId, Term>,
}

impl Votes {
    /// Looks at the votes that a step gave, to others and to itself.
    pub fn on_step(&mut self, step: &Step<'_>) -> Verdict {
        let term = step.raft.term();
        let known = self.terms.entry(step.peer).or_default();
        ensure(*known <= term, || {
            format!("n{} was in term {known} and is in {term}", step.peer.0)
        })?;
        *known = term;
        if matches!(step.raft.role(), Role::Candidate | Role::Leader) {
            self.give(step.peer, term, step.peer)?;
        }
        for envelope in &step.ready.messages {
            if envelope.message == (Message::VoteReply { granted: true }) {
                self.give(step.peer, envelope.term, envelope.to)?;
            }
        }
        Ok(())
    }

    fn give(&mut self, voter: PeerId, term: Term, to: PeerId) -> Verdict {
        let given = *self.given.entry((voter, term)).or_insert(to);
        ensure(given == to, || {
            let (voter, given, to) = (voter.0, given.0, to.0);
            format!("n{voter} voted for n{given} and n{to} in term {term}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{Made, entry, follower, founder, leader, refusal};
    use super::*;

    const YES: Message = Message::VoteReply { granted: true };

    #[test]
    fn one_vote_a_term_given_again_is_accepted() {
        let mut checker = Votes::default();
        for _ in 0..2 {
            let voted = Made::sent(founder(1, &[1, 2, 3]), 2, YES);
            assert_eq!(checker.on_step(&voted.step()), Ok(()));
        }
        let next_term = follower(1, &[entry(2, 2, "a")], 1);
        assert_eq!(
            checker.on_step(&Made::sent(next_term, 3, YES).step()),
            Ok(())
        );
    }

    #[test]
    fn two_votes_in_a_term_are_refused() {
        let mut checker = Votes::default();
        let once = checker.on_step(&Made::sent(founder(1, &[1, 2, 3]), 2, YES).step());
        assert_eq!(once, Ok(()));
        let twice = checker.on_step(&Made::sent(founder(1, &[1, 2, 3]), 3, YES).step());
        assert!(refusal(twice).contains("voted for n2 and n3 in term 1"));
        // Whoever leads has voted for itself.
        let mut checker = Votes::default();
        let other = checker.on_step(&Made::sent(leader(1, &[1, 2, 3]), 3, YES).step());
        assert!(refusal(other).contains("voted for n1 and n3 in term 2"));
    }

    #[test]
    fn an_id_whose_term_goes_back_is_refused() {
        let mut checker = Votes::default();
        let known = checker.on_step(&Made::of(leader(1, &[1, 2, 3])).step());
        assert_eq!(known, Ok(()));
        let reborn = checker.on_step(&Made::of(founder(1, &[1, 2, 3])).step());
        assert!(refusal(reborn).contains("was in term 2 and is in 1"));
    }
}
