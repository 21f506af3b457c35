//! Rendering against small pods written as JSON.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::*;
use crate::agent::{CPU_PERIOD_US, MountSource, PodRef, VolumeContent};

fn assignment(spec: Value) -> Assignment {
    let pod = json!({
        "metadata": {"name": "web-1", "namespace": "shop", "uid": "u1",
                     "labels": {"app": "web"}, "annotations": {"a/b": "c"}},
        "spec": spec,
    });
    let map = json!({"metadata": {"name": "cfg"}, "data": {"mode": "fast", "a.conf": "x=1"},
                     "binaryData": {"blob": "AAE="}});
    let secret = json!({"metadata": {"name": "sec"}, "data": {"password": "aHVudGVyMg=="}});
    Assignment {
        pod: serde_json::from_value(pod).unwrap(),
        config_maps: [("cfg".to_owned(), serde_json::from_value(map).unwrap())].into(),
        secrets: [("sec".to_owned(), serde_json::from_value(secret).unwrap())].into(),
        fresh: false,
    }
}

fn node() -> NodeInfo {
    NodeInfo {
        name: "n1".to_owned(),
        addresses: vec!["10.0.0.1".parse().unwrap()],
        cpu_millis: 2_000,
        memory_bytes: 1 << 30,
        pods_max: 110,
        runtime: "fake",
    }
}

fn pod_ref() -> PodRef {
    PodRef {
        namespace: "shop".to_owned(),
        name: "web-1".to_owned(),
        uid: "u1".to_owned(),
        unique: false,
    }
}

fn render(spec: Value) -> Result<crate::agent::ContainerSpec, ConfigError> {
    let assignment = assignment(spec);
    let node = node();
    let ips: [IpAddr; 1] = ["172.17.0.2".parse().unwrap()];
    let context = Context {
        assignment: &assignment,
        node: &node,
        ips: &ips,
    };
    let first = main_containers(&assignment).next().unwrap();
    container(&context, &pod_ref(), "s1", first, 3)
}

fn env_of(env: Value) -> Result<Vec<(String, String)>, ConfigError> {
    render(json!({"containers": [{"name": "c", "image": "i", "env": env}]})).map(|spec| spec.env)
}

#[test]
fn environment_from_everywhere() {
    let spec = render(json!({"containers": [{
        "name": "c", "image": "i",
        "command": ["run", "$(mode)"], "args": ["--ip=$(IP)", "$$(mode)", "$(NO)"],
        "envFrom": [{"configMapRef": {"name": "cfg"}}, {"prefix": "S_", "secretRef": {"name": "sec"}},
                    {"configMapRef": {"name": "none", "optional": true}}],
        "env": [
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
            {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "URL", "value": "http://$(IP)/$(mode)"},
            {"name": "GONE", "valueFrom": {"configMapKeyRef": {"name": "cfg", "key": "no", "optional": true}}},
            {"name": "mode", "value": "slow"},
        ],
        "resources": {"limits": {"memory": "64Mi"}},
    }]}))
    .unwrap();
    let env: Vec<String> = spec.env.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(
        env,
        [
            "a.conf=x=1",
            "mode=slow",
            "S_password=hunter2",
            "IP=172.17.0.2",
            "LABEL=web",
            "CPU=2000",
            "MEM=64",
            "URL=http://172.17.0.2/fast",
        ]
    );
    assert_eq!(spec.command, ["run", "slow"]);
    assert_eq!(spec.args, ["--ip=172.17.0.2", "$(mode)", "$(NO)"]);
}

#[test]
fn missing_references_have_the_kubelets_words() {
    let error = |env| env_of(env).unwrap_err().to_string();
    assert_eq!(
        error(json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "k"}}}])),
        "configmap \"no\" not found"
    );
    assert_eq!(
        error(json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "k"}}}])),
        "couldn't find key k in Secret shop/sec"
    );
    assert_eq!(
        error(json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.containers"}}}])),
        "field path \"spec.containers\" is not supported"
    );
}

