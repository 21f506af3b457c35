//! The work behind the store front's doors, as tasks: submit, read, describe.
//!
//! Writes are planned on the leader, against its newest applied view, and planned again when another write came
//! first; followers forward the whole request. Each door has a deadline. Deliberately without state of its own.

use std::rc::Rc;
use std::time::Duration;

use actix::Addr;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::caller::{CallError, Caller, Place};
use super::describe::describe_members;
use super::messages::{ClusterStatus, SnapshotStatus};
use super::raft_peer::{
    GetHistory, GetStatus, Propose, ProposeError, RaftPeer, ReadIndex, Standing,
};
use super::refusals::{self, expired, is_not_leader, no_leader, outcome_unknown, stopping};
use super::wire::{Answer, Call, Contact};
use crate::env::clock::Clock;
use crate::env::entropy::Entropy;
use crate::raft::{Rejected, Term};
use crate::resource::plan::plan_again;
use crate::resource::{Plan, Reply, Request, Stamp, Status};
use crate::store::{Event, Outcome, ProposalId, Revision, View};
use named::Names;

pub mod named;

/// A write is answered, or refused, within this time.
const SUBMIT_MS_MAX: u64 = 10_000;
/// A read is; Kubernetes' own wait for a future resourceVersion is 3 s.
const READ_MS_MAX: u64 = 3_000;
/// One attempt at a ReadIndex or a forwarded call; then the leader is looked for again.
const ATTEMPT_MS_MAX: u64 = 1_000;
/// Pause before looking for a leader again when nothing was published meanwhile.
const LOOK_AGAIN_MS: u64 = 50;
/// How often a write that lost a race is planned anew; each loss means that another write won.
const PLANS_MAX: usize = 64;

/// What this node last heard from its raft peer.
#[derive(Clone, Debug)]
pub struct Known {
    /// The newest state.
    pub view: View,
    /// Where the peer stands.
    pub standing: Standing,
}

/// Everything a task needs.
#[derive(Clone)]
pub(super) struct Doors {
    pub(super) known: watch::Receiver<Option<Known>>,
    pub(super) peer: Addr<RaftPeer>,
    pub(super) caller: Addr<Caller>,
    pub(super) clock: Rc<dyn Clock>,
    pub(super) entropy: Entropy,
    pub(super) voters_wanted: usize,
    pub(super) kept: watch::Receiver<Option<SnapshotStatus>>,
}

/// Where a write has to go.
enum Leader {
    Here,
    At(Contact),
}

fn after(millis: u64) -> Instant {
    Instant::now() + Duration::from_millis(millis)
}

impl Doors {
    /// Plans and commits, here or on the leader. Replies stand in the order of the requests.
    pub(super) async fn submit(self, requests: Vec<Request>) -> Vec<Result<Reply, Status>> {
        self.submit_until(requests, after(SUBMIT_MS_MAX)).await
    }

    async fn submit_until(
        mut self,
        requests: Vec<Request>,
        deadline: Instant,
    ) -> Vec<Result<Reply, Status>> {
        loop {
            let submitted = match self.leader(None, deadline).await {
                Err(status) => return vec![Err(status); requests.len()],
                Ok((_, Leader::Here)) => self.submit_here(&requests, None, deadline).await,
                Ok((_, Leader::At(leader))) => self
                    .forward(leader.address, Call::Submit(requests.clone()), deadline)
                    .await
                    .map(|answer| match answer {
                        Answer::Submitted(replies) => Ok(replies),
                        other => Err(unexpected(&other)),
                    }),
            };
            match submitted {
                Attempt::Done(Ok(replies)) => return replies,
                Attempt::Done(Err(status)) => return vec![Err(status); requests.len()],
                Attempt::Elsewhere if Instant::now() >= deadline => {
                    return vec![Err(no_leader()); requests.len()];
                }
                Attempt::Elsewhere => self.look_again(deadline).await,
            }
        }
    }

