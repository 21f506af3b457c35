//! Each node's process dies and starts again, one after the other: the containers are adopted (their ids stay), and
//! the new incarnation votes.

use super::steps::{all_running, deploy, formed, leader, member_roles};
use super::until;
use crate::world::{Fault, World};

const PODS: usize = 6;
/// Between a restart's end and the next one.
const PAUSE_MS: (u64, u64) = (0, 3_000);

pub(super) async fn play(world: World) -> turmoil::Result {
    let leader_then = formed(&world).await;
    deploy(&world, &world.client(&leader_then), PODS).await?;
    let machines: Vec<String> = world.machines().map(str::to_owned).collect();
    let first = usize::try_from(world.chance(0..=2)).expect("one of three");
    let containers = world.running_containers();
    for at in 0..machines.len() {
        let name = &machines[(first + at) % machines.len()];
        let old = world.known()[name].standing.id.to_string();
        world.inflict(Fault::RestartProcess(name.clone()));
        until(&world, "the new incarnation votes", async || {
            let known = world.known();
            let new = known.get(name)?.standing.id.to_string();
            let roles = member_roles(&world.client(&leader(&world)?)).await?;
            let votes = roles
                .get(&new)
                .is_some_and(|role| role == "voter" || role == "leader");
            (votes && !roles.contains_key(&old)).then_some(())
        })
        .await;
        world.pass(PAUSE_MS.0..=PAUSE_MS.1).await;
    }
    let leader = until(&world, "a leader", async || leader(&world)).await;
    let api = world.client(&leader);
    until(&world, "all pods running", async || {
        all_running(&world, &api, PODS).await
    })
    .await;
    let now = world.running_containers();
    if now != containers {
        return Err(format!("containers changed from {containers:?} to {now:?}").into());
    }
    Ok(())
}
