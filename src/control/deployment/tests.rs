//! What a Deployment does, together with the ReplicaSets' controller, seen from outside.

use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::Deployments;
use crate::control::world::{World, key, template};
use crate::control::{Controller, ReplicaSets};
use crate::resource::pods::{is_active, is_bound, is_ready};

const ALL: [&dyn Controller; 2] = [&Deployments, &ReplicaSets];
const AT: &str = "deployments.apps/default/web";

fn world(spec: &Value) -> World {
    let mut world = World::new();
    let mut object = json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": 4,
            "selector": {"matchLabels": {"app": "web"}},
            "template": template(&json!({"app": "web"}), "web:1"),
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "progressDeadlineSeconds": 600,
        },
    });
    json_patch::merge(&mut object["spec"], spec);
    world.create("deployments.apps", object);
    world
}

/// Lets pods start and end, and controllers act, until nothing moves.
fn come_to_rest(world: &mut World) {
    for _ in 0..50 {
        world.settle(&ALL);
        let before = world.cache.revision();
        world.run_pods();
        world.end_pods();
        if world.cache.revision() == before {
            return;
        }
        world.pass(Duration::from_secs(1));
    }
    panic!("never at rest");
}

fn set_image(world: &mut World, image: &str) {
    let template = template(&json!({"app": "web"}), image);
    world.patch(AT, json!({"spec": {"template": template}}));
}

/// `image: size` of every ReplicaSet, by image.
fn sizes(world: &World) -> Vec<String> {
    let sets = world.cache.list::<ReplicaSet>();
    let mut sizes: Vec<_> = sets
        .map(|(_, set)| {
            let spec = set.spec.as_ref().unwrap();
            let pod = spec.template.as_ref().unwrap().spec.as_ref().unwrap();
            let image = pod.containers[0].image.as_deref().unwrap();
            format!("{image} {}", spec.replicas.unwrap())
        })
        .collect();
    sizes.sort();
    sizes
}

