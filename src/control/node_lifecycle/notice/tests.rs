//! What becomes of a node whose end is announced, and of its pods.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::control::world::{World, template};
use crate::control::{Controller, NodeLifecycle, ReplicaSets};
use crate::resource::ObjectKey;
use crate::resource::nodes::{EVICTION, Eviction, INCARNATION};

const BOTH: [&dyn Controller; 2] = [&NodeLifecycle, &ReplicaSets];

/// Two ready nodes, and so many web servers on the first.
fn world(replicas: i32) -> World {
    let mut world = World::new();
    for node in ["n1", "n2"] {
        let meta = json!({"name": node, "annotations": {INCARNATION: format!("{node}-first")}});
        world.create("nodes", json!({"metadata": meta, "spec": {}}));
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": world.now});
        let status = json!({"status": {"conditions": [ready]}});
        world.merge(&format!("nodes//{node}"), status);
    }
    let spec = json!({
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "web"}},
        "template": template(&json!({"app": "web"}), "web:1"),
    });
    let set = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec});
    world.create("replicasets.apps", set);
    world.settle(&BOTH);
    world.run_pods();
    world.settle(&BOTH);
    world
}

fn announce(world: &mut World, seconds: u64) {
    let eviction = Eviction {
        incarnation: "n1-first".into(),
        since: world.now,
        deadline: world.now + Duration::from_secs(seconds),
    };
    let annotations = json!({EVICTION: eviction.encode()});
    world.patch(
        "nodes//n1",
        json!({"metadata": {"annotations": annotations}}),
    );
    world.settle(&BOTH);
}

fn withdraw(world: &mut World) {
    let annotations = json!({EVICTION: null});
    world.patch(
        "nodes//n1",
        json!({"metadata": {"annotations": annotations}}),
    );
    world.settle(&BOTH);
}

/// Keys of the first node's taints, and whether it is cordoned.
fn fenced(world: &World) -> (Vec<String>, bool) {
    let spec = world.get("nodes//n1").unwrap()["spec"].clone();
    let taints = spec["taints"].as_array().cloned().unwrap_or_default();
    let key = |taint: &Value| taint["key"].as_str().unwrap().to_owned();
    (
        taints.iter().map(key).collect(),
        spec["unschedulable"] == true,
    )
}

fn deletion_grace(world: &World, pod: &str) -> Option<i64> {
    let pod = world.get(&format!("pods/default/{pod}")).unwrap();
    pod["metadata"]["deletionGracePeriodSeconds"].as_i64()
}

#[test]
fn a_node_is_cordoned_and_tainted_until_its_end_is_not_announced_any_more() {
    let mut world = world(0);
    announce(&mut world, 30);
    let both = ["kagero.dev/evicting", "node.kubernetes.io/unschedulable"];
    assert_eq!(fenced(&world), (both.map(str::to_owned).to_vec(), true));
    let told = "NodeEvicting Node n1 is going to be evicted by 2026-01-01T00:00:30Z";
    assert!(world.told.contains(&told.to_owned()), "{:?}", world.told);
    // Who takes the cordon off means it.
    world.patch("nodes//n1", json!({"spec": {"unschedulable": null}}));
    world.settle(&BOTH);
    assert_eq!(fenced(&world), (vec![both[0].to_owned()], false));
    withdraw(&mut world);
    assert_eq!(fenced(&world), (vec![], false));
    let annotations = &world.get("nodes//n1").unwrap()["metadata"]["annotations"];
    assert_eq!(*annotations, json!({INCARNATION: "n1-first"}));
}

#[test]
fn an_operators_own_cordon_outlasts_a_notice() {
    let mut world = world(0);
    world.patch("nodes//n1", json!({"spec": {"unschedulable": true}}));
    announce(&mut world, 30);
    withdraw(&mut world);
    let unschedulable = "node.kubernetes.io/unschedulable".to_owned();
    assert_eq!(fenced(&world), (vec![unschedulable], true));
}

#[test]
fn a_later_incarnation_is_not_meant() {
    let mut world = world(0);
    announce(&mut world, 30);
    let annotations = json!({INCARNATION: "n1-second"});
    world.patch(
        "nodes//n1",
        json!({"metadata": {"annotations": annotations}}),
    );
    world.settle(&BOTH);
    assert_eq!(fenced(&world), (vec![], false));
}

#[test]
fn pods_serve_until_others_do_in_their_place_and_keep_what_grace_is_left() {
    let mut world = world(2);
    let old = world.names::<Pod>();
    announce(&mut world, 30);
    let all = world.names::<Pod>();
    let new: Vec<&String> = all.iter().filter(|name| !old.contains(name)).collect();
    assert_eq!(new.len(), 2, "as many are started as are going to go");
    let going = |world: &World| {
        let graces = old.iter().filter_map(|pod| deletion_grace(world, pod));
        graces.collect::<Vec<_>>()
    };
    assert_eq!(going(&world), [0; 0], "none goes before another serves");
    world.pass(Duration::from_secs(3));
    world.run_pod(new[0], "n2");
    world.settle(&BOTH);
    assert_eq!(going(&world), [25], "one for one");
    world.run_pod(new[1], "n2");
    world.settle(&BOTH);
    assert_eq!(going(&world), [25, 25]);
    world.end_pods();
    world.settle(&BOTH);
    assert_eq!(world.names::<Pod>().len(), 2);
}

#[test]
fn pods_go_in_time_though_none_serves_in_their_place() {
    let mut world = world(1);
    let old = world.names::<Pod>();
    let alone = json!({"name": "alone", "namespace": "default"});
    let spec =
        json!({"containers": [{"name": "c", "image": "i"}], "terminationGracePeriodSeconds": 10});
    world.create("pods", json!({"metadata": alone, "spec": spec}));
    world.run_pod("alone", "n1");
    announce(&mut world, 30);
    let node = ObjectKey::new("", "n1");
    let look = |world: &mut World| {
        let outcome = NodeLifecycle.reconcile(&world.cache, &node, world.now, &mut world.entropy);
        outcome.unwrap().requeue_after
    };
    assert_eq!(look(&mut world), Some(Duration::from_secs(14)));
    world.pass(Duration::from_secs(14));
    world.settle(&BOTH);
    assert_eq!(deletion_grace(&world, &old[0]), Some(14));
    assert_eq!(deletion_grace(&world, "alone"), None);
    assert_eq!(look(&mut world), Some(Duration::from_secs(4)));
    world.pass(Duration::from_secs(4));
    world.settle(&BOTH);
    assert_eq!(deletion_grace(&world, "alone"), Some(10));
}
