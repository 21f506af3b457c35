//! A follower's machine vanishes silently: the leader goes on leading, the pods run elsewhere, the machine returns.

use super::steps::{all_running, deploy, formed, is_running, leader, pods};
use super::until;
use crate::world::{Fault, World};

const PODS: usize = 6;
/// A returning machine does not matter to the pods any more after the first, and may find its own still bound to it
/// before.
const AWAY_MS: (u64, u64) = (100, 30_000);

pub(super) async fn play(world: World) -> turmoil::Result {
    let leader_then = formed(&world).await;
    let api = world.client(&leader_then);
    deploy(&world, &api, PODS).await?;
    let term = world.known()[&leader_then].standing.term;
    let followers = world.others(&leader_then);
    let lost = &followers[usize::from(world.chance(0..=1) == 1)];
    let kept: Vec<Vec<String>> = followers
        .iter()
        .filter(|name| *name != lost)
        .chain([&leader_then])
        .map(|name| world.machine(name).running_containers())
        .collect();

    world.inflict(Fault::LoseMachine(lost.clone()));
    world.pass(AWAY_MS.0..=AWAY_MS.1).await;
    world.inflict(Fault::ReturnMachine(lost.clone()));
    until(&world, "all pods running again", async || {
        all_running(&world, &api, PODS).await
    })
    .await;
    if leader(&world).as_ref() != Some(&leader_then)
        || world.known()[&leader_then].standing.term != term
    {
        return Err("a follower's loss cost the leader its place".into());
    }
    for containers in kept {
        let running = |id: &String| {
            let machines = world.machines();
            let mut machines = machines.filter(|name| name != lost);
            machines.any(|name| world.machine(name).running_containers().contains(id))
        };
        if !containers.iter().all(running) {
            return Err("a follower's loss ended containers elsewhere".into());
        }
    }
    let pods = pods(&api).await?;
    if !pods.iter().all(is_running) {
        return Err("a pod does not run any more".into());
    }
    Ok(())
}
