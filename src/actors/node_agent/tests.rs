//! An engine that hangs is noticed, and heard again once it answers.

use std::cell::Cell;

use super::*;
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
    let info = NodeInfo {
        name: "n1".into(),
        addresses: Vec::new(),
        cpu_millis: 1,
        memory_bytes: 1,
        pods_max: 1,
        runtime: "idle",
    };
    let runtime = Rc::new(IdleRuntime::new(delay.clone()));
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
