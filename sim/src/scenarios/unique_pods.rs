//! Unique pods under faults that last up to a minute: nodes fall silent, stop what they may not run any longer, come back
//! in time or too late; their leader changes, their process restarts, a user deletes.
//!
//! That none ever runs twice is in `checkers/unique.rs`. Here: that a restart in place does not stop one, and that all
//! run again in the end.

use std::time::Duration;

use super::stateful::{StatefulSet, delete_some, everything_runs, some_pod};
use super::steps::{deploy, formed};
use super::until;
use crate::faults::draw::{Shape, draw};
use crate::world::{Fault, Plan, Storm, World};

/// Other pods, which no silence of a leader may touch.
const OTHERS: usize = 3;
const MACHINES: (u64, u64) = (5, 7);
/// A fault lasts up to twice as long as a leader waits before it replaces a unique pod.
const LONGEST_MS: u64 = 60_000;
/// Formation, a calm restart, a minute of faults and one until the last is over; a wait of 30 s and what follows; a
/// minute for the cluster to be whole and quiet.
const LIMIT: Duration = Duration::from_secs(420);
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
    "fault: split",
    "fault: link",
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
    let set = StatefulSet::start(&world);
    everything_runs(&world, OTHERS).await;
    restart_in_calm(&world).await?;

    world.unleash();
    until(&world, "the storm's end", async || {
        world.pass(DELETE_MS.0..=DELETE_MS.1).await;
        delete_some(&world).await;
        (world.storm() == Storm::Over).then_some(())
    })
    .await;
    everything_runs(&world, OTHERS).await;
    Ok(set.end().await?)
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
    everything_runs(world, OTHERS).await;
    Ok(())
}
