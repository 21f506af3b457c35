//! The rules of a pod's spec, whether in a Pod or in a template. Containers have a file of their own.
//!
//! Deliberately not yet checked: affinity terms and security contexts; nothing reads them so far.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::names;
use super::validate::{Causes, complain, labels, non_negative};
use super::validate_container::{self, Volumes};
use super::validate_node::EFFECTS;

/// Longest `activeDeadlineSeconds`, as in Kubernetes.
const DEADLINE_SECONDS_MAX: i64 = i32::MAX as i64;

/// `PodSpec` at `path`.
pub(super) fn spec(spec: &Value, path: &str, causes: &mut Causes) {
    let volumes = volumes(spec, path, causes);
    containers(spec, path, &volumes, causes);
    one_of(
        spec,
        path,
        "restartPolicy",
        &["Always", "OnFailure", "Never"],
        causes,
    );
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    one_of(spec, path, "dnsPolicy", &policies, causes);
    non_negative(spec, path, "terminationGracePeriodSeconds", causes);
    let deadline = &spec["activeDeadlineSeconds"];
    if deadline
        .as_i64()
        .is_some_and(|seconds| !(1..=DEADLINE_SECONDS_MAX).contains(&seconds))
    {
        let detail = format!("must be between 1 and {DEADLINE_SECONDS_MAX}, inclusive");
        causes.invalid(format!("{path}.activeDeadlineSeconds"), deadline, &detail);
    }
    for (field, rule) in NAMES {
        let text = spec[field].as_str().unwrap_or_default();
        if !text.is_empty() {
            complain(causes, format!("{path}.{field}"), text, rule);
        }
    }
    labels(
        &spec["nodeSelector"],
        &format!("{path}.nodeSelector"),
        causes,
    );
    tolerations(spec, path, causes);
    spread(spec, path, causes);
}

const NAMES: [(&str, names::Rule); 6] = [
    ("nodeName", names::dns_subdomain),
    ("serviceAccountName", names::dns_subdomain),
    ("hostname", names::dns_label),
    ("subdomain", names::dns_label),
    ("priorityClassName", names::dns_subdomain),
    ("schedulerName", names::dns_subdomain),
];

/// A list's items with their paths.
pub(super) fn each<'a>(object: &'a Value, path: &str, field: &str) -> Vec<(String, &'a Value)> {
    let items = object[field].as_array().into_iter().flatten().enumerate();
    items
        .map(|(index, item)| (format!("{path}.{field}[{index}]"), item))
        .collect()
}

/// A member must be one of these, if it is there.
pub(super) fn one_of(
    object: &Value,
    path: &str,
    field: &str,
    allowed: &[&str],
    causes: &mut Causes,
) {
    let value = &object[field];
    if !value.is_null() && !allowed.iter().any(|one| value == one) {
        causes.not_supported(format!("{path}.{field}"), value, allowed);
    }
}

/// A name that must be there, be a DNS label and differ from those seen before.
fn unique_label(item: &Value, path: &str, seen: &mut BTreeSet<String>, causes: &mut Causes) {
    let name = item["name"].as_str().unwrap_or_default();
    let path = format!("{path}.name");
    if name.is_empty() {
        return causes.required(path, "");
    }
    complain(causes, path.clone(), name, names::dns_label);
    if !seen.insert(name.to_owned()) {
        causes.duplicate(path, &json!(name));
    }
}

fn containers(spec: &Value, path: &str, volumes: &Volumes, causes: &mut Causes) {
    if spec["containers"].as_array().is_none_or(Vec::is_empty) {
        causes.required(format!("{path}.containers"), "");
    }
    let mut seen = BTreeSet::new();
    let mut host_ports = BTreeSet::new();
    for (path, container) in each(spec, path, "containers") {
        unique_label(container, &path, &mut seen, causes);
        validate_container::container(container, &path, volumes, causes);
        if !container["restartPolicy"].is_null() {
            let detail = "may not be set for non-init containers";
            causes.forbidden(format!("{path}.restartPolicy"), detail);
        }
        validate_container::host_ports(container, &path, &mut host_ports, causes);
    }
    for (path, container) in each(spec, path, "initContainers") {
        unique_label(container, &path, &mut seen, causes);
        validate_container::container(container, &path, volumes, causes);
        one_of(container, &path, "restartPolicy", &["Always"], causes);
    }
    if spec["hostNetwork"] == true {
        for (path, container) in each(spec, path, "containers") {
            validate_container::ports_are_the_hosts(container, &path, causes);
        }
    }
}

