//! The smoke: three nodes, a Deployment through real HTTP, the leader's machine vanishes silently; all pods run
//! again, the machine returns and votes again, and all replicas are equal.

use std::time::Duration;

use kagero::cli::client::{Client, ClientError};
use serde_json::{Value, json};

use super::until;
use crate::checkers::replicas;
use crate::cluster::{Fault, Plan, World, run};
use crate::trace::Trace;

const PODS: usize = 6;

/// The plan of a seed.
pub fn plan(seed: u64) -> Plan {
    Plan {
        seed,
        nodes: 3,
        voters: 3,
        limit: Duration::from_secs(180),
    }
}

/// Runs it.
pub fn simulate(seed: u64, trace: &Trace) -> turmoil::Result {
    run(&plan(seed), trace, scenario)
}

async fn scenario(world: World) -> turmoil::Result {
    let leader = until(&world, "a leader", async || leader(&world)).await;
    let api = world.client(&leader);
    until(&world, "the default namespace", async || {
        api.get("/api/v1/namespaces/default").await.ok()
    })
    .await;
    api.post(
        "/apis/apps/v1/namespaces/default/deployments",
        &deployment(),
    )
    .await?;
    until(&world, "all pods running", async || all_running(&api).await).await;

    world.inflict(Fault::LoseMachine(leader.clone()));
    let survivors: Vec<String> = world
        .machines()
        .filter(|name| **name != *leader)
        .map(str::to_owned)
        .collect();
    let next = until(&world, "another leader", async || {
        let found = self::leader(&world)?;
        (found != leader).then_some(found)
    })
    .await;
    let api = world.client(&next);
    until(&world, "all pods running elsewhere", async || {
        all_running(&api).await?;
        let here: usize = survivors
            .iter()
            .map(|name| world.machine(name).running_pods().len())
            .sum();
        (here == PODS).then_some(())
    })
    .await;

    world.inflict(Fault::ReturnMachine(leader));
    until(&world, "three voters", async || {
        let status = api.get("/kagero/v1/status").await.ok()?;
        (voters(&status) == 3).then_some(())
    })
    .await;
    until(&world, "equal replicas", async || {
        let known = world.known();
        let revisions: Vec<_> = known.values().map(|known| known.view.revision()).collect();
        (known.len() == 3 && revisions.iter().all(|revision| *revision == revisions[0]))
            .then_some(())
    })
    .await;
    replicas::check(&world.known()).map_err(|diverged| format!("replicas differ: {diverged:?}"))?;
    Ok(())
}

/// The node that leads with a complete view, if exactly one claims to.
fn leader(world: &World) -> Option<String> {
    let known = world.known();
    let mut leaders = known.iter().filter(|(_, known)| known.standing.leads);
    let (name, _) = leaders.next()?;
    leaders.next().is_none().then(|| name.clone())
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "web" },
        "spec": {
            "replicas": PODS,
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "web", "image": "kagero.dev/web", "command": ["serve"] }] },
            },
        },
    })
}

/// `Some` once the API says that as many pods run as are wanted, and no other exists.
async fn all_running(api: &Client) -> Option<()> {
    let pods = pods(api).await.ok()?;
    let running = pods
        .iter()
        .filter(|pod| pod["status"]["phase"] == "Running")
        .count();
    (pods.len() == PODS && running == PODS).then_some(())
}

async fn pods(api: &Client) -> Result<Vec<Value>, ClientError> {
    let list = api.get("/api/v1/namespaces/default/pods").await?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

fn voters(status: &Value) -> usize {
    let members = status["members"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    members
        .iter()
        .filter(|member| member["role"] == "leader" || member["role"] == "voter")
        .count()
}
