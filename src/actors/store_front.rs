//! The front of the store: every write, read and watch of this node goes through here, whichever node leads.
//!
//! Keeps the newest published view and the watchers; the work itself is done by tasks that hold [`Doors`].
//! Deliberately without HTTP and without knowledge of kinds: planning is the resource room's.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures::future::LocalBoxFuture;
use tokio::sync::{mpsc, watch};

use super::caller::Caller;
use super::doors::named::{Named, RequestId, may_be_named};
use super::doors::{Doors, Known};
use super::messages::{
    ClusterStatus, Consistency, DescribeCluster, Read, SnapshotStatus, Submit, Subscription,
    WATCH_BATCHES_MAX, Watch,
};
use super::raft_peer::resting::Rest;
use super::raft_peer::{Published, RaftPeer, Standing};
use super::removal::is_removed;
use super::wire::Contact;
use crate::env::Env;
use crate::env::clock::Clock;
use crate::env::entropy::Entropy;
use crate::raft::{ClusterId, PeerId, Role};
use crate::resource::{Reply, Request, Status};
use crate::store::{Event, Revision, View};

/// A replica that has heard no leader for so long asks whether it still is one; longer than any election.
const LEADERLESS_MS_MAX: u64 = 5_000;
/// How often it looks.
const LOOK_MS: u64 = 1_000;

/// Writes that another node forwarded, or that the leader's own actors want; refused with `NotLeader` unless this node
/// leads, and never forwarded.
#[derive(Message)]
#[rtype(result = "Result<Vec<Result<Reply, Status>>, Status>")]
pub struct SubmitHere(pub Vec<Request>);

/// One write that another node forwarded and may ask for again; refused as [`SubmitHere`] is.
#[derive(Message)]
#[rtype(result = "Result<Result<Reply, Status>, Status>")]
pub struct SubmitNamedHere(pub Box<Named>);

/// A question that another node forwarded; refused with `NotLeader` unless this node leads.
#[derive(Message)]
#[rtype(result = "Result<ClusterStatus, Status>")]
pub struct DescribeForwarded;

/// What this node knows of its cluster, for those who only want to look.
#[derive(Message)]
#[rtype(result = "Option<Known>")]
pub struct WhatIsKnown;

/// Others were asked whether this node still is a member.
#[derive(Message)]
#[rtype(result = "()")]
struct RemovalAsked {
    /// As what it was asked about.
    cluster: ClusterId,
    id: PeerId,
    removed: bool,
}

/// One open watch.
struct Watcher {
    prefix: String,
    batches: mpsc::Sender<Arc<Vec<Event>>>,
}

/// The actor. Invariant: `known` is set exactly while this node is a member of a cluster, thus holds a replica.
pub struct StoreFront {
    /// This incarnation.
    id: PeerId,
    /// Requests named so far.
    named: u64,
    known: watch::Sender<Option<Known>>,
    watchers: Vec<Watcher>,
    caller: Addr<Caller>,
    clock: Rc<dyn Clock>,
    entropy: Entropy,
    voters_wanted: usize,
    peer: Addr<RaftPeer>,
    /// Since when no leader is known, on the node's clock.
    leaderless_since: Option<Duration>,
    /// The node was a member and is none: what its peer publishes is of the past until it hears a leader again.
    removed: bool,
    /// What is kept of the cluster's state, while this node leads and there is an archive.
    kept: watch::Receiver<Option<SnapshotStatus>>,
}

impl StoreFront {
    /// A front that tells `known` what it hears.
    pub fn new(
        id: PeerId,
        known: watch::Sender<Option<Known>>,
        peer: Addr<RaftPeer>,
        caller: Addr<Caller>,
        env: &Env,
        voters_wanted: usize,
    ) -> Self {
        let (clock, entropy) = (env.clock.clone(), env.entropy.clone());
        Self {
            id,
            named: 0,
            known,
            watchers: Vec::new(),
            caller,
            clock,
            entropy,
            voters_wanted,
            peer,
            leaderless_since: None,
            removed: false,
            kept: watch::channel(None).1,
        }
    }

    /// The same front, which tells of the snapshots, too.
    #[must_use]
    pub fn telling_of(mut self, kept: watch::Receiver<Option<SnapshotStatus>>) -> Self {
        self.kept = kept;
        self
    }

