//! What becomes of a node that falls silent, and of its pods.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::NodeLifecycle;
use crate::control::world::{World, key, template};
use crate::control::{Controller, ReplicaSets};
use crate::resource::ObjectKey;

fn set_ready(world: &mut World, node: &str, status: &str) {
    let ready = json!({"type": "Ready", "status": status, "lastTransitionTime": world.now});
    world.merge(
        &format!("nodes//{node}"),
        json!({"status": {"conditions": [ready]}}),
    );
}

fn world(nodes: &[&str]) -> World {
    let mut world = World::new();
    for node in nodes {
        world.create("nodes", json!({"metadata": {"name": node}, "spec": {}}));
        set_ready(&mut world, node, "True");
    }
    world
}

fn add_pod(world: &mut World, name: &str, tolerations: Value) {
    let meta = json!({"name": name, "namespace": "default"});
    let spec = json!({"containers": [{"name": "c", "image": "i"}], "tolerations": tolerations});
    world.create("pods", json!({"metadata": meta, "spec": spec}));
    world.run_pod(name, "n1");
}

/// `key:effect` of a node's taints.
fn taints(world: &World, node: &str) -> Vec<String> {
    let node = world.get(&format!("nodes//{node}")).unwrap();
    let taints = node["spec"]["taints"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let text = |t: &Value| {
        format!(
            "{}:{}",
            t["key"].as_str().unwrap(),
            t["effect"].as_str().unwrap()
        )
    };
    taints.iter().map(text).collect()
}

fn requeue_after(world: &mut World) -> Option<Duration> {
    let node = ObjectKey::new("", "n1");
    let outcome = NodeLifecycle.reconcile(&world.cache, &node, world.now, &mut world.entropy);
    outcome.unwrap().requeue_after
}

#[test]
fn taints_follow_the_condition_and_leave_others_alone() {
    let mut world = world(&["n1", "n2"]);
    world.patch(
        "nodes//n1",
        json!({"spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}]}}),
    );
    set_ready(&mut world, "n1", "Unknown");
    world.settle(&[&NodeLifecycle]);
    let gpu = "gpu:NoSchedule".to_owned();
    let both = |key: &str| [format!("{key}:NoSchedule"), format!("{key}:NoExecute")];
    let [a, b] = both("node.kubernetes.io/unreachable");
    assert_eq!(taints(&world, "n1"), [gpu.clone(), a, b]);
    set_ready(&mut world, "n1", "False");
    world.settle(&[&NodeLifecycle]);
    let [a, b] = both("node.kubernetes.io/not-ready");
    assert_eq!(taints(&world, "n1"), [gpu.clone(), a, b]);
    set_ready(&mut world, "n1", "True");
    world.settle(&[&NodeLifecycle]);
    assert_eq!(taints(&world, "n1"), [gpu]);
    let said = |node, told| format!("{told} Node {node} status is now: {told}");
    assert_eq!(
        world.told,
        [said("n1", "NodeNotReady"), said("n1", "NodeReady")]
    );
}

#[test]
fn a_node_that_has_said_nothing_yet_is_registered_not_broken() {
    let mut world = World::new();
    world.create("nodes", json!({"metadata": {"name": "n1"}}));
    world.settle(&[&NodeLifecycle]);
    assert_eq!(taints(&world, "n1").len(), 2);
    assert_eq!(
        world.told,
        ["RegisteredNode Node n1 event: Registered Node n1 in Controller"]
    );
}

#[test]
fn a_cordon_is_a_taint_too() {
    let mut world = world(&["n1"]);
    world.patch("nodes//n1", json!({"spec": {"unschedulable": true}}));
    world.settle(&[&NodeLifecycle]);
    assert_eq!(
        taints(&world, "n1"),
        ["node.kubernetes.io/unschedulable:NoSchedule"]
    );
    world.patch("nodes//n1", json!({"spec": {"unschedulable": null}}));
    world.settle(&[&NodeLifecycle]);
    assert!(taints(&world, "n1").is_empty());
}

#[test]
fn pods_of_a_silent_node_are_replaced_five_seconds_after_its_transition() {
    let mut world = world(&["n1", "n2"]);
    let spec = json!({
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": template(&json!({"app": "web"}), "web:1"),
    });
    world.create(
        "replicasets.apps",
        json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec}),
    );
    let both: [&dyn Controller; 2] = [&NodeLifecycle, &ReplicaSets];
    world.settle(&both);
    world.run_pods();
    let before = world.names::<Pod>();
    set_ready(&mut world, "n1", "Unknown");
    world.settle(&both);
    let pod = world.get(&format!("pods/default/{}", before[0])).unwrap();
    assert_eq!(pod["status"]["conditions"][0]["reason"], "NodeNotReady");
    assert_eq!(requeue_after(&mut world), Some(Duration::from_secs(5)));
    world.pass(Duration::from_millis(4_900));
    world.settle(&both);
    assert_eq!(world.names::<Pod>(), before);
    world.pass(Duration::from_millis(100));
    world.settle(&both);
    let after = world.names::<Pod>();
    assert_eq!(after.len(), 2);
    assert!(
        after.iter().all(|name| !before.contains(name)),
        "{before:?} {after:?}"
    );
    let told = format!(
        "TaintManagerEviction Marking for deletion Pod default/{}",
        before[0]
    );
    assert!(world.told.contains(&told), "{:?}", world.told);
}

#[test]
fn a_node_that_comes_back_in_time_keeps_its_pods() {
    let mut world = world(&["n1", "n2"]);
    add_pod(&mut world, "a", json!([]));
    set_ready(&mut world, "n1", "Unknown");
    world.settle(&[&NodeLifecycle]);
    world.pass(Duration::from_secs(4));
    set_ready(&mut world, "n1", "True");
    world.pass(Duration::from_secs(60));
    world.settle(&[&NodeLifecycle]);
    assert_eq!(world.names::<Pod>(), ["a"]);
}

/// A condition of a pod in namespace `default`.
fn condition(world: &World, pod: &str, kind: &str) -> Value {
    let pod = world.get(&format!("pods/default/{pod}")).unwrap();
    let conditions = pod["status"]["conditions"].as_array().unwrap().clone();
    let found = conditions.into_iter().find(|c| c["type"] == kind);
    found.unwrap_or_default()
}

/// What a node says of a pod; each `(type, status)`.
fn say(world: &mut World, pod: &str, conditions: &[(&str, &str)]) {
    let conditions = conditions.iter().map(|(kind, status)| {
        let since = world.now;
        json!({"type": kind, "status": status, "lastTransitionTime": since})
    });
    let status = json!({"conditions": conditions.collect::<Vec<_>>()});
    world.merge(&format!("pods/default/{pod}"), json!({"status": status}));
}

#[test]
fn a_pod_is_ready_again_when_its_node_is_though_the_node_says_nothing_new_of_it() {
    let mut world = world(&["n1", "n2"]);
    add_pod(&mut world, "well", json!([]));
    add_pod(&mut world, "ill", json!([]));
    say(
        &mut world,
        "well",
        &[("ContainersReady", "True"), ("Ready", "True")],
    );
    say(&mut world, "ill", &[("Ready", "True")]);
    set_ready(&mut world, "n1", "False");
    world.settle(&[&NodeLifecycle]);
    assert_eq!(condition(&world, "well", "Ready")["reason"], "NodeNotReady");
    world.pass(Duration::from_secs(3));
    set_ready(&mut world, "n1", "True");
    world.settle(&[&NodeLifecycle]);
    let ready = condition(&world, "well", "Ready");
    assert_eq!(
        (&ready["status"], &ready["reason"]),
        (&json!("True"), &Value::Null)
    );
    assert_eq!(condition(&world, "ill", "Ready")["status"], "False");
}

#[test]
fn a_mark_that_comes_late_is_taken_off_too_but_not_where_a_gate_does_not_hold() {
    let mut world = world(&["n1"]);
    let spec = |gates: Value| json!({"containers": [{"name": "c", "image": "i"}], "readinessGates": gates});
    for (name, gates) in [
        ("free", json!([])),
        ("gated", json!([{"conditionType": "x/y"}])),
    ] {
        let meta = json!({"name": name, "namespace": "default"});
        world.create("pods", json!({"metadata": meta, "spec": spec(gates)}));
        world.run_pod(name, "n1");
        say(
            &mut world,
            name,
            &[("ContainersReady", "True"), ("Ready", "False")],
        );
        let mut conditions = vec![condition(&world, name, "ContainersReady")];
        conditions.push(json!({"type": "Ready", "status": "False", "reason": "NodeNotReady"}));
        world.merge(
            &format!("pods/default/{name}"),
            json!({"status": {"conditions": conditions}}),
        );
        let change = crate::resource::cache::Change {
            prefix: "pods".into(),
            key: key(name),
            uid: String::new(),
            owners: Vec::new(),
        };
        assert_eq!(NodeLifecycle.keys_for(&change, &world.cache).len(), 1);
    }
    world.settle(&[&NodeLifecycle]);
    assert_eq!(condition(&world, "free", "Ready")["status"], "True");
    assert_eq!(condition(&world, "gated", "Ready")["status"], "False");
}

#[test]
fn tolerations_decide_how_long() {
    let mut world = world(&["n1", "n2"]);
    let toleration = |seconds: Value| json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}]);
    add_pod(&mut world, "ever", toleration(Value::Null));
    add_pod(&mut world, "minute", toleration(json!(60)));
    add_pod(&mut world, "none", json!([]));
    set_ready(&mut world, "n1", "Unknown");
    world.settle(&[&NodeLifecycle]);
    world.pass(Duration::from_secs(5));
    world.settle(&[&NodeLifecycle]);
    assert_eq!(world.names::<Pod>(), ["ever", "minute"]);
    assert_eq!(requeue_after(&mut world), Some(Duration::from_secs(55)));
    world.pass(Duration::from_secs(55));
    world.settle(&[&NodeLifecycle]);
    assert_eq!(world.names::<Pod>(), ["ever"]);
}

