//! Writes while nobody serves them, so that a run that is measured (`sim measure`, `sim chaos`) shows when somebody does again.
//!
//! The usual clients cannot: most of them wait for a dead machine by then. Deliberately absent from other runs, whose
//! traffic it would change, and drawing nothing by chance.

use std::time::Duration;

use serde_json::json;

use super::{DEADLINE, Ground};

/// Between two rounds of writes, one to each machine that runs; how exact the measurement is.
const ROUND: Duration = Duration::from_millis(20);
/// Secrets, because no checker's client reads or watches them.
const SECRETS: &str = "/api/v1/namespaces/default/secrets";

/// Writes whenever an outage is being measured; for ever.
pub(crate) async fn probe(world: impl Ground) {
    let mut round = 0_u64;
    loop {
        tokio::time::sleep(ROUND).await;
        let Some(outage) = world.outage() else {
            continue;
        };
        round += 1;
        for node in world.running() {
            tokio::task::spawn_local(write(world.clone(), node, round, outage));
        }
    }
}

async fn write(world: impl Ground, node: String, round: u64, outage: u64) {
    let object = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": format!("probe-{node}-{round}") },
    });
    let client = world.client(&node).with_deadline(DEADLINE);
    // An error is no answer: this one does not end the outage.
    if let Ok(written) = client.post(SECRETS, &object).await {
        world.measure_probe(outage, super::contenders::revision(&written));
    }
}
