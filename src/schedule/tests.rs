//! What the scheduler decides, seen from outside: where pods go, and what is said of those that go nowhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::{Cluster, Plan, plan};
use crate::resource::{Cache, ObjectKey};
use crate::store::{Command, Operation, ProposalId, Store, Transaction};

/// Nodes and pods, as the cache would hold them.
fn cache(objects: &[(&str, Value)]) -> Cache {
    let mut store = Store::new();
    let operations = objects.iter().map(|(prefix, object)| {
        let meta = &object["metadata"];
        let namespace = meta["namespace"].as_str().unwrap_or_default();
        let name = meta["name"].as_str().unwrap();
        Operation::Put {
            key: format!("{prefix}/{namespace}/{name}"),
            value: Bytes::from(object.to_string()),
        }
    });
    let command = Command {
        id: ProposalId {
            origin: 1,
            sequence: 1,
        },
        time_ms: 0,
        transaction: Transaction {
            compare: Vec::new(),
            operations: operations.collect(),
        },
    };
    store.apply(&command);
    let (cache, unreadable) = Cache::fill(&store.view());
    assert!(unreadable.is_empty(), "{unreadable:?}");
    cache
}

fn node(name: &str, cpu: &str, memory: &str) -> (&'static str, Value) {
    let object = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {
            "allocatable": {"cpu": cpu, "memory": memory, "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    ("nodes", object)
}

fn with(mut object: (&'static str, Value), patch: Value) -> (&'static str, Value) {
    json_patch::merge(&mut object.1, &patch);
    object
}

fn pod(name: &str, spec: Value) -> (ObjectKey, Arc<Pod>) {
    let mut object = json!({
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "c"}]},
    });
    json_patch::merge(&mut object["spec"], &spec);
    (
        ObjectKey::new("default", name),
        Arc::new(serde_json::from_value(object).unwrap()),
    )
}

fn replicas(owner: &str, count: usize, spec: &Value) -> Vec<(ObjectKey, Arc<Pod>)> {
    let reference = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": true}]);
    let one = |at| {
        let (key, pod) = pod(&format!("{owner}-{at:04}"), spec.clone());
        let mut pod = Arc::unwrap_or_clone(pod);
        pod.metadata.owner_references = Some(serde_json::from_value(reference.clone()).unwrap());
        (key, Arc::new(pod))
    };
    (0..count).map(one).collect()
}

fn asking(cpu: &str, memory: &str) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]})
}

fn run(cache: &Cache, pods: &[(ObjectKey, Arc<Pod>)]) -> Plan {
    plan(&Cluster::of(cache), pods, &mut StdRng::seed_from_u64(3))
}

