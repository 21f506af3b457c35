//! The agent's shell: performs what the pure agent decides against the container runtime, and feeds back what came of it.
//!
//! Deliberately without decisions: which pod does what is `crate::agent`'s, how it is done the runtime's.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use rand::Rng;
use tracing::{debug, error, info, warn};

use super::lease::LOOK_MS;
use super::messages::{LogOptions, LogStream};
use super::node_messages::{
    AssignPods, AssignRefused, DescribeNode, NodeDescription, PodReport, PodReports, ReadLog,
    WireAssignment,
};
use super::node_operations::{is_slow, operate};
use crate::agent::{
    Action, Agent, Assignment, Desired, Input, Inventory, NodeInfo, Operation, Outcome, Refusal,
    Report, Seat, Uid,
};
use crate::env::clock::Clock;
use crate::env::entropy::Entropy;
use crate::env::runtime::{ContainerRuntime, LOG_PIECES_MAX, ListError, LogPieces, LogQuery};
use crate::resource::Status;

/// How often back-offs and deadlines are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often the runtime is listed though nothing seems to have changed: changes may be missed.
const RELIST_EVERY: Duration = Duration::from_secs(10);
/// How often the ends of leases are looked for.
const LEASES_LOOK: Duration = Duration::from_millis(LOOK_MS);
/// Two listings are at least so far apart; a listing of 100 containers costs an engine 10 ms.
const RELIST_GAP: Duration = Duration::from_millis(50);
/// Starts and removals that run side by side; an engine gains nothing from more (8-way was measured best).
const OPERATIONS_MAX: usize = 8;
/// Stops and pulls that run side by side: they wait, they do not work. More than the pods of a node.
const SLOW_OPERATIONS_MAX: usize = 512;
/// The longest wait for an engine to say who it is and what its pods use.
const DESCRIBE_DEADLINE: Duration = Duration::from_secs(5);
/// The longest wait for a listing: an engine under load takes seconds. Until it has ended no other begins.
const LIST_DEADLINE: Duration = Duration::from_secs(30);
/// The longest wait for a log to open: so much less than its reader waits that the reader learns why.
const OPEN_LOG_DEADLINE: Duration = Duration::from_secs(8);

mod leases;

pub use leases::LeaseBook;

#[derive(Message)]
#[rtype(result = "()")]
struct Performed {
    ticket: u64,
    uid: Uid,
    slow: bool,
    outcome: Outcome,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Listed {
    performed: u64,
    result: Result<Inventory, ListError>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct RuntimeChanged;

type Queued = (u64, Uid, Operation);

/// The node's agent as an actor.
///
/// Invariants: at most one listing is on its way; `running` never exceeds [`OPERATIONS_MAX`], `slow_running` never
/// [`SLOW_OPERATIONS_MAX`].
pub struct NodeAgent {
    agent: Agent,
    runtime: Rc<dyn ContainerRuntime>,
    clock: Rc<dyn Clock>,
    entropy: Entropy,
    reports: Recipient<PodReports>,
    queue: VecDeque<Queued>,
    slow_queue: VecDeque<Queued>,
    running: usize,
    slow_running: usize,
    listing: bool,
    relist_wanted: bool,
    listed_at: Duration,
    problem: Option<String>,
    book: LeaseBook,
}

impl NodeAgent {
    /// An agent that reports to `reports`. It starts nothing before a leader has spoken.
    pub fn new(
        node: NodeInfo,
        runtime: Rc<dyn ContainerRuntime>,
        clock: Rc<dyn Clock>,
        entropy: Entropy,
        reports: Recipient<PodReports>,
    ) -> Self {
        Self {
            agent: Agent::new(node),
            runtime,
            clock,
            entropy,
            reports,
            queue: VecDeque::new(),
            slow_queue: VecDeque::new(),
            running: 0,
            slow_running: 0,
            listing: false,
            relist_wanted: false,
            listed_at: Duration::ZERO,
            problem: None,
            book: LeaseBook::unread(),
        }
    }
}

impl Actor for NodeAgent {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.list(ctx);
        let mut changed = self.runtime.changed();
        let me = ctx.address();
        let watch = async move {
            while changed.changed().await.is_ok() {
                me.do_send(RuntimeChanged);
            }
        };
        ctx.spawn(watch.into_actor(self));
        ctx.run_interval(TICK, |agent, ctx| agent.step(Input::Tick, ctx));
        ctx.run_interval(LEASES_LOOK, Self::look_at_leases);
        // Nodes that share an engine (`kagero dev`) do not all list it at the same moment.
        let spread = Duration::from_millis(self.entropy.random_range(0..1_000));
        ctx.run_interval(RELIST_EVERY + spread, Self::list_at_interval);
    }
}

impl Handler<AssignPods> for NodeAgent {
    type Result = Result<(), AssignRefused>;

