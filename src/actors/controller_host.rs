//! Runs the controllers on the leader: feeds their queues from committed changes and submits what they ask for.
//!
//! Deliberately without a controller's knowledge, and idle on every node that does not lead.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;

use super::informer::{CacheBegan, CacheChanged, CacheEnded};
use super::messages::{SUBMIT_REQUESTS_MAX, Submit};
use crate::control::{Controller, EventTtl, Outcome, WorkQueue, pod_events};
use crate::env::clock::Clock;
use crate::env::entropy::Entropy;
use crate::resource::{Cache, ObjectKey, Reply, Request, Status};
use crate::store::Revision;

/// Keys reconciled in one turn: bounds the time that one message holds the node's thread.
const KEYS_PER_TURN_MAX: usize = 256;
/// Submits in flight: a few hide the commit's latency, and more would only queue up before the leader.
const SUBMITS_IN_FLIGHT_MAX: usize = 4;
/// How often events that are too old are looked for; they live for an hour.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// The timer's least wait, so that a clock that stands still cannot spin the actor.
const TIMER_MIN: Duration = Duration::from_millis(1);

/// The answer to a [`Submit`] of reconciled keys.
#[derive(Message)]
#[rtype(result = "()")]
struct Submitted {
    epoch: u64,
    jobs: Vec<Job>,
    replies: Vec<Result<Reply, Status>>,
}

/// One key's part of a submit.
struct Job {
    controller: usize,
    key: ObjectKey,
    /// How many replies are its own.
    requests: usize,
    /// Events to tell, by the position of the request that must have succeeded.
    events: Vec<(usize, Request)>,
    requeue_after: Option<Duration>,
    /// There was more than one submit can carry.
    cut: bool,
}

/// The host of all controllers.
pub struct ControllerHost {
    controllers: Vec<Box<dyn Controller>>,
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
    queues: Vec<WorkQueue<ObjectKey>>,
    /// The revision up to which `cache` reflects the store.
    applied: Revision,
    /// Keys whose writes have committed at a revision that the cache has not reached.
    ///
    /// Until it has, their reconcilers would see the state before their own writes and ask for them again (a
    /// ReplicaSet would create its pods twice). So such a key stays busy: changes mark it, and it is handed out
    /// only when the cache has caught up. Kubernetes' controllers keep "expectations" for the same end.
    awaiting: BTreeMap<Revision, Vec<(usize, ObjectKey)>>,
    in_flight: usize,
    /// Whose turn it is.
    next_controller: usize,
    events: EventTtl,
    next_sweep: Duration,
}

impl ControllerHost {
    /// A host of these controllers, which writes through `submit`.
    pub fn new(
        controllers: Vec<Box<dyn Controller>>,
        submit: Recipient<Submit>,
        clock: Rc<dyn Clock>,
        entropy: Entropy,
    ) -> Self {
        Self {
            controllers,
            submit,
            clock,
            entropy,
            epoch: 0,
            reign: None,
            timer: None,
        }
    }

    /// Reconciles what is due, submits what comes of it, and sets the timer for the rest.
    fn turn(&mut self, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        self.sweep_events(now);
        let mut batch = Batch::default();
        let mut keys = 0;
        while keys < KEYS_PER_TURN_MAX {
            let Some((controller, key)) = self.next_key(now) else {
                break;
            };
            keys += 1;
            let Some(job) = self.reconcile(controller, key, now, &mut batch) else {
                continue;
            };
            batch.jobs.push(job);
            if batch.requests.len() >= SUBMIT_REQUESTS_MAX {
                self.send(batch.split_first(), ctx);
            }
        }
        self.send(batch, ctx);
        self.set_timer(now, ctx);
    }

    /// The next key of any controller; each has its turn, so that a busy one cannot starve the others. None while too
    /// much is in flight.
    fn next_key(&mut self, now: Duration) -> Option<(usize, ObjectKey)> {
        let reign = self.reign.as_mut()?;
        if reign.in_flight >= SUBMITS_IN_FLIGHT_MAX {
            return None;
        }
        for _ in 0..reign.queues.len() {
            let at = reign.next_controller;
            reign.next_controller = (at + 1) % reign.queues.len();
            if let Some(key) = reign.queues[at].take(now) {
                return Some((at, key));
            }
        }
        None
    }