fn volumes(spec: &Value, path: &str, causes: &mut Causes) -> Volumes {
    let mut seen = BTreeSet::new();
    for (path, volume) in each(spec, path, "volumes") {
        unique_label(volume, &path, &mut seen, causes);
        let sources = volume.as_object().into_iter().flatten();
        let sources: Vec<_> = sources.filter(|(key, _)| *key != "name").collect();
        match sources.as_slice() {
            [] => causes.required(path, "must specify a volume type"),
            [(kind, source)] => volume_source(kind, source, &format!("{path}.{kind}"), causes),
            [_, rest @ ..] => {
                for (kind, _) in rest {
                    let detail = "may not specify more than 1 volume type";
                    causes.forbidden(format!("{path}.{kind}"), detail);
                }
            }
        }
    }
    seen
}

fn volume_source(kind: &str, source: &Value, path: &str, causes: &mut Causes) {
    let field = match kind {
        "configMap" => "name",
        "secret" => "secretName",
        "hostPath" => "path",
        "persistentVolumeClaim" => "claimName",
        _ => return,
    };
    if source[field].as_str().is_none_or(str::is_empty) {
        causes.required(format!("{path}.{field}"), "");
    }
    if kind == "hostPath"
        && source["path"]
            .as_str()
            .is_some_and(|path| path.split('/').any(|part| part == ".."))
    {
        causes.invalid(
            format!("{path}.path"),
            &source["path"],
            "must not contain '..'",
        );
    }
    for (path, item) in each(source, path, "items") {
        for field in ["key", "path"] {
            if item[field].as_str().is_none_or(str::is_empty) {
                causes.required(format!("{path}.{field}"), "");
            }
        }
        let target = item["path"].as_str().unwrap_or_default();
        if target.starts_with('/') {
            causes.invalid(
                format!("{path}.path"),
                &item["path"],
                "must be a relative path",
            );
        } else if target.split('/').any(|part| part == "..") {
            causes.invalid(
                format!("{path}.path"),
                &item["path"],
                "must not contain '..'",
            );
        }
    }
}

fn tolerations(spec: &Value, path: &str, causes: &mut Causes) {
    for (path, toleration) in each(spec, path, "tolerations") {
        let key = toleration["key"].as_str().unwrap_or_default();
        let operator = toleration["operator"].as_str().unwrap_or_default();
        if !key.is_empty() {
            complain(causes, format!("{path}.key"), key, names::qualified);
        } else if operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            causes.invalid(format!("{path}.operator"), &json!(operator), detail);
        }
        match operator {
            "" | "Equal" => {
                let value = toleration["value"].as_str().unwrap_or_default();
                complain(
                    causes,
                    format!("{path}.operator"),
                    value,
                    names::label_value,
                );
            }
            "Exists" => {
                if toleration["value"]
                    .as_str()
                    .is_some_and(|value| !value.is_empty())
                {
                    let detail = "value must be empty when `operator` is 'Exists'";
                    causes.invalid(format!("{path}.operator"), &toleration["value"], detail);
                }
            }
            other => causes.not_supported(
                format!("{path}.operator"),
                &json!(other),
                &["Equal", "Exists"],
            ),
        }
        if toleration["effect"] != "" {
            one_of(toleration, &path, "effect", &EFFECTS, causes);
        }
        if !toleration["tolerationSeconds"].is_null() && toleration["effect"] != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            causes.invalid(format!("{path}.effect"), &toleration["effect"], detail);
        }
    }
}

