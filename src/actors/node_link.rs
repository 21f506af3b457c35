//! The leader's link to one node: dials it, pushes its pods, polls it, and writes down what it says.
//!
//! The master calls the node, never the reverse (as in Borg). A node from which nothing was heard for
//! [`SILENCE_NOT_READY_MS`] is marked; what follows from that is the node life-cycle controller's business.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::dial::{Connection, DialError, dial};
use super::messages::{SUBMIT_REQUESTS_MAX, Submit};
use super::metrics::ClusterMetrics;
use super::node_links::{LinkReady, ReplyHeard};
use super::node_messages::{HeldPod, NodeDescription, PodReport, WireAssignment};
use super::node_status::{Machine, UsageMeter, node_status};
use super::registration::{patch_status, remove_pod, report_pod};
use super::spoken::NodeSpoke;
use super::wire::{FromDialler, FromListener, LinkDown, LinkUp};
use crate::env::clock::Clock;
use crate::env::entropy::Entropy;
use crate::env::frames::{Backoff, Outbox, SendError};
use crate::env::network::Network;
use crate::raft::{ClusterId, PeerId, Term};
use crate::resource::{ObjectKey, Reply, Request, Status};
use stored::Readiness;

mod notice;
pub(super) mod stored;

/// The node is asked for life and load this often.
pub(super) const POLL_MS: u64 = 2_000;
/// Silence after which a node is NotReady (DESIGN.md, Masters and nodes).
pub(super) const SILENCE_NOT_READY_MS: u64 = 10_000;
/// A connection on which this many polls went unanswered leads nowhere (the node may take another for the newest): it
/// is given up for a new one before the node counts as silent.
const UNANSWERED_MS: u64 = 4 * POLL_MS;
/// How often silence is looked at.
const LOOK_MS: u64 = 500;
/// Pause before reports that could not be written are tried again.
const RETRY_MS: u64 = 500;
/// The longest rest between two attempts to dial: a node that comes back must not wait long for its pods.
const REST_MS_MAX: u64 = 1_000;

/// Pods that a node may say it holds: many times what a node runs.
const HELD_MAX: usize = 10_000;

/// Words to the node that wait to be sent; a node that reads so slowly is better told everything anew.
const WORDS_MAX: usize = 1_024;
/// Bytes of assignments in one frame: far below a frame's bound, and heartbeats never wait long behind it.
const PART_BYTES: usize = 1 << 20;

/// Pods for the node; dropped unless the link is open and has been given everything before.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Assign {
    /// True if this is everything.
    pub(super) full: bool,
    /// New or changed pods.
    pub(super) upsert: Vec<WireAssignment>,
    /// UIDs of pods no longer wanted.
    pub(super) remove: Vec<String>,
    /// The node is asked for a word at once: what it is told waits for a lease.
    pub(super) poll: bool,
}

/// A description was heard, and this node led afterwards: the node has a lease. Dropped if the link is not open.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Acknowledge {
    /// The description, as the node counts.
    pub(super) number: u64,
    /// Nobody else can run the unique pods that are wanted there.
    pub(super) start: bool,
}

/// This node leads no more, or the node is another's: stop.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Hang;

/// To whom, and on whose behalf.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) id: PeerId,
    pub(super) address: String,
    pub(super) machine: Machine,
    pub(super) cluster: ClusterId,
    pub(super) term: Term,
    /// The leader's own peer address.
    pub(super) leader: String,
    /// Whether the store already calls the node ready.
    pub(super) ready: bool,
    /// The end of its machine, as the store has it.
    pub(super) notice: Option<Timestamp>,
}

/// What a link needs from around it.
pub(super) struct Neighbours {
    pub(super) network: Rc<dyn Network>,
    pub(super) clock: Rc<dyn Clock>,
    pub(super) entropy: Entropy,
    pub(super) submit: Recipient<Submit>,
    pub(super) ready: Recipient<LinkReady>,
    pub(super) heard: Recipient<ReplyHeard>,
    pub(super) spoke: Recipient<NodeSpoke>,
    pub(super) metrics: ClusterMetrics,
}

/// The actor.
pub(super) struct NodeLink {
    target: Target,
    around: Neighbours,
    /// The open connection. Dropping it ends the connection, whose end then begins another.
    words: Option<mpsc::Sender<LinkDown>>,
    opened: Instant,
    backoff: Backoff,
    /// Everything has been sent on the open connection, so changes may follow.
    complete: bool,
    heard: Instant,
    ready: Readiness,
    /// The status last written on the node's own word.
    told: Option<Value>,
    usage: UsageMeter,
    /// The newest unwritten report of each pod, by UID.
    reports: BTreeMap<String, PodReport>,
    /// The Node's status to write, if any.
    status: Option<Value>,
    writing: bool,
    /// What the node said it holds, before it said that the link is open.
    held: Vec<HeldPod>,
    /// When the node's machine is taken away, as far as this link wrote it.
    notice: Option<Timestamp>,
    announcing: Option<SpawnHandle>,
}

