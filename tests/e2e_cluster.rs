//! A `kagero dev` cluster under kubectl as people use it, and under SIGKILL.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

#[path = "dev/mod.rs"]
mod dev;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Stdio;
use std::time::Duration;

use kagero::actors::messages::MemberStatus;
use kagero::cli::client::Client;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use dev::{
    Dev, NodeLine, SOON, ask, busybox_image, client, is_running, items, signal, status_of, until,
    web_manifest,
};

/// A lost node's pods run elsewhere by then: 15 s of silence, then a start.
const REPLACED_WITHIN: Duration = Duration::from_secs(40);
/// A killed node votes again by then: its process is started after 1 s and has 10 s to join.
const VOTES_AGAIN_WITHIN: Duration = Duration::from_secs(11);

fn running(dev: &Dev, wanted: usize) -> Result<Vec<Value>, String> {
    let pods = dev.get(&["pods", "-l", "app=web"]);
    let pods = items(&pods);
    let running: Vec<_> = pods.iter().filter(|pod| is_running(pod)).cloned().collect();
    if running.len() == wanted && pods.len() == wanted {
        Ok(running)
    } else {
        Err(format!(
            "{} of {wanted} running, {} in all",
            running.len(),
            pods.len()
        ))
    }
}

fn names(pods: &[Value]) -> BTreeSet<&str> {
    pods.iter()
        .map(|pod| pod["metadata"]["name"].as_str().unwrap())
        .collect()
}

fn with_web(nodes: usize) -> Dev {
    let dev = Dev::start(nodes, "process");
    let applied = dev.must(&["apply", "-f", &dev.manifest(&web_manifest())]);
    assert_eq!(applied, "deployment.apps/web created\n");
    until("three pods run", SOON, || running(&dev, 3));
    dev
}

