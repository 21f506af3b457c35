//! Whole nodes over a network in memory: they form a cluster, serve it from everywhere, and survive a loss.

use serde_json::{Value, json};

use crate::actors::testing::host::{Host, eventually, obtain, options};
use crate::actors::testing::network::Wires;
use crate::cli::client::Client;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn config_map(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "a": "b" } })
}

async fn three(wires: &Wires) -> Vec<Host> {
    let mut hosts = Vec::new();
    for number in 1..=3 {
        hosts.push(Host::start(wires, options(number), number.into()).await);
    }
    eventually("a leader", || hosts.iter().any(Host::leads)).await;
    hosts
}

async fn nodes(client: &Client) -> Vec<String> {
    let list = obtain("the list of nodes", || client.get("/api/v1/nodes")).await;
    let names = list["items"].as_array().unwrap().iter();
    names
        .map(|node| node["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

async fn write(client: &Client, name: &str) {
    let name = &config_map(name);
    obtain("a write", || client.post(CONFIG_MAPS, name)).await;
}

/// Waits for the next event of a watch that is not a bookmark.
async fn next_event(lines: &mut crate::cli::client::Lines) -> Value {
    let event = lines.next(std::time::Duration::from_secs(30)).await;
    event.unwrap().expect("the watch is still open")
}

#[actix::test]
async fn three_seeds_form_a_cluster_that_any_of_them_serves() {
    tokio::time::pause();
    let wires = Wires::default();
    let hosts = three(&wires).await;
    let follower = hosts.iter().find(|host| !host.leads()).unwrap();
    let client = follower.client(&wires);
    let mut watch = client
        .watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion=0"))
        .await
        .unwrap();
    write(&client, "one").await;
    loop {
        let event = next_event(&mut watch).await;
        if event["object"]["metadata"]["name"] == "one" {
            assert_eq!(event["type"], "ADDED");
            break;
        }
    }
    for host in &hosts {
        let path = format!("{CONFIG_MAPS}/one");
        let read = host.client(&wires).get(&path).await.unwrap();
        assert_eq!(read["data"]["a"], "b");
    }
}

#[actix::test]
async fn a_cluster_survives_its_leader_and_takes_its_next_incarnation_in() {
    tokio::time::pause();
    let wires = Wires::default();
    let mut hosts = three(&wires).await;
    let leader = hosts.iter().position(Host::leads).unwrap();
    write(&hosts[leader].client(&wires), "before").await;
    let number = u16::try_from(leader).unwrap() + 1;
    drop(hosts.remove(leader));
    eventually("another leader", || hosts.iter().any(Host::leads)).await;
    write(&hosts[0].client(&wires), "after").await;

    let back = Host::start(&wires, options(number), 100).await;
    let id = back.node.id;
    eventually("the newcomer votes", || {
        let known = back.node.known.borrow();
        known
            .as_ref()
            .is_some_and(|known| known.standing.contacts.contains_key(&id))
    })
    .await;
    for name in ["before", "after"] {
        back.client(&wires)
            .get(&format!("{CONFIG_MAPS}/{name}"))
            .await
            .unwrap();
    }
}

#[actix::test]
async fn a_node_without_a_replica_serves_the_api_too() {
    tokio::time::pause();
    let wires = Wires::default();
    let hosts = three(&wires).await;
    let mut fourth = options(4);
    fourth.may_vote = false;
    let fourth = Host::start(&wires, fourth, 4).await;
    let client = fourth.client(&wires);
    let names = obtain("all nodes, asked of the fourth", async || {
        let names = nodes(&client).await;
        if names.len() == 4 {
            Ok(names)
        } else {
            Err(names)
        }
    })
    .await;
    assert_eq!(names, ["n1", "n2", "n3", "n4"]);
    assert!(fourth.node.known.borrow().is_none(), "it holds no replica");
    write(&client, "through-the-gate").await;
}

#[actix::test]
async fn a_living_node_whose_object_was_deleted_registers_again() {
    tokio::time::pause();
    let wires = Wires::default();
    let hosts = three(&wires).await;
    let client = hosts[0].client(&wires);
    let uid = |node: &Value| node["metadata"]["uid"].as_str().unwrap().to_owned();
    let before = obtain("n3", || client.get("/api/v1/nodes/n3")).await;
    client.delete("/api/v1/nodes/n3").await.unwrap();
    let again = obtain("n3 again, ready", async || {
        let node = client
            .get("/api/v1/nodes/n3")
            .await
            .map_err(|e| e.to_string())?;
        let ready = node["status"]["conditions"][0]["status"] == "True";
        ready.then_some(node).ok_or_else(|| "not ready".to_owned())
    })
    .await;
    assert_ne!(uid(&before), uid(&again));
}