/// One that nobody asked to go stays: it says how it ended.
#[test]
fn a_unique_pod_that_is_over_does_not_wait_for_a_lost_node() {
    let mut world = world(&["n1", "n2"]);
    let owner = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "s", "controller": true});
    for name in ["asked", "left"] {
        add_pod(&mut world, name, json!([]));
        let over = json!({"metadata": {"ownerReferences": [owner]}, "status": {"phase": "Failed"}});
        world.merge(&format!("pods/default/{name}"), over);
    }
    world.delete("pods/default/asked", "Background");
    world.settle(&[&NodeLifecycle]);
    assert_eq!(
        world.names::<Pod>(),
        ["asked", "left"],
        "its node says when"
    );
    set_ready(&mut world, "n1", "Unknown");
    world.settle(&[&NodeLifecycle]);
    world.pass(Duration::from_secs(5));
    world.settle(&[&NodeLifecycle]);
    assert_eq!(world.names::<Pod>(), ["left"]);
}

#[test]
fn nobody_is_evicted_while_no_node_is_ready() {
    let mut world = world(&["n1", "n2"]);
    add_pod(&mut world, "a", json!([]));
    set_ready(&mut world, "n1", "Unknown");
    set_ready(&mut world, "n2", "Unknown");
    world.pass(Duration::from_secs(60));
    world.settle(&[&NodeLifecycle]);
    assert_eq!(world.names::<Pod>(), ["a"]);
    assert_eq!(requeue_after(&mut world), Some(Duration::from_secs(5)));
    set_ready(&mut world, "n2", "True");
    world.settle(&[&NodeLifecycle]);
    assert!(world.names::<Pod>().is_empty());
}

