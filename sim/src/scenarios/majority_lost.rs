//! Both followers vanish at once, or one is cut off and called dead while it lives: nothing is served, and nothing
//! recovered without proof. On an operator's word the leader's log begins a new generation; no container of the
//! survivor's ends, and whoever comes back, new or old, belongs to that generation in the end.
//!
//! The leader survives, since only then is nothing acknowledged lost, which every run checks. What a survivor loses that
//! did not lead is shown by real processes (`tests/e2e_recover.rs`).

use std::time::Duration;

use serde_json::json;

use super::steps::{all_running, ask_recovery, bring_back, deploy, formed, lose, recover};
use super::until;
use crate::world::World;

const PODS: usize = 6;
/// The survivor is alone for so long.
const ALONE_MS: (u64, u64) = (0, 40_000);
/// The API may be asked while members that never answer are.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn play(world: World) -> turmoil::Result {
    let survivor = formed(&world).await;
    let api = world.client(&survivor).with_deadline(PATIENCE);
    deploy(&world, &api, PODS).await?;
    world.pass(0..=5_000).await;
    let kept = world.machine(&survivor).running_containers();
    let others = world.others(&survivor);
    // Two that were called dead and live would be a majority of their generation as soon as they hear each other, and
    // what they acknowledged would be lost: that operator's word was not true. One alone can do nothing.
    let lives = world.chance(0..=1) == 1;
    lose(&world, &others, lives);
    until(&world, "a refusal for want of proof", async || {
        let refused = ask_recovery(&world, &survivor, json!({})).await.err()?;
        refused.contains("not proven dead").then_some(())
    })
    .await;
    recover(&world, &survivor, &others).await?;
    until(&world, "the survivor leads a new generation", async || {
        let known = world.known();
        let standing = &known.get(&survivor)?.standing;
        (standing.leads && standing.cluster.generation == 1).then_some(())
    })
    .await;
    world.pass(ALONE_MS.0..=ALONE_MS.1).await;
    bring_back(&world, &others, lives);
    until(&world, "all pods running again", async || {
        all_running(&world, &api, PODS).await
    })
    .await;
    until(&world, "everybody in the new generation", async || {
        let mut machines = world.machines();
        machines
            .all(|name| belongs_to_the_new(&world, name))
            .then_some(())
    })
    .await;
    let now = world.machine(&survivor).running_containers();
    if !kept.iter().all(|container| now.contains(container)) {
        return Err("the recovery ended containers of the survivor".into());
    }
    Ok(())
}

fn belongs_to_the_new(world: &World, name: &str) -> bool {
    let known = world.known();
    let known = known.get(name);
    known.is_some_and(|known| known.standing.cluster.generation == 1)
}
