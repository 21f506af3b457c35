//! Who votes: on the leader, lets new incarnations in and keeps the voters many enough and alive; and who leads, when
//! this node goes away.
//!
//! The decision is the raft room's (`plan_membership`); here stand only its inputs (the Node objects and the peers'
//! progress). Who may have a node's name, `admission.rs` says.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use futures::future::{LocalBoxFuture, OptionFuture};
use k8s_openapi::api::core::v1::Node;
use tokio::time::Instant;

use super::admission::Holder;
use super::caller::Caller;
use super::cloud_word::CloudWord;
use super::formation::ask_who;
use super::hand_over::{Leave, Leaving, Parting, successor};
use super::messages::{Applied, BecameLeader, LostLeadership, Submit};
use super::raft_peer::transfer::Transfer;
use super::raft_peer::{GetStatus, RaftPeer, ReadIndex, Reconfigure};
use super::refusals::{not_leader, stopping};
use super::registration::{nodes, register, registered};
use super::spoken::{NodeSpoke, Spoken};
use super::wire::Contact;
use crate::env::cloud::Cloud;
use crate::raft::{self, Candidate, Change, ClusterId, Limits, PeerId, plan_membership};
use crate::resource::Status;
use crate::resource::nodes::{eviction, is_ready};
use crate::store::{Event, Revision, View};

/// How often the leader looks whether the membership should change; well under the second after which a caught-up
/// learner may be promoted.
const LOOK_MS: u64 = 200;
/// A name whose last holder was heard within this time belongs to it; another machine must wait or choose another.
const NAME_HELD_MS: u64 = 10_000;
/// Label from which a node's failure domain is read.
const ZONE: &str = "topology.kubernetes.io/zone";

/// Let this incarnation in; answered with the cluster once its Node object is written.
#[derive(Message, Clone)]
#[rtype(result = "Result<ClusterId, Status>")]
pub struct Admit {
    /// The incarnation.
    pub id: PeerId,
    /// How it is reached.
    pub contact: Contact,
    /// It was admitted before and introduces itself again: it gets its Node object back if that was deleted, but
    /// never takes its name from a process that came after it.
    pub again: bool,
}

/// A change was tried.
#[derive(Message)]
#[rtype(result = "()")]
struct Changed {
    change: Change,
    result: Result<(), raft::Rejected>,
}

/// The cloud said which members are gone.
#[derive(Message)]
#[rtype(result = "()")]
struct Gone(BTreeSet<PeerId>);

/// The core's state was read.
#[derive(Message)]
#[rtype(result = "()")]
struct StatusRead {
    status: Option<raft::Status>,
}

/// The actor.
pub struct Membership {
    id: PeerId,
    peer: Addr<RaftPeer>,
    submit: Recipient<Submit>,
    caller: Addr<Caller>,
    voters_wanted: usize,
    /// The newest state, while this node leads.
    view: Option<View>,
    /// A change is being tried.
    busy: bool,
    /// Look again as soon as it has been.
    urgent: bool,
    /// By its own word; by another's, its Node object says that this node goes away.
    parting: Parting,
    cloud: CloudWord,
    spoken: Spoken,
}

impl Membership {
    /// An idle membership keeper.
    pub fn new(
        id: PeerId,
        peer: Addr<RaftPeer>,
        submit: Recipient<Submit>,
        caller: Addr<Caller>,
        voters_wanted: usize,
        cloud: Rc<dyn Cloud>,
    ) -> Self {
        Self {
            id,
            peer,
            submit,
            caller,
            voters_wanted,
            view: None,
            busy: false,
            urgent: false,
            parting: Parting::default(),
            cloud: CloudWord::new(cloud),
            spoken: Spoken::default(),
        }
    }

    /// Everyone who could be a member, by incarnation. One whose name and machine another one has taken over is proven
    /// dead, and so is one that the cloud says is gone. The machine alone proves nothing: it may run several nodes, and cloned machines share their ids.
    fn candidates(&self, view: &View, status: &raft::Status) -> BTreeMap<PeerId, Candidate> {
        let mut evicting = BTreeSet::new();
        let described = |node: Node| {
            let (id, contact) = registered(&node)?;
            evicting.extend(eviction(&node).map(|_| id));
            Some((id, contact, self.silence(id, &node)))
        };
        let nodes: Vec<(PeerId, Contact, Duration)> = nodes(view).filter_map(described).collect();
        let mut candidates = BTreeMap::new();
        for (id, bytes) in &status.configuration.contacts {
            let Ok(contact) = Contact::decode(bytes) else {
                continue;
            };
            let superseded = |(other, new, _): &(PeerId, Contact, Duration)| {
                other != id && new.name == contact.name && new.machine_id == contact.machine_id
            };
            let proven_dead = nodes.iter().any(superseded) || self.cloud.is_gone(*id);
            candidates.insert(
                *id,
                Candidate {
                    proven_dead,
                    evicting: evicting.contains(id),
                    ..candidate(&contact)
                },
            );
        }
        for (id, contact, silent) in nodes {
            candidates.entry(id).or_insert_with(|| Candidate {
                // Its Node is ready for some seconds yet, and must not make it a member again.
                proven_dead: self.cloud.is_gone(id),
                silent,
                evicting: evicting.contains(&id),
                ..candidate(&contact)
            });
        }
        candidates
    }

