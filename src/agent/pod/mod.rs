//! The pod machine: one pod on this node, from its sandbox to its last container's end.
//!
//! `observe` and `on_performed` take in what is, `plan.rs` decides what to do next, `../status.rs` puts it into words.

mod plan;
mod slot;
mod unique;

pub(super) use plan::restarts;
pub(super) use slot::{Instance, Slot};

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, PodStatus};

use super::operation::{Action, Failure, Operation, Outcome};
use super::render::{self, Context, NodeInfo};
use super::types::{Assignment, ContainerRecord, ContainerState, Exit, PodRef, SandboxRecord};
use slot::{Backoff, Waiting};

/// The time, the node and where actions go, for one step.
pub(super) struct Moment<'a> {
    pub(super) now: Duration,
    pub(super) wall: Timestamp,
    pub(super) node: &'a NodeInfo,
    pub(super) tickets: &'a mut u64,
    pub(super) actions: &'a mut Vec<Action>,
    /// Nobody else can run the unique pods that are wanted here.
    pub(super) may_start: bool,
}

/// An operation on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Flight {
    Volumes(u64),
    /// Its attempt and its grace, seconds.
    Sandbox(u32, u64),
    RemoveSandbox(String),
    Image(String),
    Start(Box<super::types::ContainerSpec>),
    /// Container's id, and when SIGKILL comes.
    Stop(String, Duration),
    Remove(String),
    RemovePod,
}

/// How a pod ended for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    /// `Succeeded` or `Failed`.
    pub(super) phase: &'static str,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
}

/// One pod on this node.
///
/// Invariants: at most one operation is in flight on a container, a sandbox or an image of a container, except that a
/// stop may be joined by a shorter one; once `ending` is set nothing starts any more; `gone` implies that neither
/// sandbox nor container is left; nothing of a unique pod starts without a lease.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, not a state"
)]
pub(super) struct PodMachine {
    pub(super) pod: PodRef,
    /// What a leader wants; none if nobody wants it.
    pub(super) desired: Option<Assignment>,
    pub(super) sandbox: Option<SandboxRecord>,
    /// Why there is no sandbox or no volume.
    pub(super) trouble: Option<String>,
    /// Addresses of the newest sandbox.
    pub(super) ips: Vec<IpAddr>,
    pub(super) slots: BTreeMap<String, Slot>,
    pub(super) ending: Option<Ending>,
    pub(super) started_at: Timestamp,
    pub(super) gone: bool,
    /// What the leader was told last.
    pub(super) reported: Option<(PodStatus, bool)>,
    sandbox_attempt: u32,
    stale_sandboxes: BTreeSet<String>,
    stale_containers: BTreeSet<String>,
    /// Ids in `slots` that the runtime no longer has.
    removed: BTreeSet<String>,
    flights: BTreeMap<u64, Flight>,
    engine: Backoff,
    volumes_wanted: bool,
    volumes_print: Option<u64>,
    resolved: bool,
    /// The agent's count of outcomes at this pod's last one; older inventories are not believed.
    touched: u64,
    /// A stop has ended, so states are not known until the next inventory.
    unsure: bool,
    /// Of a unique pod: when its lease ends; none if it never had one here, or had to begin anew.
    pub(super) leased_until: Option<Duration>,
    /// Of a unique pod: under leases without a gap nobody else can have run it since it was started here.
    pub(super) trusted: bool,
    /// Without a lease, nothing is killed again before.
    kill_again: Duration,
}

impl PodMachine {
    /// A pod that was just heard of.
    pub(super) fn new(pod: PodRef, wall: Timestamp) -> Self {
        Self {
            pod,
            desired: None,
            sandbox: None,
            trouble: None,
            ips: Vec::new(),
            slots: BTreeMap::new(),
            ending: None,
            started_at: wall,
            gone: false,
            reported: None,
            sandbox_attempt: 0,
            stale_sandboxes: BTreeSet::new(),
            stale_containers: BTreeSet::new(),
            removed: BTreeSet::new(),
            flights: BTreeMap::new(),
            engine: Backoff::quick(),
            volumes_wanted: true,
            volumes_print: None,
            resolved: false,
            touched: 0,
            unsure: false,
            leased_until: None,
            trusted: false,
            kill_again: Duration::ZERO,
        }
    }

