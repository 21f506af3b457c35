//! Ten machines: a voter is cut off for so long that a standby takes its place. When it is back it is no member any
//! more, and its node goes on as a worker: its pods run, its API answers.

use std::time::Duration;

use super::steps::{all_running, deploy, formed, leader, nodes_in_role, ready_nodes};
use super::until;
use crate::world::{Fault, World};

const PODS: usize = 10;
/// Once its place is taken; by then its pods are being replaced too.
const MORE_MS: (u64, u64) = (0, 10_000);

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
    until(&world, "a standby in its place", async || {
        let leader = leader(&world).filter(|leader| leader != lost)?;
        let voters = nodes_in_role(&world.client(&leader), &["leader", "voter"]).await?;
        (voters.len() == 3 && !voters.contains(lost)).then_some(())
    })
    .await;
    world.pass(MORE_MS.0..=MORE_MS.1).await;
    world.inflict(Fault::Heal(lost.clone()));

    let api = world.client(lost).with_deadline(Duration::from_secs(2));
    until(&world, "its node answers for all that runs", async || {
        all_running(&world, &api, PODS).await?;
        (ready_nodes(&api).await.len() == world.plan().nodes).then_some(())
    })
    .await;
    Ok(())
}
