//! Tests' leader: commits what is submitted to a real store through the real write path, and tells its followers.
//!
//! Deliberately without consensus; faults are ordered: requests refused or held, replies held, changes withheld.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;
use tokio::sync::oneshot;

use super::founding_state::{Ending, remember};
use super::informer::{CacheBegan, CacheChanged, CacheEnded, CacheReader, Informer};
use super::messages::{Applied, BecameLeader, LostLeadership, Submit};
use crate::resource::registry::kinds;
use crate::resource::{Options, Reply, Request, Stamp, Status, Verb, plan};
use crate::store::{Command, Event, Outcome, ProposalId, Store};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

type Replies = Vec<Result<Reply, Status>>;

/// The leader.
pub(crate) struct TestLeader {
    store: Store,
    entropy: StdRng,
    followers: Vec<Follower>,
    /// Requests submitted so far.
    submitted: Vec<Request>,
    /// Which of the coming requests are refused, by their position.
    refused: VecDeque<bool>,
    hold_replies: bool,
    held: Vec<(oneshot::Sender<Replies>, Replies)>,
    withhold_changes: bool,
    withheld: Vec<Event>,
    hold_writes: bool,
    waiting: Vec<(oneshot::Sender<Replies>, Vec<Request>)>,
}

struct Follower {
    became: Recipient<BecameLeader>,
    lost: Recipient<LostLeadership>,
    applied: Recipient<Applied>,
}

impl TestLeader {
    pub(crate) fn new() -> Self {
        Self {
            store: Store::new(),
            entropy: StdRng::seed_from_u64(11),
            followers: Vec::new(),
            submitted: Vec::new(),
            refused: VecDeque::new(),
            hold_replies: false,
            held: Vec::new(),
            withhold_changes: false,
            withheld: Vec::new(),
            hold_writes: false,
            waiting: Vec::new(),
        }
    }

    fn commit_all(&mut self, requests: Vec<Request>) -> Replies {
        let replies = requests.iter().map(|r| self.commit(r)).collect();
        self.submitted.extend(requests);
        self.publish();
        replies
    }

    fn commit(&mut self, request: &Request) -> Result<Reply, Status> {
        if self.refused.pop_front() == Some(true) {
            return Err(Status {
                code: 503,
                reason: "ServiceUnavailable".into(),
                message: "refused by the test".into(),
                details: String::new(),
            });
        }
        let mut stamp = Stamp {
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            entropy: &mut self.entropy,
        };
        let view = self.store.view();
        let planned = plan(&view, request, &mut stamp)?;
        let mut last = view.revision();
        for transaction in planned.transactions {
            let applied = self.store.apply(&Command {
                id: ProposalId {
                    origin: 1,
                    sequence: last + 1,
                },
                time_ms: 0,
                transaction,
            });
            let Outcome::Committed { revision } = applied.outcome else {
                panic!("nothing comes between a plan and its commit");
            };
            last = revision;
            self.withheld.extend(applied.events);
        }
        Ok(planned.reply.finish(last))
    }

    fn publish(&mut self) {
        if self.withhold_changes || self.withheld.is_empty() {
            return;
        }
        let message = Applied {
            view: self.store.view(),
            events: Arc::new(std::mem::take(&mut self.withheld)),
        };
        for follower in &self.followers {
            follower.applied.do_send(message.clone());
        }
    }
}

impl Actor for TestLeader {
    type Context = Context<Self>;
}

impl Handler<Submit> for TestLeader {
    type Result = ResponseFuture<Replies>;

    fn handle(&mut self, Submit(requests): Submit, _: &mut Context<Self>) -> Self::Result {
        let (sender, receiver) = oneshot::channel();
        if self.hold_writes {
            self.waiting.push((sender, requests));
            return Box::pin(async { receiver.await.unwrap() });
        }
        let replies = self.commit_all(requests);
        if !self.hold_replies {
            return Box::pin(async { replies });
        }
        self.held.push((sender, replies));
        Box::pin(async { receiver.await.unwrap() })
    }
}

/// Runs a closure on the leader.
#[derive(Message)]
#[rtype(result = "()")]
struct Run(Box<dyn FnOnce(&mut TestLeader) + Send>);

impl Handler<Run> for TestLeader {
    type Result = ();

    fn handle(&mut self, Run(closure): Run, _: &mut Context<Self>) {
        closure(self);
    }
}

/// A handle on a started leader.
pub(crate) struct Handle(pub(crate) Addr<TestLeader>);

impl Handle {
    pub(crate) fn start() -> Self {
        Self(TestLeader::new().start())
    }

