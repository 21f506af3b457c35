//! Nobody stands for election unasked: a quorum of its configuration had said that it would vote for it, unless the
//! leader ordered it to (dissertation 9.6). So whoever is cut off cannot raise the term and depose a leader.

use std::collections::{BTreeMap, BTreeSet};

use kagero::raft::{Message, PeerId, Role, Term};

use super::{Step, Verdict, Why, ensure, is_quorum};
use crate::core::history::History;

/// Pre-votes granted: by asker and the asker's term.
#[derive(Debug, Default)]
pub struct PreVotes {
    granted: BTreeMap<(PeerId, Term), BTreeSet<PeerId>>,
}

impl PreVotes {
    /// Looks at who grants and at who stands.
    pub fn on_step(&mut self, step: &Step<'_>, history: &History) -> Verdict {
        for envelope in &step.ready.messages {
            if let Message::PreVoteReply {
                term,
                granted: true,
            } = envelope.message
            {
                let key = (envelope.to, term);
                self.granted.entry(key).or_default().insert(step.peer);
            }
        }
        let (term, before) = (step.raft.term(), step.before.term);
        let stands = matches!(step.raft.role(), Role::Candidate | Role::Leader) && term > before;
        if !stands || matches!(step.cause.why, Why::TimeoutNow) {
            return Ok(());
        }
        let granted = self.granted.get(&(step.peer, before));
        let agreed = |peer| peer == step.peer || granted.is_some_and(|g| g.contains(&peer));
        let configuration = history.configuration_before(&step.before);
        ensure(is_quorum(configuration, agreed), || {
            format!("n{} stands in term {term} unasked", step.peer.0)
        })
    }
}