#[test]
fn a_users_taint_evicts_at_once_but_with_grace() {
    let mut world = world(&["n1"]);
    add_pod(&mut world, "a", json!([]));
    add_pod(&mut world, "b", json!([{"operator": "Exists"}]));
    world.patch(
        "nodes//n1",
        json!({"spec": {"taints": [{"key": "out", "effect": "NoExecute"}]}}),
    );
    world.settle(&[&NodeLifecycle]);
    let going = |name: &str| {
        let pod = world.get(&format!("pods/default/{name}")).unwrap();
        !pod["metadata"]["deletionTimestamp"].is_null()
    };
    assert!(going("a") && !going("b"));
}

#[test]
fn pods_call_for_their_node_only_while_it_has_something_against_them() {
    let mut world = world(&["n1"]);
    add_pod(&mut world, "a", json!([]));
    let change = crate::resource::cache::Change {
        prefix: "pods".into(),
        key: key("a"),
        uid: String::new(),
        owners: Vec::new(),
    };
    assert!(NodeLifecycle.keys_for(&change, &world.cache).is_empty());
    set_ready(&mut world, "n1", "Unknown");
    assert_eq!(
        NodeLifecycle.keys_for(&change, &world.cache),
        [ObjectKey::new("", "n1")]
    );
}