    /// Reconciles a key; `None` if there is nothing to submit.
    fn reconcile(
        &mut self,
        controller: usize,
        key: ObjectKey,
        now: Duration,
        batch: &mut Batch,
    ) -> Option<Job> {
        let reign = self.reign.as_mut()?;
        let reconciler = &self.controllers[controller];
        let wall = self.clock.wall();
        let outcome = reconciler.reconcile(&reign.cache, &key, wall, &mut self.entropy);
        let queue = &mut reign.queues[controller];
        match outcome {
            Ok(outcome) if outcome.writes.is_empty() => {
                queue.succeeded(&key);
                queue.done(&key);
                if let Some(delay) = outcome.requeue_after {
                    queue.add_at(key, now + delay);
                }
                None
            }
            Ok(outcome) => Some(batch.add(controller, key, outcome)),
            Err(error) => {
                tracing::warn!(controller = reconciler.name(), %key, %error, "cannot reconcile");
                queue.done(&key);
                queue.add_failed(key, now, &mut self.entropy);
                None
            }
        }
    }

    fn sweep_events(&mut self, now: Duration) {
        let Some(reign) = &mut self.reign else { return };
        if now >= reign.next_sweep {
            reign.next_sweep = now + SWEEP_INTERVAL;
            let deletes = reign.events.sweep(self.clock.wall());
            self.tell(deletes);
        }
    }

    /// Submits without waiting for an answer.
    fn tell(&self, mut requests: Vec<Request>) {
        while !requests.is_empty() {
            let rest = requests.split_off(requests.len().min(SUBMIT_REQUESTS_MAX));
            self.submit.do_send(Submit(requests));
            requests = rest;
        }
    }

    fn send(&mut self, batch: Batch, ctx: &mut Context<Self>) {
        let Some(reign) = &mut self.reign else { return };
        if batch.jobs.is_empty() {
            return;
        }
        reign.in_flight += 1;
        let answer = self.submit.send(Submit(batch.requests));
        let (epoch, jobs, me) = (self.epoch, batch.jobs, ctx.address());
        let wait = async move {
            // No answer: the writer's mailbox is closed, the node is about to stop.
            let replies = answer.await.unwrap_or_default();
            me.do_send(Submitted {
                epoch,
                jobs,
                replies,
            });
        };
        ctx.spawn(wait.into_actor(self));
    }

    fn set_timer(&mut self, now: Duration, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let Some(reign) = &self.reign else { return };
        let mut due = reign.next_sweep;
        if reign.in_flight < SUBMITS_IN_FLIGHT_MAX {
            let queues = reign.queues.iter();
            due = queues
                .filter_map(|q| q.next_due(now))
                .fold(due, Duration::min);
        }
        let wait = due.saturating_sub(now).max(TIMER_MIN);
        self.timer = Some(ctx.run_later(wait, Self::turn));
    }

    /// Judges one key's replies.
    fn on_replies(&mut self, job: Job, replies: &[Result<Reply, Status>], now: Duration) {
        let Some(reign) = &mut self.reign else { return };
        let Job {
            controller, key, ..
        } = job;
        let queue = &mut reign.queues[controller];
        let name = self.controllers[controller].name();
        let mut failed = replies.len() < job.requests;
        for status in replies.iter().filter_map(|reply| reply.as_ref().err()) {
            if let Some(after) = retry_after(status) {
                queue.add_at(key.clone(), now + after);
                continue;
            }
            failed = true;
            // A lost race is everyday business: the cache was a few milliseconds old.
            if matches!(status.code, 404 | 409) {
                tracing::debug!(controller = name, %key, %status, "a write lost a race");
            } else {
                tracing::warn!(controller = name, %key, %status, "a write failed");
            }
        }
        if failed {
            queue.add_failed(key.clone(), now, &mut self.entropy);
        } else {
            queue.succeeded(&key);
        }
        if job.cut {
            queue.add(key.clone());
        }
        if let Some(delay) = job.requeue_after {
            queue.add_at(key.clone(), now + delay);
        }
        let succeeded = |at: usize| matches!(replies.get(at), Some(Ok(_)));
        let events = job.events.into_iter().filter(|(at, _)| succeeded(*at));
        let events = events.map(|(_, event)| event).collect();
        let revisions = replies.iter().flatten().map(|reply| reply.revision);
        let last = revisions.max().unwrap_or_default();
        if last > reign.applied {
            reign
                .awaiting
                .entry(last)
                .or_default()
                .push((controller, key));
        } else {
            queue.done(&key);
        }
        self.tell(events);
    }
}