    /// How long a node that is no member has been silent; for ever if its Node is not ready, whatever it says.
    fn silence(&self, id: PeerId, node: &Node) -> Duration {
        if is_ready(node) {
            self.spoken.silence(id, Instant::now())
        } else {
            Duration::MAX
        }
    }

    /// Looks as soon as possible.
    fn hasten(&mut self, ctx: &mut Context<Self>) {
        self.urgent = self.busy;
        self.look(ctx);
    }

    /// What was being tried has been.
    fn rest(&mut self, ctx: &mut Context<Self>) {
        self.busy = false;
        if std::mem::take(&mut self.urgent) {
            self.look(ctx);
        }
    }

    /// Whether the events announce the end of this very incarnation's machine.
    fn announces_own_end(&self, events: &[Event]) -> bool {
        let nodes = events.iter().filter(|e| e.key.starts_with("nodes/"));
        let mut nodes = nodes.filter_map(|event| event.current.as_ref());
        nodes.any(|record| {
            let node: Option<Node> = serde_json::from_slice(&record.value).ok();
            let eviction = node.as_ref().and_then(eviction);
            eviction.is_some_and(|eviction| eviction.incarnation == self.id.to_string())
        })
    }

    /// Hands leadership over if this node goes away and another can lead. Returns whether it tried.
    fn hand_over(
        &mut self,
        status: &raft::Status,
        candidates: &BTreeMap<PeerId, Candidate>,
    ) -> bool {
        let announced = candidates.get(&self.id).is_some_and(|own| own.evicting);
        let leaving = self.parting.leaving();
        if leaving == Leaving::No && !announced {
            return false;
        }
        let next = successor(status, candidates, leaving).filter(|_| !self.parting.rests());
        let Some(next) = next else {
            return false;
        };
        tracing::info!(to = %next, "this node goes away and hands leadership over");
        self.parting.on_attempt();
        self.peer.do_send(Transfer(next));
        true
    }

    /// What became of the silent; nobody waits for the answer.
    fn ask_cloud(&mut self, status: &raft::Status, ctx: &mut Context<Self>) {
        let me = ctx.address();
        if let Some(question) = self.cloud.question(status) {
            let asking = async move { me.do_send(Gone(question.await)) };
            ctx.spawn(asking.into_actor(self));
        }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.view.is_none() || self.busy {
            return;
        }
        self.busy = true;
        let (peer, me) = (self.peer.clone(), ctx.address());
        let read = async move {
            // No answer means that the node is stopping.
            if let Ok(status) = peer.send(GetStatus).await {
                let status = status.map(|(_, status)| status);
                me.do_send(StatusRead { status });
            }
        };
        ctx.spawn(read.into_actor(self));
    }
}

fn candidate(contact: &Contact) -> Candidate {
    Candidate {
        proven_dead: false,
        silent: Duration::ZERO,
        contact: contact.encode(),
        may_vote: contact.may_vote,
        zone: contact.labels.get(ZONE).cloned().unwrap_or_default(),
        evicting: false,
        name: contact.name.clone(),
    }
}

impl Actor for Membership {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(Duration::from_millis(LOOK_MS), Self::look);
    }
}

impl Handler<BecameLeader> for Membership {
    type Result = ();

    fn handle(&mut self, BecameLeader { view, .. }: BecameLeader, ctx: &mut Self::Context) {
        self.view = Some(view);
        self.spoken = Spoken::default();
        self.busy = false;
        self.parting.on_reign();
        if self.parting.leaving() != Leaving::No {
            self.hasten(ctx);
        }
    }
}

impl Handler<Applied> for Membership {
    type Result = ();

    fn handle(&mut self, Applied { view, events }: Applied, ctx: &mut Self::Context) {
        self.view = Some(view);
        if self.announces_own_end(&events) {
            self.hasten(ctx);
        }
    }
}

impl Handler<LostLeadership> for Membership {
    type Result = ();

    fn handle(&mut self, _: LostLeadership, _: &mut Self::Context) {
        self.view = None;
    }
}

impl Handler<NodeSpoke> for Membership {
    type Result = ();

