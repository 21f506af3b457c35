//! The node's end of the leader's link: obeys the newest leader only, and repeats to it what an older one was told.
//!
//! Deliberately without any idea of what a pod is: assignments go to the node agent, reports come from it.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::joiner::{Adopt, Joiner, Linked, Missed};
use super::lease::LEASE;
use super::node_agent::NodeAgent;
use super::node_link::POLL_MS;
use super::node_messages::{
    AssignPods, AssignRefused, DescribeNode, HeldPod, LeasePods, NodeDescription, PodReport,
    PodReports, WireAssignment,
};
use super::wire::{LinkDown, LinkUp};
use crate::env::clock::Clock;
use crate::raft::{ClusterId, PeerId, Term};

/// Names one connection from a leader.
pub type LinkId = u64;

/// A leader opens a link.
#[derive(Message)]
#[rtype(result = "LinkId")]
pub struct LinkOpened {
    /// Its cluster and generation.
    pub cluster: ClusterId,
    /// Its term.
    pub term: Term,
    /// The incarnation it means.
    pub to: PeerId,
    /// Its peer address, "" if it does not say.
    pub leader: String,
    /// Where to answer; ends when the connection does.
    pub answers: mpsc::Sender<LinkUp>,
}

/// Answers that wait for one slow connection; a leader that reads nothing is given up.
pub const ANSWERS_MAX: usize = 256;

/// Reports in one frame: of some KB each, so far below a frame's bound.
const REPORTS_MAX: usize = 256;

/// Pods in one assignment: many times what a node runs. A leader that sends more is mad.
const PODS_MAX: usize = 10_000;

/// Bytes of pods after which a frame of them is full: with the largest pod and its status still below a frame's bound.
const HELD_BYTES: usize = 1 << 20;

/// It said something.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LinkDownReceived {
    /// Over which connection.
    pub link: LinkId,
    /// What.
    pub down: LinkDown,
}

/// The connection ended.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LinkEnded {
    /// Which.
    pub link: LinkId,
}

/// Which leader speaks to this node? `None` if none has for a while.
#[derive(Message)]
#[rtype(result = "Option<Speaker>")]
pub struct WhoSpeaks;

/// A leader that was heard over its link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speaker {
    /// Its cluster and generation.
    pub cluster: ClusterId,
    /// Its peer address, "" if it does not say.
    pub address: String,
}

/// A leader polls its nodes; one of which so long nothing was heard may be no leader any more.
const SPEAKER_SILENT: Duration = Duration::from_millis(2 * POLL_MS);

/// The machine's end is announced for this moment; `None`: it is not any more.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct Announced(pub Option<Instant>);

/// Descriptions that wait to be acknowledged; a leader that acknowledges none of so many gives no leases.
const UNACKNOWLEDGED_MAX: usize = 64;

/// The link in force.
struct Current {
    id: LinkId,
    cluster: ClusterId,
    term: Term,
    /// The leader's peer address, "" if it does not say.
    leader: String,
    /// When it last said something.
    heard: Instant,
    /// Dropping it ends the connection.
    answers: mpsc::Sender<LinkUp>,
    /// What came of the next assignment so far.
    parts: Vec<WireAssignment>,
    /// The leader has sent its full set, so reports make sense to it.
    assigned: bool,
    /// Numbers of the descriptions that were sent on it, and when, since the machine's boot: not later than that.
    sent: VecDeque<(u64, Duration)>,
}

/// The actor. Invariants: (generation, term) of the link in force never goes down, and its cluster never changes; one
/// description is on its way for a link.
pub struct LinkEnd {
    id: PeerId,
    clock: Rc<dyn Clock>,
    agent: Addr<NodeAgent>,
    joiner: Addr<Joiner>,
    current: Option<Current>,
    cluster: Option<u64>,
    highest: (u64, Term),
    next_link: LinkId,
    /// For which link the agent is describing the node.
    describing: Option<LinkId>,
    /// The number of the last description.
    described: u64,
    /// The pods this node is to run, by UID, as they were told last.
    wanted: BTreeMap<String, Bytes>,
    /// The generation whose leader told them.
    told_by: u64,
    /// The newest report of each of them, for the next leader.
    reports: BTreeMap<String, PodReport>,
    /// What was last announced, if anything ever was: every leader is told.
    announced: Option<Announced>,
}

impl LinkEnd {
    /// No leader has called yet.
    pub fn new(
        id: PeerId,
        clock: Rc<dyn Clock>,
        agent: Addr<NodeAgent>,
        joiner: Addr<Joiner>,
    ) -> Self {
        Self {
            id,
            clock,
            agent,
            joiner,
            current: None,
            cluster: None,
            highest: (0, 0),
            next_link: 0,
            describing: None,
            described: 0,
            wanted: BTreeMap::new(),
            told_by: 0,
            reports: BTreeMap::new(),
            announced: None,
        }
    }