    /// Runs a closure on the leader and gives back what it returns.
    pub(crate) async fn ask<R: Send + 'static>(
        &self,
        closure: impl FnOnce(&mut TestLeader) -> R + Send + 'static,
    ) -> R {
        let (sender, receiver) = oneshot::channel();
        let run = Run(Box::new(move |leader| {
            let _ = sender.send(closure(leader));
        }));
        self.0.send(run).await.unwrap();
        receiver.await.unwrap()
    }

    /// Lets an actor follow, through an informer of its own, from now on as one of a node that leads.
    pub(crate) async fn lead<A>(&self, follower: &Addr<A>)
    where
        A: Actor<Context = Context<A>>
            + Handler<CacheBegan>
            + Handler<CacheChanged>
            + Handler<CacheEnded>,
    {
        let informer = Informer::new(vec![CacheReader::of(follower)]).start();
        let follower = Follower {
            became: informer.clone().recipient(),
            lost: informer.clone().recipient(),
            applied: informer.recipient(),
        };
        self.ask(|leader| {
            let view = leader.store.view();
            follower.became.do_send(BecameLeader { term: 1, view });
            leader.followers.push(follower);
        })
        .await;
    }

    /// Ends everybody's leadership and lets it begin anew at the present state.
    pub(crate) async fn re_elect(&self) {
        self.ask(|leader| {
            leader.withheld.clear();
            for follower in &leader.followers {
                follower.lost.do_send(LostLeadership);
                let view = leader.store.view();
                follower.became.do_send(BecameLeader { term: 2, view });
            }
        })
        .await;
    }

    /// Creates an object as a client would.
    pub(crate) async fn create(&self, prefix: &'static str, mut object: Value) {
        let kind = kinds().iter().find(|kind| kind.prefix() == prefix).unwrap();
        object["apiVersion"] = kind.api_version().into();
        object["kind"] = kind.kind.into();
        let request = Request {
            resource: kind.resource_name(),
            namespace: object["metadata"]["namespace"].as_str().map(str::to_owned),
            name: None,
            subresource: None,
            verb: Verb::Create(object),
            options: Options::default(),
            user: "test".into(),
        };
        self.ask(move |leader| {
            leader.commit(&request).unwrap();
            leader.publish();
        })
        .await;
    }

    /// A Node that is ready and has room, with its status as a node link would report it.
    pub(crate) async fn add_node(&self, name: &'static str) {
        let metadata = serde_json::json!({ "name": name });
        self.create("nodes", serde_json::json!({ "metadata": metadata }))
            .await;
        let status = serde_json::json!({"status": {
            "allocatable": {"cpu": "8", "memory": "32Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}],
        }});
        let request = Request {
            resource: crate::resource::ResourceName::new("", "v1", "nodes"),
            namespace: None,
            name: Some(name.into()),
            subresource: Some("status".into()),
            verb: Verb::Patch(crate::resource::PatchType::Merge, status),
            options: Options::default(),
            user: "test".into(),
        };
        self.ask(move |leader| {
            leader.commit(&request).unwrap();
            leader.publish();
        })
        .await;
    }

    /// Begins the next generation with what there is, as a recovery does.
    pub(crate) async fn begin_generation(&self) {
        self.ask(|leader| {
            let view = leader.store.view();
            let ending = Ending {
                generation: 1,
                committed: view.revision(),
                tail: &[],
                state: &view,
            };
            let operations = remember(&ending);
            leader.store.begin_generation(1, &operations);
        })
        .await;
    }

    /// The objects whose store keys start so.
    pub(crate) async fn objects(&self, prefix: &'static str) -> Vec<Value> {
        self.ask(move |leader| {
            let view = leader.store.view();
            let records = view.range(prefix);
            records
                .map(|(_, record)| serde_json::from_slice(&record.value).unwrap())
                .collect()
        })
        .await
    }

    /// Requests submitted so far whose resource and verb are these.
    pub(crate) async fn creates(&self, plural: &'static str) -> usize {
        self.ask(move |leader| {
            let creates = leader.submitted.iter();
            let creates = creates.filter(|r| matches!(r.verb, Verb::Create(_)));
            creates.filter(|r| r.resource.plural == plural).count()
        })
        .await
    }

    pub(crate) async fn refuse(&self, refused: Vec<bool>) {
        self.ask(|leader| leader.refused = refused.into()).await;
    }

    pub(crate) async fn withhold_changes(&self, withhold: bool) {
        self.ask(move |leader| {
            leader.withhold_changes = withhold;
            leader.publish();
        })
        .await;
    }

    /// Holds what is submitted uncommitted, or commits all that was held.
    pub(crate) async fn hold_writes(&self, hold: bool) {
        self.ask(move |leader| {
            leader.hold_writes = hold;
            for (sender, requests) in std::mem::take(&mut leader.waiting) {
                let replies = leader.commit_all(requests);
                // The waiter may have stopped waiting.
                let _ = sender.send(replies);
            }
        })
        .await;
    }

    pub(crate) async fn hold_replies(&self, hold: bool) {
        self.ask(move |leader| {
            leader.hold_replies = hold;
            for (sender, replies) in leader.held.drain(..) {
                // The waiter may have stopped waiting.
                let _ = sender.send(replies);
            }
        })
        .await;
    }

    /// Waits until there are so many objects under a prefix that pass the test; panics if they never come.
    pub(crate) async fn wait_for(
        &self,
        prefix: &'static str,
        count: usize,
        test: impl Fn(&Value) -> bool,
    ) -> Vec<Value> {
        let mut waited = Duration::ZERO;
        loop {
            let objects = self.objects(prefix).await;
            if objects.iter().filter(|o| test(o)).count() == count {
                return objects;
            }
            assert!(waited < PATIENCE, "never {count} of {prefix}: {objects:#?}");
            tokio::time::sleep(PAUSE).await;
            waited += PAUSE;
        }
    }
}