    fn handle(&mut self, NodeSpoke(id): NodeSpoke, _: &mut Self::Context) {
        self.spoken.on_word(id, Instant::now());
    }
}

impl Handler<Leave> for Membership {
    type Result = ();

    fn handle(&mut self, Leave(leaving): Leave, ctx: &mut Self::Context) {
        self.parting.on_leave(leaving);
        if leaving != Leaving::No {
            self.hasten(ctx);
        }
    }
}

impl Handler<StatusRead> for Membership {
    type Result = ();

    fn handle(&mut self, StatusRead { status }: StatusRead, ctx: &mut Self::Context) {
        let (Some(view), Some(status)) = (&self.view, status) else {
            return self.rest(ctx);
        };
        self.spoken.on_members(status.configuration.members());
        let candidates = self.candidates(view, &status);
        self.cloud.retain(|id| candidates.contains_key(&id));
        self.spoken.retain(|id| candidates.contains_key(&id));
        self.ask_cloud(&status, ctx);
        if self.hand_over(&status, &candidates) {
            return self.rest(ctx);
        }
        let wanted = self.voters_wanted;
        let plan = plan_membership(&status, &candidates, wanted, &Limits::default());
        let Some(change) = plan else {
            return self.rest(ctx);
        };
        let (peer, me) = (self.peer.clone(), ctx.address());
        let reconfigure = async move {
            if let Ok(result) = peer.send(Reconfigure(change.clone())).await {
                me.do_send(Changed { change, result });
            }
        };
        ctx.spawn(reconfigure.into_actor(self));
    }
}

impl Handler<Gone> for Membership {
    type Result = ();

    fn handle(&mut self, Gone(members): Gone, ctx: &mut Self::Context) {
        if !members.is_empty() {
            self.cloud.hear(members);
            self.hasten(ctx);
        }
    }
}

impl Handler<Changed> for Membership {
    type Result = ();

    fn handle(&mut self, Changed { change, result }: Changed, ctx: &mut Self::Context) {
        self.rest(ctx);
        match result {
            Ok(()) => tracing::info!(?change, "membership changes"),
            Err(rejected) => {
                tracing::debug!(?change, %rejected, "membership change refused; looked at again");
            }
        }
    }
}

impl Handler<Admit> for Membership {
    type Result = LocalBoxFuture<'static, Result<ClusterId, Status>>;

    fn handle(&mut self, asking: Admit, _: &mut Self::Context) -> Self::Result {
        let Some(view) = self.view.clone() else {
            return Box::pin(async { Err(not_leader()) });
        };
        let (peer, submit, caller) = (self.peer.clone(), self.submit.clone(), self.caller.clone());
        Box::pin(async move {
            let stopping = |_| stopping();
            let (cluster, status) = peer
                .send(GetStatus)
                .await
                .map_err(stopping)?
                .ok_or_else(not_leader)?;
            // Who is told that it is superseded ends: only a leader that a quorum follows may say so.
            let view = if asking.again {
                let newest = peer.send(ReadIndex).await.map_err(stopping)?;
                newest.map_err(|_| not_leader())?
            } else {
                view
            };
            let existing = existing(&view, &asking.contact.name);
            if let Some((node, _)) = &existing
                && let Some((id, contact)) = registered(node)
            {
                if id == asking.id {
                    return Ok(cluster);
                }
                let holder = Holder {
                    id,
                    contact,
                    heard: is_alive(&status, id, node),
                    leads: id == status.id,
                };
                let asked = holder.is_to_be_asked(&asking);
                let asked = asked.then(|| ask_who(&caller, &holder.contact.address));
                let occupant = OptionFuture::from(asked).await.flatten();
                holder.yields(&asking, occupant.map(|who| who.id))?;
            }
            let Admit { id, contact, .. } = asking;
            let registration = register(existing.as_ref(), id, &contact);
            let replies = submit
                .send(Submit(vec![registration]))
                .await
                .map_err(stopping)?;
            for reply in replies {
                reply?;
            }
            tracing::info!(node = contact.name, %id, "incarnation admitted");
            Ok(cluster)
        })
    }
}

/// The Node of a name, with its revision. One that cannot be read is as good as registered by nobody.
fn existing(view: &View, name: &str) -> Option<(Node, Revision)> {
    let record = view.get(&format!("nodes//{name}"))?;
    let node = serde_json::from_slice(&record.value).unwrap_or_default();
    Some((node, record.mod_revision))
}

/// Whether a node was heard of lately: a member by consensus, another by its link, which writes the Node's condition.
fn is_alive(status: &raft::Status, id: PeerId, node: &Node) -> bool {
    let held = Duration::from_millis(NAME_HELD_MS);
    match status.progress.get(&id) {
        Some(progress) => progress.silent < held,
        None => id == status.id || is_ready(node),
    }
}
