//! A write with a name: whoever took it from a client can ask the next leader what became of it.
//!
//! A leader that dies between commit and answer, or hands over, leaves the client without one, though the cluster knows.
//! So the node that a request came to names it, and asks again under that name until the request's deadline. What keeps
//! it from being executed twice:
//!
//! - A leader does it in the term that it was asked in, or not at all; and after one that did not answer only a later
//!   term's is asked. Whatever was tried before is decided once that one has applied an entry of its own term.
//! - Asked again, a leader first looks for the name among the outcomes it has applied (they are replicated), and
//!   answers from what was committed. It plans anew only if nothing was, and nothing can have been forgotten.
//! - Each transaction proposed for it has a name of its own, so the store applies none twice.
//!
//! Deliberately not for a delete-collection (many transactions), nor for several requests at once (the cluster's own
//! actors look for themselves): those are of unknown outcome, as before. And a client's own repetition has no name.

use std::ops::RangeInclusive;
use std::slice;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Attempt, Doors, Leader, SUBMIT_MS_MAX, after, unexpected};
use crate::actors::raft_peer::Recall;
use crate::actors::refusals::{
    is_outcome_unknown, no_leader, not_leader, outcome_forgotten, outcome_unknown,
};
use crate::actors::wire::{Answer, Call};
use crate::raft::Term;
use crate::resource::plan::retell;
use crate::resource::{Reply, Request, Stamp, Status, Verb};
use crate::store::{Past, ProposalId, Recalled, Revision};

/// Sequence numbers from here on are of named requests; a peer counts its own proposals up from 1.
const NAMED_FROM: u64 = 1 << 63;
/// One request's transactions are told apart by so many bits: each is planned on what another write left behind.
const PLAN_BITS: u32 = 8;
/// How often one request is planned under its name, by all its leaders together.
const NAMED_PLANS_MAX: u64 = 1 << PLAN_BITS;

/// After one that did not answer, the next leader is waited for so long: several elections. There is none where only the
/// connection to a leader that lives was lost.
const NEXT_LEADER_MS_MAX: u64 = 4_000;

/// Names one request for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestId {
    /// The incarnation that a client asked.
    pub origin: u64,
    /// Counts up within it.
    pub number: u64,
}

/// A request that can be asked for again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Named {
    /// Its name.
    pub id: RequestId,
    /// If it commits, then later than this.
    pub since: Revision,
    /// Only in this term may anything be done for it.
    pub term: Term,
    /// It was asked for before, so some of its names may be taken, and it may be done: look first.
    pub again: bool,
    /// What to do.
    pub request: Request,
}

/// The names of one request's transactions that are left.
pub(super) struct Names {
    id: RequestId,
    next: u64,
}

impl RequestId {
    fn plan(self, number: u64) -> ProposalId {
        ProposalId {
            origin: self.origin,
            sequence: NAMED_FROM | self.number << PLAN_BITS | number,
        }
    }

    fn plans(self) -> RangeInclusive<ProposalId> {
        self.plan(0)..=self.plan(NAMED_PLANS_MAX - 1)
    }
}

impl Names {
    /// Those that come after the last one that is known.
    fn after(id: RequestId, last: Option<ProposalId>) -> Self {
        let next = last.map_or(0, |last| last.sequence % NAMED_PLANS_MAX + 1);
        Self { id, next }
    }

    /// A fresh one, if there is any.
    pub(super) fn draw(&mut self) -> Option<ProposalId> {
        let number = self.next;
        self.next += 1;
        (number < NAMED_PLANS_MAX).then(|| self.id.plan(number))
    }
}

/// The reply to one request.
fn only(replies: Vec<Result<Reply, Status>>) -> Result<Reply, Status> {
    let first = replies.into_iter().next();
    first.unwrap_or_else(|| Err(outcome_unknown()))
}

/// Whether all of a request is one transaction.
pub fn may_be_named(request: &Request) -> bool {
    !matches!(request.verb, Verb::DeleteCollection { .. })
}

