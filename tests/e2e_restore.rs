//! Every process of a cluster is killed at once: what a folder of snapshots and one of manifests bring back.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

#[path = "dev/mod.rs"]
mod dev;
#[path = "machines/mod.rs"]
mod machines;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kagero::actors::archive::{Header, decode};
use serde_json::Value;
use tempfile::TempDir;

use dev::{FORMED_WITHIN, ask, client, is_running, status_of, until};
use machines::{Machines, free_addresses, processes};

/// A lost node's pods run elsewhere by then: 15 s of silence, then a start.
const REPLACED_WITHIN: Duration = Duration::from_secs(60);
/// An interval of 1 s, and what a busy machine adds.
const KEPT_WITHIN: Duration = Duration::from_secs(30);
const NAMES: [&str; 3] = ["n1", "n2", "n3"];
const PODS: usize = 3;

const MANIFESTS: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: said, namespace: mine}
data: {by: operator}
---
apiVersion: v1
kind: Namespace
metadata: {name: mine}
";

/// A cluster's folders, and its processes.
struct Cluster {
    machines: Machines,
    seeds: [String; 3],
    archive: TempDir,
    manifests: TempDir,
}

impl Cluster {
    fn start() -> Self {
        let seeds: [String; 3] = free_addresses();
        let manifests = tempfile::tempdir().unwrap();
        fs::write(manifests.path().join("mine.yaml"), MANIFESTS).unwrap();
        let mut cluster = Self {
            machines: Machines::new(&seeds),
            seeds,
            archive: tempfile::tempdir().unwrap(),
            manifests,
        };
        cluster.start_all();
        cluster
    }

    fn start_all(&mut self) {
        let archive = format!("file://{}", self.archive.path().display());
        let manifests = self.manifests.path().to_str().unwrap();
        let more = [
            ["--snapshots", &archive],
            ["--snapshot-interval", "1s"],
            ["--manifests", manifests],
        ];
        for (name, listen) in NAMES.into_iter().zip(&self.seeds) {
            self.machines.start(name, listen, &more.concat());
        }
    }

    /// SIGKILL for all of them, one after the other at once; their pods live on unless they are given.
    fn lose_all(&mut self, pods: &[Value]) {
        for name in NAMES {
            self.machines.lose(name, pods);
        }
    }

    /// Waits until three vote.
    fn voters(&self) {
        until("three voters", FORMED_WITHIN, || {
            let status = status_of(&self.machines.get("n1").line())
                .map_err(|error| format!("{error}\n{}", self.machines.log("n1")))?;
            let votes = status.members.iter().filter(|m| m.role != "learner");
            (votes.count() == NAMES.len())
                .then_some(())
                .ok_or_else(|| format!("{status:?}"))
        });
    }

    fn running(&self) -> Vec<Value> {
        until("the pods run", REPLACED_WITHIN, || {
            let pods = self.machines.list("n2", &["pods"]);
            let count = pods.iter().filter(|pod| is_running(pod)).count();
            let all = count == PODS && pods.len() == PODS;
            all.then(|| pods.clone())
                .ok_or_else(|| format!("{count} of {PODS} run, {} in all", pods.len()))
        })
    }

    /// Waits until everything that is there now is kept; gives the newest snapshot's file.
    fn kept(&self) -> PathBuf {
        let line = self.machines.get("n1").line();
        let wanted = status_of(&line).unwrap().revision;
        until("it is kept", KEPT_WITHIN, || {
            let (path, header) = newest(&self.archive.path().join("snapshots")).ok_or("none")?;
            let kept = header.revision >= wanted;
            kept.then_some(path)
                .ok_or_else(|| format!("{header:?}, wanted {wanted}"))
        })
    }

    fn status(&self) -> String {
        let server = format!("http://{}", self.machines.get("n2").api);
        let (code, shown, errors) = self.machines.kagero(&["status", "--server", &server]);
        assert_eq!(code, 0, "{errors}");
        shown
    }
}

/// The newest snapshot below a folder. One that is being written has another name.
fn newest(folder: &Path) -> Option<(PathBuf, Header)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).ok()?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|suffix| suffix == "kagero") {
                // It may just have been removed.
                let bytes = fs::read(&path).ok()?;
                found.extend(decode(&bytes.into()).ok().map(|(header, _)| (path, header)));
            }
        }
    }
    found.into_iter().max_by_key(|(_, header)| header.name())
}

fn config_map(cluster: &Cluster, name: &str) {
    let create = ["create", "configmap", name, "--from-literal=k=v"];
    cluster.machines.must("n1", &create);
}

