//! A Deployment is rolled to another image while a follower's machine vanishes: seen over the API it is never short
//! of more pods than `maxUnavailable` and the lost machine's own, and it has never too many.

use kagero::cli::client::{Client, Patch};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::steps::{
    DEPLOYMENTS, MAX_SURGE, MAX_UNAVAILABLE, all_running, deploy, formed, is_ready, items, pods,
};
use super::until;
use crate::world::{Fault, World};

const PODS: usize = 8;
const NEW_IMAGE: &str = "kagero.dev/web:2";
const REPLICA_SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
/// When the machine vanishes, from the roll's beginning.
const INTO_MS: (u64, u64) = (0, 4_000);
const AWAY_MS: (u64, u64) = (5_000, 40_000);
/// How often the promises are looked at.
const LOOK_MS: u64 = 200;

pub(super) async fn play(world: World) -> turmoil::Result {
    let leader = formed(&world).await;
    let api = world.client(&leader);
    deploy(&world, &api, PODS).await?;
    let followers = world.others(&leader);
    let chosen = world.chance(0..=followers.len() as u64 - 1);
    let lost = &followers[usize::try_from(chosen).expect("a handful of followers")];
    // The roll has not begun, so what it will put on the machine before it vanishes is not known: at most all that
    // was ever there at once counts, which is its pods now and what the surge allows.
    let theirs = world.machine(lost).running_pods().len() + MAX_SURGE + MAX_UNAVAILABLE;

    world.change_workload();
    let image = json!({ "spec": { "template": { "spec": {
        "containers": [{ "name": "web", "image": NEW_IMAGE }],
    } } } });
    api.patch(&format!("{DEPLOYMENTS}/web"), Patch::Strategic, &image)
        .await?;
    let watcher: JoinHandle<()> =
        tokio::task::spawn_local(watch(world.clone(), api.clone(), theirs));
    world.pass(INTO_MS.0..=INTO_MS.1).await;
    world.inflict(Fault::LoseMachine(lost.clone()));
    world.pass(AWAY_MS.0..=AWAY_MS.1).await;
    world.inflict(Fault::ReturnMachine(lost.clone()));
    until(&world, "all pods rolled", async || {
        all_running(&world, &api, PODS).await?;
        let pods = pods(&api).await.ok()?;
        pods.iter().all(is_new).then_some(())
    })
    .await;
    watcher.abort();
    Ok(())
}

fn is_new(pod: &Value) -> bool {
    pod["spec"]["containers"][0]["image"] == NEW_IMAGE
}

/// Looks at the promises all the time.
async fn watch(world: World, api: Client, theirs: usize) {
    loop {
        if let Ok(pods) = pods(&api).await {
            let ready = pods.iter().filter(|pod| is_ready(pod)).count();
            if ready + MAX_UNAVAILABLE + theirs < PODS {
                world.report_broken(format!("only {ready} of {PODS} pods are ready in a roll"));
            }
        }
        if let Ok(sets) = items(&api, REPLICA_SETS).await {
            let wanted = |set: &Value| set["spec"]["replicas"].as_u64().unwrap_or_default();
            let sum: u64 = sets.iter().map(wanted).sum();
            if sum > (PODS + MAX_SURGE) as u64 {
                world.report_broken(format!(
                    "{sum} pods are wanted of {PODS} and {MAX_SURGE} more"
                ));
            }
        }
        world.pass(LOOK_MS..=LOOK_MS).await;
    }
}
