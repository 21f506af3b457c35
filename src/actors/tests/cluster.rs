//! Whole nodes over a network in memory: they form a cluster, serve it from everywhere, and survive a loss.

use actix::prelude::*;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use super::restore;
use crate::actors::caller::{Caller, Place};
use crate::actors::testing::host::{Host, contact, env, eventually, obtain, options, peer_address};
use crate::actors::testing::network::Wires;
use crate::actors::testing::objects::Shelf;
use crate::actors::wire::{Answer, Call};
use crate::cli::client::{Client, Patch};
use crate::node::Options;
use crate::raft::{ClusterId, Configuration, PeerId};

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

/// The nodes, once there are so many.
async fn nodes_in_the_end(client: &Client, count: usize) -> Vec<String> {
    obtain("all nodes", async || {
        let names = nodes(client).await;
        if names.len() == count {
            Ok(names)
        } else {
            Err(names)
        }
    })
    .await
}

async fn write(client: &Client, name: &str) {
    let name = &config_map(name);
    obtain("a write", || client.post(CONFIG_MAPS, name)).await;
}

/// Waits for the next event of a watch that is not a bookmark.
async fn next_event(lines: &mut crate::cli::client::Lines) -> Value {
    let event = lines.next(Duration::from_secs(30)).await;
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
            .is_some_and(|known| known.standing.configuration.contacts.contains_key(&id))
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
async fn a_leader_hands_over_before_its_process_ends() {
    tokio::time::pause();
    let wires = Wires::default();
    let mut hosts = three(&wires).await;
    let leader = hosts.iter().position(Host::leads).unwrap();
    let mut last = hosts.remove(leader);
    let stood = |hosts: &[Host]| -> u64 {
        let events = hosts.iter().flat_map(|host| host.node.figures.events());
        let pre_votes = events.filter(|(event, _)| *event == "pre_vote");
        pre_votes.map(|(_, times)| times).sum()
    };
    let before = stood(&hosts);
    let began = Instant::now();
    assert!(last.node.hand_over(Duration::from_secs(1)).await);
    eventually("another leader", || hosts.iter().any(Host::leads)).await;
    assert!(began.elapsed() < Duration::from_millis(100));
    assert!(!last.leads());
    drop(last);
    write(&hosts[0].client(&wires), "after").await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(stood(&hosts), before, "nobody missed a leader");
}

#[actix::test]
async fn a_node_without_a_replica_serves_the_api_too() {
    tokio::time::pause();
    let wires = Wires::default();
    let _hosts = three(&wires).await;
    let mut fourth = options(4);
    fourth.may_vote = false;
    let fourth = Host::start(&wires, fourth, 4).await;
    let client = fourth.client(&wires);
    assert_eq!(nodes_in_the_end(&client, 4).await, ["n1", "n2", "n3", "n4"]);
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

/// The incarnation that holds a node's name.
async fn holder(client: &Client, name: &str) -> String {
    let path = format!("/api/v1/nodes/{name}");
    let node = obtain("the Node", || client.get(&path)).await;
    let id = &node["metadata"]["annotations"]["kagero.dev/incarnation"];
    id.as_str().unwrap().to_owned()
}

fn members(host: &Host) -> Vec<PeerId> {
    let known = host.node.known.borrow();
    let known = known.as_ref().expect("it is a member");
    known
        .standing
        .configuration
        .contacts
        .keys()
        .copied()
        .collect()
}

#[actix::test]
async fn a_founder_that_dies_midway_is_done_without() {
    tokio::time::pause();
    let wires = Wires::default();
    let two = Host::start(&wires, options(2), 2).await;
    let three = Host::start(&wires, options(3), 3).await;
    let founders = [(PeerId(99), 1), (two.node.id, 2), (three.node.id, 3)];
    let configuration = Configuration {
        voters: founders.iter().map(|(id, _)| *id).collect(),
        contacts: founders
            .iter()
            .map(|(id, number)| (*id, contact(*number).encode()))
            .collect(),
        ..Configuration::default()
    };
    let cluster = ClusterId {
        id: 7,
        generation: 0,
    };
    let form = Place {
        address: contact(2).address,
        call: Call::Form {
            cluster,
            configuration,
        },
        deadline: Instant::now() + Duration::from_secs(1),
    };
    let answer = Caller::new(wires.network()).start().send(form).await;
    assert!(matches!(answer, Ok(Ok(Answer::Formed))));

    eventually("a leader", || two.leads() || three.leads()).await;
    let one = Host::start(&wires, options(1), 1).await;
    let id = one.node.id;
    eventually("the founder's next incarnation is a member", || {
        members(&two).contains(&id)
    })
    .await;
}

#[actix::test]
async fn clones_of_one_machine_do_not_prove_each_other_dead() {
    tokio::time::pause();
    let wires = Wires::default();
    let mut hosts = Vec::new();
    for number in 1..=3 {
        let mut options = options(number);
        options.machine_id = "clone".to_owned();
        hosts.push(Host::start(&wires, options, number.into()).await);
    }
    eventually("a leader", || hosts.iter().any(Host::leads)).await;
    assert_eq!(nodes_in_the_end(&hosts[0].client(&wires), 3).await.len(), 3);
    let before = members(&hosts[0]);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(members(&hosts[0]), before);
    assert_eq!(before.len(), 3);
}

/// Waits until this process, and no other, has the node's name.
async fn obtain_holder(client: &Client, node: &str, expected: &str) {
    let held = async || match holder(client, node).await {
        holder if holder == expected => Ok(()),
        other => Err(other),
    };
    obtain("the name's new holder", held).await;
}

/// A worker, and a second process of its name on its machine.
fn namesakes() -> (Options, Options) {
    let (mut first, mut second) = (options(4), options(5));
    (first.may_vote, second.may_vote) = (false, false);
    second.name.clone_from(&first.name);
    second.machine_id.clone_from(&first.machine_id);
    (first, second)
}

/// The second was given the name by mistake: the first one's pods run.
#[actix::test]
async fn a_second_process_of_a_machine_displaces_nobody() {
    tokio::time::pause();
    let wires = Wires::default();
    let hosts = three(&wires).await;
    let (first, second) = namesakes();
    let first = Host::start(&wires, first, 4).await;
    let client = hosts[0].client(&wires);
    obtain_holder(&client, "n4", &first.node.id.to_string()).await;
    let second = Host::start(&wires, second, 5).await;
    for _ in 0..30 {
        sleep(Duration::from_secs(1)).await;
        assert_eq!(holder(&client, "n4").await, first.node.id.to_string());
    }
    assert_eq!(*first.node.ended.borrow(), None);
    drop(first);
    obtain_holder(&client, "n4", &second.node.id.to_string()).await;
}

/// It was suspended, and taken for dead.
#[actix::test]
async fn a_superseded_process_ends_and_does_not_take_its_name_back() {
    tokio::time::pause();
    let wires = Wires::default();
    let hosts = three(&wires).await;
    let (first, second) = namesakes();
    let (address, seed) = (first.listen.clone(), 4);
    let mut edges = env(&wires, seed);
    edges.network = wires.network_of(address.clone());
    let first = Host::start_in(edges, first).await;
    let client = hosts[0].client(&wires);
    obtain_holder(&client, "n4", &first.node.id.to_string()).await;
    wires.cut_off.borrow_mut().insert(address.clone());
    let second = Host::start(&wires, second, 5).await;
    let expected = second.node.id.to_string();
    obtain_holder(&client, "n4", &expected).await;
    assert_eq!(*first.node.ended.borrow(), None, "it cannot know");
    wires.cut_off.borrow_mut().remove(&address);
    eventually("it ends", || first.node.ended.borrow().is_some()).await;
    let reason = first.node.ended.borrow().clone().unwrap();
    for named in ["\"n4\"", &expected, &peer_address(5)] {
        assert!(reason.contains(named), "{reason}");
    }
    for _ in 0..30 {
        sleep(Duration::from_secs(1)).await;
        assert_eq!(holder(&client, "n4").await, expected);
    }
    assert_eq!(*second.node.ended.borrow(), None);
}

/// What was restored names the process before it, which is dead: it lives in its place.
#[actix::test]
async fn a_living_process_gets_its_name_from_a_store_that_is_older() {
    keeps_its_name(options(4)).await;
}

/// The same, where it listens elsewhere.
#[actix::test]
async fn a_living_process_that_moved_gets_its_name_from_a_store_that_is_older() {
    let (_, moved) = namesakes();
    keeps_its_name(moved).await;
}

/// The same, on another machine.
#[actix::test]
async fn a_living_machine_gets_its_name_from_a_store_that_is_older() {
    let (_, mut replaced) = namesakes();
    replaced.machine_id = options(5).machine_id;
    keeps_its_name(replaced).await;
}

/// A worker's process registers after the last snapshot as the next one of a name, and outlives its cluster.
async fn keeps_its_name(mut worker: Options) {
    tokio::time::pause();
    let (wires, shelf) = (Wires::default(), Shelf::default());
    let mut before = options(4);
    (before.may_vote, worker.may_vote) = (false, false);
    let before = Host::start(&wires, before, 4).await;
    let hosts = restore::three(&wires, &shelf, 0).await;
    let client = hosts[0].client(&wires);
    obtain_holder(&client, "n4", &before.node.id.to_string()).await;
    let written = restore::write(&client, "kept").await;
    restore::kept_since(&shelf, written).await;
    // From now on nothing is kept.
    shelf.broken.set(true);
    drop(before);
    let worker = Host::start(&wires, worker, 44).await;
    let own = worker.node.id.to_string();
    obtain_holder(&client, "n4", &own).await;
    drop(hosts);
    shelf.broken.set(false);
    let hosts = restore::three(&wires, &shelf, 100).await;
    assert_eq!(restore::generation(&hosts[0]), Some(1));
    obtain_holder(&hosts[0].client(&wires), "n4", &own).await;
    assert_eq!(*worker.node.ended.borrow(), None);
}

#[actix::test]
async fn a_living_workers_name_is_its_own_and_a_dead_ones_is_free() {
    tokio::time::pause();
    let wires = Wires::default();
    let hosts = three(&wires).await;
    let mut rightful = options(4);
    rightful.may_vote = false;
    let mut usurper = options(5);
    (usurper.name, usurper.may_vote) = (rightful.name.clone(), false);
    let rightful = Host::start(&wires, rightful, 4).await;
    let client = hosts[0].client(&wires);
    let ready = async || {
        let node = client
            .get("/api/v1/nodes/n4")
            .await
            .map_err(|e| e.to_string())?;
        let ready = node["status"]["conditions"][0]["status"] == "True";
        ready.then_some(()).ok_or_else(|| "not ready".to_owned())
    };
    obtain("n4, ready", ready).await;
    let usurper = Host::start(&wires, usurper, 5).await;
    for _ in 0..30 {
        sleep(Duration::from_secs(1)).await;
        assert_eq!(holder(&client, "n4").await, rightful.node.id.to_string());
    }
    drop(rightful);
    let expected = usurper.node.id.to_string();
    obtain_holder(&client, "n4", &expected).await;
}

/// The last word of the link to its earlier process may come after its own, and anybody may write Nodes.
#[actix::test]
async fn a_node_that_is_called_silent_says_again_that_it_is_not() {
    tokio::time::pause();
    let wires = Wires::default();
    let hosts = three(&wires).await;
    let client = hosts[0].client(&wires);
    let ready = async |wanted: &str| {
        let node = client.get("/api/v1/nodes/n3").await;
        let node = node.map_err(|error| error.to_string())?;
        let condition = &node["status"]["conditions"][0];
        (condition["status"] == wanted)
            .then_some(())
            .ok_or(format!("{condition}"))
    };
    obtain("n3, ready", || ready("True")).await;
    let condition = json!({ "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown" });
    let silent = json!({ "status": { "conditions": [condition] } });
    let path = "/api/v1/nodes/n3/status";
    client.patch(path, Patch::Strategic, &silent).await.unwrap();
    ready("Unknown").await.unwrap();
    obtain("n3, ready again", || ready("True")).await;
}