    /// Plans and commits what another node forwarded, or the leader's own actors want, if this node leads.
    pub(super) async fn submit_if_leading(
        mut self,
        requests: Vec<Request>,
    ) -> Result<Vec<Result<Reply, Status>>, Status> {
        let deadline = after(SUBMIT_MS_MAX);
        match self.submit_here(&requests, None, deadline).await {
            Attempt::Done(replies) => replies,
            Attempt::Elsewhere => Err(refusals::not_leader()),
        }
    }

    /// Everything this node has, at once, or as soon as it has reached `revision`.
    pub(super) async fn read_at_least(mut self, revision: Revision) -> Result<View, Status> {
        let reached = |known: &Option<Known>| {
            known
                .as_ref()
                .is_some_and(|known| known.view.revision() >= revision)
        };
        match timeout_at(after(READ_MS_MAX), self.known.wait_for(reached)).await {
            Ok(Ok(known)) => Ok(known
                .as_ref()
                .expect("the condition just held")
                .view
                .clone()),
            Ok(Err(_)) => Err(stopping()),
            Err(_) if revision == 0 => {
                Err(Status::unavailable("the node is not yet part of a cluster"))
            }
            Err(_) => Err(refusals::too_large_resource_version(revision)),
        }
    }

    /// A view that reflects every write acknowledged before the call.
    pub(super) async fn read_linearizable(mut self) -> Result<View, Status> {
        let deadline = after(READ_MS_MAX);
        loop {
            let attempt = deadline.min(after(ATTEMPT_MS_MAX));
            if let Ok(Ok(Ok(view))) = timeout_at(attempt, self.peer.send(ReadIndex)).await {
                // Watchers must have been given every change up to a view before anyone sees it.
                return self.read_at_least(view.revision()).await;
            }
            if Instant::now() >= deadline {
                return Err(no_leader());
            }
            self.look_again(deadline).await;
        }
    }

    /// The changes after one revision up to another.
    pub(super) async fn history(
        &self,
        prefix: String,
        after: Revision,
        up_to: Revision,
    ) -> Result<Vec<Event>, Status> {
        let history = self.peer.send(GetHistory { prefix, after }).await;
        let history = history.map_err(|_| stopping())?;
        let mut events = history.map_err(|compacted| expired(after, compacted))?;
        events.retain(|event| event.revision <= up_to);
        Ok(events)
    }

    /// Describes the cluster, asking the leader if that is another node.
    pub(super) async fn describe(mut self) -> Result<ClusterStatus, Status> {
        let deadline = after(READ_MS_MAX);
        loop {
            let described = match self.leader(None, deadline).await?.1 {
                Leader::Here => Attempt::Done(self.clone().describe_here().await),
                Leader::At(leader) => self
                    .forward(leader.address, Call::Describe, deadline)
                    .await
                    .map(|answer| match answer {
                        Answer::Described(status) => Ok(status),
                        other => Err(unexpected(&other)),
                    }),
            };
            match described {
                Attempt::Done(described) => return described,
                Attempt::Elsewhere if Instant::now() >= deadline => return Err(no_leader()),
                Attempt::Elsewhere => self.look_again(deadline).await,
            }
        }
    }

    /// Describes the cluster from this node's own peer; `NotLeader` unless it leads.
    pub(super) async fn describe_here(self) -> Result<ClusterStatus, Status> {
        let status = self.peer.send(GetStatus).await.map_err(|_| stopping())?;
        let known = self.known.borrow().clone();
        match (status, known) {
            (Some((cluster, status)), Some(known)) if known.standing.leads => {
                let wanted = self.voters_wanted;
                let described = describe_members(cluster, &status, &known.view, wanted);
                let snapshots = self.kept.borrow().clone().map(Box::new);
                Ok(ClusterStatus {
                    snapshots,
                    ..described
                })
            }
            _ => Err(refusals::not_leader()),
        }
    }

