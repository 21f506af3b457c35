//! The leader's machine vanishes silently, perhaps while pods are still being started; all pods run again on the
//! others; the machine returns, sooner or later, and votes again.

use super::steps::{DEPLOYMENTS, all_running, deployment, formed, next_leader};
use super::until;
use crate::world::{Fault, World};

const PODS: usize = 6;
/// How far the Deployment has come when the leader is lost.
const BEFORE_MS: (u64, u64) = (0, 6_000);
/// How long the machine stays away: from less than an election to more than its pods are waited for.
const AWAY_MS: (u64, u64) = (100, 30_000);

pub(super) async fn play(world: World) -> turmoil::Result {
    let leader = formed(&world).await;
    world
        .client(&leader)
        .post(DEPLOYMENTS, &deployment(PODS))
        .await?;
    world.pass(BEFORE_MS.0..=BEFORE_MS.1).await;

    world.inflict(Fault::LoseMachine(leader.clone()));
    let next = next_leader(&world, &leader).await;
    world.pass(AWAY_MS.0..=AWAY_MS.1).await;
    world.inflict(Fault::ReturnMachine(leader));
    let api = world.client(&next);
    until(&world, "all pods running again", async || {
        all_running(&world, &api, PODS).await
    })
    .await;
    Ok(())
}
