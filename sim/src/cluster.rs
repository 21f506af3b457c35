//! The driver: hosts that run the shipped node, a scenario that uses them, and a loop that breaks and checks things.
//!
//! Faults are asked for by scenarios (through [`World`]) or come from a schedule, and are done here between two steps,
//! because only the driver may stop a host. What must hold is in `checkers`; what every run ends with is in `settle.rs`.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use kagero::env::Env;
use kagero::env::entropy::Entropy;
use kagero::env::machine::NoMachine;
use kagero::env::objects::Objects;
use kagero::node::{self, Options};

use crate::checkers::Checks;
use crate::clients;
use crate::edges::{CloudView, FakeRuntime, SimObjects, TRUE_PERCENT};
use crate::faults::injector::Injector;
use crate::faults::links::Links;
use crate::machine::Boot;
use crate::settle;
use crate::truth;
use crate::world::{API_PORT, CLIENT, Fault, Plan, Process, Storm, World};

/// A step of the world; finer steps cost time and find nothing (FACTS.md: 224–377 × real time at 5–10 ms).
const TICK_MS: u64 = 5;
/// One-way latency between hosts, a data centre's or a continent's at worst.
pub(crate) const LATENCY_MS: (u64, u64) = (1, 10);
/// A full backlog panics in turmoil.
const TCP_CAPACITY: usize = 65_536;
const PEER_PORT: u16 = 7443;
const ZONE: &str = "topology.kubernetes.io/zone";

/// Runs a world until the scenario is done and the cluster has settled; the first error, or broken property, ends it.
pub fn run<F>(world: &World, scenario: impl FnOnce(World) -> F) -> turmoil::Result
where
    F: Future<Output = turmoil::Result> + 'static,
{
    let mut sim = build(world.plan(), world);
    let (client, played) = (world.clone(), scenario(world.clone()));
    sim.client(CLIENT, async move {
        let writers = clients::start_writing(&client);
        let watchers = clients::watchers::start(&client);
        if client.plan().probed {
            tokio::task::spawn_local(clients::probe::probe(client.clone()));
        }
        played.await?;
        settle::settle(&client, writers, watchers).await
    });
    let mut checks = Checks::default();
    let mut breaker = Breaker::default();
    loop {
        world.set_elapsed(sim.elapsed());
        breaker.do_all(&mut sim, world);
        let waiting = |error| format!("{error}; waiting for {}", world.waiting());
        let done = sim.step().map_err(waiting)?;
        checks.look(world)?;
        world.measure();
        world.tell_trace();
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
    let (store_entropy, cloud_entropy) = (entropy.clone(), entropy.clone());
    let boot = machine.boot(&name);
    let all = || {
        world
            .machines()
            .map(|name| (name.to_owned(), world.machine(name).clone()))
    };
    let machines = plan.cloud_tells.then(|| all().collect());
    let env = Env {
        network: Rc::new(world.network(&name)),
        clock: Rc::new(machine.clock().clone()),
        entropy: entropy.clone(),
        runtime: Rc::new(FakeRuntime::new(machine.clone(), entropy)),
        machine: Rc::new(NoMachine),
        objects: plan.snapshot_interval.map(|_| {
            let (bucket, gate) = (world.bucket().clone(), machine.gate().clone());
            Rc::new(SimObjects::new(bucket, gate, store_entropy)) as Rc<dyn Objects>
        }),
        shelf: Rc::new(machine.clone()),
        cloud: Rc::new(CloudView::new(&machine, cloud_entropy, machines)),
    };
    let node = node::start(env, options(plan, &name, boot)).await?;
    let process = Process {
        known: node.known.clone(),
        figures: node.figures,
        id: node.id,
    };
    world.set_process(&name, Some(process));
    truth::tap(world.clone(), name.clone(), node.watch, node.known).await;
    let mut ended = node.ended;
    let reason = match ended.wait_for(Option::is_some).await {
        Ok(reason) => reason.clone(),
        Err(_) => None,
    };
    if let Some(reason) = reason {
        world.end_itself(&name, &reason);
        // Its supervisor starts the next.
        world.inflict(Fault::StartNext(name));
    }
    std::future::pending::<()>().await;
    Ok(())
}

/// What a machine's process is told.
fn options(plan: &Plan, name: &str, boot: Boot) -> Options {
    Options {
        name: name.to_owned(),
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
        labels: plan
            .zone(name)
            .map(|zone| (ZONE.to_owned(), zone))
            .into_iter()
            .collect(),
        machine_id: boot.machine_id,
        boot_id: boot.boot_id,
        cpu_millis: 8_000,
        memory_bytes: 16 << 30,
        pods_max: 110,
        auto_recover: plan.auto_recover,
        snapshot_interval: plan.snapshot_interval.unwrap_or(Duration::MAX),
        manifests: plan.manifests.clone(),
        consensus: plan.consensus.clone(),
        history: plan.watch_history,
    }
}

/// Does what was asked for, and what the schedule wants.
#[derive(Default)]
struct Breaker {
    links: Links,
    injector: Option<Injector>,
}

impl Breaker {
    fn do_all(&mut self, sim: &mut turmoil::Sim<'_>, world: &World) {
        for fault in world.take_faults() {
            self.apply(sim, world, &fault);
        }
        let now = sim.elapsed();
        if world.storm() == Storm::Asked {
            self.injector = Some(Injector::new(&world.plan().schedule, now));
            world.set_storm(Storm::Raging);
            world.count_from_now();
        }
        while let Some(fault) = self
            .injector
            .as_mut()
            .and_then(|injector| injector.next(now, world))
        {
            self.apply(sim, world, &fault);
        }
        if self.injector.as_ref().is_some_and(Injector::is_over) {
            self.injector = None;
            world.set_storm(Storm::Over);
            world.note_at(now, "all planned faults are over");
        }
    }

    fn apply(&mut self, sim: &mut turmoil::Sim<'_>, world: &World, fault: &Fault) {
        let now = sim.elapsed();
        world.note_at(now, &format!("fault {fault:?}"));
        if let Some(name) = fault.fault() {
            if world.calm().since().is_none() {
                world.count_from_now();
            }
            world.count(name, 1);
        }
        world.stir(now, fault);
        let links = &mut self.links;
        match fault {
            Fault::LoseMachine(name) => {
                // Cut first, so that nobody hears the connections close: a lost machine says nothing.
                links.lost.insert(name.clone());
                links.sync(sim, world);
                sim.crash(name.as_str());
                world.machine(name).lose();
                world.set_process(name, None);
            }
            Fault::Announce(name, within) => {
                world.machine(name).cloud().announce(now + *within);
            }
            Fault::ReturnMachine(name) => {
                links.lost.remove(name);
                links.sync(sim, world);
                sim.bounce(name.as_str());
            }
            Fault::RestartProcess(name) | Fault::StartNext(name) => {
                world.set_process(name, None);
                sim.bounce(name.as_str());
            }
            Fault::Pause(name) => {
                world.machine(name).clock().freeze(now);
                world.machine(name).gate().shut();
            }
            Fault::Resume(name) => {
                world.machine(name).clock().thaw();
                world.machine(name).gate().reopen();
            }
            Fault::Skew(name, percent, jump_ms) => {
                world.machine(name).clock().skew(now, *percent, *jump_ms);
            }
            Fault::SetRight(name, jump_ms) => {
                world
                    .machine(name)
                    .clock()
                    .skew(now, TRUE_PERCENT, *jump_ms);
            }
            network => links.apply(network),
        }
        links.sync(sim, world);
    }
}
