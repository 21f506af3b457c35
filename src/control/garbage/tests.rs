//! What becomes of dependents and owners under each propagation policy, with all controllers at work.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use serde_json::{Value, json};

use crate::control::world::{World, template};
use crate::control::{Controller, controllers};
use crate::resource::ObjectKey;

const AT: &str = "deployments.apps/default/web";

fn settle(world: &mut World) {
    let all = controllers();
    let all: Vec<&dyn Controller> = all.iter().map(|c| &**c).collect();
    world.settle(&all);
}

/// A Deployment of two running pods on a ready node.
fn world() -> World {
    let mut world = World::new();
    world.create("nodes", json!({"metadata": {"name": "n1"}}));
    world.merge(
        "nodes//n1",
        json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
    );
    let spec = json!({
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": template(&json!({"app": "web"}), "web:1"),
    });
    world.create(
        "deployments.apps",
        json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec}),
    );
    settle(&mut world);
    world.run_pods();
    settle(&mut world);
    world
}

fn config_map(name: &str, owners: &Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "default", "ownerReferences": owners}})
}

fn reference(name: &str, uid: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid})
}

#[test]
fn in_the_background_dependents_follow_their_owner() {
    let mut world = world();
    world.delete(AT, "Background");
    assert!(world.names::<Deployment>().is_empty());
    settle(&mut world);
    assert!(world.names::<ReplicaSet>().is_empty());
    assert_eq!(world.pods().len(), 2, "pods end with grace");
    world.end_pods();
    settle(&mut world);
    assert!(world.names::<Pod>().is_empty());
}

#[test]
fn in_the_foreground_the_owner_goes_last() {
    let mut world = world();
    world.delete(AT, "Foreground");
    settle(&mut world);
    assert_eq!(world.names::<Deployment>(), ["web"]);
    assert_eq!(world.names::<ReplicaSet>().len(), 1);
    assert!(
        world
            .pods()
            .iter()
            .all(|(_, pod)| pod.metadata.deletion_timestamp.is_some())
    );
    world.end_pods();
    settle(&mut world);
    assert!(world.names::<ReplicaSet>().is_empty());
    assert!(world.names::<Deployment>().is_empty());
}

#[test]
fn orphans_stay_and_forget_their_owner() {
    let mut world = world();
    world.delete(AT, "Orphan");
    settle(&mut world);
    assert!(world.names::<Deployment>().is_empty());
    let name = world.names::<ReplicaSet>().remove(0);
    let set = world
        .get(&format!("replicasets.apps/default/{name}"))
        .unwrap();
    assert_eq!(set["metadata"]["ownerReferences"], Value::Null);
    assert_eq!(world.pods().len(), 2);
}

#[test]
fn one_living_owner_keeps_a_dependent_and_dead_ones_are_dropped() {
    let mut world = World::new();
    let alive = world.create("configmaps", config_map("alive", &json!([])));
    let dead = world.create("configmaps", config_map("dead", &json!([])));
    let both = json!([reference("alive", &alive), reference("dead", &dead)]);
    world.create("configmaps", config_map("shared", &both));
    world.create(
        "configmaps",
        config_map("lost", &json!([reference("dead", &dead)])),
    );
    world.create(
        "configmaps",
        config_map("renamed", &json!([reference("alive", "another-uid")])),
    );
    world.delete("configmaps/default/dead", "Background");
    settle(&mut world);
    assert_eq!(world.names::<ConfigMap>(), ["alive", "shared"]);
    let shared = world.get("configmaps/default/shared").unwrap();
    assert_eq!(
        shared["metadata"]["ownerReferences"],
        json!([reference("alive", &alive)])
    );
}

#[test]
fn an_owner_of_a_kind_that_cannot_be_judged_keeps_its_dependents() {
    let mut world = World::new();
    let owner =
        json!([{"apiVersion": "example.com/v1", "kind": "Widget", "name": "w", "uid": "u"}]);
    world.create("configmaps", config_map("a", &owner));
    settle(&mut world);
    assert_eq!(world.names::<ConfigMap>(), ["a"]);
}

#[test]
fn a_namespace_goes_when_its_content_has_gone() {
    let mut world = world();
    world.create("namespaces", json!({"metadata": {"name": "mine"}}));
    let mut map = config_map("a", &json!([]));
    map["metadata"]["namespace"] = json!("mine");
    world.create("configmaps", map);
    let meta = json!({"name": "p", "namespace": "mine"});
    let spec = json!({"containers": [{"name": "c", "image": "i"}]});
    world.create("pods", json!({"metadata": meta, "spec": spec}));
    world.merge("pods/mine/p", json!({"spec": {"nodeName": "n1"}}));
    world.delete("namespaces//mine", "Background");
    settle(&mut world);
    let at = ObjectKey::new("", "mine");
    assert!(
        world.cache.get::<Namespace>(&at).is_some(),
        "its pod is still going"
    );
    assert!(world.get("configmaps/mine/a").is_none());
    world.end_pods();
    settle(&mut world);
    assert!(world.cache.get::<Namespace>(&at).is_none());
    assert!(world.get("serviceaccounts/mine/default").is_none());
    assert_eq!(
        world.names::<Deployment>(),
        ["web"],
        "other namespaces are left alone"
    );
}

#[test]
fn a_change_calls_for_itself_its_dependents_and_its_owners() {
    let mut world = World::new();
    let owner = world.create("configmaps", config_map("owner", &json!([])));
    world.create(
        "configmaps",
        config_map("a", &json!([reference("owner", &owner)])),
    );
    let change = crate::resource::cache::Change {
        prefix: "configmaps".into(),
        key: ObjectKey::new("default", "owner"),
        uid: owner.clone(),
        owners: vec![crate::resource::cache::Owner {
            kind: "ConfigMap".into(),
            name: "grandparent".into(),
            uid: "u".into(),
            controller: false,
        }],
    };
    let collector = super::GarbageCollector::<ConfigMap>::default();
    let keys = collector.keys_for(&change, &world.cache);
    let expected = ["a", "owner", "grandparent"].map(|name| ObjectKey::new("default", name));
    assert_eq!(keys, expected);
}
