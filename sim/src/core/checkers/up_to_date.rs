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

#[cfg(test)]
mod tests {
    use super::super::made::{Made, entry, follower, refusal};
    use super::*;

    fn asks(id: u64, last_term: Term) -> Made {
        let ask = Message::Vote {
            last: 0,
            last_term: 0,
            transfer: false,
        };
        let mut made = Made::sent(follower(id, &[entry(2, last_term, "a")], 1), 1, ask);
        made.ready.messages[0].term = 9;
        made
    }

    fn votes_for(to: u64) -> Made {
        let own = follower(1, &[entry(2, 3, "a")], 1);
        let mut made = Made::sent(own, to, Message::VoteReply { granted: true });
        made.ready.messages[0].term = 9;
        made
    }

    #[test]
    fn a_vote_for_a_log_as_complete_is_accepted() {
        let mut checker = UpToDate::default();
        assert_eq!(checker.on_step(&asks(2, 3).step()), Ok(()));
        assert_eq!(checker.on_step(&votes_for(2).step()), Ok(()));
    }

    #[test]
    fn a_vote_for_a_lesser_log_or_unasked_is_refused() {
        let mut checker = UpToDate::default();
        assert_eq!(checker.on_step(&asks(2, 2).step()), Ok(()));
        let lesser = checker.on_step(&votes_for(2).step());
        assert!(refusal(lesser).contains("n1 has (3, 2) and votes for n2"));
        let unasked = checker.on_step(&votes_for(3).step());
        assert!(refusal(unasked).contains("votes for n3, which has None"));
    }
}