fn condition(world: &World, kind: &str) -> (String, String) {
    let status = world.get(AT).unwrap()["status"].clone();
    let conditions = status["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|c| c["type"] == kind).unwrap();
    let text = |name: &str| found[name].as_str().unwrap().to_owned();
    (text("status"), text("reason"))
}

fn revision(world: &World) -> Value {
    world.get(AT).unwrap()["metadata"]["annotations"]["deployment.kubernetes.io/revision"].clone()
}

#[test]
fn the_first_roll_out_makes_one_replica_set_and_ends_complete() {
    let mut world = world(&json!({}));
    world.settle(&ALL);
    assert_eq!(
        condition(&world, "Available").1,
        "MinimumReplicasUnavailable"
    );
    assert_eq!(condition(&world, "Progressing").1, "ReplicaSetUpdated");
    come_to_rest(&mut world);
    assert_eq!(sizes(&world), ["web:1 4"]);
    assert_eq!(revision(&world), "1");
    let status = world.get(AT).unwrap()["status"].clone();
    assert_eq!(status["replicas"], 4);
    assert_eq!(status["updatedReplicas"], 4);
    assert_eq!(status["availableReplicas"], 4);
    assert_eq!(status["unavailableReplicas"], Value::Null);
    assert_eq!(status["observedGeneration"], 1);
    assert_eq!(
        condition(&world, "Available"),
        ("True".into(), "MinimumReplicasAvailable".into())
    );
    assert_eq!(
        condition(&world, "Progressing"),
        ("True".into(), "NewReplicaSetAvailable".into())
    );
    let set = world.names::<ReplicaSet>().remove(0);
    assert_eq!(
        world.told[0],
        format!("ScalingReplicaSet Scaled up replica set {set} from 0 to 4")
    );
    let set = world
        .get(&format!("replicasets.apps/default/{set}"))
        .unwrap();
    let hash = &set["metadata"]["labels"]["pod-template-hash"];
    assert_eq!(
        set["metadata"]["name"],
        format!("web-{}", hash.as_str().unwrap())
    );
    assert_eq!(
        &set["spec"]["selector"]["matchLabels"]["pod-template-hash"],
        hash
    );
    assert_eq!(
        set["metadata"]["annotations"]["deployment.kubernetes.io/desired-replicas"],
        "4"
    );
    assert_eq!(
        set["metadata"]["annotations"]["deployment.kubernetes.io/max-replicas"],
        "5"
    );
}

#[test]
fn a_new_template_rolls_over_and_an_old_one_rolls_back_to_its_replica_set() {
    let mut world = world(&json!({}));
    come_to_rest(&mut world);
    set_image(&mut world, "web:2");
    come_to_rest(&mut world);
    assert_eq!(sizes(&world), ["web:1 0", "web:2 4"]);
    assert_eq!(revision(&world), "2");
    set_image(&mut world, "web:1");
    come_to_rest(&mut world);
    assert_eq!(sizes(&world), ["web:1 4", "web:2 0"]);
    assert_eq!(revision(&world), "3");
    let sets = world.cache.list::<ReplicaSet>();
    let histories: Vec<_> = sets
        .filter_map(|(_, set)| {
            let annotations = set.metadata.annotations.as_ref()?;
            annotations
                .get("deployment.kubernetes.io/revision-history")
                .cloned()
        })
        .collect();
    assert_eq!(histories, ["1"]);
    assert_eq!(condition(&world, "Progressing").1, "NewReplicaSetAvailable");
}

#[test]
fn a_template_that_never_gets_ready_stops_and_times_out() {
    let mut world = world(&json!({}));
    come_to_rest(&mut world);
    set_image(&mut world, "broken");
    world.settle(&ALL);
    world.end_pods();
    world.settle(&ALL);
    assert_eq!(sizes(&world), ["broken 2", "web:1 3"]);
    let outcome = Deployments.reconcile(&world.cache, &key("web"), world.now, &mut world.entropy);
    assert_eq!(
        outcome.unwrap().requeue_after,
        Some(Duration::from_secs(601))
    );
    world.pass(Duration::from_secs(601));
    world.settle(&ALL);
    assert_eq!(
        condition(&world, "Progressing"),
        ("False".into(), "ProgressDeadlineExceeded".into())
    );
    assert_eq!(condition(&world, "Available").0, "True");
    set_image(&mut world, "web:1");
    come_to_rest(&mut world);
    assert_eq!(sizes(&world), ["broken 0", "web:1 4"]);
    assert_eq!(condition(&world, "Progressing").1, "NewReplicaSetAvailable");
}

#[test]
fn recreate_starts_the_new_pods_after_the_last_old_one_has_gone() {
    let mut world = world(&json!({"strategy": {"type": "Recreate", "rollingUpdate": null}}));
    come_to_rest(&mut world);
    set_image(&mut world, "web:2");
    world.settle(&ALL);
    assert_eq!(sizes(&world), ["web:1 0"]);
    assert_eq!(world.pods().len(), 4, "old pods are still going");
    come_to_rest(&mut world);
    assert_eq!(sizes(&world), ["web:1 0", "web:2 4"]);
}

#[test]
fn scaling_changes_the_only_replica_set_at_once() {
    let mut world = world(&json!({}));
    come_to_rest(&mut world);
    world.patch(AT, json!({"spec": {"replicas": 10}}));
    world.settle(&ALL);
    assert_eq!(sizes(&world), ["web:1 10"]);
    world.patch(AT, json!({"spec": {"replicas": 0}}));
    come_to_rest(&mut world);
    assert_eq!(sizes(&world), ["web:1 0"]);
    assert_eq!(condition(&world, "Available").0, "True");
    world.patch(AT, json!({"spec": {"replicas": 2}}));
    come_to_rest(&mut world);
    assert_eq!(sizes(&world), ["web:1 2"]);
}

#[test]
fn scaling_in_the_middle_of_a_roll_out_keeps_proportions() {
    let bounds = json!({"maxSurge": 3, "maxUnavailable": 2});
    let mut world = world(&json!({"replicas": 10, "strategy": {"rollingUpdate": bounds}}));
    come_to_rest(&mut world);
    set_image(&mut world, "broken");
    for _ in 0..5 {
        world.settle(&ALL);
        world.end_pods();
    }
    assert_eq!(sizes(&world), ["broken 5", "web:1 8"]);
    // The example of Kubernetes' documentation, "Proportional scaling": 10 → 15 gives 8 → 11 and 5 → 7.
    world.patch(AT, json!({"spec": {"replicas": 15}}));
    world.settle(&ALL);
    assert_eq!(sizes(&world), ["broken 7", "web:1 11"]);
}

#[test]
fn paused_it_scales_but_does_not_roll() {
    let mut world = world(&json!({}));
    come_to_rest(&mut world);
    world.patch(AT, json!({"spec": {"paused": true}}));
    set_image(&mut world, "web:2");
    world.patch(AT, json!({"spec": {"replicas": 5}}));
    come_to_rest(&mut world);
    assert_eq!(sizes(&world), ["web:1 5"]);
    assert_eq!(
        condition(&world, "Progressing"),
        ("Unknown".into(), "DeploymentPaused".into())
    );
    world.patch(AT, json!({"spec": {"paused": false}}));
    come_to_rest(&mut world);
    assert_eq!(sizes(&world), ["web:1 0", "web:2 5"]);
    assert_eq!(condition(&world, "Progressing").1, "NewReplicaSetAvailable");
}

#[test]
fn the_history_is_limited() {
    let mut world = world(&json!({"revisionHistoryLimit": 2}));
    for image in ["web:1", "web:2", "web:3", "web:4", "web:5"] {
        set_image(&mut world, image);
        come_to_rest(&mut world);
    }
    assert_eq!(sizes(&world), ["web:3 0", "web:4 0", "web:5 4"]);
}

#[test]
fn it_adopts_replica_sets_that_match() {
    let mut world = world(&json!({}));
    let set = json!({
        "metadata": {"name": "stray", "namespace": "default", "labels": {"app": "web"}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template(&json!({"app": "web"}), "web:1")},
    });
    world.create("replicasets.apps", set);
    come_to_rest(&mut world);
    assert_eq!(world.names::<ReplicaSet>(), ["stray"]);
    assert_eq!(sizes(&world), ["web:1 4"]);
}

#[test]
fn bounds_are_rounded_as_in_kubernetes() {
    // (replicas, maxSurge, maxUnavailable) → pods
    let table = [
        (10, json!("25%"), json!("25%"), (3, 2)),
        (1, json!("25%"), json!("25%"), (1, 0)),
        (3, json!(0), json!("10%"), (0, 1)),
        (3, json!(5), json!(7), (5, 3)),
        (0, json!("25%"), json!("25%"), (0, 0)),
    ];
    for (replicas, surge, unavailable, expected) in table {
        let spec = json!({
            "selector": {}, "template": {},
            "strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
        });
        let spec = serde_json::from_value(spec.clone()).unwrap();
        assert_eq!(
            super::bounds(&spec, replicas),
            expected,
            "{replicas} {surge} {unavailable}"
        );
    }
}

/// One thing that can happen next.
#[derive(Clone, Debug)]
enum Happening {
    Deployment,
    ReplicaSet(usize),
    PodStarts(usize),
    PodEnds(usize),
    Image(u8),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => Just(Happening::Deployment),
        6 => (0_usize..8).prop_map(Happening::ReplicaSet),
        6 => (0_usize..32).prop_map(Happening::PodStarts),
        4 => (0_usize..32).prop_map(Happening::PodEnds),
        1 => (0_u8..3).prop_map(Happening::Image),
    ]
}

