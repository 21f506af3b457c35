//! The whole node: every pod machine, whose word is obeyed, and who is killed when nobody wants it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::operation::{Action, Desired, Input, Leased, Operation, Refusal, Report, Seat};
use super::pod::{Moment, PodMachine, Slot};
use super::render::NodeInfo;
use super::status;
use super::types::{Assignment, ContainerRecord, Inventory, PodRef, SandboxRecord, Uid};
use crate::resource::pods::is_unique;

/// A node's agent.
///
/// Invariants: nothing is killed for being unwanted before the full set of the highest seat heard has arrived; a pod is
/// not started before an inventory has told whether it runs already; a pod that was reported gone stays known until
/// the leader stops wanting it, so that it never starts again in that generation; a lease counts only after its leader's full set, and only
/// for what that leader wants.
#[derive(Debug)]
pub struct Agent {
    node: NodeInfo,
    seat: Option<Seat>,
    /// The seat whose full set is in force.
    synced: Option<Seat>,
    listed: bool,
    performed: u64,
    tickets: u64,
    pods: BTreeMap<Uid, PodMachine>,
    /// The newest lease for unique pods.
    lease: Option<Leased>,
    /// Leases that the process before had, until the first inventory shows whose they are.
    kept: Leases,
}

/// When the lease of each unique pod that runs ends, on the clock that the agent is stepped with.
pub type Leases = BTreeMap<Uid, Duration>;

/// What a node has to do, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Pods that a leader wants here and that have not ended.
    pub active: usize,
    /// Of them, those that run.
    pub running: usize,
    /// Things that run and that nobody has claimed (yet).
    pub unclaimed: usize,
}

impl Agent {
    /// An agent that knows nothing yet: feed it an inventory and a leader's word.
    pub fn new(node: NodeInfo) -> Self {
        Self {
            node,
            seat: None,
            synced: None,
            listed: false,
            performed: 0,
            tickets: 0,
            pods: BTreeMap::new(),
            lease: None,
            kept: Leases::new(),
        }
    }

    /// An earlier process on this boot of the machine had these leases. To be said before the first inventory.
    pub fn remember(&mut self, kept: Leases) {
        self.kept = kept;
    }

    /// Leases that a later process on this boot of the machine may go on with.
    pub fn leases(&self) -> Leases {
        let leased = self
            .pods
            .iter()
            .filter(|(_, pod)| pod.pod.unique && pod.trusted);
        let leased = leased.filter_map(|(uid, pod)| Some((uid.clone(), pod.leased_until?)));
        leased.collect()
    }

    /// Whether a lease is over whose pod may still run.
    pub fn has_lapsed(&self, now: Duration) -> bool {
        let lapsed = |pod: &PodMachine| {
            !pod.gone && pod.trusted && pod.leased_until.is_some() && !pod.has_lease(now)
        };
        self.pods.values().any(lapsed)
    }

    /// Whether an operation may still begin that waited for its turn: what starts a unique pod may not, once its lease has
    /// ended. To be asked on the same clock that the agent is stepped with.
    pub fn may_begin(&self, uid: &str, operation: &Operation, now: Duration) -> bool {
        let pod = self.pods.get(uid);
        !operation.starts() || pod.is_some_and(|pod| pod.is_trusted_with_start(now))
    }

    /// Outcomes taken so far; stamp it on an [`Input::Listed`] when the question is put.
    pub fn performed(&self) -> u64 {
        self.performed
    }

    /// The node it was made for.
    pub fn node(&self) -> &NodeInfo {
        &self.node
    }

    /// Whether a leader's word would be taken.
    pub fn check(&self, seat: Seat, full: bool) -> Result<(), Refusal> {
        match self.seat {
            Some(seen) if seat < seen => Err(Refusal::Superseded { seen }),
            _ if !full && self.synced != Some(seat) => Err(Refusal::FullSetWanted),
            _ => Ok(()),
        }
    }

