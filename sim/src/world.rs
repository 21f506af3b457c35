//! The world as clients and checkers see it: its machines, what its nodes know, and the means to ask for faults.
//!
//! Deliberately unable to do anything to a host: faults are asked for here and done by the driver (`cluster.rs`).

use std::cell::{Cell, Ref, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use kagero::actors::doors::Known;
use kagero::actors::metrics::RaftMetrics;
use kagero::cli::client::Client;
use kagero::raft::PeerId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;

use crate::calm::Calm;
use crate::checkers::acknowledged::Acknowledged;
use crate::coverage::{Coverage, Since};
use crate::edges::{Bucket, Cuts, SimNetwork};
pub use crate::faults::deed::Deed as Fault;
use crate::figures::Figures;
use crate::history::History;
use crate::machine::{Machine, Stop};
use crate::meter::{Meter, Seen};
pub use crate::plan::Plan;
use crate::trace::Trace;
use crate::truth::Truth;

/// Where every node's API listens.
pub const API_PORT: u16 = 6443;
/// The host that scenarios and background writers run on.
pub(crate) const CLIENT: &str = "client";
/// Sets the scenario's chance apart from the network's and the nodes', which come from the same seed.
const SCENARIO_STREAM: u64 = 0x5ce2_a210;

/// A process that runs.
pub(crate) struct Process {
    /// What its store front knows.
    pub(crate) known: watch::Receiver<Option<Known>>,
    /// What its consensus counts.
    pub(crate) figures: RaftMetrics,
    /// Its incarnation.
    pub(crate) id: PeerId,
}

/// A handle on the world.
#[derive(Clone)]
pub struct World {
    inner: Rc<Inner>,
}

struct Inner {
    plan: Plan,
    machines: BTreeMap<String, Machine>,
    processes: RefCell<BTreeMap<String, Process>>,
    cuts: Cuts,
    bucket: Bucket,
    faults: RefCell<Vec<Fault>>,
    chance: RefCell<StdRng>,
    trace: Trace,
    waiting: RefCell<String>,
    broken: RefCell<Option<String>>,
    acknowledged: RefCell<Acknowledged>,
    writing: Cell<bool>,
    watching: Cell<bool>,
    workload_changes: Cell<bool>,
    storm: Cell<Storm>,
    ends: RefCell<Vec<(String, String)>>,
    coverage: RefCell<Coverage>,
    raft: RefCell<Since>,
    history: RefCell<History>,
    truth: RefCell<Truth>,
    elapsed: Cell<Duration>,
    calm: RefCell<Calm>,
    meter: RefCell<Meter>,
}

/// Whether the plan's schedule is let loose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Storm {
    /// Not yet.
    #[default]
    Before,
    /// As of the next step.
    Asked,
    /// It rages.
    Raging,
    /// All faults are done and undone.
    Over,
}

impl World {
    /// The world of a plan before anything has started.
    pub(crate) fn new(plan: &Plan, trace: &Trace) -> Self {
        let machines = plan
            .names()
            .into_iter()
            .map(|name| (name, Machine::default()));
        let inner = Inner {
            plan: plan.clone(),
            machines: machines.collect(),
            processes: RefCell::default(),
            cuts: Cuts::default(),
            bucket: Bucket::default(),
            faults: RefCell::default(),
            chance: RefCell::new(StdRng::seed_from_u64(plan.seed ^ SCENARIO_STREAM)),
            trace: trace.clone(),
            waiting: RefCell::default(),
            broken: RefCell::default(),
            acknowledged: RefCell::default(),
            writing: Cell::new(true),
            watching: Cell::new(true),
            workload_changes: Cell::new(false),
            storm: Cell::default(),
            ends: RefCell::default(),
            coverage: RefCell::default(),
            raft: RefCell::default(),
            history: RefCell::default(),
            truth: RefCell::default(),
            elapsed: Cell::default(),
            calm: RefCell::default(),
            meter: RefCell::default(),
        };
        Self {
            inner: Rc::new(inner),
        }
    }

    /// What is simulated.
    pub fn plan(&self) -> &Plan {
        &self.inner.plan
    }

    /// Asks the driver for a fault; it happens before the next step.
    pub fn inflict(&self, fault: Fault) {
        if let Fault::LoseMachine(name) | Fault::Announce(name, _) = &fault {
            self.disturb(name);
        }
        self.inner.faults.borrow_mut().push(fault);
    }

    /// Faults asked for and not yet done.
    pub(crate) fn take_faults(&self) -> Vec<Fault> {
        self.inner.faults.borrow_mut().drain(..).collect()
    }

