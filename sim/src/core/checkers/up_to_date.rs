//! A vote goes only to a candidate whose log is at least as complete as the voter's (dissertation 3.6.1): by this alone
//! does a new leader have what is committed.

use std::collections::BTreeMap;

use kagero::raft::{Index, Message, PeerId, Term};

use super::{Step, Verdict, ensure};

/// How each candidate's log ended when it asked: (last term, last index).
#[derive(Debug, Default)]
pub struct UpToDate {
    asked: BTreeMap<(PeerId, Term), (Term, Index)>,
}

impl UpToDate {
    /// Looks at who asks, and at who is given a vote.
    pub fn on_step(&mut self, step: &Step<'_>) -> Verdict {
        let log = step.raft.log();
        let own = (log.last_term(), log.last());
        for envelope in &step.ready.messages {
            match envelope.message {
                Message::Vote { .. } => {
                    let key = (step.peer, envelope.term);
                    self.asked.entry(key).or_insert(own);
                }
                Message::VoteReply { granted: true } => {
                    let asked = self.asked.get(&(envelope.to, envelope.term));
                    ensure(asked.is_some_and(|asked| *asked >= own), || {
                        let (voter, to) = (step.peer.0, envelope.to.0);
                        format!("n{voter} has {own:?} and votes for n{to}, which has {asked:?}")
                    })?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}