    /// A leader wants the pod so.
    pub(super) fn assign(&mut self, assignment: Assignment) {
        if self.desired.is_none()
            && let Some(status) = &assignment.pod.status
        {
            if let Some(start) = &status.start_time {
                self.started_at = start.0;
            }
            self.ending = ending_of(status);
        }
        self.volumes_wanted = true;
        self.desired = Some(assignment);
    }

    /// Whether the pod is being deleted.
    pub(super) fn is_deleted(&self) -> bool {
        let assignment = self.desired.as_ref();
        assignment.is_some_and(|a| a.pod.metadata.deletion_timestamp.is_some())
    }

    /// Whether an inventory has told what became of it, so that its status means something.
    pub(super) fn is_known(&self) -> bool {
        self.resolved
    }

    /// Whether nothing is left of it and nobody waits for it.
    pub(super) fn is_forgettable(&self) -> bool {
        self.gone && self.desired.is_none()
    }

    pub(super) fn context<'a>(
        &'a self,
        assignment: &'a Assignment,
        node: &'a NodeInfo,
    ) -> Context<'a> {
        Context {
            assignment,
            node,
            ips: &self.ips,
        }
    }

    /// Whether an init container needs no (further) run.
    pub(super) fn is_initialized(&self, assignment: &Assignment, init: &Container) -> bool {
        let Some(slot) = self.slots.get(&init.name) else {
            return false;
        };
        if self.mains_began_in(assignment) {
            return true;
        }
        if render::is_sidecar(init) {
            return slot.is_running() || self.ending.is_some();
        }
        let well = slot.exit().is_some_and(|exit| exit.code == 0);
        well && (self.sandbox.is_none() || self.ended_well(&init.name))
    }

    /// Takes in what the runtime has of this pod. `performed` is the count of outcomes when it was asked.
    /// Returns whether the answer was new enough.
    pub(super) fn observe(
        &mut self,
        performed: u64,
        sandboxes: Vec<SandboxRecord>,
        containers: Vec<ContainerRecord>,
        now: Duration,
        wall: Timestamp,
    ) -> bool {
        if performed < self.touched {
            return false;
        }
        self.unsure = false;
        self.observe_sandboxes(sandboxes);
        self.observe_containers(containers, now, wall);
        if !self.resolved {
            self.resolve(now, wall);
        }
        true
    }

    fn observe_sandboxes(&mut self, mut sandboxes: Vec<SandboxRecord>) {
        let starting = |flight: &Flight| matches!(flight, Flight::Sandbox(..));
        if self.flights.values().any(starting) {
            return;
        }
        sandboxes.sort_by_key(|sandbox| (sandbox.running, sandbox.attempt));
        self.sandbox = sandboxes.pop();
        self.stale_sandboxes = sandboxes.into_iter().map(|sandbox| sandbox.id).collect();
        if let Some(sandbox) = &self.sandbox {
            self.sandbox_attempt = self.sandbox_attempt.max(sandbox.attempt + 1);
            if !sandbox.ips.is_empty() {
                self.ips.clone_from(&sandbox.ips);
            }
        }
    }

    fn observe_containers(
        &mut self,
        mut containers: Vec<ContainerRecord>,
        now: Duration,
        wall: Timestamp,
    ) {
        let present: BTreeSet<String> = containers.iter().map(|c| c.id.clone()).collect();
        self.stale_containers.retain(|id| present.contains(id));
        containers.sort_by_key(|container| container.attempt);
        let starting: BTreeSet<String> = self.starting().map(ToOwned::to_owned).collect();
        for container in containers {
            if starting.contains(&container.name) || self.stale_containers.contains(&container.id) {
                continue;
            }
            let slot = self.slots.entry(container.name.clone()).or_default();
            let older = |i: &Instance| container.attempt < i.attempt && container.id != i.id;
            if slot.current.as_ref().is_some_and(older) {
                let is_last = slot.last.as_ref().is_none_or(|l| l.id == container.id);
                if is_last {
                    slot.last = Some(container.into());
                } else {
                    self.stale_containers.insert(container.id);
                }
                continue;
            }
            if let Some(old) = slot.on_seen(container.into(), now) {
                self.stale_containers.insert(old.id);
            }
        }
        for (name, slot) in &mut self.slots {
            let lost = slot
                .current
                .as_ref()
                .is_some_and(|c| !present.contains(&c.id));
            if lost && !starting.contains(name) {
                slot.on_vanished(now, wall);
            }
        }
    }

    /// After the first inventory: what the status says was started and is nowhere has ended.
    pub(super) fn resolve(&mut self, now: Duration, wall: Timestamp) {
        let Some(assignment) = &self.desired else {
            return;
        };
        self.resolved = true;
        let Some(status) = &assignment.pod.status else {
            return;
        };
        let statuses = |list: &Option<Vec<ContainerStatus>>| list.clone().unwrap_or_default();
        let mut known = statuses(&status.init_container_statuses);
        known.extend(statuses(&status.container_statuses));
        let containers = render::init_containers(assignment);
        for container in containers.chain(render::main_containers(assignment)) {
            let slot = self.slots.entry(container.name.clone()).or_default();
            let status = known.iter().find(|status| status.name == container.name);
            if let (None, Some(status)) = (&slot.current, status) {
                slot.recall(status, render::spec_hash(container), now, wall);
            }
        }
    }

    fn starting(&self) -> impl Iterator<Item = &str> {
        self.flights.values().filter_map(|flight| match flight {
            Flight::Start(spec) => Some(spec.name.as_str()),
            _ => None,
        })
    }

    /// An operation of this pod ended. `performed` counts all outcomes, this one included.
    /// Returns whether the runtime must be listed before more can be done.
    pub(super) fn on_performed(
        &mut self,
        ticket: u64,
        performed: u64,
        outcome: Outcome,
        now: Duration,
        wall: Timestamp,
    ) -> bool {
        let Some(flight) = self.flights.remove(&ticket) else {
            return false;
        };
        if outcome == Outcome::Withheld {
            return false;
        }
        self.touched = performed;
        if let Outcome::Failed { failure, message } = outcome {
            self.on_failed(flight, failure, message, now, wall);
            return true;
        }
        let mut relist = false;
        match (flight, outcome) {
            (Flight::Volumes(print), _) => {
                self.volumes_print = Some(print);
                self.trouble = None;
            }
            (Flight::Sandbox(attempt, grace_seconds), Outcome::SandboxStarted { id, ips }) => {
                self.on_sandbox_started(SandboxRecord {
                    id,
                    pod: self.pod.clone(),
                    attempt,
                    running: true,
                    ips,
                    created_at: wall,
                    grace_seconds,
                });
            }
            (Flight::RemoveSandbox(id), _) => {
                self.stale_sandboxes.remove(&id);
                self.sandbox.take_if(|sandbox| sandbox.id == id);
            }
            (Flight::Image(container), Outcome::ImageReady { image_id }) => {
                let slot = self.slots.entry(container).or_default();
                slot.pull.reset();
                slot.waiting.take_if(|waiting| waiting.is_of_pull());
                slot.image_id = Some(image_id);
            }
            (Flight::Start(spec), Outcome::ContainerStarted { id, started_at }) => {
                self.engine.reset();
                self.on_attempt(&spec, id, ContainerState::Running { started_at }, now);
            }
            (Flight::Stop(..), _) => {
                self.unsure = true;
                relist = true;
            }
            (Flight::Remove(id), _) => self.on_removed(&id),
            (Flight::RemovePod, _) => self.gone = true,
            (flight, outcome) => panic!("{flight:?} cannot end as {outcome:?}"),
        }
        relist
    }

    fn on_sandbox_started(&mut self, sandbox: SandboxRecord) {
        self.trouble = None;
        self.engine.reset();
        self.ips.clone_from(&sandbox.ips);
        self.sandbox_attempt = sandbox.attempt + 1;
        let before = self.sandbox.replace(sandbox);
        self.stale_sandboxes
            .extend(before.map(|sandbox| sandbox.id));
    }

    fn on_attempt(
        &mut self,
        spec: &super::types::ContainerSpec,
        id: String,
        state: ContainerState,
        now: Duration,
    ) {
        let slot = self.slots.entry(spec.name.clone()).or_default();
        let instance = Instance {
            id,
            attempt: spec.attempt,
            sandbox_id: spec.sandbox_id.clone(),
            spec_hash: spec.spec_hash.clone(),
            image: spec.image.clone(),
            image_id: slot.image_id.clone().unwrap_or_default(),
            state,
        };
        let old = slot.on_started(instance, now);
        let old = old.map(|old| old.id).filter(|id| !id.is_empty());
        self.stale_containers.extend(old);
    }

    fn on_removed(&mut self, id: &str) {
        self.stale_containers.remove(id);
        for slot in self.slots.values_mut() {
            slot.current
                .take_if(|c| c.id == id && c.state == ContainerState::Created);
            let both = [slot.current.as_ref(), slot.last.as_ref()];
            if both.into_iter().flatten().any(|c| c.id == id) {
                // What it was stays in the status; only the runtime has forgotten it.
                self.removed.insert(id.to_owned());
            }
        }
    }

    fn on_failed(
        &mut self,
        flight: Flight,
        failure: Failure,
        message: String,
        now: Duration,
        wall: Timestamp,
    ) {
        match flight {
            Flight::Image(container) => {
                let slot = self.slots.entry(container).or_default();
                slot.pull.fail(now);
                slot.waiting = Some(Waiting {
                    reason: reason_of_pull(failure),
                    message,
                });
            }
            Flight::Start(spec) if failure == Failure::Start => {
                let exit = Exit {
                    code: 128,
                    started_at: None,
                    finished_at: wall,
                    reason: Some("StartError".to_owned()),
                    message,
                };
                self.on_attempt(&spec, String::new(), ContainerState::Exited(exit), now);
            }
            Flight::Start(spec) => {
                let slot = self.slots.entry(spec.name.clone()).or_default();
                slot.image_id = None;
                slot.waiting = Some(Waiting {
                    reason: match failure {
                        Failure::Config => "CreateContainerConfigError",
                        _ => "CreateContainerError",
                    },
                    message,
                });
                self.engine.fail(now);
            }
            Flight::Volumes(_) | Flight::Sandbox(..) => {
                self.trouble = Some(message);
                self.engine.fail(now);
            }
            Flight::Stop(..) | Flight::Remove(_) | Flight::RemoveSandbox(_) | Flight::RemovePod => {
                self.engine.fail(now);
            }
        }
    }

    fn perform(&mut self, flight: Flight, operation: Operation, moment: &mut Moment<'_>) {
        *moment.tickets += 1;
        let ticket = *moment.tickets;
        self.flights.insert(ticket, flight);
        moment.actions.push(Action::Perform {
            ticket,
            uid: self.pod.uid.clone(),
            operation,
        });
    }
}

fn reason_of_pull(failure: Failure) -> &'static str {
    match failure {
        Failure::NeverPull => "ErrImageNeverPull",
        Failure::ImageName => "InvalidImageName",
        _ => "ErrImagePull",
    }
}

/// A pod whose status is final stays so, whatever became of its containers.
fn ending_of(status: &PodStatus) -> Option<Ending> {
    let phase = match status.phase.as_deref() {
        Some("Succeeded") => "Succeeded",
        Some("Failed") => "Failed",
        _ => return None,
    };
    Some(Ending {
        phase,
        reason: status.reason.clone(),
        message: status.message.clone(),
    })
}
