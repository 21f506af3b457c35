//! The agent's actor with the process runtime: assigned, reported, read, deleted, adopted.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

mod common;

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use kagero::actors::messages::LogOptions;
use kagero::actors::node_agent::NodeAgent;
use kagero::actors::node_messages::{
    AssignPods, AssignRefused, DescribeNode, PodReport, PodReports, ReadLog, WireAssignment,
};
use kagero::agent::NodeInfo;
use kagero::env::clock::SystemClock;
use kagero::env::entropy::Entropy;
use kagero::env::process::ProcessRuntime;

use common::Home;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// How long a test waits for a report.
const PATIENCE: Duration = Duration::from_secs(20);

/// Stands where the node's link would: passes reports on to the test.
struct Link(mpsc::UnboundedSender<PodReport>);

impl Actor for Link {
    type Context = Context<Self>;
}

impl Handler<PodReports> for Link {
    type Result = ();

    fn handle(&mut self, reports: PodReports, _: &mut Self::Context) {
        for report in reports.0 {
            // The test may have seen enough.
            let _ = self.0.send(report);
        }
    }
}

struct Node {
    agent: Addr<NodeAgent>,
    reports: mpsc::UnboundedReceiver<PodReport>,
}

fn start(dir: &Path) -> Node {
    let (sender, reports) = mpsc::unbounded_channel();
    let clock = Rc::new(SystemClock::new());
    let runtime = ProcessRuntime::new(&dir.join("run"), &dir.join("data"), clock.clone()).unwrap();
    let info = NodeInfo {
        name: "n1".to_owned(),
        addresses: vec!["127.0.0.1".parse().unwrap()],
        cpu_millis: 1_000,
        memory_bytes: 1 << 30,
        pods_max: 110,
        runtime: "process",
    };
    let link = Link(sender).start().recipient();
    let agent = NodeAgent::new(info, Rc::new(runtime), clock, Entropy::from_seed(1), link);
    let agent = agent.start();
    Node { agent, reports }
}

impl Node {
    async fn assign(&self, term: u64, full: bool, pods: &[Value]) -> Result<(), AssignRefused> {
        let wire = |pod: &Value| WireAssignment {
            uid: pod["metadata"]["uid"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            pod: pod.to_string().into(),
            config_maps: Vec::new(),
            secrets: Vec::new(),
            fresh: false,
        };
        let assign = AssignPods {
            generation: 0,
            term,
            full,
            upsert: pods.iter().map(wire).collect(),
            remove: Vec::new(),
        };
        self.agent.send(assign).await.unwrap()
    }

    /// The first report to come that is wanted.
    async fn report(&mut self, wanted: impl Fn(&PodReport, &Value) -> bool) -> Value {
        let wait = async {
            loop {
                let report = self.reports.recv().await.expect("the agent lives");
                let status = serde_json::from_slice(&report.status).unwrap();
                if wanted(&report, &status) {
                    return status;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap()
    }
}

fn pod(uid: &str, script: &str) -> Value {
    json!({
        "metadata": {"name": "p", "namespace": "default", "uid": uid},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [
            {"name": "c", "image": "any:1", "command": ["sh", "-c", script]}]},
    })
}

fn deleted(mut pod: Value) -> Value {
    pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    pod["metadata"]["deletionGracePeriodSeconds"] = json!(1);
    pod
}

#[actix_web::test]
async fn a_pod_lives_and_dies() {
    let dir = Home::new();
    let mut node = start(dir.path());
    let pod = pod("lives", "echo hello; exec sleep 1000");
    let early = node.assign(1, false, std::slice::from_ref(&pod)).await;
    assert_eq!(early, Err(AssignRefused::FullSetWanted));
    node.assign(1, true, std::slice::from_ref(&pod))
        .await
        .unwrap();
    let status = node.report(|_, status| status["phase"] == "Running").await;
    assert_eq!(status["podIP"], "127.0.0.1");
    let id = status["containerStatuses"][0]["containerID"]
        .as_str()
        .unwrap();
    assert!(id.starts_with("process://"), "{id}");

    let read = ReadLog {
        pod: "p".to_owned(),
        uid: "lives".to_owned(),
        container: "c".to_owned(),
        options: LogOptions {
            follow: true,
            limit_bytes: Some(4),
            ..LogOptions::default()
        },
    };
    let mut log = node.agent.send(read.clone()).await.unwrap().unwrap();
    let mut text = Vec::new();
    let whole = async {
        while let Some(piece) = log.recv().await {
            text.extend(piece.unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, whole).await.unwrap();
    assert_eq!(text, b"hell");
    let unknown = ReadLog {
        container: "none".to_owned(),
        ..read
    };
    let refused = node.agent.send(unknown).await.unwrap().unwrap_err();
    assert_eq!(refused.code, 400);

    let description = node.agent.send(DescribeNode).await.unwrap();
    assert_eq!((description.active_pods, description.running_pods), (1, 1));
    assert_eq!(description.problem, None);
    assert!(description.usage[0].containers["c"].memory_bytes > 0);

    node.assign(1, false, &[deleted(pod)]).await.unwrap();
    node.report(|report, _| report.gone).await;
    assert!(!dir.path().join("run/pods/lives").exists());
}

#[actix_web::test]
async fn a_crash_is_noticed_and_counted() {
    let dir = Home::new();
    let mut node = start(dir.path());
    let pod = pod("crashes", "exit 3");
    node.assign(1, true, std::slice::from_ref(&pod))
        .await
        .unwrap();
    let backs_off = |status: &Value| {
        status["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    };
    let status = node.report(|_, status| backs_off(status)).await;
    let container = &status["containerStatuses"][0];
    assert_eq!(container["restartCount"], 1);
    assert_eq!(container["lastState"]["terminated"]["exitCode"], 3);
    node.assign(1, false, &[deleted(pod)]).await.unwrap();
    node.report(|report, _| report.gone).await;
}

#[actix_web::test]
async fn a_new_agent_adopts_and_obeys_only_the_newest_leader() {
    let dir = Home::new();
    let pod = pod("adopted", "exec sleep 1000");
    let mut first = start(dir.path());
    first
        .assign(1, true, std::slice::from_ref(&pod))
        .await
        .unwrap();
    let before = first.report(|_, status| status["phase"] == "Running").await;

    let mut second = start(dir.path());
    second
        .assign(2, true, std::slice::from_ref(&pod))
        .await
        .unwrap();
    let after = second
        .report(|_, status| status["phase"] == "Running")
        .await;
    let started = |status: &Value| status["containerStatuses"][0].clone();
    assert_eq!(started(&before), started(&after));
    let old = second.assign(1, true, &[]).await;
    let refused = AssignRefused::Superseded {
        generation: 0,
        term: 2,
    };
    assert_eq!(old, Err(refused));
    second.assign(2, false, &[deleted(pod)]).await.unwrap();
    second.report(|report, _| report.gone).await;
}