    /// Plans and commits on this node; `Elsewhere` if it does not lead and nothing was executed. A single request may
    /// have names for what is proposed, and the one term in which it may be.
    async fn submit_here(
        &mut self,
        requests: &[Request],
        names: Option<(Term, Names)>,
        deadline: Instant,
    ) -> Attempt<Vec<Result<Reply, Status>>> {
        let mut replies: Vec<Option<Result<Reply, Status>>> = vec![None; requests.len()];
        let (mut reign, mut names) = names.unzip();
        let mut began = None;
        for _ in 0..PLANS_MAX {
            // What a leader planned is not worth planning again in a later term of its: much may lie between.
            let leading = self.view_if_leading();
            let Some((term, view)) =
                leading.filter(|(term, _)| *reign.get_or_insert(*term) == *term)
            else {
                return finish_or_leave(replies);
            };
            let name = names.as_mut().map(Names::draw);
            if name == Some(None) {
                break;
            }
            let began = *began.get_or_insert(view.revision());
            let now = self.clock.wall();
            let Planned { writes, unwritten } =
                self.plan_all(&view, requests, (now, began), &mut replies);
            let at = (now, term, name.flatten());
            let Some(executed) = self.commit(writes, at, deadline, &mut replies).await else {
                return finish_or_leave(replies);
            };
            let certain = self.answer(unwritten, requests, (began, deadline), &mut replies);
            if !certain.await || replies.iter().all(Option::is_some) {
                return finish_or_leave(replies);
            }
            if executed {
                continue;
            }
            // A comparison failed, so a newer state than the planned one exists and is about to be published.
            let newer = |known: &Option<Known>| {
                known
                    .as_ref()
                    .is_some_and(|k| k.view.revision() > view.revision())
            };
            if timeout_at(deadline, self.known.wait_for(newer))
                .await
                .is_err()
            {
                break;
            }
        }
        let busy = || {
            Err(Status::unavailable(
                "the object changes too fast to be written; try again",
            ))
        };
        Attempt::Done(Ok(replies
            .into_iter()
            .map(|reply| reply.unwrap_or_else(busy))
            .collect()))
    }

    /// Plans what has no reply yet; what makes no sense whatever the state is refused at once.
    fn plan_all(
        &mut self,
        view: &View,
        requests: &[Request],
        (now, began): (jiff::Timestamp, Revision),
        replies: &mut [Option<Result<Reply, Status>>],
    ) -> Planned {
        let mut planned = Planned::default();
        for (at, request) in requests.iter().enumerate() {
            if replies[at].is_some() {
                continue;
            }
            match self.plan_one(view, request, (now, began)) {
                Ok(plan) if !plan.transactions.is_empty() => planned.writes.push((at, plan)),
                Err(status) if matches!(status.code, 400 | 405 | 413 | 415) => {
                    replies[at] = Some(Err(status));
                }
                Ok(_) | Err(_) => planned.unwritten.push(at),
            }
        }
        planned
    }

    fn plan_one(
        &mut self,
        view: &View,
        request: &Request,
        (now, began): (jiff::Timestamp, Revision),
    ) -> Result<Plan, Status> {
        let entropy = &mut self.entropy;
        plan_again(view, request, &mut Stamp { now, entropy }, began)
    }

    /// Answers what needs no write, by a view that lacks nothing acknowledged before: another node may lead by now, and
    /// a commit would have shown it. What does need one by that view is left for the next plan. False if no such view
    /// is to be had.
    async fn answer(
        &mut self,
        unwritten: Vec<usize>,
        requests: &[Request],
        (began, deadline): (Revision, Instant),
        replies: &mut [Option<Result<Reply, Status>>],
    ) -> bool {
        if unwritten.is_empty() {
            return true;
        }
        let attempt = deadline.min(after(ATTEMPT_MS_MAX));
        let Ok(Ok(Ok(view))) = timeout_at(attempt, self.peer.send(ReadIndex)).await else {
            return false;
        };
        let Ok(view) = self.clone().read_at_least(view.revision()).await else {
            return false;
        };
        let now = self.clock.wall();
        for at in unwritten {
            match self.plan_one(&view, &requests[at], (now, began)) {
                Ok(plan) if !plan.transactions.is_empty() => {}
                Ok(plan) => replies[at] = Some(Ok(plan.reply.finish(view.revision()))),
                Err(status) => replies[at] = Some(Err(status)),
            }
        }
        true
    }

