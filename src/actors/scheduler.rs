//! The scheduler on the leader: plans for pods that have no node and submits the bindings.
//!
//! Deliberately without any rule of placement, and idle on every node that does not lead.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use k8s_openapi::api::core::v1::Pod;

use super::founding_state::FoundingState;
use super::informer::{CacheBegan, CacheChanged, CacheEnded};
use super::messages::Submit;
use super::node_link::SILENCE_NOT_READY_MS;
use crate::control::{EventSource, Level, event};
use crate::env::clock::Clock;
use crate::env::entropy::Entropy;
use crate::resource::cache::Cached;
use crate::resource::{Cache, ObjectKey, Reply, Request, Status};
use crate::schedule::{Binding, Cluster, PendingPods, bind, mark_unschedulable, plan, wants_node};
use crate::store::Revision;

/// The timer's least wait, so that a clock that stands still cannot spin the actor.
const TIMER_MIN: Duration = Duration::from_millis(1);

/// A pod that had no node when a recovered generation began may run somewhere: its binding may have been lost. It waits
/// for so long after a leader began, until every node has linked and said so, or is silent; and 2 s more, in which the last
/// one's word is written down. Shorter than the 15 s after which a silent node's pods are replaced.
const HOLD_MS: u64 = SILENCE_NOT_READY_MS + 2_000;

/// The answer to a [`Submit`] of a plan.
#[derive(Message)]
#[rtype(result = "()")]
struct Submitted {
    epoch: u64,
    attempts: Vec<Attempt>,
    replies: Vec<Result<Reply, Status>>,
}

/// One request of a plan.
struct Attempt {
    pod: ObjectKey,
    /// Whether it binds the pod, or merely says why not.
    binds: bool,
    /// Told once it has succeeded.
    event: Request,
}

/// The scheduler.
pub struct Scheduler {
    submit: Recipient<Submit>,
    clock: Rc<dyn Clock>,
    entropy: Entropy,
    /// Counts leaderships begun and ended, so that an answer from an earlier one is known as such.
    epoch: u64,
    reign: Option<Reign>,
    timer: Option<SpawnHandle>,
}

/// What is known while leading.
struct Reign {
    cache: Cache,
    cluster: Cluster,
    pending: PendingPods,
    /// The revision up to which `cache` reflects the store.
    applied: Revision,
    /// Pods whose bindings have committed at a revision that the cache has not reached. Once it has, a pod of that
    /// name that still has no node is another one, and is scheduled anew.
    awaiting: BTreeMap<Revision, Vec<ObjectKey>>,
    /// UIDs of pods that are not scheduled before [`HOLD_MS`] have passed.
    held: BTreeSet<String>,
}

impl Reign {
    /// Takes note of a pod as the cache has it.
    fn look_at(&mut self, key: &ObjectKey, now: Duration) {
        let held = |uid: &String| self.held.contains(uid);
        if self
            .cache
            .get::<Pod>(key)
            .is_some_and(|pod| wants_node(pod) && !pod.metadata.uid.as_ref().is_some_and(held))
        {
            self.pending.add(key.clone(), now);
        } else {
            self.pending.remove(key);
        }
    }

    /// Pods whose turn it is.
    fn due(&mut self, now: Duration) -> Vec<(ObjectKey, Arc<Pod>)> {
        let mut pods = Vec::new();
        for key in self.pending.take(now) {
            match self.cache.get::<Pod>(&key).filter(|pod| wants_node(pod)) {
                Some(pod) => pods.push((key, pod.clone())),
                None => self.pending.remove(&key),
            }
        }
        pods
    }
}

impl Scheduler {
    /// A scheduler that writes through `submit`.
    pub fn new(submit: Recipient<Submit>, clock: Rc<dyn Clock>, entropy: Entropy) -> Self {
        Self {
            submit,
            clock,
            entropy,
            epoch: 0,
            reign: None,
            timer: None,
        }
    }