fn counts(plan: &Plan) -> Vec<usize> {
    let mut counts = BTreeMap::<&str, usize>::new();
    for binding in &plan.bindings {
        *counts.entry(&binding.node).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_values().collect();
    counts.sort_unstable();
    counts
}

fn why(cache: &Cache, spec: Value) -> String {
    let plan = run(cache, &[pod("p", spec)]);
    assert!(plan.bindings.is_empty(), "{plan:?}");
    plan.unschedulable[0].1.clone()
}

#[test]
fn a_hundred_equal_pods_spread_evenly_over_three_nodes() {
    let cache = cache(&["n1", "n2", "n3"].map(|n| node(n, "64", "256Gi")));
    for seed in 0..20 {
        let pods = replicas("web", 100, &json!({}));
        let plan = plan(
            &Cluster::of(&cache),
            &pods,
            &mut StdRng::seed_from_u64(seed),
        );
        assert_eq!(counts(&plan), [33, 33, 34]);
    }
}

#[test]
fn they_spread_over_unequal_nodes_and_from_batch_to_batch() {
    let cache = cache(&[
        node("n1", "64", "256Gi"),
        node("n2", "4", "8Gi"),
        node("n3", "2", "4Gi"),
    ]);
    let mut cluster = Cluster::of(&cache);
    let mut entropy = StdRng::seed_from_u64(5);
    let mut total = BTreeMap::<String, usize>::new();
    for batch in replicas("web", 99, &json!({})).chunks(10) {
        for binding in plan(&cluster, batch, &mut entropy).bindings {
            let pod = batch.iter().find(|(key, _)| *key == binding.pod).unwrap();
            cluster.assume(binding.pod, &pod.1, &binding.node);
            *total.entry(binding.node).or_default() += 1;
        }
    }
    assert_eq!(total.into_values().collect::<Vec<_>>(), [33, 33, 33]);
}

#[test]
fn pods_without_a_controller_go_where_least_is_allocated() {
    let busy = json!({"metadata": {"name": "b", "namespace": "default"}, "spec": {"nodeName": "n1", "containers": asking("2", "1Gi")["containers"]}});
    let cache = cache(&[
        node("n1", "4", "8Gi"),
        node("n2", "4", "8Gi"),
        ("pods", busy),
    ]);
    assert_eq!(run(&cache, &[pod("p", json!({}))]).bindings[0].node, "n2");
}

#[test]
fn what_does_not_fit_is_explained_in_kubernetes_words() {
    let taint =
        json!({"spec": {"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]}});
    let nodes = cache(&[
        node("n1", "1", "8Gi"),
        with(node("n2", "8", "8Gi"), taint.clone()),
        with(node("n3", "8", "8Gi"), taint),
    ]);
    assert_eq!(
        why(&nodes, asking("2", "1Gi")),
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {gpu: yes}."
    );
    assert_eq!(
        why(
            &nodes,
            json!({"nodeSelector": {"disk": "ssd"}, "tolerations": [{"operator": "Exists"}]})
        ),
        "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
    );
    assert_eq!(
        why(&cache(&[]), json!({})),
        "no nodes available to schedule pods"
    );
    let cordoned = with(
        node("n1", "1", "1Gi"),
        json!({"spec": {"unschedulable": true}}),
    );
    assert_eq!(
        why(&cache(&[cordoned]), json!({})),
        "0/1 nodes are available: 1 node(s) were unschedulable."
    );
    let silent = json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}});
    assert_eq!(
        why(&cache(&[with(node("n1", "1", "1Gi"), silent)]), json!({})),
        "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }."
    );
    let full = with(
        node("n1", "1", "1Gi"),
        json!({"status": {"allocatable": {"pods": "0"}}}),
    );
    assert_eq!(
        why(&cache(&[full]), asking("2", "2Gi")),
        "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 1 Too many pods."
    );
}

/// It is replaced because its node goes away, by one that tolerates that as well.
#[test]
fn who_is_replaced_is_not_placed_on_a_node_that_goes_away() {
    let announced = json!({"incarnation": "0a", "since": "2026-01-01T00:00:00Z", "deadline": "2026-01-01T00:00:30Z"});
    let announced = announced.to_string();
    let annotations =
        json!({"kagero.dev/incarnation": "0a", "kagero.dev/eviction": announced.as_str()});
    let taint = json!({"key": "kagero.dev/evicting", "effect": "NoSchedule"});
    let going = json!({
        "metadata": {"annotations": annotations},
        "spec": {"unschedulable": true, "taints": [taint]},
    });
    let all = json!({"tolerations": [{"operator": "Exists"}]});
    let going = || with(node("n1", "64", "64Gi"), going.clone());
    let alone = cache(&[going()]);
    let plan = run(&alone, &replicas("web", 1, &all));
    assert_eq!(
        plan.unschedulable[0].1,
        "0/1 nodes are available: 1 node(s) were about to be taken away."
    );
    let both = cache(&[going(), node("n2", "1", "1Gi")]);
    let plan = run(&both, &replicas("web", 3, &all));
    assert!(plan.bindings.iter().all(|b| b.node == "n2"), "{plan:?}");
    assert_eq!(plan.bindings.len(), 3);
    // Nobody replaces this one.
    assert_eq!(run(&alone, &[pod("p", all)]).bindings[0].node, "n1");
}

#[test]
fn a_batch_never_takes_more_than_there_is() {
    let cache = cache(&[node("n1", "2", "8Gi"), node("n2", "1500m", "8Gi")]);
    let plan = run(&cache, &replicas("web", 10, &asking("500m", "1Mi")));
    assert_eq!(counts(&plan), [3, 4]);
    assert_eq!(plan.unschedulable.len(), 3);
    assert_eq!(
        plan.unschedulable[0].1,
        "0/2 nodes are available: 2 Insufficient cpu."
    );
}

#[test]
fn a_host_port_is_given_once_a_node() {
    let cache = cache(&[node("n1", "4", "8Gi"), node("n2", "4", "8Gi")]);
    let port =
        json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]});
    let plan = run(&cache, &replicas("web", 3, &port));
    assert_eq!(counts(&plan), [1, 1]);
    assert_eq!(
        plan.unschedulable[0].1,
        "0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports."
    );
}