/// The node spoke.
#[derive(Message)]
#[rtype(result = "()")]
struct Heard(LinkUp);

/// The connection ended.
#[derive(Message)]
#[rtype(result = "()")]
struct HungUp(String);

/// A batch of writes ended.
#[derive(Message)]
#[rtype(result = "()")]
struct Written {
    status: Option<Value>,
    reports: Vec<PodReport>,
    replies: Vec<Result<Reply, Status>>,
}

impl NodeLink {
    pub(super) fn new(target: Target, around: Neighbours) -> Self {
        Self {
            ready: Readiness {
                written: target.ready,
                stored: target.ready,
            },
            notice: target.notice,
            target,
            around,
            words: None,
            opened: Instant::now(),
            backoff: Backoff::default(),
            complete: false,
            heard: Instant::now(),
            told: None,
            usage: UsageMeter::default(),
            reports: BTreeMap::new(),
            status: None,
            writing: false,
            held: Vec::new(),
            announcing: None,
        }
    }

    fn dial(&mut self, ctx: &mut Context<Self>) {
        let (network, address) = (self.around.network.clone(), self.target.address.clone());
        let dialling = async move { dial(network.as_ref(), &address, None).await };
        // Connections cannot be sent in a message (they are of this thread), so their arrival is mapped instead.
        ctx.spawn(
            dialling
                .into_actor(self)
                .map(|result, link, ctx| link.on_dialled(result, ctx)),
        );
    }

    fn on_dialled(&mut self, result: Result<Connection, DialError>, ctx: &mut Context<Self>) {
        match result {
            Ok((outbox, mut inbox)) => {
                let (words, said) = mpsc::channel(WORDS_MAX);
                tokio::task::spawn_local(pass_on(said, outbox, self.target.name.clone()));
                (self.words, self.opened) = (Some(words), Instant::now());
                self.say(LinkDown::Open {
                    cluster: self.target.cluster,
                    term: self.target.term,
                    to: self.target.id,
                    leader: self.target.leader.clone(),
                });
                let me = ctx.address();
                let listening = async move {
                    let reason = loop {
                        match inbox.next().await {
                            Some(Ok(FromListener::Link(up))) => me.do_send(Heard(up)),
                            Some(Ok(other)) => break format!("unexpected frame {other:?}"),
                            Some(Err(error)) => break error.to_string(),
                            None => break "closed".to_owned(),
                        }
                    };
                    me.do_send(HungUp(reason));
                };
                ctx.spawn(listening.into_actor(self));
            }
            Err(error) => {
                tracing::debug!(node = self.target.name, %error, "cannot reach a node");
                self.rest(ctx);
            }
        }
    }

    fn rest(&mut self, ctx: &mut Context<Self>) {
        self.words = None;
        self.complete = false;
        self.held.clear();
        let rest = self
            .backoff
            .wait(&mut self.around.entropy)
            .min(Duration::from_millis(REST_MS_MAX));
        ctx.run_later(rest, Self::dial);
    }

    /// Says something to the node. A full buffer means that it does not read; its silence will show.
    fn say(&mut self, down: LinkDown) {
        let Some(words) = &self.words else { return };
        if let Err(error) = words.try_send(down) {
            tracing::warn!(node = self.target.name, %error, "cannot tell a node its pods; the link begins anew");
            self.words = None;
        }
    }

    /// Writes down what the node says of itself, if that is news.
    fn describe(&mut self, description: &NodeDescription, ctx: &mut Context<Self>) {
        let mut status = node_status(&self.target.name, &self.target.machine, description);
        let ready = description.problem.is_none();
        if self.ready.written == ready && self.told.as_ref() == Some(&status) {
            return;
        }
        self.told = Some(status.clone());
        status["conditions"][0]["lastHeartbeatTime"] = json!(self.now());
        if self.ready.written != ready {
            status["conditions"][0]["lastTransitionTime"] = json!(self.now());
        }
        self.ready.written = ready;
        self.status = Some(status);
        self.write(ctx);
    }

