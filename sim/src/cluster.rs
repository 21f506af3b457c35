//! The driver: hosts that run the shipped node, a scenario that uses them, and a loop that breaks and checks things.
//!
//! Faults are asked for by scenarios (through [`World`]) and done here between two steps, because only the driver may
//! stop a host. What must hold is in `checkers`; what every run ends with is in `settle.rs`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use kagero::env::Env;
use kagero::env::entropy::Entropy;
use kagero::env::machine::NoMachine;
use kagero::node::{self, Options};

use crate::checkers::Checks;
use crate::edges::{FakeRuntime, SimClock};
use crate::trace::Trace;
use crate::world::{API_PORT, CLIENT, Fault, Plan, World};
use crate::{settle, writers};

/// A step of the world; finer steps cost time and find nothing (FACTS.md: 224–377 × real time at 5–10 ms).
const TICK_MS: u64 = 5;
/// One-way latency between hosts, a data centre's or a continent's at worst.
const LATENCY_MS: (u64, u64) = (1, 10);
/// A full backlog panics in turmoil.
const TCP_CAPACITY: usize = 65_536;
const PEER_PORT: u16 = 7443;

/// Runs a plan until the scenario is done and the cluster has settled; the first error, or broken property, ends it.
pub fn run<F>(plan: &Plan, trace: &Trace, scenario: impl FnOnce(World) -> F) -> turmoil::Result
where
    F: Future<Output = turmoil::Result> + 'static,
{
    let world = World::new(plan, trace);
    let mut sim = build(plan, &world);
    let (client, played) = (world.clone(), scenario(world.clone()));
    sim.client(CLIENT, async move {
        let writers = writers::start(&client);
        played.await?;
        settle::settle(&client, writers).await
    });
    let mut checks = Checks::default();
    loop {
        for fault in world.take_faults() {
            apply(&mut sim, &world, &fault);
        }
        let waiting = |error| format!("{error}; waiting for {}", world.waiting());
        let done = sim.step().map_err(waiting)?;
        checks.look(&world)?;
        if let Some(broken) = world.broken() {
            return Err(broken.into());
        }
        if done {
            return Ok(());
        }
    }
}

fn build<'a>(plan: &Plan, world: &World) -> turmoil::Sim<'a> {
    let mut sim = turmoil::Builder::new()
        .rng_seed(plan.seed)
        .epoch(std::time::UNIX_EPOCH)
        .simulation_duration(plan.limit)
        .tick_duration(Duration::from_millis(TICK_MS))
        .min_message_latency(Duration::from_millis(LATENCY_MS.0))
        .max_message_latency(Duration::from_millis(LATENCY_MS.1))
        .tcp_capacity(TCP_CAPACITY)
        .enable_random_order()
        .build();
    for (index, name) in plan.names().into_iter().enumerate() {
        let starts = RefCell::new(0_u64);
        let (world, seed) = (world.clone(), plan.seed);
        sim.host(name.clone(), move || {
            let start = starts.replace_with(|start| *start + 1);
            let seed = seed ^ ((index as u64 + 1) << 48) ^ (start << 40);
            host(world.clone(), name.clone(), Entropy::from_seed(seed))
        });
    }
    sim
}

/// One machine's process: the shipped node with simulated edges.
async fn host(world: World, name: String, entropy: Entropy) -> turmoil::Result {
    let machine = world.machine(&name).clone();
    let plan = world.plan();
    let env = Env {
        network: Rc::new(world.network(&name)),
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
        seeds: plan.names()[..plan.seeds]
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
    world.set_known(&name, Some(node.known.clone()));
    std::future::pending::<()>().await;
    Ok(())
}

/// Does what a scenario asked for.
fn apply(sim: &mut turmoil::Sim<'_>, world: &World, fault: &Fault) {
    world.note_at(sim.elapsed(), &format!("fault {fault:?}"));
    match fault {
        Fault::LoseMachine(name) => {
            // Cut first, so that nobody hears the connections close: a lost machine says nothing.
            cut(sim, world, name, CLIENT, true);
            cut_from_others(sim, world, name, true);
            sim.crash(name.as_str());
            world.machine(name).lose();
            world.set_known(name, None);
        }
        Fault::ReturnMachine(name) => {
            cut(sim, world, name, CLIENT, false);
            cut_from_others(sim, world, name, false);
            sim.bounce(name.as_str());
        }
        Fault::RestartProcess(name) => {
            world.set_known(name, None);
            sim.bounce(name.as_str());
        }
        Fault::CutOff(name) => cut_from_others(sim, world, name, true),
        Fault::Heal(name) => cut_from_others(sim, world, name, false),
    }
}

fn cut_from_others(sim: &turmoil::Sim<'_>, world: &World, name: &str, cut: bool) {
    for other in world.others(name) {
        self::cut(sim, world, name, &other, cut);
    }
}

fn cut(sim: &turmoil::Sim<'_>, world: &World, one: &str, other: &str, cut: bool) {
    world.cuts().set(one, other, cut);
    if cut {
        sim.partition(one, other);
    } else {
        sim.repair(one, other);
    }
}
