//! Who votes: on the leader, lets new incarnations in and keeps the voters many enough and alive.
//!
//! The decision is the raft room's (`plan_membership`); here stand only its inputs (the Node objects and the peers'
//! progress) and the rule for who may take over a node's name.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::prelude::*;
use futures::future::LocalBoxFuture;
use k8s_openapi::api::core::v1::Node;

use super::messages::{Applied, BecameLeader, LostLeadership, Submit};
use super::raft_peer::{GetStatus, RaftPeer, Reconfigure};
use super::refusals::{not_leader, stopping};
use super::registration::{register, registered};
use super::wire::Contact;
use crate::raft::{self, Candidate, Change, ClusterId, Limits, PeerId, plan_membership};
use crate::resource::Status;
use crate::store::View;

/// How often the leader looks whether the membership should change; well under the second after which a caught-up
/// learner may be promoted.
const LOOK_MS: u64 = 200;
/// A name whose last holder was heard within this time belongs to it; another machine must wait or choose another.
const NAME_HELD_MS: u64 = 10_000;
/// Label from which a node's failure domain is read.
const ZONE: &str = "topology.kubernetes.io/zone";

/// Let this incarnation in; answered with the cluster once its Node object is written.
#[derive(Message)]
#[rtype(result = "Result<ClusterId, Status>")]
pub struct Admit {
    /// The incarnation.
    pub id: PeerId,
    /// How it is reached.
    pub contact: Contact,
}

/// A change was tried.
#[derive(Message)]
#[rtype(result = "()")]
struct Changed {
    change: Change,
    result: Result<(), raft::Rejected>,
}

/// The core's state was read.
#[derive(Message)]
#[rtype(result = "()")]
struct StatusRead {
    status: raft::Status,
}

/// The actor.
pub struct Membership {
    peer: Addr<RaftPeer>,
    submit: Recipient<Submit>,
    voters_wanted: usize,
    /// The newest state, while this node leads.
    view: Option<View>,
    /// A change is being tried.
    busy: bool,
}

impl Membership {
    /// An idle membership keeper.
    pub fn new(peer: Addr<RaftPeer>, submit: Recipient<Submit>, voters_wanted: usize) -> Self {
        Self {
            peer,
            submit,
            voters_wanted,
            view: None,
            busy: false,
        }
    }

    /// Everyone who could be a member, by incarnation. Of two incarnations on one machine the older is proven dead.
    fn candidates(view: &View, status: &raft::Status) -> BTreeMap<PeerId, Candidate> {
        let described =
            |node: Node| registered(&node).map(|(id, contact)| (id, contact, silence(&node)));
        let nodes: Vec<(PeerId, Contact, Duration)> = nodes(view).filter_map(described).collect();
        let mut candidates = BTreeMap::new();
        for (id, bytes) in &status.configuration.contacts {
            let Ok(contact) = Contact::decode(bytes) else {
                continue;
            };
            let superseded = |(other, new, _): &(PeerId, Contact, Duration)| {
                other != id && new.machine_id == contact.machine_id
            };
            let proven_dead = nodes.iter().any(superseded);
            candidates.insert(
                *id,
                Candidate {
                    proven_dead,
                    ..candidate(&contact)
                },
            );
        }
        for (id, contact, silent) in nodes {
            candidates.entry(id).or_insert_with(|| Candidate {
                silent,
                ..candidate(&contact)
            });
        }
        candidates
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.view.is_none() || self.busy {
            return;
        }
        self.busy = true;
        let (peer, me) = (self.peer.clone(), ctx.address());
        let read = async move {
            // No answer means that the node is stopping.
            if let Ok(Some((_, status))) = peer.send(GetStatus).await {
                me.do_send(StatusRead { status });
            }
        };
        ctx.spawn(read.into_actor(self));
    }
}

/// The Node objects. One that cannot be read is no candidate; the node links say so aloud.
fn nodes(view: &View) -> impl Iterator<Item = Node> {
    view.range("nodes/")
        .filter_map(|(_, record)| serde_json::from_slice(&record.value).ok())
}

/// How long a node that is no member has been silent, as far as its Node object tells.
fn silence(node: &Node) -> Duration {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let ready = conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    if ready { Duration::ZERO } else { Duration::MAX }
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

    fn handle(&mut self, BecameLeader { view, .. }: BecameLeader, _: &mut Self::Context) {
        self.view = Some(view);
        self.busy = false;
    }
}

impl Handler<Applied> for Membership {
    type Result = ();

    fn handle(&mut self, Applied { view, .. }: Applied, _: &mut Self::Context) {
        self.view = Some(view);
    }
}

impl Handler<LostLeadership> for Membership {
    type Result = ();

    fn handle(&mut self, _: LostLeadership, _: &mut Self::Context) {
        self.view = None;
    }
}

impl Handler<StatusRead> for Membership {
    type Result = ();

    fn handle(&mut self, StatusRead { status }: StatusRead, ctx: &mut Self::Context) {
        let candidates = self
            .view
            .as_ref()
            .map(|view| Self::candidates(view, &status));
        let plan = candidates.and_then(|candidates| {
            plan_membership(&status, &candidates, self.voters_wanted, &Limits::default())
        });
        let Some(change) = plan else {
            self.busy = false;
            return;
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

impl Handler<Changed> for Membership {
    type Result = ();

    fn handle(&mut self, Changed { change, result }: Changed, _: &mut Self::Context) {
        self.busy = false;
        match result {
            Ok(()) => tracing::info!(?change, "membership changes"),
            Err(rejected) => {
                tracing::debug!(?change, %rejected, "membership change refused; looked at again")
            }
        }
    }
}

impl Handler<Admit> for Membership {
    type Result = LocalBoxFuture<'static, Result<ClusterId, Status>>;

    fn handle(&mut self, Admit { id, contact }: Admit, _: &mut Self::Context) -> Self::Result {
        let Some(view) = &self.view else {
            return Box::pin(async { Err(not_leader()) });
        };
        let existing =
            nodes(view).find(|node| node.metadata.name.as_deref() == Some(&contact.name));
        let (peer, submit) = (self.peer.clone(), self.submit.clone());
        Box::pin(async move {
            let stopping = |_| stopping();
            let (cluster, status) = peer
                .send(GetStatus)
                .await
                .map_err(stopping)?
                .ok_or_else(not_leader)?;
            let holder = existing.as_ref().and_then(registered);
            if holder.as_ref().is_some_and(|(held, _)| *held == id) {
                return Ok(cluster);
            }
            if let Some((held, other)) = holder {
                name_is_free(&status, held, &other, &contact)?;
            }
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

/// Whether another process may take over a node's name: on the same machine always (the older one is dead, or about
/// to find that out), elsewhere only when its holder has been silent for long enough.
fn name_is_free(
    status: &raft::Status,
    held: PeerId,
    holder: &Contact,
    asking: &Contact,
) -> Result<(), Status> {
    let silent = |id| status.progress.get(&id).map(|progress| progress.silent);
    let alive = held == status.id
        || silent(held).is_some_and(|silent| silent < Duration::from_millis(NAME_HELD_MS));
    if holder.machine_id == asking.machine_id || !alive {
        return Ok(());
    }
    Err(Status::new(
        403,
        "Forbidden",
        format!(
            "node name {:?} is held by another live machine at {}; choose another --name",
            asking.name, holder.address
        ),
    ))
}
