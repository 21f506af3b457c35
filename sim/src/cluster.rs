//! A world with a cluster in it: hosts that run the shipped node, clients that use it, and a driver that breaks things.
//!
//! Faults are asked for by clients (through [`World`]) and done by the driver between two steps, because only the
//! driver may stop a host. Deliberately without checks: those look at what is exposed here.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use kagero::actors::doors::Known;
use kagero::cli::client::Client;
use kagero::env::Env;
use kagero::env::entropy::Entropy;
use kagero::env::machine::NoMachine;
use kagero::node::{self, Options};
use tokio::sync::watch;

use crate::edges::{FakeRuntime, SimClock, SimNetwork};
use crate::machine::Machine;
use crate::trace::Trace;

/// A step of the world; finer steps cost time and find nothing (FACTS.md: 224–377 × real time at 5–10 ms).
const TICK_MS: u64 = 5;
/// One-way latency between hosts, a data centre's or a continent's at worst.
const LATENCY_MS: (u64, u64) = (1, 10);
/// A full backlog panics in turmoil.
const TCP_CAPACITY: usize = 65_536;
const PEER_PORT: u16 = 7443;
const API_PORT: u16 = 6443;

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where all chance comes from.
    pub seed: u64,
    /// Machines, named n1, n2, …
    pub nodes: usize,
    /// Voters wanted.
    pub voters: usize,
    /// The simulated time after which the run has failed.
    pub limit: Duration,
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
}

/// The world as clients see it.
#[derive(Clone)]
pub struct World {
    inner: Rc<Inner>,
}

struct Inner {
    machines: BTreeMap<String, Machine>,
    known: RefCell<BTreeMap<String, watch::Receiver<Option<Known>>>>,
    faults: RefCell<Vec<Fault>>,
    trace: Trace,
}

impl World {
    /// Asks the driver for a fault; it happens before the next step.
    pub fn inflict(&self, fault: Fault) {
        self.inner.faults.borrow_mut().push(fault);
    }

    /// Names of all machines.
    pub fn machines(&self) -> impl Iterator<Item = &str> {
        self.inner.machines.keys().map(String::as_str)
    }

    /// One machine.
    pub fn machine(&self, name: &str) -> &Machine {
        &self.inner.machines[name]
    }

    /// What each living node's store front knows, by node.
    pub fn known(&self) -> BTreeMap<String, Known> {
        let known = self.inner.known.borrow();
        known
            .iter()
            .filter_map(|(name, known)| Some((name.clone(), known.borrow().clone()?)))
            .collect()
    }

    /// A client of a node's API.
    pub fn client(&self, node: &str) -> Client {
        Client::new(Rc::new(SimNetwork), format!("{node}:{API_PORT}"))
    }

    /// Writes a line into the trace.
    pub fn note(&self, what: &str) {
        self.inner.trace.note(what);
    }
}

/// Runs a plan with one client until the client is done; its error is the run's.
pub fn run<F>(plan: &Plan, trace: &Trace, client: impl FnOnce(World) -> F) -> turmoil::Result
where
    F: Future<Output = turmoil::Result> + 'static,
{
    let names: Vec<String> = (1..=plan.nodes).map(|n| format!("n{n}")).collect();
    let machines = names
        .iter()
        .map(|name| (name.clone(), Machine::default()))
        .collect();
    let (known, faults) = (RefCell::default(), RefCell::default());
    let world = World {
        inner: Rc::new(Inner {
            machines,
            known,
            faults,
            trace: trace.clone(),
        }),
    };
    let mut sim = turmoil::Builder::new()
        .rng_seed(plan.seed)
        .epoch(std::time::UNIX_EPOCH)
        .simulation_duration(plan.limit)
        .tick_duration(Duration::from_millis(TICK_MS))
        .min_message_latency(Duration::from_millis(LATENCY_MS.0))
        .max_message_latency(Duration::from_millis(LATENCY_MS.1))
        .tcp_capacity(TCP_CAPACITY)
        .build();
    for (index, name) in names.iter().enumerate() {
        let starts = RefCell::new(0_u64);
        let (world, plan, name, names) = (world.clone(), plan.clone(), name.clone(), names.clone());
        sim.host(name.clone(), move || {
            let start = starts.replace_with(|start| *start + 1);
            let seed = plan.seed ^ ((index as u64 + 1) << 48) ^ (start << 40);
            host(
                world.clone(),
                plan.clone(),
                name.clone(),
                names.clone(),
                Entropy::from_seed(seed),
            )
        });
    }
    sim.client("client", client(world.clone()));
    loop {
        let faults: Vec<Fault> = world.inner.faults.borrow_mut().drain(..).collect();
        for fault in faults {
            apply(&mut sim, &world, &fault);
        }
        if sim.step()? {
            return Ok(());
        }
    }
}

/// One machine's process: the shipped node with simulated edges.
async fn host(
    world: World,
    plan: Plan,
    name: String,
    names: Vec<String>,
    entropy: Entropy,
) -> turmoil::Result {
    let machine = world.machine(&name).clone();
    let env = Env {
        network: Rc::new(SimNetwork),
        clock: Rc::new(SimClock),
        entropy: entropy.clone(),
        runtime: Rc::new(FakeRuntime::new(machine.clone(), entropy)),
        machine: Rc::new(NoMachine),
    };
    let options = Options {
        name: name.clone(),
        listen: format!("0.0.0.0:{PEER_PORT}"),
        advertise: Some(format!("{name}:{PEER_PORT}")),
        api: format!("0.0.0.0:{API_PORT}"),
        seeds: names
            .iter()
            .map(|name| format!("{name}:{PEER_PORT}"))
            .collect(),
        voters: plan.voters,
        may_vote: true,
        init: false,
        labels: BTreeMap::new(),
        machine_id: format!("machine-{name}"),
        boot_id: format!("boot-{name}-{}", machine.boot()),
        cpu_millis: 8_000,
        memory_bytes: 16 << 30,
        pods_max: 110,
    };
    let node = node::start(env, options).await?;
    world
        .inner
        .known
        .borrow_mut()
        .insert(name, node.known.clone());
    std::future::pending::<()>().await;
    Ok(())
}

/// Does what a client asked for.
fn apply(sim: &mut turmoil::Sim<'_>, world: &World, fault: &Fault) {
    world.note(&format!("fault {fault:?}"));
    match fault {
        Fault::LoseMachine(name) => {
            // Cut first, so that nobody hears the connections close: a lost machine says nothing.
            let others: Vec<String> = world
                .machines()
                .filter(|other| other != name)
                .map(str::to_owned)
                .collect();
            for other in others.iter().map(String::as_str).chain(["client"]) {
                sim.partition(name.as_str(), other);
            }
            sim.crash(name.as_str());
            world.machine(name).lose();
            world.inner.known.borrow_mut().remove(name);
        }
        Fault::ReturnMachine(name) => {
            let others: Vec<String> = world
                .machines()
                .filter(|other| other != name)
                .map(str::to_owned)
                .collect();
            for other in others.iter().map(String::as_str).chain(["client"]) {
                sim.repair(name.as_str(), other);
            }
            sim.bounce(name.as_str());
        }
        Fault::RestartProcess(name) => {
            world.inner.known.borrow_mut().remove(name);
            sim.bounce(name.as_str());
        }
    }
}
