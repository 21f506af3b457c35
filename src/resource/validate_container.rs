//! The rules of one container: image, ports, environment, mounts, resources, probes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::names;
use super::quantity::Quantity;
use super::validate::{Causes, complain, non_negative};
use super::validate_pod::{each, one_of};

/// The names of a pod's volumes.
pub(super) type Volumes = BTreeSet<String>;

/// Fields that the downward API serves as variables.
const FIELD_PATHS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// `Container` at `path`, except for its name, which is the list's concern.
pub(super) fn container(container: &Value, path: &str, volumes: &Volumes, causes: &mut Causes) {
    let image = container["image"].as_str().unwrap_or_default();
    if image.is_empty() {
        causes.required(format!("{path}.image"), "");
    } else if image.trim() != image {
        let detail = "must not have leading or trailing whitespace";
        causes.invalid(format!("{path}.image"), &json!(image), detail);
    }
    one_of(
        container,
        path,
        "imagePullPolicy",
        &["Always", "IfNotPresent", "Never"],
        causes,
    );
    let policies = ["File", "FallbackToLogsOnError"];
    one_of(
        container,
        path,
        "terminationMessagePolicy",
        &policies,
        causes,
    );
    ports(container, path, causes);
    environment(container, path, causes);
    mounts(container, path, volumes, causes);
    resources(
        &container["resources"],
        &format!("{path}.resources"),
        causes,
    );
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        probe(container, name, path, causes);
    }
}

fn ports(container: &Value, path: &str, causes: &mut Causes) {
    let mut seen = BTreeSet::new();
    for (path, port) in each(container, path, "ports") {
        let name = port["name"].as_str().unwrap_or_default();
        if !name.is_empty() {
            complain(causes, format!("{path}.name"), name, names::port_name);
            if !seen.insert(name) {
                causes.duplicate(format!("{path}.name"), &json!(name));
            }
        }
        if port["containerPort"].is_null() {
            causes.required(format!("{path}.containerPort"), "");
        }
        for field in ["containerPort", "hostPort"] {
            let unset = field == "hostPort" && port[field] == 0;
            if !unset {
                port_number(&port[field], &format!("{path}.{field}"), causes);
            }
        }
        one_of(port, &path, "protocol", &["TCP", "UDP", "SCTP"], causes);
    }
}

fn port_number(value: &Value, path: &str, causes: &mut Causes) {
    if value
        .as_i64()
        .is_some_and(|port| !(1..=65_535).contains(&port))
    {
        causes.invalid(path, value, "must be between 1 and 65535, inclusive");
    }
}

/// No two ports of a pod may be the same of the host.
pub(super) fn host_ports(
    container: &Value,
    path: &str,
    seen: &mut BTreeSet<String>,
    causes: &mut Causes,
) {
    for (path, port) in each(container, path, "ports") {
        let number = port["hostPort"].as_i64().unwrap_or(0);
        let text = |field: &str| port[field].as_str().unwrap_or_default();
        let key = format!("{}/{}/{number}", text("protocol"), text("hostIP"));
        if number != 0 && !seen.insert(key.clone()) {
            causes.duplicate(format!("{path}.hostPort"), &json!(key));
        }
    }
}

/// On the host's network a container's port is the host's.
pub(super) fn ports_are_the_hosts(container: &Value, path: &str, causes: &mut Causes) {
    for (path, port) in each(container, path, "ports") {
        if port["hostPort"] != port["containerPort"] {
            let detail = "must match `hostPort` when `hostNetwork` is true";
            causes.invalid(
                format!("{path}.containerPort"),
                &port["containerPort"],
                detail,
            );
        }
    }
}

fn environment(container: &Value, path: &str, causes: &mut Causes) {
    for (path, variable) in each(container, path, "env") {
        let name = variable["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            causes.required(format!("{path}.name"), "");
        } else {
            complain(causes, format!("{path}.name"), name, names::env_name);
        }
        if let Some(source) = variable["valueFrom"].as_object() {
            let path = format!("{path}.valueFrom");
            if variable["value"]
                .as_str()
                .is_some_and(|value| !value.is_empty())
            {
                causes.invalid(
                    path.clone(),
                    &json!(""),
                    "may not be specified when `value` is not empty",
                );
            }
            value_from(source, &path, causes);
        }
    }
    for (path, source) in each(container, path, "envFrom") {
        let prefix = source["prefix"].as_str().unwrap_or_default();
        if !prefix.is_empty() {
            complain(causes, format!("{path}.prefix"), prefix, names::env_name);
        }
        let kinds = ["configMapRef", "secretRef"].map(|kind| (kind, &source[kind]));
        let given: Vec<_> = kinds
            .iter()
            .filter(|(_, source)| !source.is_null())
            .collect();
        match given.as_slice() {
            [(kind, reference)] => named(reference, &format!("{path}.{kind}"), "name", causes),
            [] => causes.invalid(
                path,
                &json!(""),
                "must specify one of: `configMapRef` or `secretRef`",
            ),
            _ => causes.invalid(
                path,
                &json!(""),
                "may not have more than one field specified at a time",
            ),
        }
    }
}

