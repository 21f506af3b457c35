//! Ten machines: a voter is cut off until a standby has its place, and the other two vanish and come back as workers, so
//! that none of those whom it knew votes any more. When it is back it still believes in its configuration, in which two voters are superseded:
//! an operator who asks it to recover must hear that the cluster lives, and no plan.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::steps::{all_running, deploy, formed, leader, nodes_in_role, ready_nodes};
use super::until;
use crate::world::{Fault, World};

const PODS: usize = 10;
/// How often an operator asks, and how long in all: beyond the time in which its node learns that it is no member.
const ASK_EVERY_MS: u64 = 250;
const ASKED: usize = 80;

pub(super) async fn play(world: World) -> turmoil::Result {
    let first = formed(&world).await;
    let api = world.client(&first);
    let voters = until(&world, "two standbys", async || {
        let standbys = nodes_in_role(&api, &["learner"]).await?;
        let voters = nodes_in_role(&api, &["leader", "voter"]).await?;
        (standbys.len() == 2 && voters.len() == 3).then_some(voters)
    })
    .await;
    deploy(&world, &api, PODS).await?;

    let lost = &voters[usize::try_from(world.chance(0..=2)).expect("one of three")];
    world.disturb(lost);
    world.inflict(Fault::CutOff(lost.clone()));
    let mut gone = BTreeSet::from([lost.clone()]);
    until_replaced(&world, &gone).await;
    for other in voters.iter().filter(|voter| *voter != lost) {
        world.inflict(Fault::LoseMachine(other.clone()));
        gone.insert(other.clone());
        until_replaced(&world, &gone).await;
    }
    for other in voters.iter().filter(|voter| *voter != lost) {
        world.inflict(Fault::ReturnMachine(other.clone()));
    }
    until(&world, "all but one ready", async || {
        let leader = leader_beside(&world, &gone)?;
        let ready = ready_nodes(&world.client(&leader)).await;
        (ready.len() + 1 == world.plan().nodes).then_some(())
    })
    .await;
    world.inflict(Fault::Heal(lost.clone()));

    let asked = world.client(lost).with_deadline(Duration::from_secs(10));
    for _ in 0..ASKED {
        let plan = asked.post("/kagero/v1/recovery", &json!({})).await;
        if let Ok(plan) = plan {
            return Err(format!("a living cluster would be recovered away: {plan}").into());
        }
        tokio::time::sleep(Duration::from_millis(ASK_EVERY_MS)).await;
    }
    let api = world.client(lost).with_deadline(Duration::from_secs(2));
    until(&world, "its node answers for all that runs", async || {
        all_running(&world, &api, PODS).await
    })
    .await;
    Ok(())
}

/// Waits for three voters and two standbys that are none of these.
async fn until_replaced(world: &World, gone: &BTreeSet<String>) {
    until(world, "five other members", async || {
        let leader = leader_beside(world, gone)?;
        let api = world.client(&leader);
        let voters = nodes_in_role(&api, &["leader", "voter"]).await?;
        let standbys = nodes_in_role(&api, &["learner"]).await?;
        let others = !voters
            .iter()
            .chain(&standbys)
            .any(|member| gone.contains(member));
        (voters.len() == 3 && standbys.len() == 2 && others).then_some(())
    })
    .await;
}

fn leader_beside(world: &World, gone: &BTreeSet<String>) -> Option<String> {
    leader(world).filter(|leader| !gone.contains(leader))
}
