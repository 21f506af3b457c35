//! Unique pods over a change of generations: a majority is lost and an operator recovers, one of the dead living on where
//! nobody hears it; or every process that holds a replica dies at once, and the cluster goes on from a snapshot that does not
//! know where its pods were last, while somebody who runs some of them hears of nothing.
//!
//! That none ever runs twice is in `checkers/unique.rs`; what else a recovery and a restore promise, in
//! `majority_lost.rs` and `everything_lost.rs`. Here: that all run again in the end, each once.

use std::time::Duration;

use kagero::store::Revision;

use super::everything_lost::{newest, restored};
use super::stateful::{StatefulSet, delete_some, everything_runs};
use super::steps::{bring_back, deploy, formed, leader, lose, nodes_in_role, recover};
use super::until;
use crate::world::{Fault, Plan, World};

/// What a batch of these must have seen.
pub(super) const COVERS: &[&str] = &[
    "client: unique pod deleted",
    "unique: over a recovery",
    "unique: over a recovery without one who lives",
    "unique: over a restore",
    "unique: over a restore of where they were before",
    "unique: stopped for want of a lease",
    "unique: replaced after its node had stopped it",
    "unique: replaced after its machine was lost",
    "fault: lose",
    "fault: restart",
    "fault: cut-off",
    "cluster: generation begun",
];

/// Other pods.
const OTHERS: usize = 2;
/// All of three vote, so that all but one are a majority; of seven, two hold no replica.
const MACHINES: (usize, usize) = (3, 7);
/// Formation and a first snapshot; a minute until everybody is back; a wait of 30 s and what follows; a minute for the
/// cluster to be whole and quiet.
const LIMIT: Duration = Duration::from_secs(420);
/// Between two snapshots.
const INTERVAL: Duration = Duration::from_secs(20);
/// The first revision of generation 1.
const FIRST: Revision = 1 << 40;
/// Before the operator acts, and before the dead come back: shorter and longer than a lease, and than a leader's wait.
const ALONE_MS: (u64, u64) = (0, 45_000);
/// A worker is cut off so long after the restore.
const APART_MS: (u64, u64) = (0, 30_000);
/// Between two deletions of the user.
const DELETE_MS: (u64, u64) = (0, 4_000);
/// How many there are, before anything is lost.
const DELETIONS: (u64, u64) = (1, 6);

pub(super) fn plan(seed: u64) -> Plan {
    let restores = seed.is_multiple_of(2);
    Plan {
        limit: LIMIT,
        snapshot_interval: restores.then_some(INTERVAL),
        ..Plan::of(seed, if restores { MACHINES.1 } else { MACHINES.0 })
    }
}

pub(super) async fn play(world: World) -> turmoil::Result {
    let first = formed(&world).await;
    deploy(&world, &world.client(&first), OTHERS).await?;
    let set = StatefulSet::start(&world);
    everything_runs(&world, OTHERS).await;
    if world.plan().snapshot_interval.is_some() {
        lose_everything(&world).await?;
    } else {
        lose_majority(&world).await?;
    }
    everything_runs(&world, OTHERS).await;
    Ok(set.end().await?)
}

async fn lose_majority(world: &World) -> turmoil::Result {
    // Pods may be on their way when it happens.
    delete_now_and_then(world).await;
    let survivor = until(world, "one leader", async || leader(world)).await;
    let others = world.others(&survivor);
    let lives = world.chance(0..=1) == 1;
    lose(world, &others, lives);
    world.pass(ALONE_MS.0..=ALONE_MS.1).await;
    // The survivor may take some seconds to find out that nobody leads.
    until(world, "a recovery", async || {
        recover(world, &survivor, &others).await.ok()
    })
    .await;
    world.pass(ALONE_MS.0..=ALONE_MS.1).await;
    bring_back(world, &others, lives);
    world.count(COVERS[1], 1);
    world.count(COVERS[2], u64::from(lives));
    Ok(())
}

async fn lose_everything(world: &World) -> turmoil::Result {
    let running = world
        .known()
        .values()
        .map(|known| known.view.revision())
        .max();
    until(world, "the running pods are kept", async || {
        (Some(newest(world)?.1.revision) >= running).then_some(())
    })
    .await;
    let places = places_now(world);
    delete_now_and_then(world).await;
    let moved = places_now(world) != places;
    let apart = cut_off_a_worker(world).await;
    for name in world.others(&apart) {
        world.inflict(Fault::RestartProcess(name));
    }
    world.measure_disaster();
    world.measure_recovery();
    let record = restored(world).await;
    let revision = record["revision"].as_u64().ok_or("no revision")?;
    world.acknowledged().forgive(revision, FIRST);
    world.pass(APART_MS.0..=APART_MS.1).await;
    world.inflict(Fault::Heal(apart));
    world.count(COVERS[3], 1);
    world.count(COVERS[4], u64::from(moved));
    Ok(())
}

/// Somebody without a replica, whom nobody can tell that its pods are elsewhere by now: its leases run on.
async fn cut_off_a_worker(world: &World) -> String {
    let apart = until(world, "a worker", async || {
        let leader = leader(world)?;
        let api = world.client(&leader);
        let holders = nodes_in_role(&api, &["leader", "voter", "learner"]).await?;
        let workers = world.plan().names().into_iter();
        let mut workers = workers.filter(|name| !holders.contains(name));
        let skipped = world.chance(0..=1);
        workers.nth(usize::try_from(skipped).expect("0 or 1"))
    })
    .await;
    world.disturb(&apart);
    world.inflict(Fault::CutOff(apart.clone()));
    apart
}

/// Which unique pods run where.
fn places_now(world: &World) -> Vec<Vec<(String, String)>> {
    let machines = world.machines();
    machines
        .map(|name| world.machine(name).running_unique())
        .collect()
}

/// A few deletions.
async fn delete_now_and_then(world: &World) {
    for _ in 0..world.chance(DELETIONS.0..=DELETIONS.1) {
        world.pass(DELETE_MS.0..=DELETE_MS.1).await;
        delete_some(world).await;
    }
}