    /// Draws from the scenario's own chance.
    pub fn chance(&self, range: std::ops::RangeInclusive<u64>) -> u64 {
        self.inner.chance.borrow_mut().random_range(range)
    }

    /// Lets some time pass, drawn from a range of milliseconds.
    pub async fn pass(&self, millis: std::ops::RangeInclusive<u64>) {
        tokio::time::sleep(Duration::from_millis(self.chance(millis))).await;
    }

    /// Names of all machines.
    pub fn machines(&self) -> impl Iterator<Item = &str> {
        self.inner.machines.keys().map(String::as_str)
    }

    /// All machines but one.
    pub fn others(&self, name: &str) -> Vec<String> {
        let others = self.machines().filter(|other| *other != name);
        others.map(str::to_owned).collect()
    }

    /// One machine.
    pub fn machine(&self, name: &str) -> &Machine {
        &self.inner.machines[name]
    }

    /// Ids of all running containers, by machine.
    pub fn running_containers(&self) -> Vec<(String, Vec<String>)> {
        let machines = self.machines();
        machines
            .map(|name| (name.to_owned(), self.machine(name).running_containers()))
            .collect()
    }

    /// What each living node's store front knows, by node; a node without a replica is absent.
    pub fn known(&self) -> BTreeMap<String, Known> {
        let processes = self.inner.processes.borrow();
        processes
            .iter()
            .filter_map(|(name, process)| Some((name.clone(), process.known.borrow().clone()?)))
            .collect()
    }

    /// Calls `look` with what each living node's store front knows, without a copy.
    pub(crate) fn for_each_known(&self, mut look: impl FnMut(&str, &Known, &Process)) {
        for (name, process) in self.inner.processes.borrow().iter() {
            if let Some(known) = process.known.borrow().as_ref() {
                look(name, known, process);
            }
        }
    }

    /// A process started (or, with `None`, it is gone; what it counted is kept).
    pub(crate) fn set_process(&self, node: &str, process: Option<Process>) {
        self.measure_process(node, process.as_ref().map(|process| process.id));
        let mut all = self.inner.processes.borrow_mut();
        let gone = match process {
            Some(process) => all.insert(node.to_owned(), process),
            None => all.remove(node),
        };
        if let Some(gone) = gone {
            let mut raft = self.inner.raft.borrow_mut();
            raft.end(gone.figures.events());
        }
    }

    /// How often something happened in the consensus of all processes that ever lived.
    pub fn raft_events(&self, wanted: &str) -> u64 {
        self.raft_total().of(wanted)
    }

    /// From now on it counts how often protocols took which branch: a formation takes most of them.
    pub(crate) fn count_from_now(&self) {
        let total = self.raft_total();
        self.inner.raft.borrow_mut().begin(total);
        self.inner.coverage.borrow_mut().forget("membership");
    }

    /// Whether a node's process has all of its history from changes that it applied, and none from a snapshot.
    pub(crate) fn was_never_restored(&self, node: &str) -> bool {
        let processes = self.inner.processes.borrow();
        let events = processes.get(node).map(|process| process.figures.events());
        let installed = |events: Vec<(&str, u64)>| {
            let mut events = events.into_iter();
            events.any(|(event, times)| event == "snapshot_installed" && times > 0)
        };
        events.is_some_and(|events| !installed(events))
    }

    /// Adds what consensus counted. To be called once, at the end.
    pub(crate) fn take_all_figures(&self) {
        let since = self.inner.raft.borrow().counts(&self.raft_total());
        for (event, times) in since {
            self.count(&format!("raft: {event}"), times);
        }
    }

    /// What the consensus of all processes that ever lived counted, by its own names.
    fn raft_total(&self) -> Coverage {
        let mut total = self.inner.raft.borrow().gone().clone();
        for process in self.inner.processes.borrow().values() {
            total.add_all(process.figures.events());
        }
        total
    }

    /// Incarnations of the living processes, by node.
    pub fn incarnations(&self) -> BTreeMap<String, PeerId> {
        let processes = self.inner.processes.borrow();
        let ids = processes.iter();
        ids.map(|(name, process)| (name.clone(), process.id))
            .collect()
    }

    /// Whether a machine is there and its process runs.
    pub fn is_running(&self, node: &str) -> bool {
        self.inner.processes.borrow().contains_key(node)
    }

    /// A client of a node's API.
    pub fn client(&self, node: &str) -> Client {
        let network = Rc::new(self.network(CLIENT));
        Client::new(network, format!("{node}:{API_PORT}"))
    }

