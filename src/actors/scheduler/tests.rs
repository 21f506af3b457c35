//! The scheduler over a real store: bindings, reasons, events, and room that comes later.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use serde_json::{Value, json};

use super::Scheduler;
use crate::actors::test_leader::Handle;
use crate::env::clock::SystemClock;
use crate::env::entropy::Entropy;

fn scheduler(leader: &Handle) -> Addr<Scheduler> {
    let submit = leader.0.clone().recipient();
    Scheduler::new(submit, Rc::new(SystemClock::new()), Entropy::from_seed(1)).start()
}

async fn leader(nodes: &[&'static str]) -> Handle {
    let leader = Handle::start();
    leader
        .create("namespaces", json!({"metadata": {"name": "default"}}))
        .await;
    for node in nodes {
        leader.add_node(node).await;
    }
    leader
}

async fn add_pod(leader: &Handle, name: &str, cpu: &str) {
    let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u", "controller": true}]);
    let metadata = json!({"name": name, "namespace": "default", "ownerReferences": owner});
    let resources = json!({"requests": {"cpu": cpu}});
    let container = json!({"name": "c", "image": "i", "resources": resources});
    leader
        .create(
            "pods",
            json!({"metadata": metadata, "spec": {"containers": [container]}}),
        )
        .await;
}

fn is_bound(pod: &Value) -> bool {
    pod["spec"]["nodeName"].is_string()
}

#[actix::test]
async fn a_hundred_pods_go_evenly_over_three_nodes() {
    let leader = leader(&["n1", "n2", "n3"]).await;
    for n in 0..100 {
        add_pod(&leader, &format!("p{n}"), "1m").await;
    }
    leader.lead(&scheduler(&leader)).await;
    let pods = leader.wait_for("pods/", 100, is_bound).await;
    let mut counts = BTreeMap::<&str, usize>::new();
    for pod in &pods {
        *counts
            .entry(pod["spec"]["nodeName"].as_str().unwrap())
            .or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_values().collect();
    counts.sort_unstable();
    assert_eq!(counts, [33, 33, 34]);
    let events = leader.wait_for("events/", 100, |_| true).await;
    let message = events[0]["message"].as_str().unwrap();
    assert!(
        message.starts_with("Successfully assigned default/p"),
        "{message}"
    );
}

#[actix::test]
async fn a_pod_that_does_not_fit_says_why_once_and_is_bound_when_room_comes() {
    let leader = leader(&["n1"]).await;
    leader.lead(&scheduler(&leader)).await;
    add_pod(&leader, "first", "6").await;
    leader.wait_for("pods/", 1, is_bound).await;
    add_pod(&leader, "second", "6").await;
    let failed = |event: &Value| event["reason"] == "FailedScheduling";
    let events = leader.wait_for("events/", 1, failed).await;
    let event = events.iter().find(|event| failed(event)).unwrap();
    assert_eq!(
        event["message"],
        "0/1 nodes are available: 1 Insufficient cpu."
    );
    let pods = leader.objects("pods/").await;
    let condition = &pods[1]["status"]["conditions"][0];
    assert_eq!(condition["type"], "PodScheduled");
    assert_eq!(condition["reason"], "Unschedulable");
    leader.add_node("n2").await;
    let pods = leader.wait_for("pods/", 2, is_bound).await;
    assert_eq!(pods[1]["spec"]["nodeName"], "n2");
    let conditions = pods[1]["status"]["conditions"].as_array().unwrap();
    assert_eq!(conditions.len(), 1);
    assert_eq!(conditions[0]["status"], "True");
}

/// Its binding may have been lost with the majority, and the node where it runs not yet have said so.
#[actix::test]
async fn what_a_recovered_generation_began_with_unbound_waits_for_its_nodes_to_speak() {
    let leader = leader(&["n1"]).await;
    add_pod(&leader, "old", "1").await;
    leader.begin_generation().await;
    add_pod(&leader, "young", "1").await;
    tokio::time::pause();
    leader.lead(&scheduler(&leader)).await;
    let bound = async || {
        let pods = leader.objects("pods/").await.into_iter();
        let bound = pods
            .filter(is_bound)
            .map(|pod| pod["metadata"]["name"].clone());
        bound.collect::<Vec<_>>()
    };
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(bound().await, ["young"]);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(bound().await, ["old", "young"]);
}

#[actix::test]
async fn refused_bindings_are_tried_again() {
    let leader = leader(&["n1"]).await;
    add_pod(&leader, "a", "6").await;
    leader.refuse(vec![true]).await;
    leader.lead(&scheduler(&leader)).await;
    leader.wait_for("pods/", 1, is_bound).await;
}

#[actix::test]
async fn what_was_assumed_counts_while_its_binding_is_under_way() {
    let leader = leader(&["n1"]).await;
    leader.lead(&scheduler(&leader)).await;
    leader.hold_writes(true).await;
    add_pod(&leader, "first", "6").await;
    add_pod(&leader, "second", "6").await;
    // Both are planned before either is committed: the second must see the first on the node.
    tokio::time::sleep(Duration::from_millis(50)).await;
    leader.hold_writes(false).await;
    let failed = |event: &Value| event["reason"] == "FailedScheduling";
    leader.wait_for("events/", 1, failed).await;
    leader.wait_for("pods/", 1, is_bound).await;
}
