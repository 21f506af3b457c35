//! A ConfigMap and a Secret reach a pod as environment and files; a change is pushed to the running pod, also when
//! the leader vanishes right after it was made.

use kagero::agent::{File, VolumeContent};
use kagero::cli::client::{Client, Patch};
use serde_json::{Value, json};

use super::steps::{PODS, formed, is_running, leader};
use super::until;
use crate::clients::CONFIG_MAPS;
use crate::world::{Fault, World};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
/// How long after the change the leader is lost: before or after it was pushed.
const AFTER_MS: (u64, u64) = (0, 300);
const AWAY_MS: (u64, u64) = (100, 20_000);

pub(super) async fn play(world: World) -> turmoil::Result {
    let leader_then = formed(&world).await;
    let api = world.client(&leader_then);
    let followers = world.others(&leader_then);
    let on = &followers[usize::from(world.chance(0..=1) == 1)];
    create(&api, on).await?;
    until(
        &world,
        "the pod running with what it refers to",
        async || {
            let pod = api.get(&format!("{PODS}/reader")).await.ok()?;
            let whole =
                file(&world, on, "colour")? == "red" && file(&world, on, "key")? == "hidden";
            let environment = world
                .machine(on)
                .with(|contents| contents.environments.clone());
            let told = |environment: &Vec<(String, String)>| {
                let colour = ("COLOUR".to_owned(), "red".to_owned());
                environment.contains(&colour)
            };
            (is_running(&pod) && whole && environment.values().any(told)).then_some(())
        },
    )
    .await;
    let containers = world.machine(on).running_containers();

    change(&api, "green").await?;
    until(&world, "the change in the pod", async || {
        (file(&world, on, "colour")? == "green").then_some(())
    })
    .await;

    change(&api, "blue").await?;
    world.pass(AFTER_MS.0..=AFTER_MS.1).await;
    world.inflict(Fault::LoseMachine(leader_then.clone()));
    until(&world, "the last change in the pod", async || {
        leader(&world).filter(|leader| *leader != leader_then)?;
        (file(&world, on, "colour")? == "blue").then_some(())
    })
    .await;
    world.pass(AWAY_MS.0..=AWAY_MS.1).await;
    world.inflict(Fault::ReturnMachine(leader_then));
    if world.machine(on).running_containers() != containers {
        return Err("the pod did not go on running".into());
    }
    Ok(())
}

async fn create(api: &Client, node: &str) -> turmoil::Result {
    let colours = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "colours" }, "data": { "colour": "red" },
    });
    let keys = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": "keys" }, "stringData": { "key": "hidden" },
    });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "reader" },
        "spec": {
            "nodeSelector": { "kubernetes.io/hostname": node },
            "containers": [{
                "name": "reader", "image": "kagero.dev/web:1",
                "env": [{
                    "name": "COLOUR",
                    "valueFrom": { "configMapKeyRef": { "name": "colours", "key": "colour" } },
                }],
                "volumeMounts": [
                    { "name": "colours", "mountPath": "/colours" },
                    { "name": "keys", "mountPath": "/keys" },
                ],
            }],
            "volumes": [
                { "name": "colours", "configMap": { "name": "colours" } },
                { "name": "keys", "secret": { "secretName": "keys" } },
            ],
        },
    });
    api.post(CONFIG_MAPS, &colours).await?;
    api.post(SECRETS, &keys).await?;
    api.post(PODS, &pod).await?;
    Ok(())
}

async fn change(api: &Client, colour: &str) -> Result<Value, Box<dyn std::error::Error>> {
    let path = format!("{CONFIG_MAPS}/colours");
    let change = json!({ "data": { "colour": colour } });
    Ok(api.patch(&path, Patch::Merge, &change).await?)
}

/// A file in a volume of the only pod that has one on a machine.
fn file(world: &World, machine: &str, path: &str) -> Option<String> {
    let volumes = world
        .machine(machine)
        .with(|contents| contents.volumes.clone());
    let files = |content: VolumeContent| match content {
        VolumeContent::Files(files) => files,
        VolumeContent::Empty { .. } => Vec::new(),
    };
    let all = volumes.into_values().flatten();
    let found = |file: &File| file.path == path;
    let file = all.flat_map(|volume| files(volume.content)).find(found)?;
    String::from_utf8(file.content.to_vec()).ok()
}