fn value_from(source: &serde_json::Map<String, Value>, path: &str, causes: &mut Causes) {
    let mut given = source.iter();
    let (Some((kind, reference)), None) = (given.next(), given.next()) else {
        let detail = if source.is_empty() {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        } else {
            "may not have more than one field specified at a time"
        };
        return causes.invalid(path, &json!(""), detail);
    };
    let path = format!("{path}.{kind}");
    match kind.as_str() {
        "configMapKeyRef" | "secretKeyRef" => {
            named(reference, &path, "name", causes);
            named(reference, &path, "key", causes);
        }
        "fieldRef" => {
            let field = reference["fieldPath"].as_str().unwrap_or_default();
            let keyed = ["metadata.labels['", "metadata.annotations['"];
            let keyed = keyed
                .iter()
                .any(|start| field.starts_with(start) && field.ends_with("']"));
            if field.is_empty() {
                causes.required(format!("{path}.fieldPath"), "");
            } else if !keyed && !FIELD_PATHS.contains(&field) {
                causes.not_supported(format!("{path}.fieldPath"), &json!(field), &FIELD_PATHS);
            }
        }
        "resourceFieldRef" => named(reference, &path, "resource", causes),
        _ => {}
    }
}

/// A member that must not be empty.
fn named(object: &Value, path: &str, field: &str, causes: &mut Causes) {
    if object[field].as_str().is_none_or(str::is_empty) {
        causes.required(format!("{path}.{field}"), "");
    }
}

fn mounts(container: &Value, path: &str, volumes: &Volumes, causes: &mut Causes) {
    let mut seen = BTreeSet::new();
    for (path, mount) in each(container, path, "volumeMounts") {
        let name = mount["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            causes.required(format!("{path}.name"), "");
        } else if !volumes.contains(name) {
            causes.not_found(format!("{path}.name"), &json!(name));
        }
        let target = mount["mountPath"].as_str().unwrap_or_default();
        if target.is_empty() {
            causes.required(format!("{path}.mountPath"), "");
        } else if !seen.insert(target) {
            let detail = "must be unique";
            causes.invalid(format!("{path}.mountPath"), &json!(target), detail);
        }
        let sub = mount["subPath"].as_str().unwrap_or_default();
        if sub.starts_with('/') || sub.split('/').any(|part| part == "..") {
            let detail = "must be a relative path without '..'";
            causes.invalid(format!("{path}.subPath"), &json!(sub), detail);
        }
    }
}

fn resources(resources: &Value, path: &str, causes: &mut Causes) {
    for field in ["limits", "requests"] {
        for (name, text) in resources[field].as_object().into_iter().flatten() {
            let path = format!("{path}.{field}[{name}]");
            match Quantity::parse(text.as_str().unwrap_or_default()) {
                Err(error) => causes.invalid(path, text, &error.to_string()),
                Ok(quantity) if quantity.is_negative() => {
                    causes.invalid(path, text, "must be greater than or equal to 0");
                }
                Ok(_) => {}
            }
        }
    }
    for (name, request) in resources["requests"].as_object().into_iter().flatten() {
        let limit = &resources["limits"][name];
        let amount = |value: &Value| Quantity::parse(value.as_str()?).ok();
        if let (Some(wanted), Some(allowed)) = (amount(request), amount(limit))
            && wanted > allowed
        {
            let limit = limit.as_str().unwrap_or_default();
            let detail = format!("must be less than or equal to {name} limit of {limit}");
            causes.invalid(format!("{path}.requests"), request, &detail);
        }
    }
}

fn probe(container: &Value, name: &str, path: &str, causes: &mut Causes) {
    let probe = &container[name];
    if probe.is_null() {
        return;
    }
    let path = format!("{path}.{name}");
    let handlers = ["exec", "httpGet", "tcpSocket", "grpc"];
    let given = handlers
        .iter()
        .filter(|handler| !probe[**handler].is_null());
    match given.count() {
        1 => {}
        0 => causes.required(path.clone(), "must specify a handler type"),
        _ => causes.forbidden(path.clone(), "may not specify more than 1 handler type"),
    }
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        non_negative(probe, &path, field, causes);
    }
    if name != "readinessProbe"
        && probe["successThreshold"]
            .as_i64()
            .is_some_and(|count| count > 1)
    {
        causes.invalid(
            format!("{path}.successThreshold"),
            &probe["successThreshold"],
            "must be 1",
        );
    }
    for handler in ["httpGet", "tcpSocket", "grpc"] {
        let path = format!("{path}.{handler}");
        if !probe[handler].is_null() {
            probe_port(&probe[handler]["port"], &path, causes);
        }
    }
    if probe["exec"].is_object()
        && probe["exec"]["command"]
            .as_array()
            .is_none_or(Vec::is_empty)
    {
        causes.required(format!("{path}.exec.command"), "");
    }
}

