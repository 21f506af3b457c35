//! Unique pods under faults that last up to a minute: nodes fall silent, stop what they may not run any longer, come back
//! in time or too late; their leader changes, their process restarts, a user deletes. A client plays the StatefulSet
//! controller: what is gone from the API it creates again, of the same name.
//!
//! That none ever runs twice is in `checkers/unique.rs`. Here: that a restart in place does not stop one, and that all
//! run again in the end.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use kagero::cli::client::ClientError;
use serde_json::{Value, json};

use super::steps::{PODS, all_running, deploy, formed, leader};
use super::until;
use crate::clients::anybody;
use crate::faults::draw::{Shape, draw};
use crate::world::{Fault, Plan, Storm, World};

/// Unique pods.
const UNIQUE: usize = 4;
/// Other pods, which no silence of a leader may touch.
const OTHERS: usize = 3;
const MACHINES: (u64, u64) = (5, 7);
/// A fault lasts up to twice as long as a leader waits before it replaces a unique pod.
const LONGEST_MS: u64 = 60_000;
/// Formation, a calm restart, a minute of faults and one until the last is over; a wait of 30 s and what follows; a
/// minute for the cluster to be whole and quiet.
const LIMIT: Duration = Duration::from_secs(420);
/// How often the StatefulSet controller looks.
const LOOK_MS: (u64, u64) = (100, 900);
/// Between two deletions of the user.
const DELETE_MS: (u64, u64) = (2_000, 20_000);
/// After a restart in calm: longer than any lease of before.
const AFTER_RESTART: Duration = Duration::from_secs(15);

/// What a batch of these must have seen.
pub(super) const COVERS: &[&str] = &[
    "fault: lose",
    "fault: restart",
    "fault: cut-off",
    "fault: mute",
    "fault: deaf",
    "fault: slow",
    "fault: pause",
    "fault: skew",
    "raft: election_won",
    "client: unique pod deleted",
    "unique: stopped for want of a lease",
    "unique: started again where it was stopped",
    "unique: replaced after its node had stopped it",
    "unique: replaced after its machine was lost",
];

pub(super) fn plan(seed: u64) -> Plan {
    let machines = MACHINES.0 + seed % (MACHINES.1 - MACHINES.0 + 1);
    let shape = Shape {
        longest_ms: LONGEST_MS,
        ..Shape::storm(u8::try_from(machines).expect("at most seven"))
    };
    Plan {
        limit: LIMIT,
        schedule: draw(seed, &shape),
        ..Plan::of(seed, usize::try_from(machines).expect("at most seven"))
    }
}

pub(super) async fn play(world: World) -> turmoil::Result {
    let first = formed(&world).await;
    deploy(&world, &world.client(&first), OTHERS).await?;
    let wanted = Rc::new(Cell::new(true));
    let set = tokio::task::spawn_local(keep(world.clone(), wanted.clone()));
    everything_runs(&world).await;
    restart_in_calm(&world).await?;

    world.unleash();
    until(&world, "the storm's end", async || {
        delete_some(&world).await;
        (world.storm() == Storm::Over).then_some(())
    })
    .await;
    everything_runs(&world).await;
    wanted.set(false);
    set.await?;
    Ok(())
}

async fn everything_runs(world: &World) {
    until(world, "all pods running, each once", async || {
        let leader = leader(world)?;
        all_running(world, &world.client(&leader), UNIQUE + OTHERS).await
    })
    .await;
}

/// The machine of one of them has its process restarted, the leader's perhaps: the container goes on.
async fn restart_in_calm(world: &World) -> turmoil::Result {
    let name = some_pod(world);
    let runs_on = |machine: &&str| world.machine(machine).running_pods().contains(&name);
    let machine = world.machines().find(runs_on).ok_or("it runs nowhere")?;
    let before = world.machine(machine).running_containers();
    world.inflict(Fault::RestartProcess(machine.to_owned()));
    tokio::time::sleep(AFTER_RESTART).await;
    let after = world.machine(machine).running_containers();
    if before != after {
        return Err(format!("a restart of {machine} made {after:?} of {before:?}").into());
    }
    everything_runs(world).await;
    Ok(())
}

fn some_pod(world: &World) -> String {
    format!("db-{}", world.chance(0..=UNIQUE as u64 - 1))
}

/// The user: plain deletions, through any node.
async fn delete_some(world: &World) {
    world.pass(DELETE_MS.0..=DELETE_MS.1).await;
    let name = some_pod(world);
    let (api, _) = anybody(world);
    // Whether it could be had or not is none of this user's concern.
    if api.delete(&format!("{PODS}/{name}")).await.is_ok() {
        world.note(&format!("the user deletes {name}"));
        world.count("client: unique pod deleted", 1);
    }
}

/// The StatefulSet controller: creates what is not there, as long as it is wanted.
async fn keep(world: World, wanted: Rc<Cell<bool>>) {
    while wanted.get() {
        for number in 0..UNIQUE {
            let (api, _) = anybody(&world);
            let pod = pod(number);
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let found = api.get(&format!("{PODS}/{name}")).await;
            if found.as_ref().err().and_then(ClientError::code) == Some(404) {
                // Another of the same name, or no answer: it looks again.
                let _ = api.post(PODS, &pod).await;
            }
        }
        world.pass(LOOK_MS.0..=LOOK_MS.1).await;
    }
}

fn pod(number: usize) -> Value {
    let owner = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "5e7", "controller": true,
    });
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": format!("db-{number}"), "ownerReferences": [owner] },
        "spec": { "containers": [{ "name": "db", "image": "kagero.dev/web:1" }] },
    })
}