fn spread(spec: &Value, path: &str, causes: &mut Causes) {
    for (path, constraint) in each(spec, path, "topologySpreadConstraints") {
        if constraint["maxSkew"].as_i64().unwrap_or(0) <= 0 {
            let value = constraint["maxSkew"].as_i64().unwrap_or(0);
            causes.invalid(
                format!("{path}.maxSkew"),
                &json!(value),
                "must be greater than zero",
            );
        }
        if constraint["topologyKey"].as_str().is_none_or(str::is_empty) {
            causes.required(format!("{path}.topologyKey"), "can not be empty");
        }
        let allowed = ["DoNotSchedule", "ScheduleAnyway"];
        if !allowed
            .iter()
            .any(|one| constraint["whenUnsatisfiable"] == *one)
        {
            let value = &constraint["whenUnsatisfiable"];
            causes.not_supported(format!("{path}.whenUnsatisfiable"), value, &allowed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::default_pod;

    /// The causes of a pod that is right but for one member.
    fn causes(member: &str, value: Value) -> String {
        let mut object = json!({"containers": [{"name": "c", "image": "i"}]});
        object[member] = value;
        default_pod::spec(&mut object);
        let mut causes = Causes::default();
        spec(&object, "spec", &mut causes);
        causes.to_string()
    }

    fn check(table: &[(&str, Value, &str)]) {
        for (member, value, expected) in table {
            assert_eq!(
                causes(member, value.clone()),
                *expected,
                "{member}: {value}"
            );
        }
    }

    #[test]
    fn lists_of_containers() {
        check(&[
            ("containers", json!([]), "spec.containers: Required value"),
            (
                "containers",
                json!([{"image": "i"}]),
                "spec.containers[0].name: Required value",
            ),
            (
                "containers",
                json!([{"name": "c", "image": "i"}, {"name": "c", "image": "j"}]),
                "spec.containers[1].name: Duplicate value: \"c\"",
            ),
            (
                "containers",
                json!([{"name": "c", "image": "i", "restartPolicy": "Always"}]),
                "spec.containers[0].restartPolicy: Forbidden: may not be set for non-init containers",
            ),
            (
                "containers",
                json!([
                {"name": "c", "image": "i", "ports": [{"hostPort": 80, "containerPort": 80}]}, {"name": "d", "image": "i", "ports": [{"hostPort": 80, "containerPort": 81}]}]),
                "spec.containers[1].ports[0].hostPort: Duplicate value: \"TCP//80\"",
            ),
            (
                "initContainers",
                json!([{"name": "c", "image": "i"}]),
                "spec.initContainers[0].name: Duplicate value: \"c\"",
            ),
        ]);
    }

    #[test]
    fn volumes_have_one_source() {
        check(&[
            (
                "volumes",
                json!([{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]),
                "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
            ),
            (
                "volumes",
                json!([{"name": "v", "secret": {}}]),
                "spec.volumes[0].secret.secretName: Required value",
            ),
            (
                "volumes",
                json!([{"name": "v", "configMap": {"name": "m", "items": [{"key": "k", "path": "../x"}]}}]),
                "spec.volumes[0].configMap.items[0].path: Invalid value: \"../x\": must not contain '..'",
            ),
            (
                "volumes",
                json!([{"name": "v"}, {"name": "v"}]),
                "spec.volumes[1].name: Duplicate value: \"v\"",
            ),
        ]);
    }

    #[test]
    fn the_rest_of_the_spec() {
        check(&[
            (
                "restartPolicy",
                json!("Sometimes"),
                "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
            ),
            (
                "terminationGracePeriodSeconds",
                json!(-1),
                "spec.terminationGracePeriodSeconds: Invalid value: -1: must be greater than or equal to 0",
            ),
            (
                "activeDeadlineSeconds",
                json!(0),
                "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
            ),
            (
                "tolerations",
                json!([{"key": "k", "operator": "Exists", "value": "v"}]),
                "spec.tolerations[0].operator: Invalid value: \"v\": value must be empty when `operator` is 'Exists'",
            ),
            (
                "tolerations",
                json!([{"operator": "Exists", "effect": "Odd"}]),
                "spec.tolerations[0].effect: Unsupported value: \"Odd\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
            ),
            (
                "topologySpreadConstraints",
                json!([{"maxSkew": 0, "topologyKey": "k", "whenUnsatisfiable": "DoNotSchedule"}]),
                "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
            ),
            ("nodeSelector", json!({"disk": "ssd"}), ""),
            (
                "tolerations",
                json!([{"operator": "Exists"}, {"key": "a", "value": "b", "effect": "NoSchedule"}]),
                "",
            ),
        ]);
        assert!(
            causes("nodeName", json!("N 1")).starts_with("spec.nodeName: Invalid value: \"N 1\"")
        );
        assert!(
            causes("nodeSelector", json!({"a b": ""}))
                .starts_with("spec.nodeSelector: Invalid value")
        );
    }
}