    fn handle(&mut self, assign: AssignPods, ctx: &mut Self::Context) -> Self::Result {
        let obeyed = self.obey(assign, ctx);
        match &obeyed {
            // The last words of a leader that is one no more.
            Err(refused @ AssignRefused::Superseded { .. }) => {
                debug!(%refused, "an assignment is refused");
            }
            Err(refused) => warn!(%refused, "an assignment is refused"),
            Ok(()) => {}
        }
        obeyed
    }
}

impl NodeAgent {
    fn obey(&mut self, assign: AssignPods, ctx: &mut Context<Self>) -> Result<(), AssignRefused> {
        let seat = Seat {
            generation: assign.generation,
            term: assign.term,
        };
        self.agent
            .check(seat, assign.full)
            .map_err(|refusal| match refusal {
                Refusal::Superseded { seen } => AssignRefused::Superseded {
                    generation: seen.generation,
                    term: seen.term,
                },
                Refusal::FullSetWanted => AssignRefused::FullSetWanted,
            })?;
        let (mut upsert, mut unreadable) = (Vec::new(), Vec::new());
        for assignment in &assign.upsert {
            match decode(assignment) {
                Ok(pod) => upsert.push(pod),
                // Deliberately not the node's problem: it would be drained, and what it cannot read go to the next node.
                // The others start all the same.
                Err(error) => {
                    error!(uid = assignment.uid, %error, "an assigned pod cannot be read");
                    unreadable.push(assignment.uid.clone());
                }
            }
        }
        let desired = Desired {
            seat,
            full: assign.full,
            upsert,
            remove: assign.remove,
            unreadable,
        };
        self.step(Input::Desired(desired), ctx);
        Ok(())
    }
}

impl Handler<Performed> for NodeAgent {
    type Result = ();

    fn handle(&mut self, performed: Performed, ctx: &mut Self::Context) {
        let counter = if performed.slow {
            &mut self.slow_running
        } else {
            &mut self.running
        };
        *counter -= 1;
        let input = Input::Performed {
            ticket: performed.ticket,
            uid: performed.uid,
            outcome: performed.outcome,
        };
        self.step(input, ctx);
    }
}

impl Handler<Listed> for NodeAgent {
    type Result = ();

    fn handle(&mut self, listed: Listed, ctx: &mut Self::Context) {
        self.listing = false;
        match listed.result {
            Ok(inventory) => {
                self.problem = None;
                let performed = listed.performed;
                let input = Input::Listed {
                    performed,
                    inventory,
                };
                self.step(input, ctx);
            }
            Err(error) => {
                warn!(%error, "cannot list containers");
                self.problem = Some(error.to_string());
            }
        }
        if std::mem::take(&mut self.relist_wanted) {
            self.list(ctx);
        }
    }
}

impl Handler<RuntimeChanged> for NodeAgent {
    type Result = ();

    fn handle(&mut self, _: RuntimeChanged, ctx: &mut Self::Context) {
        self.list(ctx);
    }
}

impl Handler<DescribeNode> for NodeAgent {
    type Result = ResponseFuture<NodeDescription>;

