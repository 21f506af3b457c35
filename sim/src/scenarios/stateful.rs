//! The StatefulSet controller and its user, played by clients: what is gone from the API is created again, of the same
//! name, and now and then somebody deletes one.

use std::cell::Cell;
use std::rc::Rc;

use kagero::cli::client::ClientError;
use serde_json::{Value, json};
use tokio::task::{JoinError, JoinHandle};

use super::steps::{PODS, all_running, leader};
use super::until;
use crate::clients::anybody;
use crate::world::World;

/// How many unique pods it keeps.
pub const UNIQUE: usize = 4;
/// How often the StatefulSet controller looks.
const LOOK_MS: (u64, u64) = (100, 900);

/// The controller, at work.
pub struct StatefulSet {
    wanted: Rc<Cell<bool>>,
    controller: JoinHandle<()>,
}

impl StatefulSet {
    /// Begins to keep its pods.
    pub fn start(world: &World) -> Self {
        let wanted = Rc::new(Cell::new(true));
        let controller = tokio::task::spawn_local(keep(world.clone(), wanted.clone()));
        Self { wanted, controller }
    }

    /// Ends it; the pods stay.
    pub async fn end(self) -> Result<(), JoinError> {
        self.wanted.set(false);
        self.controller.await
    }
}

/// Waits until its pods run, each once, beside so many others.
pub async fn everything_runs(world: &World, others: usize) {
    until(world, "all pods running, each once", async || {
        let leader = leader(world)?;
        all_running(world, &world.client(&leader), UNIQUE + others).await
    })
    .await;
}

/// The name of one of its pods.
pub fn some_pod(world: &World) -> String {
    format!("db-{}", world.chance(0..=UNIQUE as u64 - 1))
}

/// The user: a plain deletion, through any node.
pub async fn delete_some(world: &World) {
    let name = some_pod(world);
    let (api, _) = anybody(world);
    // Whether it could be had or not is none of this user's concern.
    if api.delete(&format!("{PODS}/{name}")).await.is_ok() {
        world.note(&format!("the user deletes {name}"));
        world.count("client: unique pod deleted", 1);
    }
}

/// The StatefulSet controller: creates what is not there, as long as it is wanted.
async fn keep(world: World, wanted: Rc<Cell<bool>>) {
    while wanted.get() {
        for number in 0..UNIQUE {
            let (api, _) = anybody(&world);
            let pod = pod(number);
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let found = api.get(&format!("{PODS}/{name}")).await;
            if found.as_ref().err().and_then(ClientError::code) == Some(404) {
                // Another of the same name, or no answer: it looks again.
                let _ = api.post(PODS, &pod).await;
            }
        }
        world.pass(LOOK_MS.0..=LOOK_MS.1).await;
    }
}

fn pod(number: usize) -> Value {
    let owner = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "5e7", "controller": true,
    });
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": format!("db-{number}"), "ownerReferences": [owner] },
        "spec": { "containers": [{ "name": "db", "image": "kagero.dev/web:1" }] },
    })
}