    /// Plans for what is due, submits the plan, and sets the timer for the rest.
    fn turn(&mut self, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        if let Some(reign) = &mut self.reign {
            let pods = reign.due(now);
            let mut requests = Vec::new();
            let mut attempts = Vec::new();
            for (attempt, request) in self.attempt(&pods, now) {
                attempts.push(attempt);
                requests.push(request);
            }
            self.send(attempts, requests, ctx);
        }
        self.set_timer(now, ctx);
    }

    /// The requests of one plan, at most one a pod.
    fn attempt(
        &mut self,
        pods: &[(ObjectKey, Arc<Pod>)],
        now: Duration,
    ) -> Vec<(Attempt, Request)> {
        let Some(reign) = &mut self.reign else {
            return Vec::new();
        };
        let by_key: BTreeMap<_, _> = pods.iter().map(|(key, pod)| (key, &**pod)).collect();
        let plan = plan(&reign.cluster, pods, &mut self.entropy);
        let wall = self.clock.wall();
        let mut attempts = Vec::new();
        for binding in plan.bindings {
            let pod = by_key[&binding.pod];
            reign
                .cluster
                .assume(binding.pod.clone(), pod, &binding.node);
            let event = told_scheduled(pod, &binding, wall, &mut self.entropy);
            let request = bind(pod, &binding);
            let attempt = Attempt {
                pod: binding.pod,
                binds: true,
                event,
            };
            attempts.push((attempt, request));
        }
        for (key, why) in plan.unschedulable {
            let pod = by_key[&key];
            let news = reign
                .pending
                .unschedulable(&key, &why, now, &mut self.entropy);
            let request = mark_unschedulable(&key, pod, &why, wall);
            if let Some(request) = request.filter(|_| news) {
                let event = told_failed(pod, &why, wall, &mut self.entropy);
                let attempt = Attempt {
                    pod: key,
                    binds: false,
                    event,
                };
                attempts.push((attempt, request));
            }
        }
        attempts
    }

    fn send(&mut self, attempts: Vec<Attempt>, requests: Vec<Request>, ctx: &mut Context<Self>) {
        if requests.is_empty() {
            return;
        }
        let answer = self.submit.send(Submit(requests));
        let (epoch, me) = (self.epoch, ctx.address());
        let wait = async move {
            // No answer: the writer's mailbox is closed, the node is about to stop.
            let replies = answer.await.unwrap_or_default();
            me.do_send(Submitted {
                epoch,
                attempts,
                replies,
            });
        };
        ctx.spawn(wait.into_actor(self));
    }

    fn set_timer(&mut self, now: Duration, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let due = self
            .reign
            .as_ref()
            .and_then(|reign| reign.pending.next_due());
        if let Some(due) = due {
            let wait = due.saturating_sub(now).max(TIMER_MIN);
            self.timer = Some(ctx.run_later(wait, Self::turn));
        }
    }
}

fn told_scheduled(
    pod: &Pod,
    binding: &Binding,
    now: jiff::Timestamp,
    entropy: &mut Entropy,
) -> Request {
    let Binding { pod: key, node } = binding;
    let ObjectKey { namespace, name } = key;
    let message = format!("Successfully assigned {namespace}/{name} to {node}");
    event(
        source(pod),
        Level::Normal,
        "Scheduled",
        &message,
        now,
        entropy,
    )
}

fn told_failed(pod: &Pod, why: &str, now: jiff::Timestamp, entropy: &mut Entropy) -> Request {
    event(
        source(pod),
        Level::Warning,
        "FailedScheduling",
        why,
        now,
        entropy,
    )
}

fn source(pod: &Pod) -> EventSource<'_> {
    EventSource {
        component: "default-scheduler",
        api_version: "v1",
        kind: "Pod",
        meta: &pod.metadata,
    }
}

impl Actor for Scheduler {
    type Context = Context<Self>;
}

impl Handler<CacheBegan> for Scheduler {
    type Result = ();

