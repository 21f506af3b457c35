//! The leader's side of unique pods: it acknowledges what nodes say, which gives them leases, and keeps everybody on this
//! node from letting go of a unique pod whose node may still hold one (`actors/lease.rs`).
//!
//! What controllers write comes through here: a deletion that asks no node waits until it may be. One that a client
//! asks for with `--force --grace-period=0` does not come through here: it is that client's word that the pod is gone.

use std::collections::BTreeSet;
use std::time::Duration;

use actix::prelude::*;
use k8s_openapi::api::core::v1::Pod;

use super::{NodeLinks, Reign};
use crate::actors::assignments::assignment;
use crate::actors::messages::Submit;
use crate::actors::node_link::{Acknowledge, Assign};
use crate::actors::node_messages::WireAssignment;
use crate::actors::raft_peer::ReadIndex;
use crate::actors::refusals::{stopping, too_early};
use crate::raft::{PeerId, Term};
use crate::resource::pods::{is_unique, node_name};
use crate::resource::{Cache, ObjectKey, Reply, Request, Status, Verb};

/// The longest wait for a quorum's word that this node leads; nodes say something new every two seconds.
const CONFIRM_MS_MAX: u64 = 1_000;
/// Pause before a deletion of which nobody knows what became is tried again.
const RELEASE_AGAIN: Duration = Duration::from_millis(500);

/// A node's reply was heard.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct ReplyHeard {
    /// The node.
    pub(in crate::actors) name: String,
    /// Its incarnation.
    pub(in crate::actors) id: PeerId,
    /// The boot of its machine and its address there: its next process sees what runs there, no other does.
    pub(in crate::actors) home: String,
    /// The reply, as the node counts.
    pub(in crate::actors) number: u64,
}

/// Since these replies were heard, a quorum was asked whether this node leads.
#[derive(Message)]
#[rtype(result = "()")]
struct Confirmed {
    term: Term,
    heard: Vec<ReplyHeard>,
    leads: bool,
}

/// A deletion was tried.
#[derive(Message)]
#[rtype(result = "()")]
struct ReleaseTried {
    release: Release,
    result: Result<Reply, Status>,
}

/// A unique pod to delete without asking its node, which has been silent for long enough.
#[derive(Clone)]
struct Release {
    /// In which this was found to be so: another's leader has not waited.
    term: Term,
    node: String,
    pod: ObjectKey,
    request: Request,
}

impl Reign {
    /// Whether a node is to run unique pods.
    fn has_unique(&self, node: &str) -> bool {
        let mut pods = self.cache.pods_on(node);
        pods.any(|(_, pod)| is_unique(pod))
    }

    /// Whether nobody can have run a pod before it was bound, here, in this reign: its name was free then, since in its
    /// first generation a cluster forgets nothing.
    fn is_fresh(&self, pod: &Pod) -> bool {
        let uid = pod.metadata.uid.as_ref();
        self.cluster.is_some_and(|cluster| cluster.generation == 0)
            && uid.is_some_and(|uid| !self.inherited.contains(uid))
    }

    /// What a node is told of a pod.
    pub(super) fn assignment(&self, key: &ObjectKey, pod: &Pod) -> WireAssignment {
        WireAssignment {
            fresh: self.is_fresh(pod),
            ..assignment(&self.cache, key, pod)
        }
    }

    /// Tells a node; what of it waits for a lease need not wait for the next poll.
    pub(super) fn tell(
        &self,
        node: &str,
        full: bool,
        upsert: Vec<WireAssignment>,
        remove: Vec<String>,
    ) {
        // A node without a link is told everything when it has one.
        if let Some(line) = self.lines.get(node) {
            let poll = !upsert.is_empty() && self.has_unique(node);
            line.link.do_send(Assign {
                full,
                upsert,
                remove,
                poll,
            });
        }
    }
}

/// The unique pods that were bound when a reign began.
pub(super) fn bound_unique(cache: &Cache) -> BTreeSet<String> {
    let unique = cache.list::<Pod>().filter(|(_, pod)| is_unique(pod));
    let bound = unique.filter(|(_, pod)| node_name(pod).is_some());
    bound
        .filter_map(|(_, pod)| pod.metadata.uid.clone())
        .collect()
}

/// The unique pod that this deletes at once, and the node that would not be asked.
fn unasked(cache: &Cache, request: &Request) -> Option<(ObjectKey, String)> {
    let Verb::Delete(deletion) = &request.verb else {
        return None;
    };
    let of_pod = request.resource.plural == "pods" && request.subresource.is_none();
    if !of_pod || deletion.grace_period_seconds != Some(0) {
        return None;
    }
    let key = ObjectKey::new(
        request.namespace.clone().unwrap_or_default(),
        request.name.clone().unwrap_or_default(),
    );
    let pod = cache.get::<Pod>(&key).filter(|pod| is_unique(pod))?;
    let node = node_name(pod)?.to_owned();
    Some((key, node))
}

/// Tries a deletion once.
async fn try_once(submit: Recipient<Submit>, request: Request) -> Result<Reply, Status> {
    let replies = submit.send(Submit(vec![request])).await;
    let reply = replies.unwrap_or_default().into_iter().next();
    reply.unwrap_or_else(|| Err(stopping()))
}

