//! The leader's machine gets notice of 30 s and vanishes at the deadline. By then another leads, three others vote, and
//! all pods run elsewhere; while that happens nobody stands for election by a timeout, and no pod's service is missing.

use std::time::Duration;

use super::steps::{all_running, deploy, formed, is_ready, items, leader, nodes_in_role, pods};
use super::until;
use crate::world::{Fault, World};

/// Three voters, two standbys, a worker.
pub(super) const MACHINES: usize = 6;
const REPLICAS: usize = 8;
const NOTICE: Duration = Duration::from_secs(30);
/// From the moment that the leader's process knows to another leader that serves.
const HAND_OVER_MAX: Duration = Duration::from_millis(100);
/// From the notice to as many replacements as are needed: the cloud is asked every second, and a pod takes half of one.
const REPLACED_MAX: Duration = Duration::from_secs(4);
/// A step of the world.
const STEP: Duration = Duration::from_millis(5);
/// Time for what a death must not cause: an election, a pod too few.
const AFTERWARDS: Duration = Duration::from_secs(10);
/// How long the machine stays away.
const AWAY_MS: (u64, u64) = (100, 30_000);

pub(super) async fn play(world: World) -> turmoil::Result {
    let doomed = formed(&world).await;
    let api = world.client(&doomed);
    until(&world, "two standbys", async || {
        let standbys = nodes_in_role(&api, &["learner"]).await?;
        (standbys.len() == 2).then_some(())
    })
    .await;
    deploy(&world, &api, REPLICAS).await?;
    world.pass(0..=3_000).await;

    let elections = world.raft_events("pre_vote");
    let announced = world.elapsed();
    let deadline = announced + NOTICE;
    world.inflict(Fault::Announce(doomed.clone(), NOTICE));
    let (next, took) = handed_over(&world, &doomed).await?;
    world.note(&format!("handed over to {next} in {took:?}"));
    if took >= HAND_OVER_MAX {
        return Err(format!("the hand-over took {took:?}").into());
    }
    serves_on(&world, &doomed, announced, deadline).await?;
    let voters = nodes_in_role(&world.client(&next), &["leader", "voter"]).await;
    let voters = voters.ok_or("the next leader does not describe the cluster")?;
    if voters.len() != 3 || voters.contains(&doomed) {
        return Err(format!("at the deadline of {doomed} {voters:?} vote").into());
    }

    world.inflict(Fault::LoseMachine(doomed.clone()));
    keeps(&world, &doomed, deadline + AFTERWARDS).await?;
    if leader(&world).as_ref() != Some(&next) || world.raft_events("pre_vote") != elections {
        return Err(format!("an election after the hand-over to {next}").into());
    }
    world.pass(AWAY_MS.0..=AWAY_MS.1).await;
    world.inflict(Fault::ReturnMachine(doomed.clone()));
    let api = world.client(&next);
    until(&world, "the machine as good as new", async || {
        all_running(&world, &api, REPLICAS).await?;
        is_welcome(&world, &next, &doomed).await
    })
    .await;
    Ok(())
}

/// Waits until another node leads; says who, and how long it took since the doomed leader heard of its end.
async fn handed_over(world: &World, doomed: &str) -> Result<(String, Duration), String> {
    world.wait_for("another leader after the notice");
    loop {
        tokio::time::sleep(STEP).await;
        let next = leader(world).filter(|next| next != doomed);
        let heard = world.machine(doomed).cloud().heard();
        match (heard, next) {
            (Some(heard), Some(next)) => return Ok((next, world.elapsed() - heard)),
            (None, Some(next)) => return Err(format!("{next} leads before {doomed} had heard")),
            (_, None) => {}
        }
    }
}

/// Looks until the deadline: as many pods as are wanted are ready all the time, and soon all of them elsewhere.
async fn serves_on(
    world: &World,
    doomed: &str,
    announced: Duration,
    deadline: Duration,
) -> turmoil::Result {
    let mut replaced = None;
    while world.elapsed() < deadline {
        if let Some(leader) = leader(world) {
            let pods = pods(&world.client(&leader)).await?;
            let ready = pods.iter().filter(|pod| is_ready(pod));
            if ready.count() < REPLICAS {
                return Err(format!("fewer than {REPLICAS} pods are ready: {pods:?}").into());
            }
        }
        if replaced.is_none() && running_elsewhere(world, doomed) >= REPLICAS {
            let took = world.elapsed() - announced;
            world.note(&format!("replaced all pods in {took:?}"));
            replaced = Some(took);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    match replaced {
        Some(took) if took <= REPLACED_MAX => Ok(()),
        other => Err(format!("all pods ran elsewhere {other:?} after the notice").into()),
    }
}

/// Looks for a while: as many pods as are wanted run on machines that are there.
async fn keeps(world: &World, lost: &str, until: Duration) -> turmoil::Result {
    while world.elapsed() < until {
        let running = running_elsewhere(world, lost);
        if running < REPLICAS {
            return Err(format!("{running} of {REPLICAS} pods run without {lost}").into());
        }
        tokio::time::sleep(STEP).await;
    }
    Ok(())
}

fn running_elsewhere(world: &World, than: &str) -> usize {
    let others = world.others(than);
    let running = others
        .iter()
        .map(|name| world.machine(name).running_pods().len());
    running.sum()
}

/// Whether a node may be given pods again.
async fn is_welcome(world: &World, through: &str, name: &str) -> Option<()> {
    let nodes = items(&world.client(through), "/api/v1/nodes").await.ok()?;
    let node = nodes.iter().find(|node| node["metadata"]["name"] == name)?;
    let spec = &node["spec"];
    let tainted = spec["taints"]
        .as_array()
        .is_some_and(|taints| !taints.is_empty());
    (!tainted && spec["unschedulable"] != true).then_some(())
}