#[test]
fn soft_taints_and_preferences_decide_among_those_that_can() {
    let soft = json!({"spec": {"taints": [{"key": "a", "effect": "PreferNoSchedule"}]}});
    let nodes = cache(&[node("n1", "1", "1Gi"), with(node("n2", "64", "64Gi"), soft)]);
    assert_eq!(run(&nodes, &[pod("p", json!({}))]).bindings[0].node, "n1");
    let term = json!({"weight": 1, "preference": {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n1"]}]}});
    let affinity = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}});
    let nodes = cache(&[node("n1", "1", "1Gi"), node("n2", "64", "64Gi")]);
    assert_eq!(run(&nodes, &[pod("p", affinity)]).bindings[0].node, "n1");
}

#[test]
fn the_more_important_pod_goes_first() {
    let cache = cache(&[node("n1", "1", "1Gi")]);
    let mut important = asking("1", "1Mi");
    important["priority"] = json!(10);
    let plan = run(&cache, &[pod("a", asking("1", "1Mi")), pod("b", important)]);
    assert_eq!(plan.bindings[0].pod.name, "b");
    assert_eq!(plan.unschedulable[0].0.name, "a");
}

#[test]
fn the_picture_follows_changes_and_assumptions() {
    let bound = json!({"metadata": {"name": "b", "namespace": "default"}, "spec": {"nodeName": "n1", "containers": asking("1", "1Mi")["containers"]}});
    let cache_with = cache(&[node("n1", "1", "1Gi"), ("pods", bound)]);
    let cache_without = cache(&[node("n1", "1", "1Gi")]);
    let mut cluster = Cluster::of(&cache_with);
    let wanted = [pod("p", asking("1", "1Mi"))];
    let mut entropy = StdRng::seed_from_u64(1);
    assert!(plan(&cluster, &wanted, &mut entropy).bindings.is_empty());
    let change = crate::resource::cache::Change {
        prefix: "pods".into(),
        key: ObjectKey::new("default", "b"),
        uid: String::new(),
        owners: Vec::new(),
    };
    assert!(
        cluster.take(&change, &cache_without),
        "a pod that left makes room"
    );
    assert_eq!(plan(&cluster, &wanted, &mut entropy).bindings.len(), 1);
    cluster.assume(wanted[0].0.clone(), &wanted[0].1, "n1");
    assert!(
        plan(&cluster, &[pod("q", asking("1", "1Mi"))], &mut entropy)
            .bindings
            .is_empty()
    );
    cluster.withdraw(&cache_without, &wanted[0].0);
    assert_eq!(plan(&cluster, &wanted, &mut entropy).bindings.len(), 1);
}

#[test]
fn devices_are_where_a_node_says_so_and_as_many_as_it_says() {
    let bare = node("n1", "8", "32Gi");
    let wants =
        json!({"containers": [{"name": "c", "resources": {"requests": {"nvidia.com/gpu": "1"}}}]});
    assert_eq!(
        why(&cache(std::slice::from_ref(&bare)), wants.clone()),
        "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    );
    let allocatable = json!({"status": {"allocatable": {"nvidia.com/gpu": "2"}}});
    let cache = cache(&[bare, with(node("n2", "8", "32Gi"), allocatable)]);
    let plan = run(&cache, &replicas("web", 3, &wants));
    let nodes: Vec<&str> = plan.bindings.iter().map(|b| b.node.as_str()).collect();
    assert_eq!(nodes, ["n2", "n2"]);
    assert_eq!(
        plan.unschedulable[0].1,
        "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
    );
}