    fn handle(&mut self, _: DescribeNode, _: &mut Self::Context) -> Self::Result {
        let census = self.agent.census();
        let node = self.agent.node();
        let mut description = NodeDescription {
            cpu_millis: node.cpu_millis,
            memory_bytes: node.memory_bytes,
            pods_max: node.pods_max,
            addresses: node.addresses.clone(),
            problem: self.problem.clone(),
            active_pods: census.active,
            running_pods: census.running,
            unclaimed_pods: census.unclaimed,
            ..NodeDescription::default()
        };
        let runtime = Rc::clone(&self.runtime);
        Box::pin(async move {
            let asked = async { (runtime.version().await, runtime.usage().await) };
            match tokio::time::timeout(DESCRIBE_DEADLINE, asked).await {
                Ok((Ok(version), usage)) => {
                    description.container_runtime_version = version.runtime;
                    description.kernel_version = version.kernel;
                    description.os_image = version.os_image;
                    description.usage = usage.unwrap_or_default();
                }
                Ok((Err(error), _)) => description.problem = Some(error.to_string()),
                Err(_) => {
                    description.problem = Some("the container engine does not answer".to_owned());
                }
            }
            description
        })
    }
}

impl Handler<ReadLog> for NodeAgent {
    type Result = ResponseFuture<Result<LogStream, Status>>;

    fn handle(&mut self, read: ReadLog, _: &mut Self::Context) -> Self::Result {
        let options = read.options;
        let id = self
            .agent
            .container_id(&read.uid, &read.container, options.previous);
        let (container, pod) = (read.container, read.pod);
        let Some(id) = id else {
            let kind = if options.previous {
                "previous terminated "
            } else {
                ""
            };
            let message = format!(
                "{kind}container {container:?} in pod {pod:?} not found or waiting to start"
            );
            return Box::pin(std::future::ready(Err(bad_request(message))));
        };
        let since = options.since_seconds.map(|seconds| {
            let seconds =
                jiff::SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
            let wall = self.clock.wall();
            wall.saturating_sub(seconds).unwrap_or(jiff::Timestamp::MIN)
        });
        let query = LogQuery {
            follow: options.follow,
            timestamps: options.timestamps,
            tail_lines: options.tail_lines,
            since,
        };
        let runtime = Rc::clone(&self.runtime);
        Box::pin(async move {
            let opened = runtime.open_log(&id, &query);
            let opened = tokio::time::timeout(OPEN_LOG_DEADLINE, opened).await;
            let late = |_| Status::internal("the container engine does not answer: no log");
            let pieces = opened.map_err(late)?;
            let pieces = pieces.map_err(|error| bad_request(error.to_string()))?;
            Ok(forward_log(pieces, &options))
        })
    }
}

impl NodeAgent {
    /// Takes an input and performs what comes of it.
    fn step(&mut self, input: Input, ctx: &mut Context<Self>) {
        // Sleep of the machine counts: a lease goes on while nobody looks.
        let now = self.clock.since_boot();
        let actions = self.agent.step(input, now, self.clock.wall());
        self.keep_leases();
        self.perform(actions, ctx);
    }

    fn perform(&mut self, actions: Vec<Action>, ctx: &mut Context<Self>) {
        let mut reports = Vec::new();
        for action in actions {
            match action {
                Action::Perform {
                    ticket,
                    uid,
                    operation,
                } => {
                    debug!(%uid, operation = operation.name(), "asked for");
                    let queue = if is_slow(&operation) {
                        &mut self.slow_queue
                    } else {
                        &mut self.queue
                    };
                    queue.push_back((ticket, uid, operation));
                }
                Action::Report(report) => reports.push(encode(&report)),
                Action::Relist => self.list(ctx),
            }
        }
        if !reports.is_empty() {
            self.reports.do_send(PodReports(reports));
        }
        self.start_queued(ctx);
    }

    fn start_queued(&mut self, ctx: &mut Context<Self>) {
        while self.running < OPERATIONS_MAX
            && let Some(queued) = self.queue.pop_front()
        {
            self.running += 1;
            self.start_one(queued, false, ctx);
        }
        while self.slow_running < SLOW_OPERATIONS_MAX
            && let Some(queued) = self.slow_queue.pop_front()
        {
            self.slow_running += 1;
            self.start_one(queued, true, ctx);
        }
    }