fn happen(world: &mut World, happening: &Happening) {
    match happening {
        Happening::Deployment => {
            world.reconcile(&Deployments, &key("web"));
        }
        Happening::ReplicaSet(at) => {
            let names = world.names::<ReplicaSet>();
            if let Some(name) = names.get(at % names.len().max(1)) {
                world.reconcile(&ReplicaSets, &key(name));
            }
        }
        Happening::PodStarts(at) => {
            let pods = world.pods();
            let mut new = pods.iter().filter(|(_, pod)| !is_bound(pod));
            if let Some((key, _)) = new.nth(at % pods.len().max(1)) {
                world.run_pod(&key.name, "n1");
            }
        }
        Happening::PodEnds(at) => {
            let pods = world.pods();
            let going = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
            let mut going = pods.iter().filter(|(_, pod)| going(pod));
            if let Some((key, _)) = going.nth(at % pods.len().max(1)) {
                world.remove(&format!("pods/default/{}", key.name));
            }
        }
        Happening::Image(version) => set_image(world, &format!("web:{version}")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the order of events, and however late each controller sees the other's work.
    #[test]
    fn a_rolling_update_never_leaves_its_bounds(
        replicas in 1_usize..8,
        surge in 0_usize..4,
        unavailable in 0_usize..4,
        happenings in proptest::collection::vec(happening(), 1..150),
    ) {
        keeps_bounds(replicas, surge, unavailable, &happenings);
    }
}

/// Never more pods than replicas + maxSurge, never fewer serving than replicas − maxUnavailable; and it ends.
fn keeps_bounds(replicas: usize, surge: usize, unavailable: usize, happenings: &[Happening]) {
    // Both 0 is refused by validation.
    let unavailable = unavailable.max(usize::from(surge == 0));
    let bounds = json!({"maxSurge": surge, "maxUnavailable": unavailable});
    let mut world = world(&json!({"replicas": replicas, "strategy": {"rollingUpdate": bounds}}));
    come_to_rest(&mut world);
    for (at, one) in happenings.iter().enumerate() {
        happen(&mut world, one);
        let pods = world.pods();
        let active = pods.iter().filter(|(_, pod)| is_active(pod)).count();
        let serving = pods
            .iter()
            .filter(|(_, pod)| is_active(pod) && is_ready(pod))
            .count();
        assert!(
            active <= replicas + surge,
            "{active} pods after {at} of {happenings:?}"
        );
        assert!(
            serving + unavailable >= replicas,
            "{serving} serve after {at} of {happenings:?}"
        );
    }
    come_to_rest(&mut world);
    let mut sizes = sizes(&world);
    sizes.retain(|size| !size.ends_with(" 0"));
    assert_eq!(sizes.len(), 1, "{sizes:?}");
    assert_eq!(world.pods().len(), replicas);
}

/// A ReplicaSet that made a pod and was then asked for none had not counted it yet, and the next one grew too early.
#[test]
fn a_pod_just_made_counts_before_its_replica_set_has_counted_it() {
    use Happening::{Deployment, Image, ReplicaSet};
    let happenings = [
        Image(0),
        Deployment,
        Deployment,
        ReplicaSet(1),
        ReplicaSet(5),
        Image(2),
        Deployment,
        ReplicaSet(2),
        Image(0),
        Deployment,
        Deployment,
        Deployment,
        ReplicaSet(0),
    ];
    keeps_bounds(1, 0, 0, &happenings);
}
