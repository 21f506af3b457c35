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

#[cfg(test)]
mod tests {
    use super::super::made::{Made, founder, leader, refusal, remembered};
    use super::*;

    fn stands(why: Why) -> Made {
        let mut made = Made::elected(leader(1, &[1, 2, 3]));
        (made.before.term, made.cause.why) = (1, why);
        made
    }

    fn grants(from: u64, term: Term) -> Made {
        let yes = Message::PreVoteReply {
            term,
            granted: true,
        };
        Made::sent(founder(from, &[1, 2, 3]), 1, yes)
    }

    #[test]
    fn whoever_was_encouraged_or_ordered_may_stand() {
        let history = remembered(&[1, 2, 3], &[]);
        let mut checker = PreVotes::default();
        let ordered = checker.on_step(&stands(Why::TimeoutNow).step(), &history);
        assert_eq!(ordered, Ok(()));
        assert_eq!(checker.on_step(&grants(2, 1).step(), &history), Ok(()));
        let encouraged = checker.on_step(&stands(Why::Message).step(), &history);
        assert_eq!(encouraged, Ok(()));
    }

    #[test]
    fn whoever_stands_unasked_is_refused() {
        let history = remembered(&[1, 2, 3], &[]);
        let mut checker = PreVotes::default();
        let alone = checker.on_step(&stands(Why::Tick).step(), &history);
        assert!(refusal(alone).contains("n1 stands in term 2 unasked"));
        // What was said to another term's question is no answer.
        assert_eq!(checker.on_step(&grants(2, 0).step(), &history), Ok(()));
        let old = checker.on_step(&stands(Why::Tick).step(), &history);
        assert!(refusal(old).contains("unasked"));
    }
}
