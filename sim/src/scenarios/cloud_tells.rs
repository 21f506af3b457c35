//! The cloud can be asked what became of machines. A voter that vanishes is replaced at once, not after the silence
//! that else proves nothing; and when the majority vanishes, what survives goes on by itself, but not before the cloud
//! says of everybody who is missing that it is gone: not while one of them is merely cut off.
//!
//! The leader survives, as in `majority_lost` and for the same reason.

use std::time::Duration;

use super::steps::{all_running, deploy, formed, leader, lose, nodes_in_role};
use super::until;
use crate::world::{Fault, Plan, World};

pub(super) const MACHINES: usize = 5;
const PODS: usize = 6;
/// Silence alone would need so long.
const REPLACED_MS_MAX: u128 = 10_000;
/// One that lives is cut off for so long; several times what a recovery takes that is allowed.
const CUT_OFF_MS: (u64, u64) = (15_000, 40_000);
/// The survivor is alone for so long, once it leads again.
const ALONE_MS: (u64, u64) = (0, 20_000);

pub(super) fn plan(seed: u64) -> Plan {
    Plan {
        cloud_tells: true,
        auto_recover: true,
        snapshot_interval: Some(Duration::from_secs(10)),
        limit: Duration::from_secs(400),
        ..Plan::of(seed, MACHINES)
    }
}

pub(super) async fn play(world: World) -> turmoil::Result {
    let api = world.client(&formed(&world).await);
    deploy(&world, &api, PODS).await?;
    a_voter_is_replaced(&world).await?;
    the_majority_is_recovered(&world).await?;
    let survivor = until(&world, "a leader", async || leader(&world)).await;
    let api = world.client(&survivor);
    until(&world, "all pods running again", async || {
        all_running(&world, &api, PODS).await
    })
    .await;
    Ok(())
}

async fn voters(world: &World, of: &str) -> Option<Vec<String>> {
    let voters = nodes_in_role(&world.client(of), &["leader", "voter"]).await?;
    (voters.len() == 3).then_some(voters)
}

async fn a_voter_is_replaced(world: &World) -> turmoil::Result {
    let (leader_then, before) = until(world, "three voters and two standbys", async || {
        let leader = leader(world)?;
        let standbys = nodes_in_role(&world.client(&leader), &["learner"]).await?;
        let voters = voters(world, &leader).await?;
        (standbys.len() == 2).then_some((leader, voters))
    })
    .await;
    let others: Vec<_> = before.iter().filter(|name| **name != leader_then).collect();
    let lost = others[usize::from(world.chance(0..=1) == 1)].clone();
    let since = world.elapsed();
    world.inflict(Fault::LoseMachine(lost.clone()));
    until(world, "another in the lost voter's place", async || {
        let voters = voters(world, &leader_then).await?;
        (!voters.contains(&lost)).then_some(())
    })
    .await;
    let took = world.elapsed().saturating_sub(since).as_millis();
    if took >= REPLACED_MS_MAX {
        return Err(format!("the cloud's word did not hasten it: {took} ms").into());
    }
    world.inflict(Fault::ReturnMachine(lost));
    // Only a member counts in a recovery, so all five must be again: the process that came back, not the one that died.
    until(world, "five members that live", async || {
        let known = world.known();
        let configuration = &known.get(&leader_then)?.standing.configuration;
        let member = |name: &str| {
            let known = known.get(name);
            known.is_some_and(|known| configuration.is_member(known.standing.id))
        };
        world.machines().all(member).then_some(())
    })
    .await;
    Ok(())
}

async fn the_majority_is_recovered(world: &World) -> turmoil::Result {
    let survivor = until(world, "a leader", async || leader(world)).await;
    let others = world.others(&survivor);
    let lives = world.chance(0..=1) == 1;
    lose(world, &others, lives);
    if lives {
        world.pass(CUT_OFF_MS.0..=CUT_OFF_MS.1).await;
        let known = world.known();
        if known
            .values()
            .any(|known| known.standing.cluster.generation > 0)
        {
            return Err("recovered while a member was not proven dead".into());
        }
        world.inflict(Fault::LoseMachine(others[0].clone()));
        world.inflict(Fault::Heal(others[0].clone()));
    }
    world.measure_recovery();
    let begun = until(world, "the survivor leads a new generation", async || {
        let known = world.known();
        let standing = &known.get(&survivor)?.standing;
        // An attempt that the store broke off has used up the first.
        let begun = standing.cluster.generation;
        (standing.leads && begun > 0).then_some(begun)
    })
    .await;
    world.pass(ALONE_MS.0..=ALONE_MS.1).await;
    for name in others {
        world.inflict(Fault::ReturnMachine(name));
    }
    until(world, "everybody in the new generation", async || {
        let known = world.known();
        let mut machines = world.machines();
        machines
            .all(|name| {
                known
                    .get(name)
                    .is_some_and(|known| known.standing.cluster.generation == begun)
            })
            .then_some(())
    })
    .await;
    Ok(())
}