    /// The network as a host sees it.
    pub(crate) fn network(&self, host: &str) -> SimNetwork {
        let machine = self.inner.machines.get(host);
        let gate = machine.map(|machine| machine.gate().clone());
        SimNetwork::new(host, self.cuts().clone(), gate.unwrap_or_default())
    }

    /// Where no word passes.
    pub(crate) fn cuts(&self) -> &Cuts {
        &self.inner.cuts
    }

    /// What the world's object store holds; it outlives all machines.
    pub fn bucket(&self) -> &Bucket {
        &self.inner.bucket
    }

    /// Writes a line into the trace.
    pub fn note(&self, what: &str) {
        self.inner.trace.note(what);
    }

    /// The same for the driver, which stands outside of the world's time.
    pub(crate) fn note_at(&self, at: Duration, what: &str) {
        self.inner.trace.note_at(at, what);
    }

    /// Something noteworthy happened so many times.
    pub fn count(&self, what: &str, times: u64) {
        self.inner.coverage.borrow_mut().add(what, times);
    }

    /// What happened so far.
    pub fn coverage(&self) -> Coverage {
        self.inner.coverage.borrow().clone()
    }

    /// What clients asked and were answered.
    pub(crate) fn history(&self) -> std::cell::RefMut<'_, History> {
        self.inner.history.borrow_mut()
    }

    /// What the replicas applied.
    pub(crate) fn truth(&self) -> std::cell::RefMut<'_, Truth> {
        self.inner.truth.borrow_mut()
    }

    /// A process starts, or the one that was there dies.
    fn measure_process(&self, node: &str, starts: Option<PeerId>) {
        let now = self.elapsed();
        let dies = self.incarnations().get(node).copied();
        if let Some(id) = dies {
            self.with_seen(|meter, seen| meter.on_death(now, id, seen));
        }
        if let Some(id) = starts {
            self.inner.meter.borrow_mut().on_start(now, id);
        }
    }

    /// Looks whether what is measured has come true; after each step.
    pub(crate) fn measure(&self) {
        if !self.inner.meter.borrow().is_waiting() {
            return;
        }
        let alive = self.incarnations().into_values().collect();
        let (now, voters) = (self.elapsed(), self.plan().voters);
        self.with_seen(|meter, seen| meter.look(now, seen, &alive, voters));
    }

    fn with_seen(&self, f: impl FnOnce(&mut Meter, &[Seen<'_>])) {
        let processes = self.inner.processes.borrow();
        let known: Vec<_> = processes.values().map(|of| of.known.borrow()).collect();
        let known = known.iter().filter_map(|known| known.as_ref());
        let seen: Vec<Seen<'_>> = known
            .map(|known| (&known.standing, known.view.revision()))
            .collect();
        f(&mut self.inner.meter.borrow_mut(), &seen);
    }

    /// A client was acknowledged a write.
    pub(crate) fn measure_write(&self, revision: u64) {
        let now = turmoil::sim_elapsed().unwrap_or_default();
        self.inner.calm.borrow_mut().on_served(now);
        self.inner.meter.borrow_mut().on_acknowledged(now, revision);
    }

    /// Whether an outage is being measured.
    pub(crate) fn has_outage(&self) -> bool {
        self.inner.meter.borrow().has_outage()
    }

    /// Disaster strikes now: measures how old what is lost was then.
    pub fn measure_disaster(&self) {
        self.inner.meter.borrow_mut().on_disaster(self.elapsed());
    }

    /// All is there that a recovery takes, the operator's word included: measures from now until writes are served in a
    /// new generation.
    pub fn measure_recovery(&self) {
        let now = self.elapsed();
        self.inner.calm.borrow_mut().enable(now);
        self.with_seen(|meter, seen| meter.on_recovery(now, seen));
    }

    /// Nothing stands against serving any more: the store of the snapshots failed as often as it was to, for one.
    pub fn enable(&self) {
        self.inner.calm.borrow_mut().enable(self.elapsed());
    }

    /// In the end these acknowledged writes are not there.
    pub(crate) fn measure_missing(&self, lost: &[u64]) {
        self.inner.meter.borrow_mut().on_loss(lost);
    }

    /// What was measured.
    pub(crate) fn figures(&self) -> Figures {
        self.inner.meter.borrow().figures().clone()
    }

    /// Lets the plan's schedule loose.
    pub(crate) fn unleash(&self) {
        self.set_storm(Storm::Asked);
    }

    /// How far the schedule is.
    pub(crate) fn storm(&self) -> Storm {
        self.inner.storm.get()
    }

    /// The driver has come so far with it.
    pub(crate) fn set_storm(&self, storm: Storm) {
        self.inner.storm.set(storm);
    }

    /// The world's time at the last step.
    pub fn elapsed(&self) -> Duration {
        self.inner.elapsed.get()
    }

    /// A step begins.
    pub(crate) fn set_elapsed(&self, elapsed: Duration) {
        self.inner.elapsed.set(elapsed);
    }

    /// A fault is done, or undone; the calm begins after the last.
    pub(crate) fn stir(&self, now: Duration, fault: &Fault) {
        self.inner.calm.borrow_mut().on_fault(now, fault);
    }

    /// Since when nothing is done any more.
    pub(crate) fn calm(&self) -> Ref<'_, Calm> {
        self.inner.calm.borrow()
    }

    /// Tells the trace where everybody stands.
    pub(crate) fn tell_trace(&self) {
        let trace = &self.inner.trace;
        if !trace.is_recording() {
            return;
        }
        let processes = self.inner.processes.borrow();
        for name in self.machines() {
            let process = processes.get(name);
            let known = process.map(|process| (process, process.known.borrow()));
            let standing = known.as_ref().and_then(|(process, known)| {
                let standing = &known.as_ref()?.standing;
                Some((standing, process.figures.indexes()))
            });
            trace.stands(name, standing);
        }
    }

    /// Says what the scenario waits for; a run that reaches its limit reports it.
    pub(crate) fn wait_for(&self, what: &str) {
        what.clone_into(&mut self.inner.waiting.borrow_mut());
    }

    /// What the scenario waits for.
    pub(crate) fn waiting(&self) -> String {
        self.inner.waiting.borrow().clone()
    }

    /// A client saw a property broken: the run fails at the next step.
    pub fn report_broken(&self, what: String) {
        self.inner.broken.borrow_mut().get_or_insert(what);
    }

    /// What a client saw broken, if any.
    pub(crate) fn broken(&self) -> Option<String> {
        self.inner.broken.borrow().clone()
    }

    /// The writes that were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> std::cell::RefMut<'_, Acknowledged> {
        self.inner.acknowledged.borrow_mut()
    }

    /// Whether the background writers shall go on.
    pub(crate) fn writing(&self) -> bool {
        self.inner.writing.get()
    }

    /// Tells the background writers to come to an end.
    pub(crate) fn stop_writing(&self) {
        self.inner.writing.set(false);
    }

    /// Whether the background watchers shall go on.
    pub(crate) fn watching(&self) -> bool {
        self.inner.watching.get()
    }

    /// Tells the background watchers to come to an end.
    pub(crate) fn stop_watching(&self) {
        self.inner.watching.set(false);
    }

    /// Containers on this machine may end, because a fault is its own, until some time after the last one is over.
    pub fn disturb(&self, machine: &str) {
        let now = turmoil::sim_elapsed().unwrap_or_else(|| self.elapsed());
        self.inner.calm.borrow_mut().disturb(now, machine);
    }

    /// From now on containers may end anywhere, because a client changes what is to run.
    pub fn change_workload(&self) {
        self.inner.workload_changes.set(true);
    }

    /// Whether a container that was started then may end on this machine.
    pub(crate) fn may_stop(&self, machine: &str, started: Duration) -> bool {
        let (now, calm) = (self.elapsed(), self.calm());
        let may = calm.may_stop(now, machine) || calm.may_be_too_many(now, started);
        self.inner.workload_changes.get() || may
    }

    /// A process ended itself.
    pub(crate) fn end_itself(&self, machine: &str, reason: &str) {
        let mut ends = self.inner.ends.borrow_mut();
        ends.push((machine.to_owned(), reason.to_owned()));
    }

    /// Processes that ended themselves since the last call, with what they said.
    pub(crate) fn take_ends(&self) -> Vec<(String, String)> {
        self.inner.ends.take()
    }

    /// Unique pods that ended with their machine since the last call, by namespace and name.
    pub(crate) fn take_lost_unique(&self) -> Vec<(String, String)> {
        let machines = self.inner.machines.values();
        let taken = machines
            .map(|machine| machine.with(|contents| std::mem::take(&mut contents.lost_unique)));
        taken.flatten().collect()
    }

    /// Running containers that were ended since the last call, with their machines.
    pub(crate) fn take_stops(&self) -> Vec<(String, Stop)> {
        let mut stops = Vec::new();
        for (name, machine) in &self.inner.machines {
            let here = machine.with(|contents| std::mem::take(&mut contents.stops));
            stops.extend(here.into_iter().map(|stop| (name.clone(), stop)));
        }
        stops
    }
}