#[test]
fn volumes_render_to_files() {
    let assignment = assignment(json!({"containers": [], "volumes": [
        {"name": "all", "configMap": {"name": "cfg"}},
        {"name": "one", "secret": {"secretName": "sec", "defaultMode": 256,
                                   "items": [{"key": "password", "path": "db/pw"}]}},
        {"name": "down", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"name": "mix", "projected": {"sources": [
            {"configMap": {"name": "cfg", "items": [{"key": "mode", "path": "m", "mode": 384}]}},
            {"secret": {"name": "none", "optional": true}}]}},
        {"name": "scratch", "emptyDir": {"medium": "Memory"}},
        {"name": "host", "hostPath": {"path": "/srv"}},
    ]}));
    let node = node();
    let context = Context {
        assignment: &assignment,
        node: &node,
        ips: &[],
    };
    let mut seen = Vec::new();
    for volume in volumes(&context).unwrap() {
        match volume.content {
            VolumeContent::Empty { memory } => seen.push(format!("{} {memory}", volume.name)),
            VolumeContent::Files(files) => seen.extend(
                files
                    .iter()
                    .map(|f| format!("{} {} {:o} {:?}", volume.name, f.path, f.mode, f.content)),
            ),
        }
    }
    assert_eq!(
        seen,
        [
            "all a.conf 644 b\"x=1\"",
            "all mode 644 b\"fast\"",
            "all blob 644 b\"\\0\\x01\"",
            "one db/pw 400 b\"hunter2\"",
            "down labels 644 b\"app=\\\"web\\\"\"",
            "mix m 600 b\"fast\"",
            "scratch true",
        ]
    );
}

#[test]
fn a_path_stays_in_its_volume() {
    let assignment = assignment(json!({"containers": [], "volumes": [
        {"name": "v", "configMap": {"name": "cfg", "items": [{"key": "mode", "path": "../x"}]}}]}));
    let node = node();
    let context = Context {
        assignment: &assignment,
        node: &node,
        ips: &[],
    };
    assert_eq!(volumes(&context), Err(ConfigError::Path("../x".to_owned())));
}

#[test]
fn resources_become_cgroup_limits() {
    let limits = |resources: Value| {
        render(json!({"containers": [{"name": "c", "image": "i", "resources": resources}]}))
            .unwrap()
            .limits
    };
    let both =
        limits(json!({"requests": {"cpu": "250m"}, "limits": {"cpu": "1500m", "memory": "64Mi"}}));
    assert_eq!(both.cpu_shares, 256);
    assert_eq!(both.cpu_quota_us, Some(CPU_PERIOD_US * 3 / 2));
    assert_eq!(both.memory_bytes, Some(64 << 20));
    assert_eq!(limits(json!({})).cpu_shares, 2);
    assert_eq!(
        limits(json!({"limits": {"cpu": "1m"}})).cpu_quota_us,
        Some(1_000)
    );
}

#[test]
fn mounts_are_read_only_when_rendered() {
    let spec = render(json!({
        "containers": [{"name": "c", "image": "i", "env": [{"name": "N", "value": "x"}], "volumeMounts": [
            {"name": "cfg", "mountPath": "/etc/cfg"},
            {"name": "tmp", "mountPath": "/tmp", "subPathExpr": "$(N)/y"},
            {"name": "host", "mountPath": "/h", "readOnly": true}]}],
        "volumes": [{"name": "cfg", "configMap": {"name": "cfg"}}, {"name": "tmp", "emptyDir": {}},
                    {"name": "host", "hostPath": {"path": "/srv", "type": "Directory"}}],
    }))
    .unwrap();
    assert!(spec.mounts[0].read_only);
    assert_eq!(spec.mounts[1].sub_path, "x/y");
    assert!(!spec.mounts[1].read_only);
    let path = "/srv".to_owned();
    assert_eq!(
        spec.mounts[2].source,
        MountSource::HostPath {
            path,
            create: false
        }
    );
}

#[test]
fn sandbox_publishes_host_ports() {
    let assignment = assignment(json!({"hostname": "h", "terminationGracePeriodSeconds": 5,
        "containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 8080, "hostIP": "::1"},
                                               {"containerPort": 81}]}]}));
    let node = node();
    let context = Context {
        assignment: &assignment,
        node: &node,
        ips: &[],
    };
    let spec = sandbox(&context, &pod_ref(), 0);
    assert_eq!(spec.hostname, "h");
    assert_eq!(spec.grace_seconds, 5);
    assert_eq!(spec.ports.len(), 1);
    assert_eq!(
        (spec.ports[0].container_port, spec.ports[0].host_port),
        (80, 8080)
    );
    assert_eq!(spec.ports[0].host_ip, Some("::1".parse().unwrap()));
}

#[test]
fn hash_follows_the_definition_alone() {
    let of = |image: &str| {
        render(json!({"containers": [{"name": "c", "image": image}]}))
            .unwrap()
            .spec_hash
    };
    assert_eq!(of("a"), of("a"));
    assert_ne!(of("a"), of("b"));
}