    /// Proposes the plans as one batch and fills in the replies. `Some(true)`: all are answered; `Some(false)`: some
    /// lost a race and must be planned again; `None`: this node does not lead any more.
    async fn commit(
        &self,
        plans: Vec<(usize, Plan)>,
        (now, term, name): (jiff::Timestamp, Term, Option<ProposalId>),
        deadline: Instant,
        replies: &mut [Option<Result<Reply, Status>>],
    ) -> Option<bool> {
        if plans.is_empty() {
            return Some(true);
        }
        let mut waiting = Vec::with_capacity(plans.len());
        let mut transactions = Vec::with_capacity(plans.len());
        for (at, plan) in plans {
            waiting.push((at, plan.reply, plan.transactions.len()));
            transactions.extend(plan.transactions.into_iter().map(|t| (name, t)));
        }
        let count = transactions.len();
        assert!(
            name.is_none() || count == 1,
            "a request with a name is one transaction"
        );
        let proposed = self.peer.send(Propose {
            time_ms: now.as_millisecond(),
            term: Some(term),
            transactions,
        });
        let outcomes = match timeout_at(deadline, proposed).await {
            Ok(Ok(outcomes)) => outcomes,
            Ok(Err(_)) | Err(_) => vec![Err(ProposeError::Unknown); count],
        };
        let (mut all, mut leads) = (true, true);
        let mut outcomes = outcomes.into_iter();
        for (at, reply, count) in waiting {
            match all_of(outcomes.by_ref().take(count)) {
                Ok(Outcome::Committed { revision }) => {
                    replies[at] = Some(Ok(reply.finish(revision)));
                }
                Ok(Outcome::Conflict { .. }) => all = false,
                Err(ProposeError::Unknown) => replies[at] = Some(Err(outcome_unknown())),
                Err(ProposeError::Rejected(Rejected::Overloaded)) => {
                    replies[at] = Some(Err(Status::too_many_requests(
                        "too many writes wait for replication",
                        1,
                    )));
                }
                Err(
                    ProposeError::Rejected(_) | ProposeError::Replaced | ProposeError::NotMember,
                ) => leads = false,
            }
        }
        leads.then_some(all)
    }

    fn view_if_leading(&self) -> Option<(Term, View)> {
        self.known
            .borrow()
            .as_ref()
            .filter(|known| known.standing.leads)
            .map(|known| (known.standing.term, known.view.clone()))
    }

    /// Waits until some node is known to lead, in a later term if one is given.
    async fn leader(
        &mut self,
        later_than: Option<Term>,
        deadline: Instant,
    ) -> Result<(Term, Leader), Status> {
        let lead = |known: &Known| {
            let standing = &known.standing;
            let leader = match standing.leader {
                _ if later_than.is_some_and(|term| standing.term <= term) => None,
                _ if standing.leads => Some(Leader::Here),
                Some(leader) if leader != standing.id => known.contact(leader).map(Leader::At),
                _ => None,
            };
            leader.map(|leader| (standing.term, leader))
        };
        let found = self
            .known
            .wait_for(|known| known.as_ref().is_some_and(|known| lead(known).is_some()));
        match timeout_at(deadline, found).await {
            Ok(Ok(known)) => Ok(known
                .as_ref()
                .and_then(lead)
                .expect("the condition just held")),
            _ => Err(no_leader()),
        }
    }