    /// Marks the node silent if it has been; tries another connection before.
    fn look(&mut self, ctx: &mut Context<Self>) {
        let unanswered = Duration::from_millis(UNANSWERED_MS);
        if self.words.is_some() && self.heard.max(self.opened).elapsed() >= unanswered {
            tracing::info!(
                node = self.target.name,
                "polls go unanswered; the link begins anew"
            );
            self.words = None;
        }
        if !self.ready.written || self.heard.elapsed() < Duration::from_millis(SILENCE_NOT_READY_MS)
        {
            return;
        }
        tracing::warn!(
            node = self.target.name,
            "silent for {SILENCE_NOT_READY_MS} ms: not ready"
        );
        self.ready.written = false;
        self.told = None;
        let condition = json!({
            "type": "Ready",
            "status": "Unknown",
            "reason": "NodeStatusUnknown",
            "message": format!("nothing heard for {} s", SILENCE_NOT_READY_MS / 1_000),
            "lastTransitionTime": self.now(),
        });
        self.status = Some(json!({ "conditions": [condition] }));
        self.write(ctx);
    }

    fn now(&self) -> String {
        self.around
            .clock
            .wall()
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string()
    }

    /// Writes what there is to write, one batch at a time, so that an older report never overtakes a newer one.
    fn write(&mut self, ctx: &mut Context<Self>) {
        if self.writing || (self.reports.is_empty() && self.status.is_none()) {
            return;
        }
        self.writing = true;
        let status = self.status.take();
        let node = status.clone();
        let node = node.map(|status| patch_status(&self.target.name, status));
        let mut requests: Vec<Request> = node.into_iter().collect();
        let mut reports = Vec::new();
        while requests.len() < SUBMIT_REQUESTS_MAX {
            let Some((_, report)) = self.reports.pop_first() else {
                break;
            };
            match request(&report) {
                Ok(request) => {
                    requests.push(request);
                    reports.push(report);
                }
                Err(error) => tracing::error!(pod = report.name, %error, "a report is unreadable"),
            }
        }
        let (submit, me) = (self.around.submit.clone(), ctx.address());
        let writing = async move {
            // No answer means that the node is stopping.
            if let Ok(replies) = submit.send(Submit(requests)).await {
                me.do_send(Written {
                    status,
                    reports,
                    replies,
                });
            }
        };
        ctx.spawn(writing.into_actor(self));
    }
}

/// The write for a report.
fn request(report: &PodReport) -> Result<Request, serde_json::Error> {
    let key = ObjectKey::new(report.namespace.as_str(), report.name.as_str());
    if report.gone {
        return Ok(remove_pod(&key, &report.uid));
    }
    let status = serde_json::from_slice(&report.status)?;
    Ok(report_pod(&key, &report.uid, status))
}

/// Takes what the leader says into the connection, at the connection's own speed.
async fn pass_on(mut said: mpsc::Receiver<LinkDown>, outbox: Outbox<FromDialler>, node: String) {
    while let Some(down) = said.recv().await {
        match outbox.send_when_ready(&FromDialler::Link(down)).await {
            Ok(()) => {}
            // A single pod with all it reads; without it, the node can still be told the others.
            Err(error @ SendError::TooLarge { .. }) => {
                tracing::error!(node, %error, "a pod reads too much to be told its node");
            }
            Err(error) => {
                tracing::debug!(node, %error, "the link broke off");
                return;
            }
        }
    }
}

/// An assignment in frames of about [`PART_BYTES`]; it takes effect as a whole with the last.
fn in_parts(full: bool, upsert: Vec<WireAssignment>, remove: Vec<String>) -> Vec<LinkDown> {
    let (mut frames, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
    for assignment in upsert {
        let size = size(&assignment);
        if bytes > 0 && bytes + size > PART_BYTES {
            frames.push(LinkDown::Part(std::mem::take(&mut part)));
            bytes = 0;
        }
        bytes += size;
        part.push(assignment);
    }
    if bytes > PART_BYTES {
        frames.push(LinkDown::Part(std::mem::take(&mut part)));
    }
    frames.push(LinkDown::Assign {
        full,
        upsert: part,
        remove,
    });
    frames
}

fn size(assignment: &WireAssignment) -> usize {
    let objects = assignment.config_maps.iter().chain(&assignment.secrets);
    assignment.pod.len() + objects.map(Bytes::len).sum::<usize>()
}

/// Whether a refused write is worth another attempt: not if the object is gone or is another's.
fn worth_retrying(status: &Status) -> bool {
    !matches!(
        status.reason.as_str(),
        "NotFound" | "Conflict" | "Invalid" | "BadRequest" | "Forbidden"
    )
}

/// Whether a refusal means that what was written was wrong: a pod that is gone, or a race that was lost, is daily bread.
fn is_fault(status: &Status) -> bool {
    matches!(
        status.reason.as_str(),
        "Invalid" | "BadRequest" | "Forbidden"
    )
}

impl Actor for NodeLink {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.dial(ctx);
        ctx.run_interval(Duration::from_millis(LOOK_MS), Self::look);
        ctx.run_interval(Duration::from_millis(POLL_MS), |link, _| {
            link.say(LinkDown::Poll);
        });
    }
}