fn probe_port(port: &Value, path: &str, causes: &mut Causes) {
    let path = format!("{path}.port");
    match port {
        Value::Null => causes.required(path, ""),
        Value::String(name) => complain(causes, path, name, names::port_name),
        number => port_number(number, &path, causes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The causes of a container that is right but for one member.
    fn causes(member: &str, value: Value) -> String {
        let mut object = json!({"name": "c", "image": "i"});
        object[member] = value;
        let mut causes = Causes::default();
        container(&object, "c", &BTreeSet::from(["v".to_owned()]), &mut causes);
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
    fn images_and_ports() {
        check(&[
            ("image", json!(""), "c.image: Required value"),
            (
                "image",
                json!(" i"),
                "c.image: Invalid value: \" i\": must not have leading or trailing whitespace",
            ),
            (
                "imagePullPolicy",
                json!("Maybe"),
                "c.imagePullPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
            ),
            (
                "ports",
                json!([{}]),
                "c.ports[0].containerPort: Required value",
            ),
            (
                "ports",
                json!([{"containerPort": 70_000}]),
                "c.ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            ),
            ("ports", json!([{"containerPort": 1, "hostPort": 0}]), ""),
            (
                "ports",
                json!([{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]),
                "c.ports[1].name: Duplicate value: \"a\"",
            ),
            (
                "ports",
                json!([{"containerPort": 1, "protocol": "tcp"}]),
                "c.ports[0].protocol: Unsupported value: \"tcp\": supported values: \"TCP\", \"UDP\", \"SCTP\"",
            ),
        ]);
    }

    #[test]
    fn environments() {
        check(&[
            (
                "env",
                json!([{"value": "x"}]),
                "c.env[0].name: Required value",
            ),
            (
                "env",
                json!([{"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
                "c.env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
            ),
            (
                "env",
                json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}}]),
                "c.env[0].valueFrom.secretKeyRef.key: Required value",
            ),
            (
                "env",
                json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}}]),
                "",
            ),
            (
                "env",
                json!([{"name": "A", "valueFrom": {}}]),
                "c.env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
            ),
            (
                "envFrom",
                json!([{}]),
                "c.envFrom[0]: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`",
            ),
            (
                "envFrom",
                json!([{"secretRef": {}}]),
                "c.envFrom[0].secretRef.name: Required value",
            ),
        ]);
    }

    #[test]
    fn probes() {
        check(&[
            (
                "livenessProbe",
                json!({}),
                "c.livenessProbe: Required value: must specify a handler type",
            ),
            (
                "livenessProbe",
                json!({"tcpSocket": {"port": 0}}),
                "c.livenessProbe.tcpSocket.port: Invalid value: 0: must be between 1 and 65535, inclusive",
            ),
            (
                "livenessProbe",
                json!({"tcpSocket": {"port": 1}, "successThreshold": 2}),
                "c.livenessProbe.successThreshold: Invalid value: 2: must be 1",
            ),
            (
                "readinessProbe",
                json!({"httpGet": {"port": "http"}, "successThreshold": 2}),
                "",
            ),
            (
                "startupProbe",
                json!({"exec": {}}),
                "c.startupProbe.exec.command: Required value",
            ),
        ]);
    }

    #[test]
    fn mounts_and_resources() {
        check(&[
            (
                "volumeMounts",
                json!([{"name": "v", "mountPath": "/a"}, {"name": "w", "mountPath": "/b"}]),
                "c.volumeMounts[1].name: Not found: \"w\"",
            ),
            (
                "volumeMounts",
                json!([{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/a"}]),
                "c.volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique",
            ),
            (
                "volumeMounts",
                json!([{"name": "v"}]),
                "c.volumeMounts[0].mountPath: Required value",
            ),
            (
                "resources",
                json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
                "c.resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            ),
            (
                "resources",
                json!({"requests": {"memory": "-1"}}),
                "c.resources.requests[memory]: Invalid value: \"-1\": must be greater than or equal to 0",
            ),
            (
                "resources",
                json!({"requests": {"memory": "1Gi"}, "limits": {"memory": "1024Mi"}}),
                "",
            ),
        ]);
        let bad_quantity = causes("resources", json!({"limits": {"cpu": "much"}}));
        assert!(bad_quantity.starts_with(
            "c.resources.limits[cpu]: Invalid value: \"much\": quantities must match"
        ));
    }
}
