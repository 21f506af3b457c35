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