impl Handler<HungUp> for NodeLink {
    type Result = ();

    fn handle(&mut self, HungUp(reason): HungUp, ctx: &mut Self::Context) {
        tracing::debug!(node = self.target.name, reason, "the link ended");
        self.rest(ctx);
    }
}

impl Handler<Heard> for NodeLink {
    type Result = ();

    fn handle(&mut self, Heard(up): Heard, ctx: &mut Self::Context) {
        if let LinkUp::Refused(reason) = up {
            tracing::info!(node = self.target.name, reason, "the node refuses the link");
            self.words = None;
            return;
        }
        self.heard = Instant::now();
        self.around.spoke.do_send(NodeSpoke(self.target.id));
        if let LinkUp::Opened(description) | LinkUp::Alive(description) = &up
            && description.number > 0
        {
            self.around.heard.do_send(ReplyHeard {
                name: self.target.name.clone(),
                id: self.target.id,
                home: format!("{} at {}", self.target.machine.boot, self.target.address),
                number: description.number,
            });
        }
        match up {
            LinkUp::Holds(pods) if self.held.len() + pods.len() > HELD_MAX => {
                tracing::error!(
                    node = self.target.name,
                    "a node holds more than {HELD_MAX} pods"
                );
                self.words = None;
            }
            LinkUp::Holds(pods) => self.held.extend(pods),
            LinkUp::Opened(description) => {
                self.backoff.reset();
                self.describe(&description, ctx);
                let (name, id) = (self.target.name.clone(), self.target.id);
                let held = std::mem::take(&mut self.held);
                self.around.ready.do_send(LinkReady { name, id, held });
            }
            LinkUp::Alive(description) => {
                self.usage
                    .observe(&self.target.name, &description, &self.around.metrics);
                self.describe(&description, ctx);
            }
            LinkUp::Reports(reports) => {
                self.reports.extend(
                    reports
                        .into_iter()
                        .map(|report| (report.uid.clone(), report)),
                );
                self.write(ctx);
            }
            LinkUp::Evicting(in_ms) => self.on_notice(in_ms, ctx),
            LinkUp::Refused(_) => unreachable!("handled above"),
        }
    }
}

impl Handler<Assign> for NodeLink {
    type Result = ();

    fn handle(
        &mut self,
        Assign {
            full,
            upsert,
            remove,
            poll,
        }: Assign,
        _: &mut Self::Context,
    ) {
        self.complete = self.words.is_some() && (self.complete || full);
        if self.complete {
            for down in in_parts(full, upsert, remove) {
                self.say(down);
            }
            if poll {
                self.say(LinkDown::Poll);
            }
        }
    }
}

impl Handler<Acknowledge> for NodeLink {
    type Result = ();

    fn handle(&mut self, Acknowledge { number, start }: Acknowledge, _: &mut Self::Context) {
        if self.complete {
            self.say(LinkDown::Lease { number, start });
        }
    }
}

impl Handler<Written> for NodeLink {
    type Result = ();

    fn handle(
        &mut self,
        Written {
            status,
            reports,
            replies,
        }: Written,
        ctx: &mut Self::Context,
    ) {
        self.writing = false;
        let mut replies = replies.into_iter();
        let mut failed = false;
        if let (Some(status), Some(Err(refused))) =
            (&status, status.is_some().then(|| replies.next()).flatten())
        {
            tracing::warn!(node = self.target.name, %refused, "cannot write a node's status");
            // Whatever becomes of this attempt, the node's next word is written again.
            self.told = None;
            if worth_retrying(&refused) {
                failed = true;
                self.status.get_or_insert_with(|| status.clone());
            }
        }
        for (report, reply) in reports.into_iter().zip(replies) {
            let Err(refused) = reply else { continue };
            if is_fault(&refused) {
                tracing::warn!(pod = report.name, %refused, "a pod's report is refused and dropped");
            } else {
                tracing::debug!(pod = report.name, %refused, "cannot write a pod's report");
            }
            if worth_retrying(&refused) {
                failed = true;
                self.reports.entry(report.uid.clone()).or_insert(report);
            }
        }
        self.compare_with_store();
        if failed {
            ctx.run_later(Duration::from_millis(RETRY_MS), Self::write);
        } else {
            self.write(ctx);
        }
    }
}

impl Handler<Hang> for NodeLink {
    type Result = ();

    fn handle(&mut self, _: Hang, ctx: &mut Self::Context) {
        UsageMeter::forget(&self.target.name, &self.around.metrics);
        ctx.stop();
    }
}

#[cfg(test)]
mod tests;
