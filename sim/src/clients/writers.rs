//! Clients that write all the time, whatever happens: each acknowledged write is remembered, and must be read at once
//! from any node and still be there at the end.
//!
//! Deliberately without retries: a write whose answer was an error or never came promises nothing.

use serde_json::json;
use tokio::task::JoinHandle;

use super::{CONFIG_MAPS, Ground, anybody};

/// Writers at once; one that waits for a dead node does not stop the others.
const WRITERS: usize = 3;
/// Between two writes of one writer.
const PAUSE_MS: (u64, u64) = (50, 400);

/// Starts them; they end when [`Ground::writing`] does.
pub(crate) fn start(world: &impl Ground) -> Vec<JoinHandle<()>> {
    (0..WRITERS)
        .map(|writer| tokio::task::spawn_local(write(world.clone(), writer)))
        .collect()
}

async fn write(world: impl Ground, writer: usize) {
    for number in 0_u64.. {
        if !world.writing() {
            return;
        }
        let name = format!("ack-{writer}-{number}");
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": name, "labels": { "written-by": "writers" } },
            "data": { "number": number.to_string() },
        });
        if let Ok(written) = anybody(&world).0.post(CONFIG_MAPS, &object).await {
            let revision = written["metadata"]["resourceVersion"]
                .as_str()
                .and_then(|revision| revision.parse().ok());
            if let Some(revision) = revision {
                world.measure_write(revision);
            }
            let accepted = world.acknowledged().add(&name, revision);
            if let Err(error) = accepted {
                world.report_broken(error.to_string());
            }
            read_back(&world, &name).await;
        }
        world.pass(PAUSE_MS.0..=PAUSE_MS.1).await;
    }
}

/// A read that began after the acknowledgement must see the write, whichever node answers.
async fn read_back(world: &impl Ground, name: &str) {
    let (client, _) = anybody(world);
    if let Err(error) = client.get(&format!("{CONFIG_MAPS}/{name}")).await
        && error.code() == Some(404)
    {
        let from = client.address();
        world.report_broken(format!(
            "stale read: {name} was acknowledged, and {from} says it does not exist"
        ));
    }
}
