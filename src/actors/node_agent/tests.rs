//! An engine that hangs is noticed, and heard again once it answers; what waits for one that is busy begins only if it
//! still may.

use std::cell::Cell;

use serde_json::{Value, json};

use super::*;
use crate::actors::lease::LEASE;
use crate::actors::node_messages::LeasePods;
use crate::actors::testing::runtime::IdleRuntime;
use crate::env::clock::SystemClock;

/// Nobody to report to.
struct Nobody;

impl Actor for Nobody {
    type Context = Context<Self>;
}

impl Handler<PodReports> for Nobody {
    type Result = ();

    fn handle(&mut self, _: PodReports, _: &mut Self::Context) {}
}

fn agent(delay: &Rc<Cell<Duration>>) -> Addr<NodeAgent> {
    agent_on(IdleRuntime::new(delay.clone()))
}

fn agent_on(runtime: IdleRuntime) -> Addr<NodeAgent> {
    let info = NodeInfo {
        name: "n1".into(),
        addresses: Vec::new(),
        cpu_millis: 1,
        memory_bytes: 1,
        pods_max: 1,
        runtime: "idle",
    };
    let runtime = Rc::new(runtime);
    let clock = Rc::new(SystemClock::new());
    let reports = Nobody.start().recipient();
    NodeAgent::new(info, runtime, clock, Entropy::from_seed(1), reports).start()
}

fn pod(uid: &str, image: serde_json::Value) -> WireAssignment {
    let metadata = serde_json::json!({ "name": uid, "namespace": "default", "uid": uid });
    let spec = serde_json::json!({ "containers": [{ "name": "c", "image": image }] });
    let pod = serde_json::json!({ "metadata": metadata, "spec": spec });
    WireAssignment {
        uid: uid.into(),
        pod: pod.to_string().into(),
        config_maps: Vec::new(),
        secrets: Vec::new(),
        fresh: false,
    }
}

#[actix::test]
async fn a_pod_that_cannot_be_read_keeps_no_other_from_running() {
    tokio::time::pause();
    let agent = agent(&Rc::default());
    let active = async || agent.send(DescribeNode).await.unwrap().active_pods;
    let assign = |upsert: Vec<WireAssignment>| AssignPods {
        generation: 0,
        term: 1,
        full: true,
        upsert,
        remove: Vec::new(),
    };
    let good = |uid| pod(uid, serde_json::json!("image"));
    let bad = |uid| pod(uid, serde_json::json!({ "of": "a later version" }));
    agent
        .send(assign(vec![bad("a"), good("b")]))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(active().await, 1);
    let delta = AssignPods {
        full: false,
        ..assign(vec![good("c")])
    };
    agent.send(delta).await.unwrap().unwrap();
    assert_eq!(active().await, 2);
    // What could be read before, and runs, is not ended for it.
    agent
        .send(assign(vec![bad("b"), good("c")]))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(active().await, 2);
    agent.send(assign(vec![bad("b")])).await.unwrap().unwrap();
    assert_eq!(active().await, 1);
}

#[actix::test]
async fn a_listing_without_an_end_is_given_up_and_tried_again() {
    tokio::time::pause();
    let delay = Rc::new(Cell::new(Duration::from_secs(3_600)));
    let agent = agent(&delay);
    tokio::time::sleep(LIST_DEADLINE + TICK).await;
    delay.set(Duration::ZERO);
    let problem = agent.send(DescribeNode).await.unwrap().problem;
    let problem = problem.expect("the engine did not list");
    assert!(problem.contains("no list within 30 s"), "{problem}");
    tokio::time::sleep(LIST_DEADLINE + 2 * RELIST_EVERY).await;
    assert_eq!(agent.send(DescribeNode).await.unwrap().problem, None);
}

/// The engine is busy with others; the last one's turn comes when its lease is over.
#[actix::test]
async fn a_unique_pod_whose_turn_comes_after_its_lease_does_not_start() {
    tokio::time::pause();
    let mut runtime = IdleRuntime::new(Rc::default());
    runtime.sandbox_takes = Some(LEASE + Duration::from_secs(1));
    let begun = Rc::clone(&runtime.begun);
    let agent = agent_on(runtime);
    let ordinary = (0..OPERATIONS_MAX).map(|n| pod(&format!("a{n}"), json!("image")));
    let mut unique = pod("z", json!("image"));
    let mut object: Value = serde_json::from_slice(&unique.pod).unwrap();
    object["metadata"]["ownerReferences"] = json!([
        { "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "z", "uid": "s", "controller": true }
    ]);
    unique.pod = object.to_string().into();
    let assign = AssignPods {
        generation: 0,
        term: 1,
        full: true,
        upsert: ordinary.chain([unique]).collect(),
        remove: Vec::new(),
    };
    agent.send(assign).await.unwrap().unwrap();
    let clock = SystemClock::new();
    let lease = || LeasePods {
        generation: 0,
        term: 1,
        until: clock.since_boot() + LEASE,
        start: true,
    };
    agent.send(lease()).await.unwrap();
    // So that it has been listed what runs.
    tokio::time::sleep(TICK).await;
    assert_eq!(begun.borrow().len(), OPERATIONS_MAX);
    tokio::time::sleep(2 * LEASE).await;
    let began = || begun.borrow().iter().any(|uid| uid == "z");
    assert!(!began(), "the others' have started, and it must not");
    agent.send(lease()).await.unwrap();
    tokio::time::sleep(TICK).await;
    assert!(began(), "with another lease it may");
}