    /// Keeps account of what is wanted, so that reports of what is not are forgotten.
    fn want(&mut self, full: bool, upsert: &[WireAssignment], remove: &[String]) {
        if full {
            self.wanted.clear();
        }
        let told = |assignment: &WireAssignment| (assignment.uid.clone(), assignment.pod.clone());
        self.wanted.extend(upsert.iter().map(told));
        for uid in remove {
            self.wanted.remove(uid);
        }
        let wanted = &self.wanted;
        self.reports.retain(|uid, _| wanted.contains_key(uid));
    }

    /// Says something to the leader. A full buffer means that it does not read: the connection is given up, and the
    /// next one begins with everything again.
    fn say(&mut self, up: LinkUp) {
        let Some(current) = &self.current else { return };
        if let Err(error) = current.answers.try_send(up) {
            self.give_up(&error);
        }
    }

    /// The agent has taken an assignment.
    fn on_assigned(&mut self, assign: &AssignPods) {
        self.want(assign.full, &assign.upsert, &assign.remove);
        if assign.full {
            if assign.generation > self.told_by {
                // It may know nothing of their deletion, and want them anew; the agent says again which are gone.
                self.reports.retain(|_, report| !report.gone);
            }
            self.told_by = assign.generation;
        }
        let Some(current) = &mut self.current else {
            return;
        };
        let first = assign.full && !current.assigned;
        current.assigned |= assign.full;
        if first {
            let reports = self.reports.values().cloned().collect();
            self.say_reports(reports);
        }
    }

    /// The leader has heard a description. What it wants must be known here before its lease means anything.
    fn on_lease(&mut self, number: u64, start: bool) {
        let Some(current) = self.current.as_mut().filter(|current| current.assigned) else {
            return;
        };
        while let Some((sent, at)) = current.sent.pop_front() {
            if sent == number {
                self.agent.do_send(LeasePods {
                    generation: current.cluster.generation,
                    term: current.term,
                    until: at + LEASE,
                    start,
                });
            } else if sent > number {
                current.sent.push_front((sent, at));
                return;
            }
        }
    }

    /// Ends the connection: the leader tells everything anew on the next.
    fn give_up(&mut self, reason: &dyn std::fmt::Display) {
        tracing::warn!(%reason, "the link to the leader is given up");
        self.current = None;
        self.joiner.do_send(Linked(None));
    }

    /// Says reports, in frames that are never too large.
    fn say_reports(&mut self, reports: Vec<PodReport>) {
        let mut left = reports.into_iter().peekable();
        while left.peek().is_some() {
            let some = left.by_ref().take(REPORTS_MAX).collect();
            self.say(LinkUp::Reports(some));
        }
    }

    /// Says what this node was told by leaders of earlier generations and has: pods that it has reported on, and that
    /// have not gone.
    fn say_held(&mut self) {
        let held = self.wanted.iter().filter_map(|(uid, pod)| {
            let report = self.reports.get(uid).filter(|report| !report.gone)?;
            Some(HeldPod {
                uid: uid.clone(),
                pod: pod.clone(),
                status: report.status.clone(),
            })
        });
        let (mut part, mut bytes) = (Vec::new(), 0);
        for pod in held.collect::<Vec<_>>() {
            bytes += pod.pod.len() + pod.status.len();
            part.push(pod);
            if bytes >= HELD_BYTES {
                self.say(LinkUp::Holds(std::mem::take(&mut part)));
                bytes = 0;
            }
        }
        if !part.is_empty() {
            self.say(LinkUp::Holds(part));
        }
    }

    /// Says when the machine will be taken away.
    fn say_announced(&mut self) {
        let Some(Announced(deadline)) = self.announced else {
            return;
        };
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let millis = left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        self.say(LinkUp::Evicting(millis));
    }

    /// Why a link is refused, if it is.
    fn refusal(&self, cluster: ClusterId, term: Term, to: PeerId) -> Option<&'static str> {
        if to != self.id {
            Some("another incarnation lives here")
        } else if self.cluster.is_some_and(|own| own != cluster.id) {
            Some("this node belongs to another cluster")
        } else if (cluster.generation, term) < self.highest {
            Some("a newer leader is known")
        } else {
            None
        }
    }

    /// Asks the agent to describe the node and passes that on, one description after the other: an engine that hangs
    /// makes one late, and it must not overtake a later one.
    fn describe(&mut self, wrap: fn(NodeDescription) -> LinkUp, ctx: &mut Context<Self>) {
        let Some(link) = self.current.as_ref().map(|current| current.id) else {
            return;
        };
        if self.describing == Some(link) {
            return;
        }
        self.describing = Some(link);
        let asked = self
            .agent
            .send(DescribeNode)
            .into_actor(self)
            .map(move |described, end, _| {
                if end.describing == Some(link) {
                    end.describing = None;
                }
                let now = end.clock.since_boot();
                let current = end.current.as_mut().filter(|current| current.id == link);
                if let (Ok(mut description), Some(current)) = (described, current) {
                    end.described += 1;
                    description.number = end.described;
                    current.sent.push_back((end.described, now));
                    if current.sent.len() > UNACKNOWLEDGED_MAX {
                        current.sent.pop_front();
                    }
                    end.say(wrap(description));
                }
            });
        ctx.spawn(asked);
    }
}

