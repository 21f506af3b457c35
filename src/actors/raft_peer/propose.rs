//! What is asked of a peer's log: to take transactions, and to say what became of one that was proposed before.
//!
//! Deliberately no second try of anything: who asks decides, and names what may be asked for again.

use std::ops::RangeInclusive;

use actix::prelude::*;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::super::waiters::Lost;
use super::RaftPeer;
use super::batch::Proposals;
use crate::raft::{Rejected, Term};
use crate::store::{Command, Outcome, ProposalId, Recalled, Revision, Transaction};

/// Replicate these transactions, in order. Leader only.
#[derive(Message, Debug)]
#[rtype(result = "Vec<Result<Outcome, ProposeError>>")]
pub struct Propose {
    /// The proposer's wall clock, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// In this term or not at all; `None`: in whichever this peer leads.
    pub term: Option<Term>,
    /// What to do, each by itself. One with a name is executed once at most, one without is told by nobody again.
    pub transactions: Vec<(Option<ProposalId>, Transaction)>,
}

/// Why a proposal has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// It was not taken; certainly not executed.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Another leader's entry took its place; certainly not executed.
    #[error("another leader replaced the proposal")]
    Replaced,
    /// It may or may not have been executed.
    #[error("the proposal's outcome is unknown")]
    Unknown,
    /// This node holds no replica.
    #[error("this node is not a member of a cluster")]
    NotMember,
}

/// What became of the proposals with these names? `None` unless this peer leads in that term with a complete view: then
/// whatever an earlier leader proposed has been applied, or never will be.
#[derive(Message, Debug)]
#[rtype(result = "Option<Recalled>")]
pub struct Recall {
    /// The asker's idea of the present term.
    pub term: Term,
    /// At most one of them commits, by changing one key.
    pub names: RangeInclusive<ProposalId>,
    /// If one has committed, then later than this.
    pub since: Revision,
}

impl Handler<Propose> for RaftPeer {
    type Result = ResponseFuture<Vec<Result<Outcome, ProposeError>>>;

    fn handle(
        &mut self,
        Propose {
            time_ms,
            term,
            transactions,
        }: Propose,
        ctx: &mut Self::Context,
    ) -> Self::Result {
        let count = transactions.len();
        let Some(member) = &mut self.member else {
            return Box::pin(async move { vec![Err(ProposeError::NotMember); count] });
        };
        if term.is_some_and(|term| term != member.raft.term()) {
            let refused = Rejected::NotLeader {
                leader: member.raft.leader(),
            };
            return Box::pin(async move { vec![Err(refused.into()); count] });
        }
        let (answers, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| oneshot::channel()).unzip();
        let mut payloads = Vec::with_capacity(count);
        for (name, transaction) in transactions {
            let id = name.unwrap_or_else(|| {
                member.next_sequence += 1;
                ProposalId {
                    origin: self.id.0,
                    sequence: member.next_sequence,
                }
            });
            let command = Command {
                id,
                time_ms,
                transaction,
            };
            payloads.push(command.encode());
        }
        let proposed = Proposals {
            bytes: payloads.iter().map(Bytes::len).sum(),
            payloads,
            answers,
        };
        self.propose_soon(proposed, ctx);
        Box::pin(async move {
            let mut outcomes = Vec::with_capacity(count);
            for receiver in receivers {
                outcomes.push(receiver.await.unwrap_or(Err(ProposeError::Unknown)));
            }
            outcomes
        })
    }
}

impl Handler<Recall> for RaftPeer {
    type Result = MessageResult<Recall>;

    fn handle(
        &mut self,
        Recall { term, names, since }: Recall,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let leading = (self.member.as_ref()).filter(|member| member.leading == Some(term));
        MessageResult(leading.map(|member| member.store.recall(names, since)))
    }
}

impl From<Lost> for ProposeError {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Replaced => Self::Replaced,
            Lost::Unknown => Self::Unknown,
        }
    }
}
