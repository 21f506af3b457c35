//! The shell around the consensus core and the store: feeds the one, applies to the other, tells the rest.
//!
//! It performs a [`Ready`] in the order its documentation demands: restore, apply, answer, send. Deliberately
//! without any idea of what the commands mean, and without sockets: envelopes leave through [`SendEnvelopes`].

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use futures::future::LocalBoxFuture;
use tokio::sync::oneshot;

use super::dial::Introduction;
use super::member::{Member, Pending};
use super::messages::{Applied, BecameLeader, LostLeadership};
use super::metrics::RaftMetrics;
use crate::env::clock::Clock;
use crate::env::entropy::Entropy;
use crate::raft::{
    Change, ClusterId, Config, Configuration, Envelope, Input, PeerId, Ready, Rejected, Role,
    Status, Term,
};
use crate::store::{Compacted, Event, HistoryBounds, Revision, View};
use batch::Proposals;
use survivor::Promise;

pub use propose::{Propose, ProposeError, Recall};

pub mod archived;
mod batch;
pub mod image;
mod propose;
pub mod resting;
pub mod survivor;
pub mod transfer;

/// The longest wait before the core is asked for its next deadline, while this node is outside of any cluster.
const IDLE_MS: u64 = 50;
/// Strangers whose contacts are kept; more than the members of any cluster, and forgotten once a configuration is known.
const INTRODUCED_MAX: usize = 64;

/// Begin to take part, either as a founder or as one who joins. Answered with whether it does.
#[derive(Message, Debug)]
#[rtype(result = "bool")]
pub struct TakePart {
    /// In which cluster.
    pub cluster: ClusterId,
    /// The founding configuration, or `None` to join.
    pub founding: Option<Configuration>,
}

/// Envelopes came from other peers.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct EnvelopesReceived(pub Vec<Envelope>);

/// A peer's process was seen gone (refused or reset), not merely silent.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct PeerGone(pub PeerId);

/// A peer dialled this node and said how it is reached.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct PeerIntroduced(pub Introduction);

/// A view that reflects every write acknowledged before this request.
#[derive(Message, Debug)]
#[rtype(result = "Result<View, ProposeError>")]
pub struct ReadIndex;

/// Change the membership. Leader only.
#[derive(Message, Debug)]
#[rtype(result = "Result<(), Rejected>")]
pub struct Reconfigure(pub Change);

/// The core's state; `None` outside of a cluster.
#[derive(Message, Debug)]
#[rtype(result = "Option<(ClusterId, Status)>")]
pub struct GetStatus;

/// The changes of keys with this prefix after a revision, as far as the store remembers them.
#[derive(Message, Debug)]
#[rtype(result = "Result<Vec<Event>, Compacted>")]
pub struct GetHistory {
    /// Keys' prefix.
    pub prefix: String,
    /// Exclusive lower bound.
    pub after: Revision,
}

/// Out: envelopes to send, with their receivers' contacts. Loss is allowed.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct SendEnvelopes {
    /// The messages.
    pub envelopes: Vec<Envelope>,
    /// How each member is reached.
    pub contacts: Arc<BTreeMap<PeerId, Bytes>>,
}

/// Out: the store moved on, or the role changed. Sent in order and without gaps.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct Published {
    /// The newest state.
    pub view: View,
    /// The changes since the last one; empty after a `restored`.
    pub events: Arc<Vec<Event>>,
    /// The state was replaced by a snapshot: watches must begin anew.
    pub restored: bool,
    /// Where this peer stands.
    pub standing: Standing,
}

/// A peer's place in its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The cluster and generation.
    pub cluster: ClusterId,
    /// This incarnation.
    pub id: PeerId,
    /// Its role.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// The leader it knows.
    pub leader: Option<PeerId>,
    /// Who votes, who only listens, and how each is reached, as its log has it.
    pub configuration: Arc<Configuration>,
    /// A leader that has committed and applied an entry of its own term, so that its view is complete.
    pub leads: bool,
}

