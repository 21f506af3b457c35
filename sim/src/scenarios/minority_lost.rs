//! Five voters of nine machines in three zones. A whole zone vanishes at once, with one or two of the voters; then two
//! voters more. Those who are left always have a quorum, and standbys take the places of the dead as far as there are any.

use std::collections::BTreeMap;

use super::steps::{all_running, deploy, formed, leader, living_voters};
use super::until;
use crate::world::{Fault, Plan, World};

/// What a batch of these must have seen.
pub(super) const COVERS: &[&str] = &[
    "minority: two voters at once",
    "minority: with the leader",
    "minority: two replaced in one change",
];

const MACHINES: usize = 9;
const ZONES: usize = 3;
const VOTERS: usize = 5;
const PODS: usize = 9;
/// Of five voters in three zones.
const VOTERS_IN_A_ZONE_MAX: usize = 2;
/// Between one thing and the next.
const CALM_MS: (u64, u64) = (0, 10_000);

pub(super) fn plan(seed: u64) -> Plan {
    Plan {
        voters: VOTERS,
        zones: ZONES,
        ..Plan::of(seed, MACHINES)
    }
}

pub(super) async fn play(world: World) -> turmoil::Result {
    let first = formed(&world).await;
    deploy(&world, &world.client(&first), PODS).await?;
    spread(&world).await;
    world.pass(CALM_MS.0..=CALM_MS.1).await;
    let chosen = world.chance(1..=ZONES as u64);
    let chosen = Some(format!("z{chosen}"));
    let zone: Vec<String> = world.machines().map(str::to_owned).collect();
    let mut lost: Vec<String> = zone
        .into_iter()
        .filter(|name| world.plan().zone(name) == chosen)
        .collect();
    vanish(&world, &lost).await;
    // Six machines are left: five vote, one stands by.
    vote(&world, VOTERS).await;

    world.pass(CALM_MS.0..=CALM_MS.1).await;
    let voters = voters(&world).await;
    let (one, other) = two_of(&world, &voters);
    vanish(&world, &[one.clone(), other.clone()]).await;
    lost.extend([one, other]);
    // Of four, all vote; a dead one stays in the configuration, as the larger of two that survive one more loss.
    vote(&world, MACHINES - lost.len()).await;

    for name in lost {
        world.inflict(Fault::ReturnMachine(name));
    }
    spread(&world).await;
    until(&world, "all pods running", async || {
        let leader = leader(&world)?;
        all_running(&world, &world.client(&leader), PODS).await
    })
    .await;
    Ok(())
}

/// These vanish at once; somebody leads soon after.
async fn vanish(world: &World, lost: &[String]) {
    let (before, led) = (voters(world).await, leader(world));
    let voted = lost.iter().filter(|name| before.contains(name)).count();
    let changes = joint_changes(world);
    world.count(COVERS[0], u64::from(voted > 1));
    world.count(
        COVERS[1],
        u64::from(led.is_some_and(|led| lost.contains(&led))),
    );
    for name in lost {
        world.disturb(name);
        world.inflict(Fault::LoseMachine(name.clone()));
    }
    until(world, "their end", async || {
        let gone = lost.iter().all(|name| !world.is_running(name));
        gone.then_some(())
    })
    .await;
    until(world, "a leader that lives", async || {
        leader(world).filter(|leader| !lost.contains(leader))
    })
    .await;
    if voted > 1 {
        let left = world
            .machines()
            .filter(|name| world.is_running(name))
            .count();
        vote(world, left.min(VOTERS)).await;
        world.count(COVERS[2], u64::from(joint_changes(world) == changes + 1));
    }
}

fn joint_changes(world: &World) -> u64 {
    world.coverage().of("membership: joint change")
}

/// The machines of the voters that live.
async fn voters(world: &World) -> Vec<String> {
    until(world, "a leader", async || {
        Some(living_voters(world, &leader(world)?)?.0)
    })
    .await
}

/// Waits until so many who live vote.
async fn vote(world: &World, wanted: usize) {
    let what = format!("{wanted} living voters");
    until(world, &what, async || {
        let (living, _) = living_voters(world, &leader(world)?)?;
        (living.len() == wanted).then_some(())
    })
    .await;
}

/// Waits until all who shall vote live, and no zone holds so many that its loss would be the loss of the quorum.
async fn spread(world: &World) {
    until(world, "voters in all zones", async || {
        let (living, voters) = living_voters(world, &leader(world)?)?;
        let mut zones: BTreeMap<_, usize> = BTreeMap::new();
        for name in &living {
            *zones.entry(world.plan().zone(name)).or_default() += 1;
        }
        let most = zones.values().max();
        let spread = zones.len() == ZONES && most <= Some(&VOTERS_IN_A_ZONE_MAX);
        (spread && living.len() == VOTERS && voters == VOTERS).then_some(())
    })
    .await;
}

/// Two of them, at random.
fn two_of(world: &World, voters: &[String]) -> (String, String) {
    let mut left = voters.to_vec();
    let mut draw = || {
        let at = world.chance(0..=left.len() as u64 - 1);
        left.swap_remove(usize::try_from(at).expect("one of five"))
    };
    (draw(), draw())
}