    /// The runtime's id of a container: its newest attempt, or the one before.
    pub fn container_id(&self, uid: &str, container: &str, previous: bool) -> Option<String> {
        let slot = self.pods.get(uid)?.slots.get(container)?;
        let waits = slot.current.as_ref().is_none_or(|c| c.id.is_empty());
        let instance = match previous {
            false if waits => slot.last.as_ref(),
            false => slot.current.as_ref(),
            true => slot.last.as_ref(),
        };
        instance.map(|i| i.id.clone()).filter(|id| !id.is_empty())
    }

    /// Counts pods.
    pub fn census(&self) -> Census {
        let mut census = Census::default();
        for machine in self.pods.values().filter(|machine| !machine.gone) {
            match &machine.desired {
                None => census.unclaimed += 1,
                Some(_) if machine.ending.is_some() => {}
                Some(_) => {
                    census.active += 1;
                    census.running += usize::from(machine.slots.values().any(Slot::is_running));
                }
            }
        }
        census
    }

    /// Takes an input and says what to do. A refused [`Input::Desired`] (see [`Self::check`]) changes nothing.
    pub fn step(&mut self, input: Input, now: Duration, wall: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        let touched: Option<Uid> = match input {
            Input::Desired(desired) => {
                self.on_desired(desired, now, wall);
                None
            }
            Input::Listed {
                performed,
                inventory,
            } => {
                if self.on_listed(performed, inventory, now, wall) {
                    actions.push(Action::Relist);
                }
                None
            }
            Input::Performed {
                ticket,
                uid,
                outcome,
            } => {
                self.performed += 1;
                let pod = self.pods.get_mut(&uid);
                if pod
                    .is_none_or(|pod| pod.on_performed(ticket, self.performed, outcome, now, wall))
                {
                    actions.push(Action::Relist);
                }
                Some(uid)
            }
            Input::Leased(leased) => {
                self.on_leased(leased);
                None
            }
            Input::Tick => None,
        };
        match touched {
            Some(uid) => self.advance(&uid, now, wall, &mut actions),
            None => {
                for uid in self.pods.keys().cloned().collect::<Vec<_>>() {
                    self.advance(&uid, now, wall, &mut actions);
                }
            }
        }
        actions
    }

    fn on_desired(&mut self, desired: Desired, now: Duration, wall: Timestamp) {
        if self.check(desired.seat, desired.full).is_err() {
            return;
        }
        self.seat = Some(desired.seat);
        if desired.full {
            self.synced = Some(desired.seat);
            for machine in self.pods.values_mut() {
                // A new leader knows nothing of what the old one was told.
                machine.reported = None;
            }
            let read = desired.upsert.iter().filter_map(uid_of);
            let wanted: BTreeSet<&Uid> = read.chain(&desired.unreadable).collect();
            let unwanted = self.pods.keys().filter(|uid| !wanted.contains(uid));
            let unwanted: Vec<Uid> = unwanted.cloned().collect();
            for uid in &unwanted {
                self.abandon(uid);
            }
        }
        for uid in &desired.remove {
            self.abandon(uid);
        }
        for assignment in desired.upsert {
            let Some(pod) = pod_ref(&assignment) else {
                continue;
            };
            let machine = self.pods.entry(pod.uid.clone());
            let unique = pod.unique;
            let machine = machine.or_insert_with(|| PodMachine::new(pod, wall));
            machine.claim(unique, assignment.fresh, now);
            if let Some(lease) = self.lease.filter(|lease| lease.seat == desired.seat) {
                machine.extend_lease(lease.until);
            }
            machine.assign(assignment);
            if self.listed {
                machine.resolve(now, wall);
            }
        }
    }

    fn on_leased(&mut self, leased: Leased) {
        if self.synced != Some(leased.seat) || self.seat != self.synced {
            return;
        }
        let before = self.lease.filter(|before| before.seat == leased.seat);
        let until = before.map_or(leased.until, |before| before.until.max(leased.until));
        self.lease = Some(Leased { until, ..leased });
        for machine in self.pods.values_mut() {
            if machine.pod.unique && machine.desired.is_some() {
                machine.extend_lease(until);
            }
        }
    }