#[test]
fn kubectl_does_to_a_deployment_what_people_do() {
    let dev = with_web(3);
    dev.must(&["rollout", "status", "deployment/web", "--timeout=30s"]);
    let applied = dev.must(&["apply", "-f", &dev.manifest(&web_manifest())]);
    assert_eq!(applied, "deployment.apps/web unchanged\n");

    let logs = until("a log line", SOON, || {
        let logs = dev.must(&["logs", "deployment/web"]);
        if logs.is_empty() {
            Err("no log yet".into())
        } else {
            Ok(logs)
        }
    });
    assert!(logs.starts_with("listening on http://"), "{logs}");

    dev.must(&["scale", "deployment/web", "--replicas=5"]);
    until("five pods run", SOON, || running(&dev, 5));
    dev.must(&["set", "env", "deployment/web", "COLOUR=blue"]);
    dev.must(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    let blue = until("five new pods run", SOON, || running(&dev, 5));
    let colour = |pod: &Value| pod["spec"]["containers"][0]["env"][1]["value"] == "blue";
    assert!(blue.iter().all(colour));
    dev.must(&["rollout", "undo", "deployment/web"]);
    dev.must(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    let back = until("five old ones run", SOON, || running(&dev, 5));
    assert!(!back.iter().any(colour));

    let described = dev.must(&["describe", "deployment", "web"]);
    assert!(described.contains("ScalingReplicaSet"), "{described}");
    let events = dev.must(&["get", "events"]);
    assert!(events.contains("Started"), "{events}");

    dev.must(&["delete", "deployment", "web"]);
    until("no pod is left", SOON, || running(&dev, 0));
    dev.stop();
}

#[test]
fn every_nodes_api_says_the_same_and_a_watch_follows() {
    let dev = with_web(3);
    let first = names(&running(&dev, 3).unwrap())
        .into_iter()
        .map(str::to_owned)
        .collect::<BTreeSet<_>>();
    let contexts = ["", "-n1", "-n2", "-n3"].map(|node| format!("kagero-dev{node}"));
    for context in &contexts {
        let wide = dev.must(&["--context", context, "get", "pods", "-o", "wide"]);
        let header = wide.lines().next().unwrap();
        assert!(
            header.starts_with("NAME") && header.contains("NODE"),
            "{wide}"
        );
        assert!(
            first.iter().all(|name| wide.contains(name)),
            "{context}:\n{wide}"
        );
        assert_eq!(wide.lines().count(), 4, "{wide}");
    }
    let seen = tempfile::NamedTempFile::new().unwrap();
    let mut watch = dev
        .kubectl_command(&[
            "--context",
            "kagero-dev-n2",
            "get",
            "pods",
            "-w",
            "--no-headers",
        ])
        .stdout(seen.reopen().unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = |wanted: &dyn Fn(&str) -> bool| {
        let text = fs::read_to_string(seen.path()).unwrap();
        if text.lines().any(wanted) {
            Ok(())
        } else {
            Err(text)
        }
    };
    until("the watch shows what is there", SOON, || {
        lines(&|line| first.iter().any(|name| line.starts_with(name)))
    });
    let victim = first.first().unwrap();
    dev.must(&["--context", "kagero-dev-n3", "delete", "pod", victim]);
    until("the watch shows the end", SOON, || {
        lines(&|line| line.starts_with(victim) && line.contains("Terminating"))
    });
    until("the watch shows the successor", SOON, || {
        lines(&|line| {
            line.starts_with("web-")
                && !first.iter().any(|name| line.starts_with(name))
                && line.contains("Running")
        })
    });
    watch.kill().unwrap();
    watch.wait().unwrap();
    dev.stop();
}

/// Every pod's containers, as their node tells them.
fn containers(pods: &[Value]) -> BTreeMap<String, Value> {
    let entry = |pod: &Value| {
        (
            pod["metadata"]["name"].as_str().unwrap().to_owned(),
            pod["status"]["containerStatuses"].clone(),
        )
    };
    pods.iter().map(entry).collect()
}

/// The processes of these pods' containers, by pod: those that have its name for their host's.
fn processes(pods: &[Value]) -> BTreeMap<String, BTreeSet<u32>> {
    let of_pod = |name: &str| format!("HOSTNAME={name}").into_bytes();
    let mut found: BTreeMap<String, BTreeSet<u32>> = names(pods)
        .into_iter()
        .map(|name| (name.to_owned(), BTreeSet::new()))
        .collect();
    for entry in fs::read_dir("/proc").unwrap() {
        let entry = entry.unwrap();
        let pid = entry.file_name().to_str().and_then(|pid| pid.parse().ok());
        let (Some(pid), Ok(environment)) = (pid, fs::read(entry.path().join("environ"))) else {
            continue;
        };
        for (name, pids) in &mut found {
            if environment
                .split(|byte| *byte == 0)
                .any(|v| v == of_pod(name))
            {
                pids.insert(pid);
            }
        }
    }
    found
}

/// A voter that is going to be killed.
struct Victim {
    name: String,
    pid: u32,
    incarnation: String,
}

impl Victim {
    fn of(node: &NodeLine) -> Self {
        let status = status_of(node).unwrap();
        let member = status.members.into_iter().find(|m| m.name == node.name);
        Self {
            name: node.name.clone(),
            pid: node.pid,
            incarnation: member.unwrap().incarnation,
        }
    }

    fn kill(&self) {
        signal(self.pid, Signal::KILL);
    }

    /// Whether its node votes under a new identity, as `through` tells it, and no longer under the killed one: until
    /// then the cluster cannot bear another loss.
    fn votes_again(&self, through: &NodeLine) -> Result<(), String> {
        let status = status_of(through)?;
        let same_node = |member: &&MemberStatus| member.name == self.name;
        let members: Vec<_> = status.members.iter().filter(same_node).collect();
        match members[..] {
            [new] if new.incarnation != self.incarnation && new.role != "learner" => Ok(()),
            _ => Err(format!("{:?}", status.members)),
        }
    }
}

#[test]
fn a_killed_agent_comes_back_and_adopts_its_pods() {
    let dev = with_web(3);
    let pods = running(&dev, 3).unwrap();
    let (told, alive) = (containers(&pods), processes(&pods));
    assert!(alive.values().all(|pids| pids.len() == 1), "{alive:?}");
    for leads in [false, true] {
        let nodes = dev.nodes();
        let leader = status_of(&nodes[0]).unwrap().leader;
        let victim = nodes.iter().find(|node| (node.name == leader) == leads);
        let other = nodes.iter().find(|node| (node.name == leader) != leads);
        let (victim, other) = (victim.unwrap(), other.unwrap());
        let victim = Victim::of(victim);
        victim.kill();
        until("the killed node votes again", VOTES_AGAIN_WITHIN, || {
            victim.votes_again(other)
        });
        let again = dev.node(&victim.name);
        let ready = || ask(client(&again.api).text("/readyz")).map_err(|error| error.to_string());
        until("it is ready again", SOON, ready);
        // What the node is told next can only follow what it found: it has adopted its pods before it starts one.
        dev.must(&[
            "run",
            "next",
            "--image=kagero.dev/web",
            "--env=PORT=0",
            &on(&victim.name),
        ]);
        dev.must(&["wait", "pod/next", "--for=condition=Ready", "--timeout=30s"]);
        dev.must(&["delete", "pod", "next"]);
        let pods = running(&dev, 3).unwrap();
        assert_eq!(containers(&pods), told, "same containers, no restart");
        assert_eq!(processes(&pods), alive, "same processes");
    }
    dev.stop();
}

/// Binds a pod that `kubectl run` makes to a node.
fn on(node: &str) -> String {
    let overrides = json!({"spec": {"nodeName": node}});
    format!("--overrides={overrides}")
}

#[test]
fn what_is_wrong_with_a_pod_is_told() {
    let dev = Dev::start(1, "process");
    dev.must(&["run", "bare", "--image=any"]);
    dev.must(&["run", "wrong", "--image=any", "--", "/does/not/exist"]);
    dev.must(&[
        "run",
        "brief",
        "--image=any",
        "--",
        "sh",
        "-c",
        "echo bye; exit 3",
    ]);
    let describe = |pod: &str, wanted: &[&str]| {
        until(&format!("what is wrong with {pod}"), SOON, || {
            let described = dev.must(&["describe", "pod", pod]);
            let missing = wanted.iter().find(|text| !described.contains(**text));
            missing.map_or(Ok(()), |text| Err(format!("no {text:?} in {described}")))
        });
    };
    describe("bare", &["CreateContainerConfigError", "needs a command"]);
    describe("wrong", &["StartError", "failed to start container wrong"]);
    describe(
        "brief",
        &[
            "Exit Code:    3",
            "Started container brief",
            "Back-off restarting",
        ],
    );
    assert_eq!(dev.must(&["logs", "brief", "--previous"]), "bye\n");
    let refused = dev.kubectl(&["exec", "brief", "--", "ls"]);
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        error.contains("the server could not find the requested resource"),
        "{error}"
    );
    dev.must(&["delete", "pod", "--all"]);
    dev.stop();
}

#[test]
fn a_namespace_is_deleted_with_all_that_is_in_it() {
    let dev = Dev::start(1, "process");
    dev.must(&["create", "namespace", "other"]);
    dev.must(&["-n", "other", "apply", "-f", &dev.manifest(&web_manifest())]);
    dev.must(&[
        "-n",
        "other",
        "create",
        "configmap",
        "c",
        "--from-literal=k=v",
    ]);
    dev.must(&[
        "-n",
        "other",
        "rollout",
        "status",
        "deployment/web",
        "--timeout=60s",
    ]);
    let pods = dev.get(&["pods", "-n", "other"]);
    let alive = || processes(items(&pods)).into_values().flatten().count();
    assert_eq!(alive(), 3);
    dev.must(&["delete", "namespace", "other", "--timeout=60s"]);
    assert_eq!(alive(), 0);
    let left = dev.get(&[
        "deployments,replicasets,pods,configmaps,events",
        "-n",
        "other",
    ]);
    assert_eq!(items(&left), [] as [Value; 0]);
    dev.stop();
}

/// Writes numbered ConfigMaps, one every 20 ms, to whichever node answers; knows what was acknowledged.
struct Writer {
    clients: Vec<Client>,
    acknowledged: Vec<(String, Instant)>,
}

impl Writer {
    const PERIOD: Duration = Duration::from_millis(20);
    const PATIENCE: Duration = Duration::from_millis(300);
    const PATH: &'static str = "/api/v1/namespaces/default/configmaps";

    fn new(addresses: &[String]) -> Self {
        let patient = |address: &String| client(address).with_deadline(Self::PATIENCE);
        Self {
            clients: addresses.iter().map(patient).collect(),
            acknowledged: Vec::new(),
        }
    }

    async fn write(&mut self, number: usize) {
        let name = format!("write-{number}");
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"n": number.to_string()}});
        for client in self
            .clients
            .iter()
            .cycle()
            .skip(number)
            .take(self.clients.len())
        {
            let written = client.post(Self::PATH, &object).await;
            // 409: an earlier attempt that was not answered did arrive.
            if written.is_ok() || written.is_err_and(|error| error.code() == Some(409)) {
                self.acknowledged.push((name, Instant::now()));
                return;
            }
        }
    }

    /// The longest time without an acknowledgement.
    fn gap(&self) -> Duration {
        let times = self
            .acknowledged
            .windows(2)
            .map(|pair| pair[1].1 - pair[0].1);
        times.max().unwrap()
    }
}

