//! What Kubernetes fills in where a pod or a pod template says nothing.
//!
//! Deliberately without Kubernetes' default tolerations (not-ready, unreachable): when pods of a silent node are
//! replaced is not the pod's choice here.

use serde_json::{Value, json};

use super::json::{items, member, set_default};
use super::quantity::Quantity;

/// Files from ConfigMaps, Secrets and the downward API: 0644.
const FILE_MODE: i32 = 0o644;

/// `Pod.spec`: the template's defaults and those that admission gives to pods alone.
pub(super) fn spec(spec: &mut Value) {
    template(spec);
    set_default(spec, "enableServiceLinks", true);
    let old_name = spec["serviceAccount"]
        .as_str()
        .filter(|name| !name.is_empty());
    let account = old_name.unwrap_or("default").to_owned();
    set_default(spec, "serviceAccountName", account);
    // The deprecated twin follows, as clients of old read it.
    spec["serviceAccount"] = spec["serviceAccountName"].clone();
    for list in ["initContainers", "containers"] {
        for container in items(spec, list) {
            requests_from_limits(&mut container["resources"]);
        }
    }
}

/// `PodTemplateSpec.spec`.
pub(super) fn template(spec: &mut Value) {
    if spec.is_null() {
        *spec = json!({});
    }
    set_default(spec, "restartPolicy", "Always");
    set_default(spec, "dnsPolicy", "ClusterFirst");
    set_default(spec, "terminationGracePeriodSeconds", 30);
    set_default(spec, "schedulerName", "default-scheduler");
    member(spec, "securityContext");
    let host_network = spec["hostNetwork"] == true;
    for list in ["initContainers", "containers"] {
        for one in items(spec, list) {
            container(one, host_network);
        }
    }
    for one in items(spec, "volumes") {
        volume(one);
    }
}

fn container(container: &mut Value, host_network: bool) {
    let policy = pull_policy(container["image"].as_str().unwrap_or_default());
    set_default(container, "imagePullPolicy", policy);
    set_default(container, "terminationMessagePath", "/dev/termination-log");
    set_default(container, "terminationMessagePolicy", "File");
    member(container, "resources");
    for port in items(container, "ports") {
        set_default(port, "protocol", "TCP");
        if host_network && !port["containerPort"].is_null() {
            let number = port["containerPort"].clone();
            set_default(port, "hostPort", number);
        }
    }
    for variable in items(container, "env") {
        if let Some(field) = variable.pointer_mut("/valueFrom/fieldRef") {
            set_default(field, "apiVersion", "v1");
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(found) = container.get_mut(name) {
            probe(found);
        }
    }
    for hook in ["/lifecycle/postStart/httpGet", "/lifecycle/preStop/httpGet"] {
        if let Some(get) = container.pointer_mut(hook) {
            http_get(get);
        }
    }
}

fn probe(probe: &mut Value) {
    set_default(probe, "timeoutSeconds", 1);
    set_default(probe, "periodSeconds", 10);
    set_default(probe, "successThreshold", 1);
    set_default(probe, "failureThreshold", 3);
    if let Some(get) = probe.get_mut("httpGet") {
        http_get(get);
    }
    if let Some(grpc) = probe.get_mut("grpc") {
        set_default(grpc, "service", "");
    }
}

fn http_get(get: &mut Value) {
    set_default(get, "path", "/");
    set_default(get, "scheme", "HTTP");
}

fn volume(volume: &mut Value) {
    let sources = volume.as_object().map_or(0, serde_json::Map::len);
    if sources <= 1 {
        member(volume, "emptyDir");
    }
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(source) {
            set_default(source, "defaultMode", FILE_MODE);
        }
    }
    if let Some(path) = volume.get_mut("hostPath") {
        set_default(path, "type", "");
    }
    if let Some(downward) = volume.get_mut("downwardAPI") {
        field_versions(downward);
    }
    if let Some(projected) = volume.get_mut("projected") {
        for source in items(projected, "sources") {
            if let Some(downward) = source.get_mut("downwardAPI") {
                field_versions(downward);
            }
            if let Some(token) = source.get_mut("serviceAccountToken") {
                set_default(token, "expirationSeconds", 3_600);
            }
        }
    }
}

