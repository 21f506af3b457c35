//! The host over a real store: what it submits, when it waits, and what it does when a write fails.

use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use serde_json::json;

use super::ControllerHost;
use crate::actors::test_leader::Handle;
use crate::control::{Controller, ReplicaSets, controllers};
use crate::env::clock::SystemClock;
use crate::env::entropy::Entropy;

fn host(leader: &Handle, controllers: Vec<Box<dyn Controller>>) -> Addr<ControllerHost> {
    let submit = leader.0.clone().recipient();
    let clock = Rc::new(SystemClock::new());
    ControllerHost::new(controllers, submit, clock, Entropy::from_seed(1)).start()
}

fn sets() -> Vec<Box<dyn Controller>> {
    vec![Box::new(ReplicaSets)]
}

async fn leader_with_replica_set() -> Handle {
    let leader = Handle::start();
    leader
        .create("namespaces", json!({"metadata": {"name": "default"}}))
        .await;
    let template = json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "web:1"}]},
    });
    let selector = json!({"matchLabels": {"app": "web"}});
    let spec = json!({"replicas": 3, "selector": selector, "template": template});
    let metadata = json!({"name": "web", "namespace": "default"});
    leader
        .create(
            "replicasets.apps",
            json!({"metadata": metadata, "spec": spec}),
        )
        .await;
    leader
}

#[actix::test]
async fn a_new_leader_finishes_what_is_there_and_tells_of_it() {
    let leader = leader_with_replica_set().await;
    leader.lead(&host(&leader, sets())).await;
    leader.wait_for("pods/", 3, |_| true).await;
    leader
        .wait_for("events/", 3, |e| e["reason"] == "SuccessfulCreate")
        .await;
    leader
        .wait_for("replicasets.apps/", 1, |set| set["status"]["replicas"] == 3)
        .await;
    assert_eq!(leader.creates("pods").await, 3);
}

#[actix::test]
async fn a_key_waits_until_the_cache_shows_its_own_writes() {
    let leader = leader_with_replica_set().await;
    leader.withhold_changes(true).await;
    // The second pod is refused: the key is due again long before its first and third pod are seen.
    leader.refuse(vec![false, true]).await;
    leader.lead(&host(&leader, sets())).await;
    leader.wait_for("pods/", 2, |_| true).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(
        leader.creates("pods").await,
        3,
        "it must not act on a cache without its own pods"
    );
    leader.withhold_changes(false).await;
    leader.wait_for("pods/", 3, |_| true).await;
    leader
        .wait_for("replicasets.apps/", 1, |set| set["status"]["replicas"] == 3)
        .await;
    assert_eq!(leader.creates("pods").await, 4);
}

#[actix::test]
async fn refused_writes_are_tried_again_and_not_told_of() {
    let leader = leader_with_replica_set().await;
    leader.refuse(vec![true; 8]).await;
    leader.lead(&host(&leader, sets())).await;
    leader.wait_for("pods/", 3, |_| true).await;
    leader.wait_for("events/", 3, |_| true).await;
    assert_eq!(leader.objects("pods/").await.len(), 3);
}

#[actix::test]
async fn answers_from_an_earlier_leadership_are_dropped() {
    let leader = leader_with_replica_set().await;
    leader.hold_replies(true).await;
    leader.lead(&host(&leader, sets())).await;
    leader.wait_for("pods/", 3, |_| true).await;
    leader.re_elect().await;
    // The replies to the first leadership's writes come to the second.
    leader.hold_replies(false).await;
    leader
        .wait_for("replicasets.apps/", 1, |set| set["status"]["replicas"] == 3)
        .await;
    assert_eq!(leader.creates("pods").await, 3);
    assert!(
        leader.objects("events/").await.is_empty(),
        "nobody was left to tell"
    );
}

#[actix::test]
async fn all_controllers_together_bring_an_empty_cluster_up() {
    let leader = Handle::start();
    leader.lead(&host(&leader, controllers())).await;
    leader.wait_for("namespaces/", 4, |_| true).await;
    leader.wait_for("serviceaccounts/", 4, |_| true).await;
}

#[actix::test]
async fn more_writes_than_one_submit_carries_come_in_several() {
    let leader = leader_with_replica_set().await;
    for name in ["a", "b", "c"] {
        let template = json!({
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        });
        let selector = json!({"matchLabels": {"app": name}});
        let spec = json!({"replicas": 450, "selector": selector, "template": template});
        let metadata = json!({"name": name, "namespace": "default"});
        leader
            .create(
                "replicasets.apps",
                json!({"metadata": metadata, "spec": spec}),
            )
            .await;
    }
    leader.lead(&host(&leader, sets())).await;
    leader.wait_for("pods/", 1_353, |_| true).await;
    assert_eq!(leader.creates("pods").await, 1_353);
}
