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