fn field_versions(downward: &mut Value) {
    for item in items(downward, "items") {
        if let Some(field) = item.get_mut("fieldRef") {
            set_default(field, "apiVersion", "v1");
        }
    }
}

/// What is limited and not requested is requested up to its limit.
fn requests_from_limits(resources: &mut Value) {
    let Some(limits) = resources["limits"].as_object().cloned() else {
        return;
    };
    for (name, limit) in limits {
        set_default(member(resources, "requests"), &name, limit);
    }
}

/// `Always` for a tag that moves, which is `latest`, said or meant.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image
        .split_once('@')
        .map_or((image, false), |(name, _)| (name, true));
    let last = name.rsplit('/').next().unwrap_or_default();
    match last.split_once(':') {
        Some((_, "latest")) => "Always",
        None if !digest => "Always",
        _ => "IfNotPresent",
    }
}

/// The pod's class of service: `Guaranteed` if every container's CPU and memory are limited to what it requests,
/// `BestEffort` if none says anything of them, else `Burstable`.
pub(super) fn quality_of_service(spec: &Value) -> &'static str {
    let (mut said, mut guaranteed) = (false, true);
    let lists = ["initContainers", "containers"].map(|list| spec[list].as_array());
    for container in lists.into_iter().flatten().flatten() {
        for name in ["cpu", "memory"] {
            let amount = |of: &str| {
                let text = container["resources"][of][name].as_str()?;
                Quantity::parse(text)
                    .ok()
                    .filter(|q| *q != Quantity::default())
            };
            let (request, limit) = (amount("requests"), amount("limits"));
            said |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (said, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_pulled_by_their_tag() {
        let cases = [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.27", "IfNotPresent"),
            ("host:5000/nginx", "Always"),
            ("host:5000/nginx:1", "IfNotPresent"),
            ("nginx@sha256:0123", "IfNotPresent"),
            ("nginx:latest@sha256:0123", "Always"),
        ];
        for (image, policy) in cases {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }

    #[test]
    fn a_pod_gets_kubernetes_defaults() {
        let mut pod = json!({
            "containers": [{
                "name": "c", "image": "i:1",
                "ports": [{"containerPort": 80}],
                "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "livenessProbe": {"httpGet": {"port": 80}},
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}},
            }],
            "volumes": [{"name": "a"}, {"name": "b", "configMap": {"name": "m"}}, {"name": "c", "hostPath": {"path": "/"}}],
        });
        spec(&mut pod);
        let expected = json!({
            "containers": [{
                "name": "c", "image": "i:1", "imagePullPolicy": "IfNotPresent",
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "env": [{"name": "N", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}],
                "livenessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                    "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}},
            }],
            "volumes": [
                {"name": "a", "emptyDir": {}},
                {"name": "b", "configMap": {"name": "m", "defaultMode": 420}},
                {"name": "c", "hostPath": {"path": "/", "type": ""}},
            ],
            "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30,
            "schedulerName": "default-scheduler", "securityContext": {}, "enableServiceLinks": true,
            "serviceAccountName": "default", "serviceAccount": "default",
        });
        assert_eq!(pod, expected);
        let mut again = pod.clone();
        spec(&mut again);
        assert_eq!(again, pod, "defaulting twice changes nothing");
    }

    #[test]
    fn on_the_host_s_network_ports_are_the_host_s() {
        let mut pod =
            json!({"hostNetwork": true, "containers": [{"ports": [{"containerPort": 80}]}]});
        template(&mut pod);
        assert_eq!(pod["containers"][0]["ports"][0]["hostPort"], 80);
    }

    #[test]
    fn service_is_classed_by_what_is_promised() {
        let pod = |resources: Value| json!({"containers": [{"resources": resources}]});
        let both = json!({"cpu": "1", "memory": "1Gi"});
        let same = json!({"cpu": "1000m", "memory": "1024Mi"});
        let cases = [
            (json!({}), "BestEffort"),
            (json!({"requests": {"cpu": "0"}}), "BestEffort"),
            (json!({"requests": {"cpu": "1"}}), "Burstable"),
            (json!({"limits": both, "requests": same}), "Guaranteed"),
            (
                json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}),
                "Burstable",
            ),
        ];
        for (resources, class) in cases {
            assert_eq!(
                quality_of_service(&pod(resources.clone())),
                class,
                "{resources}"
            );
        }
    }
}