/// Those who hear of a peer's progress.
pub struct Neighbours {
    /// Takes envelopes to other peers.
    pub send: Recipient<SendEnvelopes>,
    /// Hears of every change (the store front).
    pub published: Recipient<Published>,
    /// The leader's own actors.
    pub leader_team: Vec<LeaderMember>,
}

/// One of the leader's own actors.
pub struct LeaderMember {
    /// Told when this node begins to lead.
    pub became: Recipient<BecameLeader>,
    /// Told of changes while it leads.
    pub applied: Recipient<Applied>,
    /// Told when it no longer leads.
    pub lost: Recipient<LostLeadership>,
}

impl LeaderMember {
    /// From an actor that handles all three.
    pub fn of<A>(address: &Addr<A>) -> Self
    where
        A: Actor<Context = Context<A>>
            + Handler<BecameLeader>
            + Handler<Applied>
            + Handler<LostLeadership>,
    {
        Self {
            became: address.clone().recipient(),
            applied: address.clone().recipient(),
            lost: address.clone().recipient(),
        }
    }
}

/// The actor. Invariants: while something waits in `inputs` or `proposals`, a `Flush` is on its way; what is in
/// `proposals` came after all of `inputs`; `leading` is set only between `BecameLeader` and `LostLeadership`;
/// `contacts` are those of the newest configuration in the log; a `relic` is never stepped again, and its generation is
/// earlier than `member`'s; `promise` is never below either's generation, once there is one.
pub struct RaftPeer {
    id: PeerId,
    config: Config,
    history: HistoryBounds,
    clock: Rc<dyn Clock>,
    entropy: Entropy,
    neighbours: Neighbours,
    metrics: RaftMetrics,
    member: Option<Member>,
    inputs: Vec<Input>,
    proposals: Proposals,
    /// Its part in an earlier generation, which takes no further part itself: read from until this generation's own
    /// state has come, and what a recovery may begin from.
    relic: Option<Member>,
    /// The latest generation it promised somebody.
    promise: Option<Promise>,
    /// It is no member, and does not tick.
    resting: bool,
    /// Fires at the core's next deadline.
    timer: Option<SpawnHandle>,
    /// Peers that dialled while this node's configuration did not name them: a learner that has no snapshot yet knows
    /// no configuration and must answer its leader all the same. And those whom its last configuration named.
    introduced: BTreeMap<PeerId, Bytes>,
}

impl RaftPeer {
    /// A peer that is not yet part of any cluster.
    pub fn new(
        id: PeerId,
        config: Config,
        clock: Rc<dyn Clock>,
        entropy: Entropy,
        neighbours: Neighbours,
        metrics: RaftMetrics,
    ) -> Self {
        Self {
            id,
            config,
            history: HistoryBounds::default(),
            clock,
            entropy,
            neighbours,
            metrics,
            member: None,
            inputs: Vec::new(),
            proposals: Proposals::default(),
            relic: None,
            promise: None,
            resting: false,
            timer: None,
            introduced: BTreeMap::new(),
        }
    }

    /// The same peer, whose store keeps so much for watches that begin in the past.
    #[must_use]
    pub fn keeping(mut self, history: HistoryBounds) -> Self {
        self.history = history;
        self
    }

    /// Sets the timer for the core's next deadline.
    fn arm(&mut self, ctx: &mut Context<Self>) {
        let idle = Duration::from_millis(IDLE_MS);
        let ticking = self.member.as_ref().filter(|_| !self.resting);
        let wait = ticking.map_or(idle, |member| {
            member.raft.deadline().saturating_sub(self.clock.now())
        });
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        // At least a millisecond, so that a clock that stands still cannot spin the actor.
        let wait = wait.max(Duration::from_millis(1));
        self.timer = Some(ctx.run_later(wait, |peer, ctx| {
            if !peer.resting {
                peer.step(Input::Tick, ctx);
            }
            peer.arm(ctx);
        }));
    }
}

impl Actor for RaftPeer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1_024);
        self.arm(ctx);
    }
}

impl Handler<TakePart> for RaftPeer {
    type Result = bool;