    fn abandon(&mut self, uid: &str) {
        if let Some(machine) = self.pods.get_mut(uid) {
            machine.desired = None;
            machine.reported = None;
        }
    }

    /// Returns whether some pod needs a newer inventory.
    fn on_listed(
        &mut self,
        performed: u64,
        inventory: Inventory,
        now: Duration,
        wall: Timestamp,
    ) -> bool {
        self.listed = true;
        let mut found: BTreeMap<Uid, (PodRef, Vec<SandboxRecord>, Vec<ContainerRecord>)> =
            BTreeMap::new();
        for sandbox in inventory.sandboxes {
            let pod = sandbox.pod.clone();
            let entry = found.entry(pod.uid.clone());
            entry
                .or_insert((pod, Vec::new(), Vec::new()))
                .1
                .push(sandbox);
        }
        for container in inventory.containers {
            let pod = container.pod.clone();
            let entry = found.entry(pod.uid.clone());
            entry
                .or_insert((pod, Vec::new(), Vec::new()))
                .2
                .push(container);
        }
        for (uid, (pod, _, _)) in &found {
            let machine = self.pods.entry(uid.clone());
            machine.or_insert_with(|| PodMachine::new(pod.clone(), wall));
        }
        for (uid, until) in std::mem::take(&mut self.kept) {
            let found = found.contains_key(&uid);
            if let (true, Some(machine)) = (found, self.pods.get_mut(&uid)) {
                // Its containers' labels say what it was when they were made; a StatefulSet may have adopted it since.
                machine.pod.unique = true;
                if now < until {
                    machine.extend_lease(until);
                    machine.trusted = true;
                }
            }
        }
        let mut stale = false;
        for (uid, machine) in &mut self.pods {
            let (_, sandboxes, containers) = found
                .remove(uid)
                .unwrap_or_else(|| (machine.pod.clone(), Vec::new(), Vec::new()));
            stale |= !machine.observe(performed, sandboxes, containers, now, wall);
        }
        stale
    }

    fn advance(&mut self, uid: &str, now: Duration, wall: Timestamp, actions: &mut Vec<Action>) {
        let may_kill = self.synced.is_some() && self.synced == self.seat;
        let lease = self.lease.filter(|lease| Some(lease.seat) == self.seat);
        let Some(machine) = self.pods.get_mut(uid) else {
            return;
        };
        let mut moment = Moment {
            now,
            wall,
            node: &self.node,
            tickets: &mut self.tickets,
            actions,
            may_start: lease.is_some_and(|lease| lease.start),
        };
        machine.plan(may_kill, &mut moment);
        report(machine, &self.node, wall, actions);
        if machine.is_forgettable() {
            self.pods.remove(uid);
        }
    }
}

/// Reports a pod's status if it has changed since the last report.
fn report(machine: &mut PodMachine, node: &NodeInfo, wall: Timestamp, actions: &mut Vec<Action>) {
    let Some(assignment) = &machine.desired else {
        return;
    };
    if !machine.is_known() {
        return;
    }
    let status = status::status(machine, assignment, node, wall);
    let gone = machine.gone && machine.is_deleted();
    let news = (status, gone);
    if machine.reported.as_ref() == Some(&news) {
        return;
    }
    let (status, gone) = news.clone();
    machine.reported = Some(news);
    actions.push(Action::Report(Box::new(Report {
        pod: machine.pod.clone(),
        status,
        gone,
    })));
}

fn uid_of(assignment: &Assignment) -> Option<&Uid> {
    assignment.pod.metadata.uid.as_ref()
}

/// Which pod an assignment is of; none if it has no UID, which a leader never sends.
fn pod_ref(assignment: &Assignment) -> Option<PodRef> {
    let meta = &assignment.pod.metadata;
    Some(PodRef {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone()?,
        unique: is_unique(&assignment.pod),
    })
}