impl NodeLinks {
    /// Asks a quorum whether this node leads, for all that was heard before: one question at a time.
    fn confirm(&mut self, ctx: &mut Context<Self>) {
        let Some(reign) = &mut self.reign else { return };
        if reign.confirming || reign.heard.is_empty() {
            return;
        }
        reign.confirming = true;
        let (term, heard) = (reign.term, std::mem::take(&mut reign.heard));
        let (asked, me) = (self.peer.send(ReadIndex), ctx.address());
        let asking = async move {
            let within = Duration::from_millis(CONFIRM_MS_MAX);
            let answer = tokio::time::timeout(within, asked).await;
            let leads = matches!(answer, Ok(Ok(Ok(_))));
            me.do_send(Confirmed { term, heard, leads });
        };
        ctx.spawn(asking.into_actor(self));
    }

    /// Finds out what became of a deletion, by doing it again: its node was given no lease since.
    fn try_again(&mut self, release: Release, ctx: &mut Context<Self>) {
        let same = |reign: &Reign| reign.term == release.term;
        if !self.reign.as_ref().is_some_and(same) {
            return;
        }
        let (submit, me) = (self.submit.clone(), ctx.address());
        let trying = async move {
            let result = try_once(submit, release.request.clone()).await;
            me.do_send(ReleaseTried { release, result });
        };
        ctx.spawn(trying.into_actor(self));
    }
}

impl Handler<ReplyHeard> for NodeLinks {
    type Result = ();

    fn handle(&mut self, heard: ReplyHeard, ctx: &mut Self::Context) {
        let Some(reign) = &mut self.reign else { return };
        if reign.has_unique(&heard.name) {
            reign.heard.retain(|before| before.name != heard.name);
            reign.heard.push(heard);
            self.confirm(ctx);
        }
    }
}

impl Handler<Confirmed> for NodeLinks {
    type Result = ();

    fn handle(&mut self, confirmed: Confirmed, ctx: &mut Self::Context) {
        let now = self.clock.now();
        let same = |reign: &&mut Reign| reign.term == confirmed.term;
        let Some(reign) = self.reign.as_mut().filter(same) else {
            return;
        };
        reign.confirming = false;
        if confirmed.leads {
            for ReplyHeard {
                name,
                id,
                home,
                number,
            } in confirmed.heard
            {
                let Some(line) = reign.lines.get(&name).filter(|line| line.id == id) else {
                    continue;
                };
                // All that this cache says is before this word on the way to the node.
                let told = reign.cache.revision();
                if let Some(grant) = reign.leases.grant(&name, &home, told, now) {
                    let start = grant.start;
                    line.link.do_send(Acknowledge { number, start });
                }
            }
        }
        self.confirm(ctx);
    }
}

impl Handler<Submit> for NodeLinks {
    type Result = ResponseFuture<Vec<Result<Reply, Status>>>;

    fn handle(&mut self, Submit(requests): Submit, ctx: &mut Self::Context) -> Self::Result {
        let now = self.clock.now();
        let (mut free, mut replies, mut releases) = (Vec::new(), Vec::new(), Vec::new());
        for (at, request) in requests.into_iter().enumerate() {
            let reign = self.reign.as_mut();
            let found = reign.and_then(|reign| Some((unasked(&reign.cache, &request)?, reign)));
            let Some(((pod, node), reign)) = found else {
                free.push((at, request));
                continue;
            };
            if let Err(left) = reign.leases.begin_release(&node, now) {
                replies.push((at, Err(too_early(&node, left))));
                continue;
            }
            tracing::info!(%pod, node, "a unique pod is let go: its node is silent");
            let term = reign.term;
            let release = Release {
                term,
                node,
                pod,
                request,
            };
            releases.push((at, release));
        }
        let (submit, me) = (self.submit.clone(), ctx.address());
        Box::pin(async move {
            let (places, free): (Vec<usize>, Vec<Request>) = free.into_iter().unzip();
            if !free.is_empty() {
                let count = free.len();
                let answered = submit.send(Submit(free)).await;
                let answered = answered.unwrap_or_else(|_| vec![Err(stopping()); count]);
                replies.extend(places.into_iter().zip(answered));
            }
            for (at, release) in releases {
                let result = try_once(submit.clone(), release.request.clone()).await;
                replies.push((at, result.clone()));
                me.do_send(ReleaseTried { release, result });
            }
            replies.sort_by_key(|(at, _)| *at);
            replies.into_iter().map(|(_, reply)| reply).collect()
        })
    }
}

impl Handler<ReleaseTried> for NodeLinks {
    type Result = ();

    fn handle(&mut self, tried: ReleaseTried, ctx: &mut Self::Context) {
        let ReleaseTried { release, result } = tried;
        let same = |reign: &&mut Reign| reign.term == release.term;
        let Some(reign) = self.reign.as_mut().filter(same) else {
            return;
        };
        let cached = reign.cache.get::<Pod>(&release.pod);
        let is_it = |pod: &Pod| match &release.request.verb {
            Verb::Delete(deletion) => deletion.precondition.uid == pod.metadata.uid,
            _ => false,
        };
        match result {
            Ok(reply) => reign.leases.end_release(&release.node, reply.revision),
            // It was gone before, but this cache does not know that yet.
            Err(status)
                if matches!(status.code, 404 | 409) && cached.is_some_and(|pod| is_it(pod)) =>
            {
                let result = Err(status);
                ctx.notify_later(ReleaseTried { release, result }, RELEASE_AGAIN);
            }
            Err(status) if (400..500).contains(&status.code) => {
                reign
                    .leases
                    .end_release(&release.node, reign.cache.revision());
            }
            Err(status) => {
                tracing::info!(pod = %release.pod, %status, "it is not known whether a unique pod was let go");
                ctx.run_later(RELEASE_AGAIN, move |links, ctx| {
                    links.try_again(release, ctx);
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