    fn handle(
        &mut self,
        TakePart { cluster, founding }: TakePart,
        ctx: &mut Self::Context,
    ) -> bool {
        if self.has_promised_more(cluster) {
            return false;
        }
        // The one that began a generation hears of it as everybody does.
        if !self.may_go_on_to(cluster) {
            return true;
        }
        self.freeze();
        let (now, entropy) = (self.clock.now(), self.entropy.fork());
        let mut member = Member::new(
            self.id,
            self.config.clone(),
            cluster,
            founding,
            now,
            entropy,
        )
        .keeping(self.history);
        self.inherit(&mut member);
        self.member = Some(member);
        tracing::info!(id = %self.id, cluster = %format_args!("{:016x}", cluster.id), cluster.generation, "takes part");
        self.step(Input::Tick, ctx);
        true
    }
}

impl Handler<EnvelopesReceived> for RaftPeer {
    type Result = ();

    fn handle(&mut self, EnvelopesReceived(envelopes): EnvelopesReceived, ctx: &mut Self::Context) {
        for envelope in envelopes {
            self.step_soon(Input::Message(envelope), ctx);
        }
    }
}

impl Handler<PeerGone> for RaftPeer {
    type Result = ();

    fn handle(&mut self, PeerGone(peer): PeerGone, ctx: &mut Self::Context) {
        self.step(Input::Unreachable(peer), ctx);
        // The core may want to stand for election much sooner now.
        self.arm(ctx);
    }
}

impl Handler<PeerIntroduced> for RaftPeer {
    type Result = ();

    fn handle(
        &mut self,
        PeerIntroduced(Introduction { id, contact }): PeerIntroduced,
        _: &mut Self::Context,
    ) {
        let known = self
            .member
            .as_ref()
            .is_some_and(|member| member.contacts.contains_key(&id));
        if !known && self.introduced.len() < INTRODUCED_MAX {
            self.introduced.insert(id, contact);
        }
    }
}

impl Handler<ReadIndex> for RaftPeer {
    type Result = LocalBoxFuture<'static, Result<View, ProposeError>>;

    fn handle(&mut self, _: ReadIndex, ctx: &mut Self::Context) -> Self::Result {
        let Some(member) = &mut self.member else {
            return Box::pin(async { Err(ProposeError::NotMember) });
        };
        let (answer, receiver) = oneshot::channel();
        let tag = member.tag(Pending::Read(answer));
        self.step_soon(Input::Read(tag), ctx);
        Box::pin(async move { receiver.await.unwrap_or(Err(ProposeError::Unknown)) })
    }
}

impl Handler<Reconfigure> for RaftPeer {
    type Result = LocalBoxFuture<'static, Result<(), Rejected>>;

    fn handle(
        &mut self,
        Reconfigure(change): Reconfigure,
        ctx: &mut Self::Context,
    ) -> Self::Result {
        let Some(member) = &mut self.member else {
            return Box::pin(async { Err(Rejected::NotLeader { leader: None }) });
        };
        let (answer, receiver) = oneshot::channel();
        let tag = member.tag(Pending::Reconfigure(answer));
        self.step(Input::Reconfigure(tag, change), ctx);
        Box::pin(async move {
            receiver
                .await
                .unwrap_or(Err(Rejected::NotLeader { leader: None }))
        })
    }
}

impl Handler<GetStatus> for RaftPeer {
    type Result = MessageResult<GetStatus>;

    fn handle(&mut self, _: GetStatus, _: &mut Self::Context) -> Self::Result {
        let now = self.clock.now();
        MessageResult(
            self.member
                .as_ref()
                .map(|member| (member.cluster, member.raft.status(now))),
        )
    }
}

impl Handler<GetHistory> for RaftPeer {
    type Result = MessageResult<GetHistory>;

    fn handle(
        &mut self,
        GetHistory { prefix, after }: GetHistory,
        _: &mut Self::Context,
    ) -> Self::Result {
        let history = self
            .standing_part()
            .map(|member| member.store.history(after, &prefix));
        MessageResult(history.unwrap_or(Ok(Vec::new())))
    }
}