    /// Asks whether this node still is a member, if it has heard no leader for long.
    fn look(&mut self, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        let known = self.known.borrow().clone();
        let Some(known) = known.filter(|known| known.standing.leader.is_none()) else {
            self.leaderless_since = None;
            return;
        };
        let since = *self.leaderless_since.get_or_insert(now);
        if now.saturating_sub(since) < Duration::from_millis(LEADERLESS_MS_MAX) {
            return;
        }
        self.leaderless_since = None;
        let (caller, me) = (self.caller.clone(), ctx.address());
        let asking = async move {
            let (cluster, id) = (known.standing.cluster, known.standing.id);
            let removed = is_removed(known, caller).await;
            me.do_send(RemovalAsked {
                cluster,
                id,
                removed,
            });
        };
        ctx.spawn(asking.into_actor(self));
    }

    fn doors(&self) -> Doors {
        Doors {
            known: self.known.subscribe(),
            peer: self.peer.clone(),
            caller: self.caller.clone(),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            voters_wanted: self.voters_wanted,
            kept: self.kept.clone(),
        }
    }

    /// Registers a watcher for everything published from now on.
    fn subscribe(&mut self, prefix: String) -> (Revision, mpsc::Receiver<Arc<Vec<Event>>>) {
        // While nothing changes, nobody else notices the watchers that left.
        self.watchers.retain(|watcher| !watcher.batches.is_closed());
        let (batches, events) = mpsc::channel(WATCH_BATCHES_MAX);
        self.watchers.push(Watcher { prefix, batches });
        let revision = self
            .known
            .borrow()
            .as_ref()
            .map_or(0, |known| known.view.revision());
        (revision, events)
    }

    /// Gives each watcher what it asked for; one that is too slow, or gone, is dropped.
    fn notify(&mut self, events: &Arc<Vec<Event>>) {
        self.watchers.retain(|watcher| {
            let wanted = |event: &&Event| event.key.starts_with(&watcher.prefix);
            let count = events.iter().filter(wanted).count();
            let batch = match count {
                0 => return !watcher.batches.is_closed(),
                all if all == events.len() => events.clone(),
                _ => Arc::new(events.iter().filter(wanted).cloned().collect()),
            };
            watcher.batches.try_send(batch).is_ok()
        });
    }
}

impl Actor for StoreFront {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1_024);
        ctx.run_interval(Duration::from_millis(LOOK_MS), Self::look);
    }
}

impl Handler<RemovalAsked> for StoreFront {
    type Result = ();

    fn handle(&mut self, asked: RemovalAsked, _: &mut Self::Context) {
        // What is no member of one generation may be of the next, which may have begun meanwhile.
        let still = |known: &Known| {
            let now = &known.standing;
            now.leader.is_none() && (now.cluster, now.id) == (asked.cluster, asked.id)
        };
        if !asked.removed || !self.known.borrow().as_ref().is_some_and(still) {
            return;
        }
        tracing::info!("this node is no member any more; its replica is forgotten");
        self.removed = true;
        self.peer.do_send(Rest(asked.cluster));
        // Whoever watches lists anew, and is passed on to a replica then.
        self.watchers.clear();
        self.known.send_replace(None);
    }
}

impl Handler<Published> for StoreFront {
    type Result = ();

    fn handle(&mut self, published: Published, _: &mut Self::Context) {
        let Published {
            view,
            events,
            restored,
            standing,
        } = published;
        if !standing.configuration.contacts.contains_key(&standing.id) {
            // Not yet, or no longer, a member: nobody keeps this state up to date, so it is no replica.
            self.watchers.clear();
            self.known.send_replace(None);
            return;
        }
        self.removed &= standing.leader.is_none();
        if self.removed {
            return;
        }
        if restored {
            // The history before the snapshot is not known here: whoever watches must list anew.
            self.watchers.clear();
        } else if !events.is_empty() {
            self.notify(&events);
        }
        let before = self.known.borrow().as_ref().map(|k| k.standing.clone());
        for line in turns(before.as_ref(), &standing) {
            tracing::info!(term = standing.term, "{line}");
        }
        self.known.send_replace(Some(Known { view, standing }));
    }
}

/// What an operator wants to know of a change in who leads, a line each.
fn turns(before: Option<&Standing>, now: &Standing) -> Vec<String> {
    let mut lines = Vec::new();
    let did = |what: fn(&Standing) -> bool| before.is_some_and(what);
    if did(|standing| standing.leads) && !now.leads {
        lines.push("this node leads no more".to_owned());
    }
    let stands =
        |standing: &Standing| matches!(standing.role, Role::PreCandidate | Role::Candidate);
    if stands(now) && !did(stands) {
        lines.push("this node hears no leader and stands for election".to_owned());
    }
    if now.leads && !did(|standing| standing.leads) {
        lines.push("this node leads".to_owned());
    }
    let followed = before.and_then(|standing| standing.leader);
    if let Some(leader) = now
        .leader
        .filter(|id| *id != now.id && followed != Some(*id))
    {
        let contact = now.configuration.contacts.get(&leader);
        let contact = contact.and_then(|bytes| Contact::decode(bytes).ok());
        let name = contact.map_or_else(|| leader.to_string(), |contact| contact.name);
        lines.push(format!("this node follows {name}"));
    }
    lines
}