impl Actor for LinkEnd {
    type Context = Context<Self>;
}

impl Handler<LinkOpened> for LinkEnd {
    type Result = LinkId;

    fn handle(&mut self, opened: LinkOpened, ctx: &mut Self::Context) -> LinkId {
        self.next_link += 1;
        let LinkOpened {
            cluster,
            term,
            to,
            leader,
            answers,
        } = opened;
        if let Some(reason) = self.refusal(cluster, term, to) {
            if to != self.id {
                self.joiner.do_send(Missed { leader });
            }
            // If even this cannot be said, the leader will find out by silence.
            let _ = answers.try_send(LinkUp::Refused(reason.to_owned()));
            return self.next_link;
        }
        self.cluster = Some(cluster.id);
        self.highest = (cluster.generation, term);
        self.current = Some(Current {
            id: self.next_link,
            cluster,
            term,
            leader: leader.clone(),
            heard: Instant::now(),
            answers,
            parts: Vec::new(),
            assigned: false,
            sent: VecDeque::new(),
        });
        // A leader speaks, so its generation has begun; whoever still belongs to an earlier one follows.
        self.joiner.do_send(Adopt(cluster));
        self.joiner.do_send(Linked(Some(leader)));
        if cluster.generation > self.told_by {
            self.say_held();
        }
        self.say_announced();
        self.describe(LinkUp::Opened, ctx);
        self.next_link
    }
}

impl Handler<LinkDownReceived> for LinkEnd {
    type Result = ();

    fn handle(
        &mut self,
        LinkDownReceived { link, down }: LinkDownReceived,
        ctx: &mut Self::Context,
    ) {
        let Some(current) = self.current.as_mut().filter(|current| current.id == link) else {
            return;
        };
        if current.heard.elapsed() >= SPEAKER_SILENT {
            // This node may have promised a recovery meanwhile that nobody spoke to it.
            self.joiner.do_send(Adopt(current.cluster));
        }
        current.heard = Instant::now();
        match down {
            LinkDown::Open { .. } => {}
            LinkDown::Poll => self.describe(LinkUp::Alive, ctx),
            LinkDown::Lease { number, start } => self.on_lease(number, start),
            LinkDown::Part(part) if current.parts.len() + part.len() > PODS_MAX => {
                self.give_up(&"the leader assigns too many pods");
            }
            LinkDown::Part(part) => current.parts.extend(part),
            LinkDown::Assign {
                full,
                upsert: last,
                remove,
            } => {
                let mut upsert = std::mem::take(&mut current.parts);
                upsert.extend(last);
                let assign = AssignPods {
                    generation: current.cluster.generation,
                    term: current.term,
                    full,
                    upsert,
                    remove,
                };
                let taken = self.agent.send(assign.clone()).into_actor(self);
                let taken = taken.map(move |taken, end, _| {
                    match taken.unwrap_or(Err(AssignRefused::Stopped)) {
                        Ok(()) => end.on_assigned(&assign),
                        Err(refused) => end.give_up(&refused),
                    }
                });
                // Nothing else is taken before: neither the next assignment, nor what the agent reports of this one.
                ctx.wait(taken);
            }
        }
    }
}

impl Handler<WhoSpeaks> for LinkEnd {
    type Result = MessageResult<WhoSpeaks>;

    fn handle(&mut self, _: WhoSpeaks, _: &mut Self::Context) -> Self::Result {
        let current = self.current.as_ref();
        let speaking = current.filter(|current| current.heard.elapsed() < SPEAKER_SILENT);
        MessageResult(speaking.map(|current| Speaker {
            cluster: current.cluster,
            address: current.leader.clone(),
        }))
    }
}

impl Handler<LinkEnded> for LinkEnd {
    type Result = ();

    fn handle(&mut self, LinkEnded { link }: LinkEnded, _: &mut Self::Context) {
        if self
            .current
            .as_ref()
            .is_some_and(|current| current.id == link)
        {
            self.current = None;
            self.joiner.do_send(Linked(None));
        }
    }
}

impl Handler<Announced> for LinkEnd {
    type Result = ();

    fn handle(&mut self, announced: Announced, _: &mut Self::Context) {
        self.announced = Some(announced);
        self.say_announced();
    }
}

impl Handler<PodReports> for LinkEnd {
    type Result = ();

    fn handle(&mut self, PodReports(reports): PodReports, _: &mut Self::Context) {
        for report in reports
            .iter()
            .filter(|report| self.wanted.contains_key(&report.uid))
        {
            self.reports.insert(report.uid.clone(), report.clone());
        }
        if self
            .current
            .as_ref()
            .is_some_and(|current| current.assigned)
        {
            self.say_reports(reports);
        }
    }
}

#[cfg(test)]
mod tests;