#[test]
fn no_acknowledged_write_is_lost_when_the_leader_is_killed() {
    const WRITES: usize = 400;
    const KILL_AT: usize = 100;
    let dev = Dev::start(3, "process");
    let nodes = dev.nodes();
    let leader = status_of(&nodes[0]).unwrap().leader;
    let leader = dev.node(&leader);
    let survivors: Vec<_> = nodes
        .iter()
        .filter(|node| node.name != leader.name)
        .collect();
    let mut writer = Writer::new(
        &survivors
            .iter()
            .map(|node| node.api.clone())
            .collect::<Vec<_>>(),
    );
    let victim = Victim::of(&leader);
    let mut killed = None;
    ask(async {
        for number in 0..WRITES {
            if number == KILL_AT {
                victim.kill();
                killed = Some(Instant::now());
            }
            writer.write(number).await;
            sleep(Writer::PERIOD).await;
        }
    });
    let killed = killed.unwrap();
    let again = until("the killed node votes again", VOTES_AGAIN_WITHIN, || {
        victim.votes_again(survivors[0]).map(|()| killed.elapsed())
    });
    let kept = ask(client(&survivors[1].api).get(Writer::PATH)).unwrap();
    let kept: BTreeSet<_> = items(&kept)
        .iter()
        .map(|object| object["metadata"]["name"].as_str().unwrap())
        .collect();
    let lost: Vec<_> = writer
        .acknowledged
        .iter()
        .filter(|(name, _)| !kept.contains(&**name))
        .collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert!(
        writer.acknowledged.len() > WRITES / 2,
        "only {} acknowledged",
        writer.acknowledged.len()
    );
    println!(
        "{} of {WRITES} acknowledged, none lost, longest gap {:?}, a voter again at most {again:?} after the kill",
        writer.acknowledged.len(),
        writer.gap()
    );
    dev.stop();
}

