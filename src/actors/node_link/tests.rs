//! The leader's link against a node that the test plays.

use prometheus::Registry;

use super::*;
use crate::actors::controller_host::ControllerHost;
use crate::actors::dial::{Greeted, greet};
use crate::actors::test_leader::Handle;
use crate::actors::testing::network::Wires;
use crate::control::{Controller, NodeLifecycle};
use crate::env::clock::SystemClock;
use crate::env::frames::FRAME_BYTES_MAX;
use crate::env::network::Listener;

const ADDRESS: &str = "[fd00::1]:7443";

struct Ready;

impl Actor for Ready {
    type Context = Context<Self>;
}

impl Handler<LinkReady> for Ready {
    type Result = ();

    fn handle(&mut self, _: LinkReady, _: &mut Self::Context) {}
}

impl Handler<NodeSpoke> for Ready {
    type Result = ();

    fn handle(&mut self, _: NodeSpoke, _: &mut Self::Context) {}
}

impl Handler<ReplyHeard> for Ready {
    type Result = ();

    fn handle(&mut self, _: ReplyHeard, _: &mut Self::Context) {}
}

fn target() -> Target {
    Target {
        leader: String::new(),
        name: "n1".into(),
        id: PeerId(1),
        address: ADDRESS.into(),
        machine: Machine {
            id: "machine".into(),
            boot: "boot".into(),
        },
        cluster: ClusterId {
            id: 1,
            generation: 0,
        },
        term: 1,
        ready: false,
        notice: None,
    }
}

/// A link to a node that does not yet exist, and where it listens.
async fn link(leader: &Handle) -> (Addr<NodeLink>, Box<dyn Listener>) {
    let wires = Wires::default();
    let listener = wires.network().listen(ADDRESS).await.unwrap();
    let ready = Ready.start();
    let around = Neighbours {
        network: wires.network(),
        clock: Rc::new(SystemClock::new()),
        entropy: Entropy::from_seed(1),
        submit: leader.0.clone().recipient(),
        ready: ready.clone().recipient(),
        heard: ready.clone().recipient(),
        spoke: ready.recipient(),
        metrics: ClusterMetrics::new(&Registry::new()).unwrap(),
    };
    (NodeLink::new(target(), around).start(), listener)
}

async fn accept(listener: &mut Box<dyn Listener>) -> Greeted {
    greet(listener.accept().await.unwrap().0).await.unwrap()
}

/// The next word that is not a poll.
async fn hear(node: &mut Greeted) -> LinkDown {
    loop {
        match node.inbox.next().await {
            Some(Ok(FromDialler::Link(LinkDown::Poll))) => {}
            Some(Ok(FromDialler::Link(down))) => return down,
            other => panic!("{other:?}"),
        }
    }
}

fn pod(uid: usize, bytes: usize) -> WireAssignment {
    WireAssignment {
        uid: uid.to_string(),
        pod: vec![0; bytes].into(),
        config_maps: Vec::new(),
        secrets: Vec::new(),
        fresh: false,
    }
}

#[actix::test]
async fn a_connection_without_answers_is_given_up_before_the_node_counts_as_silent() {
    tokio::time::pause();
    let leader = Handle::start();
    let (_link, mut listener) = link(&leader).await;
    let start = Instant::now();
    let mut first = accept(&mut listener).await;
    assert!(matches!(hear(&mut first).await, LinkDown::Open { .. }));
    // It stays open and shows life, but nothing is ever said on it.
    let mut second = accept(&mut listener).await;
    assert!(matches!(hear(&mut second).await, LinkDown::Open { .. }));
    assert!(start.elapsed() < Duration::from_millis(SILENCE_NOT_READY_MS));
}