/// When a write that comes too early may be tried again.
fn retry_after(status: &Status) -> Option<Duration> {
    let details: serde_json::Value = serde_json::from_str(&status.details).ok()?;
    let seconds = details["retryAfterSeconds"].as_u64()?;
    (status.code == 429).then_some(Duration::from_secs(seconds))
}

/// What one turn has to submit. Invariant: the jobs' counts of requests add up to `requests`.
#[derive(Default)]
struct Batch {
    jobs: Vec<Job>,
    requests: Vec<Request>,
}

impl Batch {
    /// Takes in an outcome, cut to what one submit can carry.
    fn add(&mut self, controller: usize, key: ObjectKey, outcome: Outcome) -> Job {
        let mut job = Job {
            controller,
            key,
            requests: 0,
            events: Vec::new(),
            requeue_after: outcome.requeue_after,
            cut: outcome.writes.len() > SUBMIT_REQUESTS_MAX,
        };
        for write in outcome.writes.into_iter().take(SUBMIT_REQUESTS_MAX) {
            job.events
                .extend(write.event.map(|event| (job.requests, event)));
            job.requests += 1;
            self.requests.push(write.request);
        }
        job
    }

    /// What goes in one submit; the rest, the last job's, stays.
    fn split_first(&mut self) -> Self {
        let mut first = std::mem::take(self);
        if first.requests.len() > SUBMIT_REQUESTS_MAX {
            let last = first.jobs.pop().expect("requests come with their jobs");
            self.requests = first
                .requests
                .split_off(first.requests.len() - last.requests);
            self.jobs.push(last);
        }
        first
    }
}

impl Actor for ControllerHost {
    type Context = Context<Self>;
}

impl Handler<CacheBegan> for ControllerHost {
    type Result = ();

    fn handle(&mut self, CacheBegan { term, cache, view }: CacheBegan, ctx: &mut Context<Self>) {
        self.epoch += 1;
        let mut queues = Vec::new();
        for controller in &self.controllers {
            let mut queue = WorkQueue::default();
            for key in controller.all_keys(&cache) {
                queue.add(key);
            }
            queues.push(queue);
        }
        tracing::debug!(term, "controllers start");
        self.reign = Some(Reign {
            applied: cache.revision(),
            cache,
            queues,
            awaiting: BTreeMap::new(),
            in_flight: 0,
            next_controller: 0,
            events: EventTtl::fill(&view),
            next_sweep: self.clock.now(),
        });
        self.turn(ctx);
    }
}

impl Handler<CacheEnded> for ControllerHost {
    type Result = ();

    fn handle(&mut self, _: CacheEnded, ctx: &mut Context<Self>) {
        self.epoch += 1;
        self.reign = None;
        self.set_timer(self.clock.now(), ctx);
    }
}

impl Handler<CacheChanged> for ControllerHost {
    type Result = ();

    fn handle(&mut self, message: CacheChanged, ctx: &mut Context<Self>) {
        let Some(reign) = &mut self.reign else { return };
        reign.cache = message.cache;
        reign.events.take(&message.events);
        reign.applied = reign.cache.revision();
        for change in message.changes.iter() {
            for (controller, queue) in self.controllers.iter().zip(&mut reign.queues) {
                for key in controller.keys_for(change, &reign.cache) {
                    queue.add(key);
                }
            }
        }
        let later = reign.awaiting.split_off(&(reign.applied + 1));
        let reached = std::mem::replace(&mut reign.awaiting, later);
        for (controller, key) in reached.into_values().flatten() {
            reign.queues[controller].done(&key);
        }
        let news = pod_events(&message.events, self.clock.wall(), &mut self.entropy);
        self.tell(news);
        self.turn(ctx);
    }
}

impl Handler<Submitted> for ControllerHost {
    type Result = ();

    fn handle(&mut self, message: Submitted, ctx: &mut Context<Self>) {
        let Some(reign) = self.reign.as_mut().filter(|_| message.epoch == self.epoch) else {
            return;
        };
        reign.in_flight -= 1;
        let now = self.clock.now();
        let mut replies = message.replies.as_slice();
        for job in message.jobs {
            let (own, rest) = replies.split_at(job.requests.min(replies.len()));
            replies = rest;
            self.on_replies(job, own, now);
        }
        self.turn(ctx);
    }
}
