//! What a ReplicaSet does, seen from outside: pods, owners, status, events.

use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::ReplicaSets;
use crate::control::Controller;
use crate::control::world::{World, key, template};

fn world(replicas: i32) -> World {
    let mut world = World::new();
    let spec = json!({
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "web"}},
        "template": template(&json!({"app": "web"}), "web:1"),
    });
    let set = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec});
    world.create("replicasets.apps", set);
    world.settle(&[&ReplicaSets]);
    world
}

fn pod(name: &str, labels: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "default", "labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

fn status(world: &World) -> Value {
    world.get("replicasets.apps/default/web").unwrap()["status"].clone()
}

#[test]
fn creates_what_is_missing_and_says_so() {
    let world = world(3);
    let names = world.names::<Pod>();
    assert_eq!(names.len(), 3);
    assert!(
        names.iter().all(|n| n.starts_with("web-") && n.len() == 9),
        "{names:?}"
    );
    let owner = &world.get(&format!("pods/default/{}", names[0])).unwrap()["metadata"]["ownerReferences"]
        [0];
    assert_eq!(owner["kind"], "ReplicaSet");
    assert_eq!(owner["controller"], true);
    assert_eq!(world.told.len(), 3);
    assert!(world.told[0].starts_with("SuccessfulCreate Created pod: web-"));
    assert_eq!(
        status(&world),
        json!({"replicas": 3, "fullyLabeledReplicas": 3, "observedGeneration": 1})
    );
}

#[test]
fn counts_ready_and_available_pods() {
    let mut world = world(2);
    world.patch(
        "replicasets.apps/default/web",
        json!({"spec": {"minReadySeconds": 10}}),
    );
    world.run_pods();
    world.settle(&[&ReplicaSets]);
    assert_eq!(status(&world)["readyReplicas"], 2);
    assert_eq!(status(&world)["availableReplicas"], Value::Null);
    world.pass(Duration::from_secs(4));
    let outcome = ReplicaSets.reconcile(&world.cache, &key("web"), world.now, &mut world.entropy);
    assert_eq!(outcome.unwrap().requeue_after, Some(Duration::from_secs(6)));
    world.pass(Duration::from_secs(6));
    world.settle(&[&ReplicaSets]);
    assert_eq!(status(&world)["availableReplicas"], 2);
}

#[test]
fn replaces_pods_that_ended_or_are_asked_to_go() {
    let mut world = world(2);
    let names = world.names::<Pod>();
    world.merge(
        &format!("pods/default/{}", names[0]),
        json!({"status": {"phase": "Failed"}}),
    );
    let going = json!({"metadata": {"deletionTimestamp": world.now, "finalizers": ["x/y"]}});
    world.merge(&format!("pods/default/{}", names[1]), going);
    world.settle(&[&ReplicaSets]);
    assert_eq!(world.names::<Pod>().len(), 4);
    assert_eq!(status(&world)["replicas"], 2);
}

#[test]
fn adopts_pods_that_match_and_nobody_manages() {
    let mut world = World::new();
    world.create("pods", pod("stray", json!({"app": "web"})));
    world.create("pods", pod("other", json!({"app": "db"})));
    let spec = json!({
        "replicas": 1,
        "selector": {"matchLabels": {"app": "web"}},
        "template": template(&json!({"app": "web"}), "web:1"),
    });
    let set = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec});
    let uid = world.create("replicasets.apps", set);
    world.settle(&[&ReplicaSets]);
    assert_eq!(world.names::<Pod>(), ["other", "stray"]);
    let owners = world.get("pods/default/stray").unwrap()["metadata"]["ownerReferences"].clone();
    assert_eq!(owners[0]["uid"], uid);
    assert_eq!(status(&world)["replicas"], 1);
}

#[test]
fn releases_a_pod_whose_labels_no_longer_match_and_replaces_it() {
    let mut world = world(1);
    let name = world.names::<Pod>().remove(0);
    let at = format!("pods/default/{name}");
    world.merge(&at, json!({"metadata": {"labels": {"app": "debug"}}}));
    world.settle(&[&ReplicaSets]);
    assert_eq!(
        world.get(&at).unwrap()["metadata"]["ownerReferences"],
        Value::Null
    );
    assert_eq!(world.names::<Pod>().len(), 2);
}

#[test]
fn deletes_those_first_that_are_least_of_use() {
    let mut world = world(6);
    let names = world.names::<Pod>();
    // 0 and 1 share a node; 2 is alone; 3 is bound and pending; 4 is running but not ready; 5 is unassigned.
    world.run_pod(&names[0], "n1");
    world.pass(Duration::from_secs(1));
    world.run_pod(&names[1], "n1");
    world.run_pod(&names[2], "n2");
    world.merge(
        &format!("pods/default/{}", names[3]),
        json!({"spec": {"nodeName": "n3"}}),
    );
    let running = json!({"spec": {"nodeName": "n4"}, "status": {"phase": "Running"}});
    world.merge(&format!("pods/default/{}", names[4]), running);
    for (replicas, gone) in [(5, 5), (4, 3), (3, 4), (2, 1), (1, 2)] {
        world.patch(
            "replicasets.apps/default/web",
            json!({"spec": {"replicas": replicas}}),
        );
        world.settle(&[&ReplicaSets]);
        let pod = world.get(&format!("pods/default/{}", names[gone]));
        let going = pod.is_none_or(|p| !p["metadata"]["deletionTimestamp"].is_null());
        assert!(going, "at {replicas} replicas pod {gone} should be gone");
        world.end_pods();
        assert_eq!(world.names::<Pod>().len(), replicas);
    }
}

#[test]
fn makes_no_pods_in_a_namespace_that_ends() {
    let mut world = World::new();
    world.create("namespaces", json!({"metadata": {"name": "mine"}}));
    let spec = json!({
        "replicas": 1,
        "selector": {"matchLabels": {"app": "web"}},
        "template": template(&json!({"app": "web"}), "web:1"),
    });
    let meta = json!({"name": "web", "namespace": "mine"});
    world.create(
        "replicasets.apps",
        json!({ "metadata": meta, "spec": spec }),
    );
    world.delete("namespaces//mine", "Background");
    world.settle(&[&ReplicaSets]);
    assert!(world.pods().is_empty());
}

#[test]
fn a_changed_pod_calls_for_its_owner_and_a_free_one_for_those_that_want_it() {
    let mut world = world(1);
    world.create("pods", pod("stray", json!({"app": "web"})));
    let change = |name: &str, owners| crate::resource::cache::Change {
        prefix: "pods".into(),
        key: key(name),
        uid: String::new(),
        owners,
    };
    let owner = crate::resource::cache::Owner {
        kind: "ReplicaSet".into(),
        name: "gone".into(),
        uid: "u".into(),
        controller: true,
    };
    assert_eq!(
        ReplicaSets.keys_for(&change("stray", vec![]), &world.cache),
        [key("web")]
    );
    assert_eq!(
        ReplicaSets.keys_for(&change("x", vec![owner]), &world.cache),
        [key("gone")]
    );
    assert_eq!(world.names::<ReplicaSet>(), ["web"]);
}
