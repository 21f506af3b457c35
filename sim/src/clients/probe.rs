//! Writes while nobody serves them, so that a run that is measured (`sim measure`) shows when somebody does again.
//!
//! The usual clients cannot: most of them wait for a dead machine by then. Deliberately absent from other runs, whose
//! traffic it would change, and drawing nothing by chance.

use std::time::Duration;

use serde_json::json;

use super::DEADLINE;
use crate::world::World;

/// Between two rounds of writes, one to each machine that runs; how exact the measurement is.
const ROUND: Duration = Duration::from_millis(20);
/// Secrets, because no checker's client reads or watches them.
const SECRETS: &str = "/api/v1/namespaces/default/secrets";

/// Writes whenever an outage is being measured; for ever.
pub(crate) async fn probe(world: World) {
    let mut round = 0_u64;
    loop {
        tokio::time::sleep(ROUND).await;
        if !world.has_outage() {
            continue;
        }
        round += 1;
        for node in world.incarnations().into_keys() {
            tokio::task::spawn_local(write(world.clone(), node, round));
        }
    }
}

async fn write(world: World, node: String, round: u64) {
    let object = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": format!("probe-{node}-{round}") },
    });
    let client = world.client(&node).with_deadline(DEADLINE);
    // An error is no answer: this one does not end the outage.
    if let Ok(written) = client.post(SECRETS, &object).await {
        world.measure_write(super::contenders::revision(&written));
    }
}