    fn start_one(&self, queued: Queued, slow: bool, ctx: &mut Context<Self>) {
        let (ticket, uid, operation) = queued;
        let runtime = Rc::clone(&self.runtime);
        let me = ctx.address();
        // It may have waited for minutes, behind an engine that is busy.
        let now = self.clock.since_boot();
        let may_begin = self.agent.may_begin(&uid, &operation, now);
        let work = async move {
            let name = operation.name();
            let outcome = if may_begin {
                operate(runtime, operation).await
            } else {
                Outcome::Withheld
            };
            if let Outcome::Failed { message, .. } = &outcome {
                info!(%uid, operation = name, %message, "failed");
            }
            me.do_send(Performed {
                ticket,
                uid,
                slow,
                outcome,
            });
        };
        ctx.spawn(work.into_actor(self));
    }

    /// Lists the runtime now, or once the listing on its way has answered.
    fn list(&mut self, ctx: &mut Context<Self>) {
        if self.listing {
            self.relist_wanted = true;
            return;
        }
        self.listing = true;
        let wait = (self.listed_at + RELIST_GAP).saturating_sub(self.clock.now());
        self.listed_at = self.clock.now() + wait;
        ctx.run_later(wait, Self::list_now);
    }

    fn list_at_interval(&mut self, ctx: &mut Context<Self>) {
        self.list(ctx);
    }

    fn list_now(&mut self, ctx: &mut Context<Self>) {
        let performed = self.agent.performed();
        let runtime = Rc::clone(&self.runtime);
        let me = ctx.address();
        let work = async move {
            let listed = tokio::time::timeout(LIST_DEADLINE, runtime.list()).await;
            let result = listed.unwrap_or_else(|_| {
                let seconds = LIST_DEADLINE.as_secs();
                Err(ListError::Unavailable(format!(
                    "no list within {seconds} s"
                )))
            });
            me.do_send(Listed { performed, result });
        };
        ctx.spawn(work.into_actor(self));
    }
}

fn decode(wire: &WireAssignment) -> Result<Assignment, serde_json::Error> {
    let mut assignment = Assignment {
        pod: serde_json::from_slice(&wire.pod)?,
        fresh: wire.fresh,
        ..Assignment::default()
    };
    for bytes in &wire.config_maps {
        let map: k8s_openapi::api::core::v1::ConfigMap = serde_json::from_slice(bytes)?;
        let name = map.metadata.name.clone().unwrap_or_default();
        assignment.config_maps.insert(name, map);
    }
    for bytes in &wire.secrets {
        let secret: k8s_openapi::api::core::v1::Secret = serde_json::from_slice(bytes)?;
        let name = secret.metadata.name.clone().unwrap_or_default();
        assignment.secrets.insert(name, secret);
    }
    Ok(assignment)
}

fn encode(report: &Report) -> PodReport {
    let status = serde_json::to_vec(&report.status).expect("a status serialises into memory");
    PodReport {
        namespace: report.pod.namespace.clone(),
        name: report.pod.name.clone(),
        uid: report.pod.uid.clone(),
        status: status.into(),
        gone: report.gone,
    }
}

fn bad_request(message: String) -> Status {
    Status {
        code: 400,
        reason: "BadRequest".to_owned(),
        message,
        details: String::new(),
    }
}

/// A runtime's log as the API's, cut after `limit_bytes`.
fn forward_log(mut pieces: LogPieces, options: &LogOptions) -> LogStream {
    let (sender, receiver) = tokio::sync::mpsc::channel(LOG_PIECES_MAX);
    let mut left = options.limit_bytes.unwrap_or(u64::MAX);
    actix_rt::spawn(async move {
        // A client that left ends the stream, also while nothing is logged.
        while left > 0 {
            let piece = tokio::select! {
                biased;
                () = sender.closed() => return,
                piece = pieces.recv() => piece,
            };
            let piece = match piece {
                Some(Ok(mut piece)) => {
                    piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                    left -= piece.len() as u64;
                    Ok(piece)
                }
                Some(Err(error)) => Err(bad_request(error.to_string())),
                None => return,
            };
            if sender.send(piece).await.is_err() {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests;
