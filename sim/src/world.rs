//! The world as clients and checkers see it: its machines, what its nodes know, and the means to ask for faults.
//!
//! Deliberately unable to do anything to a host: faults are asked for here and done by the driver (`cluster.rs`).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use kagero::actors::doors::Known;
use kagero::cli::client::Client;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;

use crate::checkers::acknowledged::Acknowledged;
use crate::edges::{Cuts, SimNetwork};
use crate::machine::{Machine, Stop};
use crate::trace::Trace;

/// Where every node's API listens.
pub const API_PORT: u16 = 6443;
/// The host that scenarios and background writers run on.
pub(crate) const CLIENT: &str = "client";
/// Sets the scenario's chance apart from the network's and the nodes', which come from the same seed.
const SCENARIO_STREAM: u64 = 0x5ce2_a210;

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where all chance comes from.
    pub seed: u64,
    /// Machines, named n1, n2, …
    pub nodes: usize,
    /// The first so many of them are the seeds that every node is told.
    pub seeds: usize,
    /// Voters wanted.
    pub voters: usize,
    /// The simulated time after which the run has failed.
    pub limit: Duration,
}

impl Plan {
    /// A cluster of this many machines, of which at most three are seeds and voters.
    pub fn of(seed: u64, nodes: usize) -> Self {
        Self {
            seed,
            nodes,
            seeds: nodes.min(3),
            voters: nodes.min(3),
            limit: Duration::from_secs(240),
        }
    }

    /// Names of the machines, in order.
    pub fn names(&self) -> Vec<String> {
        (1..=self.nodes).map(|n| format!("n{n}")).collect()
    }
}

/// Something that only the driver can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The machine vanishes without a word: its peers see silence, its containers are gone.
    LoseMachine(String),
    /// It comes back, empty, and its process starts.
    ReturnMachine(String),
    /// Its process dies and is started again at once; its containers live on, its peers see the connection reset.
    RestartProcess(String),
    /// No word passes between the machine and any other. Clients still reach it.
    CutOff(String),
    /// Words pass again.
    Heal(String),
}

/// A handle on the world.
#[derive(Clone)]
pub struct World {
    inner: Rc<Inner>,
}

struct Inner {
    plan: Plan,
    machines: BTreeMap<String, Machine>,
    known: RefCell<BTreeMap<String, watch::Receiver<Option<Known>>>>,
    cuts: Cuts,
    faults: RefCell<Vec<Fault>>,
    chance: RefCell<StdRng>,
    trace: Trace,
    waiting: RefCell<String>,
    broken: RefCell<Option<String>>,
    acknowledged: RefCell<Acknowledged>,
    writing: Cell<bool>,
    disturbed: RefCell<BTreeSet<String>>,
    workload_changes: Cell<bool>,
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
            known: RefCell::default(),
            cuts: Cuts::default(),
            faults: RefCell::default(),
            chance: RefCell::new(StdRng::seed_from_u64(plan.seed ^ SCENARIO_STREAM)),
            trace: trace.clone(),
            waiting: RefCell::default(),
            broken: RefCell::default(),
            acknowledged: RefCell::default(),
            writing: Cell::new(true),
            disturbed: RefCell::default(),
            workload_changes: Cell::new(false),
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
        if let Fault::LoseMachine(name) = &fault {
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

    /// What each living node's store front knows, by node; a node without a replica is absent.
    pub fn known(&self) -> BTreeMap<String, Known> {
        let known = self.inner.known.borrow();
        known
            .iter()
            .filter_map(|(name, known)| Some((name.clone(), known.borrow().clone()?)))
            .collect()
    }

    /// A node started (or, with `None`, its process is gone).
    pub(crate) fn set_known(&self, node: &str, known: Option<watch::Receiver<Option<Known>>>) {
        let mut all = self.inner.known.borrow_mut();
        match known {
            Some(known) => all.insert(node.to_owned(), known),
            None => all.remove(node),
        };
    }

    /// A client of a node's API.
    pub fn client(&self, node: &str) -> Client {
        let network = Rc::new(self.network(CLIENT));
        Client::new(network, format!("{node}:{API_PORT}"))
    }

    /// The network as a host sees it.
    pub(crate) fn network(&self, host: &str) -> SimNetwork {
        SimNetwork::new(host, self.cuts().clone())
    }

    /// Where no word passes.
    pub(crate) fn cuts(&self) -> &Cuts {
        &self.inner.cuts
    }

    /// Writes a line into the trace.
    pub fn note(&self, what: &str) {
        self.inner.trace.note(what);
    }

    /// The same for the driver, which stands outside of the world's time.
    pub(crate) fn note_at(&self, at: Duration, what: &str) {
        self.inner.trace.note_at(at, what);
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

    /// From now on containers on this machine may end, because the fault is its own.
    pub fn disturb(&self, machine: &str) {
        self.inner.disturbed.borrow_mut().insert(machine.to_owned());
    }

    /// From now on containers may end anywhere, because a client changes what is to run.
    pub fn change_workload(&self) {
        self.inner.workload_changes.set(true);
    }

    /// Whether a container may end on this machine.
    pub(crate) fn may_stop(&self, machine: &str) -> bool {
        self.inner.workload_changes.get() || self.inner.disturbed.borrow().contains(machine)
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