    fn handle(&mut self, CacheBegan { cache, view, .. }: CacheBegan, ctx: &mut Context<Self>) {
        self.epoch += 1;
        let reign = Reign {
            applied: cache.revision(),
            cluster: Cluster::of(&cache),
            cache,
            pending: PendingPods::default(),
            awaiting: BTreeMap::new(),
            held: FoundingState::of(&view).unbound(),
        };
        if !reign.held.is_empty() {
            let epoch = self.epoch;
            ctx.run_later(Duration::from_millis(HOLD_MS), move |scheduler, ctx| {
                if scheduler.epoch == epoch {
                    scheduler.release(ctx);
                }
            });
        }
        self.reign = Some(reign);
        self.look_at_all(ctx);
    }
}

impl Handler<CacheEnded> for Scheduler {
    type Result = ();

    fn handle(&mut self, _: CacheEnded, ctx: &mut Context<Self>) {
        self.epoch += 1;
        self.reign = None;
        self.set_timer(self.clock.now(), ctx);
    }
}

impl Handler<CacheChanged> for Scheduler {
    type Result = ();

    fn handle(&mut self, message: CacheChanged, ctx: &mut Context<Self>) {
        let Some(reign) = &mut self.reign else { return };
        let now = self.clock.now();
        reign.cache = message.cache;
        reign.applied = reign.cache.revision();
        let mut room = false;
        for change in message.changes.iter() {
            room |= reign.cluster.take(change, &reign.cache);
            if change.prefix == Pod::PREFIX {
                reign.look_at(&change.key, now);
            }
        }
        if room {
            reign.pending.on_room(now);
        }
        let later = reign.awaiting.split_off(&(reign.applied + 1));
        let reached = std::mem::replace(&mut reign.awaiting, later);
        for key in reached.into_values().flatten() {
            self.settle(&key, now);
        }
        self.turn(ctx);
    }
}

impl Handler<Submitted> for Scheduler {
    type Result = ();

    fn handle(&mut self, message: Submitted, ctx: &mut Context<Self>) {
        if message.epoch != self.epoch {
            return;
        }
        let now = self.clock.now();
        let mut replies = message.replies.into_iter();
        let mut events = Vec::new();
        for Attempt { pod, binds, event } in message.attempts {
            let reply = replies.next();
            if let Some(Err(status)) = &reply {
                tracing::debug!(%pod, binds, %status, "a scheduler's write failed");
            }
            let revision = reply.and_then(Result::ok).map(|reply| reply.revision);
            if revision.is_some() {
                events.push(event);
            }
            if binds {
                self.on_bound(pod, revision, now);
            }
        }
        if !events.is_empty() {
            self.submit.do_send(Submit(events));
        }
        self.turn(ctx);
    }
}

impl Scheduler {
    /// Takes note of every pod.
    fn look_at_all(&mut self, ctx: &mut Context<Self>) {
        let Some(reign) = &mut self.reign else { return };
        let pods = reign.cache.list::<Pod>();
        let keys: Vec<_> = pods.map(|(key, _)| key.clone()).collect();
        let now = self.clock.now();
        for key in &keys {
            reign.look_at(key, now);
        }
        self.turn(ctx);
    }

    /// Holds no pod any longer.
    fn release(&mut self, ctx: &mut Context<Self>) {
        if let Some(reign) = &mut self.reign {
            reign.held.clear();
        }
        self.look_at_all(ctx);
    }

    /// A binding was committed at this revision, or failed.
    fn on_bound(&mut self, pod: ObjectKey, revision: Option<Revision>, now: Duration) {
        let Some(reign) = &mut self.reign else { return };
        match revision {
            Some(revision) if revision > reign.applied => {
                reign.awaiting.entry(revision).or_default().push(pod);
            }
            _ => self.settle(&pod, now),
        }
    }

    /// The cache reflects whatever became of a binding: a pod that still has no node is tried again.
    fn settle(&mut self, pod: &ObjectKey, now: Duration) {
        let Some(reign) = &mut self.reign else { return };
        reign.cluster.withdraw(&reign.cache, pod);
        if reign
            .cache
            .get::<Pod>(pod)
            .is_some_and(|pod| wants_node(pod))
        {
            reign.pending.bind_failed(pod, now, &mut self.entropy);
        }
    }
}