/// Whether the ConfigMap is there that the manifests bring.
fn manifests_are_applied(cluster: &Cluster) {
    until("the manifests are applied", KEPT_WITHIN, || {
        let get = [
            "get",
            "-n",
            "mine",
            "configmap",
            "said",
            "-o=jsonpath={.data.by}",
        ];
        let output = cluster.machines.kubectl("n2", &get);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (said == "operator")
            .then_some(())
            .ok_or_else(|| format!("{output:?}"))
    });
}

/// Every process dies and starts again; the pods are the same ones. Gives them as they are now.
fn comes_back_with_its_pods(cluster: &mut Cluster, pods: &[Value]) -> Vec<Value> {
    let alive = processes(pods);
    assert!(alive.values().all(|pids| pids.len() == 1), "{alive:?}");
    cluster.lose_all(&[]);
    cluster.start_all();
    cluster.voters();
    let after = cluster.running();
    assert_eq!(processes(pods), alive, "the containers were left alone");
    for pod in pods {
        let uid = |pod: &Value| pod["metadata"]["uid"].clone();
        let same = after.iter().find(|other| uid(other) == uid(pod));
        let status = &same.expect("it is still the same pod")["status"];
        assert_eq!(
            status["containerStatuses"],
            pod["status"]["containerStatuses"]
        );
    }
    cluster.machines.must("n3", &["get", "configmap", "before"]);
    after
}

/// What is told of it, in the cluster and outside.
fn tells_of_the_restore(cluster: &Cluster) {
    let record = ["get", "-n", "kube-system", "configmap", "kagero-restore-1"];
    cluster.machines.must("n3", &record);
    let shown = cluster.status();
    for part in [
        "generation 1 ",
        "restored ",
        " from generation 0, ",
        " s old: file:///",
        "may be lost: every write",
    ] {
        assert!(shown.contains(part), "{part} is missing in:\n{shown}");
    }
    manifests_are_applied(cluster);
    cluster.kept();
    let metrics = NAMES.map(|name| {
        let api = cluster.machines.get(name).api.clone();
        ask(client(&api).text("/metrics")).unwrap()
    });
    let fresh = |text: &String| !text.contains("\nkagero_snapshot_fresh_timestamp_seconds 0\n");
    assert_eq!(
        metrics.iter().filter(|text| fresh(text)).count(),
        1,
        "the leader's"
    );
}

/// Once more, with the pods, and with the newest snapshot damaged.
fn passes_over_what_is_damaged(cluster: &mut Cluster, pods: &[Value]) {
    config_map(cluster, "again");
    let older = cluster.kept();
    config_map(cluster, "damaged");
    let newer = cluster.kept();
    assert_ne!(older, newer);
    cluster.lose_all(pods);
    let newer = newest(&cluster.archive.path().join("snapshots")).map_or(newer, |(path, _)| path);
    let mut bytes = fs::read(&newer).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&newer, bytes).unwrap();
    cluster.start_all();
    cluster.voters();
    cluster.running();
    let shown = cluster.status();
    let name = newer.file_name().unwrap().to_str().unwrap();
    for part in ["generation 2 ", "not usable: snapshots/", name] {
        assert!(shown.contains(part), "{part} is missing in:\n{shown}");
    }
    for name in ["before", "again"] {
        cluster.machines.must("n3", &["get", "configmap", name]);
    }
}

#[test]
fn all_are_killed_and_the_cluster_comes_back_with_its_pods() {
    let mut cluster = Cluster::start();
    cluster.voters();
    manifests_are_applied(&cluster);
    cluster
        .machines
        .must("n1", &["apply", "-f", "deploy/manifests/web.yaml"]);
    let pods = cluster.running();
    config_map(&cluster, "before");
    cluster.kept();
    let pods = comes_back_with_its_pods(&mut cluster, &pods);
    tells_of_the_restore(&cluster);
    passes_over_what_is_damaged(&mut cluster, &pods);
    cluster
        .machines
        .must("n1", &["delete", "deployment", "web"]);
}

#[test]
fn a_store_or_a_manifest_that_is_not_there_is_refused_at_the_start() {
    let machines = Machines::new(&[]);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bad.yaml"), "---\nkind: Pod\n").unwrap();
    let manifests = folder.path().to_str().unwrap();
    for (more, parts) in [
        (
            ["--snapshots", "file:///nowhere/k"],
            ["--snapshots", "no such folder: /nowhere/k"],
        ),
        (["--snapshots", "ftp://b/p"], ["--snapshots", "'ftp://b/p'"]),
        (
            ["--manifests", manifests],
            ["bad.yaml", "document 1: expected an object"],
        ),
    ] {
        let (code, _, errors) = machines.kagero(&[&["run", "--init"], &more[..]].concat());
        assert_eq!(code, 2, "{errors}");
        for part in parts {
            assert!(errors.contains(part), "{part} is missing in: {errors}");
        }
    }
}