impl Handler<WhatIsKnown> for StoreFront {
    type Result = MessageResult<WhatIsKnown>;

    fn handle(&mut self, _: WhatIsKnown, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.known.borrow().clone())
    }
}

impl Handler<Submit> for StoreFront {
    type Result = LocalBoxFuture<'static, Vec<Result<Reply, Status>>>;

    fn handle(&mut self, Submit(requests): Submit, _: &mut Self::Context) -> Self::Result {
        let doors = self.doors();
        let one = <[Request; 1]>::try_from(requests).map(|[request]| request);
        match one {
            Ok(request) if may_be_named(&request) => {
                self.named += 1;
                let id = RequestId {
                    origin: self.id.0,
                    number: self.named,
                };
                Box::pin(async move { vec![doors.submit_named(id, request).await] })
            }
            Ok(request) => Box::pin(doors.submit(vec![request])),
            Err(requests) => Box::pin(doors.submit(requests)),
        }
    }
}

impl Handler<SubmitHere> for StoreFront {
    type Result = LocalBoxFuture<'static, Result<Vec<Result<Reply, Status>>, Status>>;

    fn handle(&mut self, SubmitHere(requests): SubmitHere, _: &mut Self::Context) -> Self::Result {
        Box::pin(self.doors().submit_if_leading(requests))
    }
}

impl Handler<SubmitNamedHere> for StoreFront {
    type Result = LocalBoxFuture<'static, Result<Result<Reply, Status>, Status>>;

    fn handle(
        &mut self,
        SubmitNamedHere(named): SubmitNamedHere,
        _: &mut Self::Context,
    ) -> Self::Result {
        Box::pin(self.doors().submit_named_if_leading(named))
    }
}

impl Handler<Read> for StoreFront {
    type Result = LocalBoxFuture<'static, Result<View, Status>>;

    fn handle(&mut self, Read(consistency): Read, _: &mut Self::Context) -> Self::Result {
        match consistency {
            Consistency::Linearizable => Box::pin(self.doors().read_linearizable()),
            Consistency::AtLeast(revision) => Box::pin(self.doors().read_at_least(revision)),
        }
    }
}

impl Handler<Watch> for StoreFront {
    type Result = ResponseActFuture<Self, Result<Subscription, Status>>;

    fn handle(&mut self, Watch { prefix, after }: Watch, _: &mut Self::Context) -> Self::Result {
        let doors = self.doors();
        let reached = doors.clone().read_at_least(after);
        // Subscribe first, then ask for what lies between, so that no change can fall through.
        Box::pin(reached.into_actor(self).then(move |reached, front, _| {
            let subscribed = reached.map(|_| front.subscribe(prefix.clone()));
            async move {
                let (revision, events) = subscribed?;
                let backlog = doors.history(prefix, after, revision).await?;
                Ok(Subscription {
                    backlog,
                    revision,
                    events,
                })
            }
            .into_actor(front)
        }))
    }
}

impl Handler<DescribeCluster> for StoreFront {
    type Result = LocalBoxFuture<'static, Result<ClusterStatus, Status>>;

    fn handle(&mut self, _: DescribeCluster, _: &mut Self::Context) -> Self::Result {
        Box::pin(self.doors().describe())
    }
}

impl Handler<DescribeForwarded> for StoreFront {
    type Result = LocalBoxFuture<'static, Result<ClusterStatus, Status>>;

    fn handle(&mut self, _: DescribeForwarded, _: &mut Self::Context) -> Self::Result {
        Box::pin(self.doors().describe_here())
    }
}

impl Known {
    /// The contact of a member.
    pub fn contact(&self, id: PeerId) -> Option<Contact> {
        let bytes = self.standing.configuration.contacts.get(&id)?;
        // Written by `Contact::encode`; an unreadable one is a node this version cannot reach.
        Contact::decode(bytes).ok()
    }

    /// The contacts of all members.
    pub(super) fn contacts(&self) -> impl Iterator<Item = Contact> {
        let members = self.standing.configuration.contacts.keys();
        members.filter_map(|id| self.contact(*id))
    }
}

#[cfg(test)]
mod tests;