#[actix::test]
async fn more_pods_than_a_frame_holds_are_told_in_parts() {
    const PODS: usize = 40;
    tokio::time::pause();
    let leader = Handle::start();
    let (link, mut listener) = link(&leader).await;
    let mut node = accept(&mut listener).await;
    hear(&mut node).await;
    link.do_send(Assign {
        full: true,
        upsert: (0..PODS).map(|uid| pod(uid, 1 << 20)).collect(),
        remove: Vec::new(),
        poll: false,
    });
    let mut told = Vec::new();
    loop {
        match hear(&mut node).await {
            LinkDown::Part(part) => told.extend(part),
            LinkDown::Assign { full, upsert, .. } => {
                assert!(full);
                told.extend(upsert);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    let uids: Vec<String> = told.into_iter().map(|pod| pod.uid).collect();
    let expected: Vec<String> = (0..PODS).map(|uid| uid.to_string()).collect();
    assert_eq!(uids, expected);
}

#[actix::test]
async fn a_pod_that_no_frame_holds_leaves_the_others_their_link() {
    tokio::time::pause();
    let leader = Handle::start();
    let (link, mut listener) = link(&leader).await;
    let mut node = accept(&mut listener).await;
    hear(&mut node).await;
    link.do_send(Assign {
        full: true,
        upsert: vec![pod(1, FRAME_BYTES_MAX + 1), pod(2, 1)],
        remove: Vec::new(),
        poll: false,
    });
    match hear(&mut node).await {
        LinkDown::Assign { upsert, .. } => assert_eq!(upsert, [pod(2, 1)]),
        other => panic!("{other:?}"),
    }
}

async fn say(node: &Greeted, up: LinkUp) {
    let frame = FromListener::Link(up);
    node.outbox.send_when_ready(&frame).await.unwrap();
}

/// What a node says of itself.
fn description(problem: Option<&str>) -> NodeDescription {
    NodeDescription {
        problem: problem.map(str::to_owned),
        ..NodeDescription::default()
    }
}

#[actix::test]
async fn a_node_that_was_not_ready_for_a_moment_has_its_pods_ready_again() {
    let leader = Handle::start();
    let metadata = json!({"name": "default"});
    leader
        .create("namespaces", json!({"metadata": metadata}))
        .await;
    leader
        .create("nodes", json!({"metadata": {"name": "n1"}}))
        .await;
    let spec = json!({"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]});
    let metadata = json!({"name": "a", "namespace": "default"});
    leader
        .create("pods", json!({"metadata": metadata, "spec": spec}))
        .await;
    let pod = leader.objects("pods/").await.remove(0);
    let controllers: Vec<Box<dyn Controller>> = vec![Box::new(NodeLifecycle)];
    let submit = leader.0.clone().recipient();
    let clock = Rc::new(SystemClock::new());
    let host = ControllerHost::new(controllers, submit, clock, Entropy::from_seed(2)).start();
    leader.lead(&host).await;
    let (_link, mut listener) = link(&leader).await;
    let mut node = accept(&mut listener).await;
    hear(&mut node).await;
    let is = |kind: &'static str, status: &'static str| {
        move |object: &Value| {
            let conditions = object["status"]["conditions"].as_array();
            let mut conditions = conditions.into_iter().flatten();
            conditions.any(|c| c["type"] == kind && c["status"] == status)
        }
    };
    say(&node, LinkUp::Opened(description(None))).await;
    leader.wait_for("nodes/", 1, is("Ready", "True")).await;
    let conditions = [("ContainersReady", "True"), ("Ready", "True")];
    let conditions = conditions.map(|(kind, status)| json!({"type": kind, "status": status}));
    let status = json!({"phase": "Running", "conditions": conditions});
    let report = PodReport {
        namespace: "default".into(),
        name: "a".into(),
        uid: pod["metadata"]["uid"].as_str().unwrap().into(),
        status: serde_json::to_vec(&status).unwrap().into(),
        gone: false,
    };
    say(&node, LinkUp::Reports(vec![report])).await;
    leader.wait_for("pods/", 1, is("Ready", "True")).await;
    // The engine hangs for a moment; the link lives on, and the pod's agent sees nothing to report.
    say(&node, LinkUp::Alive(description(Some("no answer")))).await;
    leader.wait_for("pods/", 1, is("Ready", "False")).await;
    say(&node, LinkUp::Alive(description(None))).await;
    leader.wait_for("pods/", 1, is("Ready", "True")).await;
}

#[actix::test]
async fn a_node_is_known_by_its_machine_and_its_condition_by_its_hour() {
    let leader = Handle::start();
    leader
        .create("nodes", json!({"metadata": {"name": "n1"}}))
        .await;
    let (_link, mut listener) = link(&leader).await;
    let mut node = accept(&mut listener).await;
    hear(&mut node).await;
    for problem in [None, Some("no answer")] {
        say(&node, LinkUp::Alive(description(problem))).await;
        let ready = if problem.is_none() { "True" } else { "False" };
        let is = |node: &Value| node["status"]["conditions"][0]["status"] == ready;
        let status = &leader.wait_for("nodes/", 1, is).await[0]["status"];
        assert_eq!(status["nodeInfo"]["machineID"], "machine");
        assert_eq!(status["nodeInfo"]["bootID"], "boot");
        let condition = &status["conditions"][0];
        for time in ["lastHeartbeatTime", "lastTransitionTime"] {
            let told: jiff::Timestamp = condition[time].as_str().unwrap().parse().unwrap();
            let age = SystemClock::new().wall().duration_since(told);
            assert!(age.as_secs() < 60, "{condition}");
        }
    }
}

#[actix::test]
async fn a_nodes_announced_end_is_written_once_and_taken_back() {
    let leader = Handle::start();
    let annotations = json!({"kagero.dev/incarnation": PeerId(1).to_string()});
    let metadata = json!({"name": "n1", "annotations": annotations});
    leader.create("nodes", json!({"metadata": metadata})).await;
    let (_link, mut listener) = link(&leader).await;
    let mut node = accept(&mut listener).await;
    hear(&mut node).await;
    let eviction = |node: &Value| {
        let node: k8s_openapi::api::core::v1::Node = serde_json::from_value(node.clone()).unwrap();
        crate::resource::nodes::eviction(&node)
    };
    say(&node, LinkUp::Evicting(Some(30_000))).await;
    let told = leader
        .wait_for("nodes/", 1, |n| eviction(n).is_some())
        .await;
    let first = eviction(&told[0]).unwrap();
    let notice = first.deadline.duration_since(first.since);
    assert_eq!(notice.as_millis(), 30_000);
    // Told again a moment later, it is the same; with two minutes, it is another.
    say(&node, LinkUp::Evicting(Some(29_000))).await;
    say(&node, LinkUp::Evicting(Some(120_000))).await;
    let moved = |node: &Value| eviction(node).is_some_and(|now| now.deadline != first.deadline);
    let told = leader.wait_for("nodes/", 1, moved).await;
    let later = eviction(&told[0]).unwrap().deadline;
    assert!(later.duration_since(first.deadline).as_secs() > 80);
    say(&node, LinkUp::Evicting(None)).await;
    leader
        .wait_for("nodes/", 1, |n| eviction(n).is_none())
        .await;
}

#[test]
fn a_delta_is_one_frame_and_every_assignment_ends_with_one() {
    let small = in_parts(false, vec![pod(1, 10)], vec!["2".into()]);
    assert!(
        matches!(&small[..], [LinkDown::Assign { full: false, upsert, remove }]
        if upsert.len() == 1 && remove.len() == 1)
    );
    let none = in_parts(true, Vec::new(), Vec::new());
    assert!(matches!(&none[..], [LinkDown::Assign { full: true, .. }]));
}