    /// Asks the leader at an address; `Elsewhere` if it certainly did nothing.
    async fn forward(&self, address: String, call: Call, deadline: Instant) -> Attempt<Answer> {
        match self
            .caller
            .send(Place {
                address,
                call,
                deadline,
            })
            .await
        {
            Ok(Ok(answer)) => Attempt::Done(Ok(answer)),
            Ok(Err(CallError::Refused(status))) if is_not_leader(&status) => Attempt::Elsewhere,
            Ok(Err(CallError::Refused(status))) => Attempt::Done(Err(status)),
            Ok(Err(error @ CallError::TooLarge { .. })) => {
                Attempt::Done(Err(Status::too_large(error.to_string())))
            }
            Ok(Err(CallError::NotSent(_))) => Attempt::Elsewhere,
            Ok(Err(CallError::Lost(_))) | Err(_) => Attempt::Done(Err(outcome_unknown())),
        }
    }

    /// Waits for news, or a moment, before another attempt.
    async fn look_again(&mut self, deadline: Instant) {
        let soon = deadline.min(after(LOOK_AGAIN_MS));
        // Whether news came or the moment passed, the caller tries again until its own deadline.
        let _ = timeout_at(soon, self.known.changed()).await;
    }
}

/// What became of a plan, by what became of its transactions: the last one's outcome if every one committed, else the
/// worst. One that may or may not have been executed leaves the whole plan so.
fn all_of(
    outcomes: impl Iterator<Item = Result<Outcome, ProposeError>>,
) -> Result<Outcome, ProposeError> {
    let rank = |outcome: &Result<Outcome, ProposeError>| match outcome {
        Ok(Outcome::Committed { .. }) => 0,
        Ok(Outcome::Conflict { .. }) => 1,
        Err(ProposeError::Unknown) => 3,
        Err(_) => 2,
    };
    let all = outcomes.reduce(|worst, next| {
        let keep = rank(&worst) > 0 && rank(&worst) >= rank(&next);
        if keep { worst } else { next }
    });
    all.expect("a plan that is proposed has a transaction")
}

/// What is to become of requests.
#[derive(Default)]
struct Planned {
    /// Those that write, with their place among the requests.
    writes: Vec<(usize, Plan)>,
    /// The places of those that a state answers without a write.
    unwritten: Vec<usize>,
}

/// One try at something that only the leader can do.
enum Attempt<T> {
    /// It was done, or refused for good.
    Done(Result<T, Status>),
    /// Nothing was done; another node leads, or none.
    Elsewhere,
}

impl<T> Attempt<T> {
    fn map<U>(self, f: impl FnOnce(T) -> Result<U, Status>) -> Attempt<U> {
        match self {
            Self::Done(done) => Attempt::Done(done.and_then(f)),
            Self::Elsewhere => Attempt::Elsewhere,
        }
    }
}

/// All answered: done. None executed: elsewhere. Some executed before leadership was lost: the rest is refused.
fn finish_or_leave(
    replies: Vec<Option<Result<Reply, Status>>>,
) -> Attempt<Vec<Result<Reply, Status>>> {
    if replies.iter().all(Option::is_none) && !replies.is_empty() {
        return Attempt::Elsewhere;
    }
    Attempt::Done(Ok(replies
        .into_iter()
        .map(|reply| reply.unwrap_or_else(|| Err(no_leader())))
        .collect()))
}

fn unexpected(answer: &Answer) -> Status {
    Status::internal(format!("the leader answered another question: {answer:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_as_well_off_as_the_worst_of_its_transactions() {
        let committed = |revision| Ok(Outcome::Committed { revision });
        let conflict = || {
            Ok(Outcome::Conflict {
                key: "k".into(),
                actual: 3,
            })
        };
        let unknown = || Err(ProposeError::Unknown);
        let of = |outcomes: Vec<_>| all_of(outcomes.into_iter());
        assert_eq!(of(vec![committed(1), committed(2)]), committed(2));
        assert_eq!(of(vec![conflict(), committed(2)]), conflict());
        assert_eq!(of(vec![committed(1), conflict(), committed(2)]), conflict());
        let replaced = || Err(ProposeError::Replaced);
        assert_eq!(of(vec![conflict(), replaced(), committed(1)]), replaced());
        assert_eq!(of(vec![unknown(), replaced(), committed(1)]), unknown());
        assert_eq!(of(vec![committed(1), unknown()]), unknown());
    }
}