impl RaftPeer {
    /// Performs the core's output, in the order its documentation demands. The figures are taken with every tick and
    /// change of role, which is more often than anybody reads them.
    fn perform(&mut self, ready: Ready, ticked: bool, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        let Some(member) = &mut self.member else {
            return;
        };
        let restored = ready.restore.is_some() || std::mem::take(&mut member.begun);
        if let Some(snapshot) = ready.restore {
            member.restore(&snapshot);
        }
        // Before applying, because a lone voter commits what it is asked in the same step.
        for (tag, accepted) in ready.proposed {
            member.await_proposed(tag, accepted);
        }
        let events = member.apply(ready.committed);
        for (tag, index) in ready.reads {
            member.answer_read(tag, index);
        }
        member.serve_reads();
        let configuration = member.raft.log().configuration();
        if *member.configuration != *configuration {
            if *member.contacts != configuration.contacts {
                let before = std::mem::take(&mut member.contacts);
                member.contacts = Arc::new(configuration.contacts.clone());
                // Members left out must still hear that they are.
                self.introduced = Arc::unwrap_or_clone(before);
                (self.introduced).retain(|id, _| !member.contacts.contains_key(id));
            }
            member.configuration = Arc::new(configuration.clone());
        }
        if !ready.messages.is_empty() {
            let contacts = reachable(&member.contacts, &self.introduced);
            self.neighbours.send.do_send(SendEnvelopes {
                envelopes: ready.messages,
                contacts,
            });
        }
        if member.has_state() || self.relic.is_none() {
            self.relic = None;
            if ticked || ready.role_changed {
                let (generation, view) = (member.cluster.generation, member.store.view());
                self.metrics
                    .observe(generation, &member.raft.status(now), &view);
                self.metrics.count(member.raft.counters());
                self.metrics
                    .hold(&member.store.usage(), member.raft.log().bytes());
            }
            self.publish(events, restored);
        }
        if ready.snapshot_wanted {
            self.make_image(ctx);
        }
    }

    /// Tells the store front and, while leading, the leader's team.
    fn publish(&mut self, events: Vec<Event>, restored: bool) {
        let Some(member) = &mut self.member else {
            return;
        };
        let (role, term) = (member.raft.role(), member.raft.term());
        let own_term_applied = role == Role::Leader && member.applied_term == term;
        let leading = own_term_applied.then_some(term);
        let lost = member.leading.is_some() && member.leading != leading;
        let won = leading.is_some() && member.leading != leading;
        member.leading = leading;
        let standing = Standing {
            cluster: member.cluster,
            id: self.id,
            role,
            term,
            leader: member.raft.leader(),
            configuration: member.configuration.clone(),
            leads: leading.is_some(),
        };
        let events = Arc::new(events);
        let view = member.store.view();
        if restored || !events.is_empty() || member.told.as_ref() != Some(&standing) {
            member.told = Some(standing.clone());
            self.neighbours.published.do_send(Published {
                view: view.clone(),
                events: events.clone(),
                restored,
                standing,
            });
        }
        for neighbour in &self.neighbours.leader_team {
            if lost {
                neighbour.lost.do_send(LostLeadership);
            }
            if won {
                neighbour.became.do_send(BecameLeader {
                    term,
                    view: view.clone(),
                });
            } else if leading.is_some() && !events.is_empty() {
                neighbour.applied.do_send(Applied {
                    view: view.clone(),
                    events: events.clone(),
                });
            }
        }
    }
}

/// The members' contacts, and those of peers that introduced themselves.
fn reachable(
    contacts: &Arc<BTreeMap<PeerId, Bytes>>,
    introduced: &BTreeMap<PeerId, Bytes>,
) -> Arc<BTreeMap<PeerId, Bytes>> {
    if introduced.is_empty() {
        return contacts.clone();
    }
    let mut all = introduced.clone();
    all.extend(contacts.iter().map(|(id, contact)| (*id, contact.clone())));
    Arc::new(all)
}
