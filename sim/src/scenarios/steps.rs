//! What several scenarios do and look at, in Kubernetes' terms, through the API or the nodes' own knowledge.

use std::collections::BTreeMap;
use std::time::Duration;

use kagero::cli::client::{Client, ClientError};
use serde_json::{Value, json};

use super::until;
use crate::world::{Fault, World};

/// The API's paths that scenarios use.
pub const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
/// Pods of the default namespace.
pub const PODS: &str = "/api/v1/namespaces/default/pods";

/// The node that leads with a complete view, if exactly one claims to.
pub fn leader(world: &World) -> Option<String> {
    let mut leaders = Vec::new();
    world.for_each_known(|name, known, _| {
        if known.standing.leads {
            leaders.push(name.to_owned());
        }
    });
    leaders.pop().filter(|_| leaders.is_empty())
}

/// The machines of those voters of a node's configuration that live, and how many voters it has.
pub fn living_voters(world: &World, node: &str) -> Option<(Vec<String>, usize)> {
    let known = world.known();
    let voters = &known.get(node)?.standing.configuration.voters;
    let living = world.incarnations().into_iter();
    let living = living.filter(|(_, id)| voters.contains(id));
    Some((living.map(|(name, _)| name).collect(), voters.len()))
}

/// Waits for a leader and the default namespace; gives the leader.
pub async fn formed(world: &World) -> String {
    until(world, "a formed cluster", async || {
        let leader = leader(world)?;
        let api = world.client(&leader);
        let nodes = ready_nodes(&api).await.len();
        let namespace = api.get("/api/v1/namespaces/default").await;
        (namespace.is_ok() && nodes == world.plan().nodes).then_some(leader)
    })
    .await
}

/// The disaster: these machines vanish at once; if the first lives, it is only cut off.
pub fn lose(world: &World, machines: &[String], first_lives: bool) {
    world.measure_disaster();
    for (at, name) in machines.iter().enumerate() {
        world.disturb(name);
        world.inflict(if first_lives && at == 0 {
            Fault::CutOff(name.clone())
        } else {
            Fault::LoseMachine(name.clone())
        });
    }
}

/// The disaster's end: machines that [`lose`] took come back.
pub fn bring_back(world: &World, machines: &[String], first_lived: bool) {
    for (at, name) in machines.iter().enumerate() {
        world.inflict(if first_lived && at == 0 {
            Fault::Heal(name.clone())
        } else {
            Fault::ReturnMachine(name.clone())
        });
    }
}

/// Asking members that never answer takes several deadlines.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request about the recovery of a lost majority, of this node.
pub async fn ask_recovery(world: &World, node: &str, request: Value) -> Result<Value, String> {
    let client = world.client(node).with_deadline(PATIENCE);
    let answer = client.post("/kagero/v1/recovery", &request).await;
    answer.map_err(|error| error.to_string())
}

/// The operator calls these dead and confirms the plan, from when on a recovery is measured; the log that goes on must be this node's.
pub async fn recover(world: &World, node: &str, dead: &[String]) -> Result<(), String> {
    let plan = ask_recovery(world, node, json!({ "dead": dead })).await?;
    let confirmed = json!({ "dead": dead, "confirm": plan["confirm"] });
    world.measure_recovery();
    let recovered = ask_recovery(world, node, confirmed).await?;
    if recovered["record"]["winner"] == node {
        return Ok(());
    }
    let wrong = format!("another log won: {recovered}");
    world.report_broken(wrong.clone());
    Err(wrong)
}

/// A leader other than this node.
pub async fn next_leader(world: &World, than: &str) -> String {
    until(world, "another leader", async || {
        leader(world).filter(|found| found != than)
    })
    .await
}

/// A Deployment named `web`.
pub fn deployment(replicas: usize) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "web" },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": "web" } },
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": { "maxUnavailable": MAX_UNAVAILABLE, "maxSurge": MAX_SURGE },
            },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "web", "image": "kagero.dev/web:1", "command": ["serve"] }] },
            },
        },
    })
}

/// Pods that a rolling update of [`deployment`] may be short of.
pub const MAX_UNAVAILABLE: usize = 1;
/// Pods that it may have too many.
pub const MAX_SURGE: usize = 1;

/// Creates the Deployment and waits until all its pods run.
pub async fn deploy(world: &World, api: &Client, replicas: usize) -> turmoil::Result {
    api.post(DEPLOYMENTS, &deployment(replicas)).await?;
    until(world, "all pods running", async || {
        all_running(world, api, replicas).await
    })
    .await;
    Ok(())
}

/// `Some` once the API says that as many pods run as are wanted and no other exists, and the machines agree.
pub async fn all_running(world: &World, api: &Client, wanted: usize) -> Option<()> {
    let pods = pods(api).await.ok()?;
    let running = pods.iter().filter(|pod| is_running(pod)).count();
    let machines = world.machines();
    let here: usize = machines
        .map(|name| world.machine(name).running_pods().len())
        .sum();
    (pods.len() == wanted && running == wanted && here == wanted).then_some(())
}

/// Whether a pod runs and is to go on.
pub fn is_running(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null()
}

/// Whether a pod serves: it runs and is Ready.
pub fn is_ready(pod: &Value) -> bool {
    is_running(pod) && has_condition(pod, "Ready")
}

/// All pods of the default namespace.
pub async fn pods(api: &Client) -> Result<Vec<Value>, ClientError> {
    items(api, PODS).await
}

/// The items of a list.
pub async fn items(api: &Client, path: &str) -> Result<Vec<Value>, ClientError> {
    let list = api.get(path).await?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

/// Names of the nodes that are Ready; none if the API does not answer.
pub async fn ready_nodes(api: &Client) -> Vec<String> {
    let nodes = items(api, "/api/v1/nodes").await.unwrap_or_default();
    let ready = nodes.iter().filter(|node| has_condition(node, "Ready"));
    let name = |node: &Value| node["metadata"]["name"].as_str().map(str::to_owned);
    ready.filter_map(name).collect()
}

/// Each member's role, by incarnation.
pub async fn member_roles(api: &Client) -> Option<BTreeMap<String, String>> {
    let text = |member: &Value, field: &str| member[field].as_str().map(str::to_owned);
    let members = members(api).await?;
    let role = |member: &Value| Some((text(member, "incarnation")?, text(member, "role")?));
    Some(members.iter().filter_map(role).collect())
}

/// Names of the nodes whose member has one of these roles.
pub async fn nodes_in_role(api: &Client, roles: &[&str]) -> Option<Vec<String>> {
    let members = members(api).await?;
    let wanted = |member: &&Value| roles.iter().any(|role| member["role"] == *role);
    let name = |member: &Value| member["name"].as_str().map(str::to_owned);
    Some(members.iter().filter(wanted).filter_map(name).collect())
}

async fn members(api: &Client) -> Option<Vec<Value>> {
    let status = api.get("/kagero/v1/status").await.ok()?;
    status["members"].as_array().cloned()
}

/// Whether a condition of an object holds.
pub fn has_condition(object: &Value, wanted: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|conditions| {
        let holds =
            |condition: &Value| condition["type"] == wanted && condition["status"] == "True";
        conditions.iter().any(holds)
    })
}