#[test]
fn a_node_that_stays_silent_loses_its_pods_to_others() {
    let dev = with_web(3);
    let leader = status_of(&dev.nodes()[0]).unwrap().leader;
    let follower = dev
        .nodes()
        .into_iter()
        .find(|node| node.name != leader)
        .unwrap();
    // Stopped, not dead: its connections stay open and its pods run on, as on a machine that is cut off.
    signal(follower.pid, Signal::STOP);
    let witness = dev.node(&leader);
    let elsewhere = until("its pods run elsewhere", REPLACED_WITHIN, || {
        let list = ask(client(&witness.api).get("/api/v1/namespaces/default/pods"))
            .map_err(|error| error.to_string())?;
        let away = |pod: &&Value| is_running(pod) && pod["spec"]["nodeName"] != *follower.name;
        let count = items(&list).iter().filter(away).count();
        if count == 3 {
            Ok(list)
        } else {
            Err(format!("{count} of 3"))
        }
    });
    assert!(items(&elsewhere).len() >= 3);
    signal(follower.pid, Signal::CONT);
    until("what it still ran is gone", SOON, || running(&dev, 3));
    dev.stop();
}

#[test]
fn the_web_manifest_runs_on_docker() {
    let dev = Dev::start(1, "docker");
    dev.must(&["apply", "-f", "deploy/manifests/web.yaml"]);
    dev.must(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    until("it serves", SOON, || {
        let logs = dev.must(&["logs", "deployment/web"]);
        let serves = logs.starts_with("listening on http://");
        serves.then_some(()).ok_or(logs)
    });
    dev.must(&["delete", "deployment", "web"]);
    until("no pod is left", SOON, || running(&dev, 0));
    dev.stop();
}

/// The cluster in which a pod has seen its settings.
fn with_settings(runtime: &str) -> Dev {
    let dev = Dev::start(1, runtime);
    dev.must(&["apply", "-f", "deploy/manifests/settings.yaml"]);
    let ended = || {
        let pod = dev.get(&["pod", "settings"]);
        if pod["status"]["phase"] == "Succeeded" {
            Ok(())
        } else {
            Err(pod["status"].to_string())
        }
    };
    until("the pod has run", SOON, ended);
    let logs = dev.must(&["logs", "settings"]);
    assert_eq!(logs, "hello\ntoken has 9 letters\nhello from a file\n9\n");
    dev.must(&["delete", "-f", "deploy/manifests/settings.yaml"]);
    dev
}

#[test]
fn settings_reach_a_pod_as_environment_and_files() {
    with_settings("process").stop();
}

#[test]
fn settings_reach_a_pod_on_docker_and_an_absent_image_is_told() {
    busybox_image();
    let dev = with_settings("docker");
    dev.must(&["run", "absent", "--image=registry.invalid/absent:1"]);
    until("its image is said to be absent", SOON, || {
        let described = dev.must(&["describe", "pod", "absent"]);
        let told = described.contains("Failed to pull image \"registry.invalid/absent:1\"");
        told.then_some(()).ok_or(described)
    });
    dev.must(&["delete", "pod", "absent"]);
    dev.stop();
}

#[test]
fn bad_input_is_refused_and_disturbs_nothing() {
    let dev = with_web(1);
    let refused = |manifest: &str, reason: &str| {
        let output = dev.kubectl(&["apply", "-f", &dev.manifest(manifest)]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && error.contains(reason),
            "{error}"
        );
    };
    refused(
        &web_manifest().replace("replicas: 3", "replica: 3"),
        "replica",
    );
    refused(
        &web_manifest().replace("replicas: 3", "replicas: three"),
        "replicas",
    );
    refused(
        &web_manifest().replace("name: web\n  labels", "name: Not_A_Name\n  labels"),
        "Not_A_Name",
    );
    let missing = dev.kubectl(&["get", "pod", "nobody"]);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("NotFound"));
    until("the pods run on", SOON, || running(&dev, 3));
    dev.stop();
}