impl Doors {
    /// As [`Doors::submit`], and asks the next leader if one is gone before it has answered.
    pub(in crate::actors) async fn submit_named(
        mut self,
        id: RequestId,
        request: Request,
    ) -> Result<Reply, Status> {
        let deadline = after(SUBMIT_MS_MAX);
        let mut named = Box::new(Named {
            id,
            since: 0,
            term: 0,
            again: false,
            request,
        });
        // The latest term whose leader was asked and may have done it.
        let mut unanswered = None;
        loop {
            let refused = || unanswered.map_or_else(no_leader, |_| outcome_unknown());
            let patience = unanswered.map_or(deadline, |_| deadline.min(after(NEXT_LEADER_MS_MAX)));
            let Ok((term, leader)) = self.leader(unanswered, patience).await else {
                return Err(refused());
            };
            named.term = term;
            if unanswered.is_none() {
                let known = self.known.borrow().as_ref().map(|k| k.view.revision());
                named.since = known.unwrap_or_default();
            }
            let submitted = match leader {
                Leader::Here => self.submit_named_here(&named, deadline).await,
                Leader::At(contact) if contact.takes_named => {
                    self.forward_named(contact.address, &named, deadline).await
                }
                Leader::At(_) if unanswered.is_some() => return Err(outcome_unknown()),
                Leader::At(_) => {
                    let replies = self.submit_until(vec![named.request], deadline).await;
                    return only(replies);
                }
            };
            match submitted {
                Attempt::Done(Err(status)) if is_outcome_unknown(&status) => {
                    tracing::debug!(
                        term,
                        "a write is of unknown outcome; the next leader is asked"
                    );
                    unanswered = Some(term);
                }
                Attempt::Done(done) => return done,
                Attempt::Elsewhere if Instant::now() >= deadline => return Err(refused()),
                Attempt::Elsewhere => self.look_again(deadline).await,
            }
            named.again = true;
        }
    }

    /// Does what another node forwarded, if this node leads in the term it was meant for.
    pub(in crate::actors) async fn submit_named_if_leading(
        mut self,
        named: Box<Named>,
    ) -> Result<Result<Reply, Status>, Status> {
        let deadline = after(SUBMIT_MS_MAX);
        if !may_be_named(&named.request) {
            return Err(Status::bad_request("many transactions have no one name"));
        }
        match self.submit_named_here(&named, deadline).await {
            Attempt::Done(reply) => Ok(reply),
            Attempt::Elsewhere => Err(not_leader()),
        }
    }

    /// Asks the leader, until another one leads: from then on that one can tell what became of it.
    async fn forward_named(
        &self,
        address: String,
        named: &Named,
        deadline: Instant,
    ) -> Attempt<Reply> {
        let mut known = self.known.clone();
        let deposed = known.wait_for(|known| {
            let standing = known.as_ref().map(|known| &known.standing);
            standing.is_some_and(|now| now.term > named.term && now.leader.is_some())
        });
        let call = Call::SubmitNamed(Box::new(named.clone()));
        tokio::select! {
            biased;
            answer = self.forward(address, call, deadline) => answer.map(|answer| match answer {
                Answer::Submitted(replies) => only(replies),
                other => Err(unexpected(&other)),
            }),
            Ok(_) = deposed => Attempt::Done(Err(outcome_unknown())),
        }
    }

    /// Plans and commits on this node, unless that is done already; `Elsewhere` if it does not lead in that term and
    /// nothing was executed.
    async fn submit_named_here(&mut self, named: &Named, deadline: Instant) -> Attempt<Reply> {
        let mut last = None;
        if named.again {
            let recall = Recall {
                term: named.term,
                names: named.id.plans(),
                since: named.since,
            };
            match self.peer.send(recall).await {
                Ok(Some(Recalled::NotCommitted { last: known })) => last = known,
                Ok(Some(Recalled::Committed(past))) => {
                    return Attempt::Done(self.retell(&past, &named.request));
                }
                Ok(Some(Recalled::Forgotten)) => {
                    return Attempt::Done(Err(outcome_forgotten()));
                }
                Ok(None) | Err(_) => return Attempt::Elsewhere,
            }
        }
        let plans = (named.term, Names::after(named.id, last));
        let requests = slice::from_ref(&named.request);
        let submitted = self.submit_here(requests, Some(plans), deadline).await;
        submitted.map(only)
    }

    /// The answer to a request that a leader before this one committed.
    fn retell(&mut self, past: &Past, request: &Request) -> Result<Reply, Status> {
        let mut stamp = Stamp {
            now: self.clock.wall(),
            entropy: &mut self.entropy,
        };
        retell(past, request, &mut stamp).ok_or_else(outcome_forgotten)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_plans_share_a_name() {
        let id = |number| RequestId { origin: 1, number };
        let mut names = Names::after(id(5), None);
        let drawn: Vec<_> = std::iter::from_fn(|| names.draw()).collect();
        assert_eq!(drawn.len(), 256);
        assert!(drawn.is_sorted_by(|a, b| a < b));
        assert!(drawn.iter().all(|name| id(5).plans().contains(name)));
        assert!(id(4).plans().end() < &drawn[0] && drawn.last().unwrap() < id(6).plans().start());
        assert_eq!(names.draw(), None);
        let mut rest = Names::after(id(5), Some(drawn[253]));
        assert_eq!(rest.draw(), Some(drawn[254]));
        assert_eq!(Names::after(id(5), Some(drawn[255])).draw(), None);
    }
}
