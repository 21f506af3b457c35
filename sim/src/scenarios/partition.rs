//! The leader is cut off from both followers for 20 s, while clients still reach all three: it steps down, another
//! leads, nothing acknowledged is lost, and the old leader comes back as what it was.

use std::time::Duration;

use super::steps::{all_running, deploy, formed, next_leader};
use super::until;
use crate::world::{Fault, World};

const PODS: usize = 6;
const CUT_OFF_MS: u64 = 20_000;
/// Check-quorum: a leader that hears no majority leads no longer than this.
const LEADS_MS_MAX: u64 = 3_000;

pub(super) async fn play(world: World) -> turmoil::Result {
    let old = formed(&world).await;
    deploy(&world, &world.client(&old), PODS).await?;
    let incarnation = world.known()[&old].standing.id;

    // Its pods are replaced elsewhere after 15 s, as anybody's who cannot be heard, and end when it is back.
    world.disturb(&old);
    world.inflict(Fault::CutOff(old.clone()));
    tokio::time::sleep(Duration::from_millis(LEADS_MS_MAX)).await;
    if world.known()[&old].standing.leads {
        return Err("the leader still leads, alone".into());
    }
    let next = next_leader(&world, &old).await;
    tokio::time::sleep(Duration::from_millis(CUT_OFF_MS - LEADS_MS_MAX)).await;
    world.inflict(Fault::Heal(old.clone()));

    let api = world.client(&next);
    until(&world, "all pods running again", async || {
        all_running(&world, &api, PODS).await
    })
    .await;
    if world.known()[&old].standing.id != incarnation {
        return Err("the old leader's process did not survive being cut off".into());
    }
    Ok(())
}
