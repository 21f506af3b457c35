//! What the leader's cache costs: its actors read one copy of ten thousand decoded pods, not one each.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]
#![cfg(target_os = "linux")]

use bytes::Bytes;
use kagero::resource::Cache;
use kagero::store::{Command, Event, Operation, ProposalId, Store, Transaction};
use procfs::WithCurrentSystemInfo;
use procfs::process::Process;
use serde_json::json;

const PODS: u64 = 10_000;

fn resident_bytes() -> u64 {
    Process::myself().unwrap().stat().unwrap().rss_bytes().get()
}

/// A pod as one of a Deployment's looks once it runs.
fn pod(at: u64) -> Operation {
    let (name, owner, node) = (
        format!("web-{:05}-{at:05}", at / 100),
        format!("web-{:05}", at / 100),
        at % 100,
    );
    let object = json!({
        "metadata": {
            "name": name, "namespace": "default", "uid": format!("00000000-0000-4000-8000-{at:012}"),
            "creationTimestamp": "2026-01-01T00:00:00Z", "generateName": format!("{owner}-"),
            "labels": { "app": "web", "pod-template-hash": "6d4cf56db6", "tier": "front" },
            "annotations": { "example.com/checked-by": "nobody in particular" },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "controller": true,
                "uid": format!("00000000-0000-4000-9000-{:012}", at / 100), "blockOwnerDeletion": true }],
        },
        "apiVersion": "v1", "kind": "Pod",
        "spec": {
            "containers": [{
                "name": "web", "image": "registry.example.com/team/web:1.2.3", "imagePullPolicy": "IfNotPresent",
                "ports": [{ "containerPort": 8080, "protocol": "TCP", "name": "http" }],
                "env": [{ "name": "MODE", "value": "production" }, { "name": "LEVEL", "value": "info" }],
                "resources": { "requests": { "cpu": "100m", "memory": "64Mi" }, "limits": { "memory": "128Mi" } },
                "readinessProbe": { "httpGet": { "path": "/ready", "port": 8080, "scheme": "HTTP" }, "periodSeconds": 10,
                    "timeoutSeconds": 1, "failureThreshold": 3, "successThreshold": 1 },
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            }],
            "nodeName": format!("node-{node:03}"), "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler", "serviceAccountName": "default", "enableServiceLinks": true,
            "terminationGracePeriodSeconds": 30, "securityContext": {}, "priority": 0,
            "tolerations": [
                { "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 },
                { "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 },
            ],
        },
        "status": {
            "phase": "Running", "hostIP": "10.0.0.1", "podIP": "10.1.0.1", "podIPs": [{ "ip": "10.1.0.1" }],
            "startTime": "2026-01-01T00:00:01Z", "qosClass": "Burstable",
            "conditions": [
                { "type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" },
                { "type": "Initialized", "status": "True", "lastTransitionTime": "2026-01-01T00:00:01Z" },
                { "type": "ContainersReady", "status": "True", "lastTransitionTime": "2026-01-01T00:00:02Z" },
                { "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:02Z" },
            ],
            "containerStatuses": [{
                "name": "web", "image": "registry.example.com/team/web:1.2.3", "ready": true, "started": true, "restartCount": 0,
                "imageID": "sha256:0000000000000000000000000000000000000000000000000000000000000000",
                "containerID": format!("docker://{at:064x}"), "state": { "running": { "startedAt": "2026-01-01T00:00:02Z" } },
            }],
        },
    });
    Operation::Put {
        key: format!("pods/default/{name}"),
        value: Bytes::from(object.to_string()),
    }
}

fn command(sequence: u64, operation: Operation) -> Command {
    let transaction = Transaction {
        compare: Vec::new(),
        operations: vec![operation],
    };
    Command {
        id: ProposalId {
            origin: 1,
            sequence,
        },
        time_ms: 0,
        transaction,
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Puts every pod once more; returns the events.
fn put_all(store: &mut Store) -> Vec<Event> {
    let from = store.revision() + 1;
    let commands = (0..PODS).map(|at| command(from + at, pod(at)));
    let events = commands.flat_map(|command| store.apply(&command).events);
    events.collect()
}

/// Changes taken in at once; the readers go on with the state before them meanwhile.
const BATCH: usize = 100;

#[test]
fn readers_share_one_copy_while_every_object_changes() {
    let mut store = Store::new();
    put_all(&mut store);
    let view = store.view();
    // Made beforehand, so that nothing but the cache grows below.
    let changes = put_all(&mut store);

    let before = resident_bytes();
    let mut cache = Cache::fill(&view).0;
    let filled = resident_bytes() - before;
    let mut readers = [cache.clone(), cache.clone(), cache.clone()];
    for batch in changes.chunks(BATCH) {
        cache.apply(batch);
        readers.fill(cache.clone());
    }
    let shared = resident_bytes() - before;
    println!(
        "{PODS} pods, {} of JSON: {} decoded; after {} changes, with {} readers: {}",
        mib(view.value_bytes()),
        mib(filled),
        changes.len(),
        readers.len(),
        mib(shared),
    );
    assert!(shared < filled + filled / 4, "{filled} → {shared} bytes");
}
