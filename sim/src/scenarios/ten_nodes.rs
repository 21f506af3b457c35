//! Ten machines: three voters, two standbys, five workers that hold no replica and answer the API all the same. A
//! voter's machine vanishes and a standby takes its place.

use super::steps::{deploy, formed, items, leader, nodes_in_role, pods};
use super::until;
use crate::world::{Fault, World};

const PODS: usize = 20;
const AWAY_MS: (u64, u64) = (20_000, 40_000);

pub(super) async fn play(world: World) -> turmoil::Result {
    let leader_then = formed(&world).await;
    let api = world.client(&leader_then);
    let standbys = until(&world, "two standbys", async || {
        nodes_in_role(&api, &["learner"])
            .await
            .filter(|standbys| standbys.len() == 2)
    })
    .await;
    deploy(&world, &api, PODS).await?;
    let voters = nodes_in_role(&api, &["leader", "voter"])
        .await
        .ok_or("the leader does not describe the cluster")?;
    let members: Vec<&String> = voters.iter().chain(&standbys).collect();
    let is_worker = |name: &&str| !members.iter().any(|member| member == name);
    let workers: Vec<String> = world
        .machines()
        .filter(is_worker)
        .map(str::to_owned)
        .collect();
    answer(&world, &workers).await?;

    let chosen = usize::try_from(world.chance(0..=2)).expect("one of three");
    let lost = voters[chosen].clone();
    world.inflict(Fault::LoseMachine(lost.clone()));
    until(&world, "a standby in the lost voter's place", async || {
        let leader = leader(&world).filter(|leader| *leader != lost)?;
        let voters = nodes_in_role(&world.client(&leader), &["leader", "voter"]).await?;
        let promoted = standbys.iter().any(|standby| voters.contains(standby));
        (voters.len() == 3 && promoted && !voters.contains(&lost)).then_some(())
    })
    .await;
    answer(&world, &workers).await?;
    world.pass(AWAY_MS.0..=AWAY_MS.1).await;
    world.inflict(Fault::ReturnMachine(lost));
    let worker = world.client(&workers[0]);
    until(&world, "all pods running, says a worker", async || {
        super::steps::all_running(&world, &worker, PODS).await
    })
    .await;
    Ok(())
}

/// Every worker answers, and so does its log door.
async fn answer(world: &World, workers: &[String]) -> turmoil::Result {
    for name in workers {
        if world.known().contains_key(name) {
            return Err(format!("{name} holds a replica that nobody asked for").into());
        }
        let api = world.client(name);
        let nodes = items(&api, "/api/v1/nodes").await?;
        let pods = pods(&api).await?;
        if nodes.len() != world.plan().nodes || pods.len() < PODS {
            let (nodes, pods) = (nodes.len(), pods.len());
            return Err(format!("{name} knows {nodes} nodes and {pods} pods").into());
        }
    }
    Ok(())
}
