//! The rules of ConfigMap, Secret, Event and Lease. That bytes are base64 is the schema's to check.

use serde_json::{Value, json};

use super::names;
use super::validate::Causes;

/// All values of a ConfigMap or a Secret together, decoded, as in Kubernetes.
const DATA_BYTES_MAX: usize = 1 << 20;

/// `v1 ConfigMap`.
pub(super) fn config_map(object: &Value, causes: &mut Causes) {
    let bytes = entries(object, "data", str::len, causes)
        + entries(object, "binaryData", decoded_bytes, causes);
    let both = object["data"].as_object().into_iter().flatten();
    for (key, _) in both.filter(|(key, _)| !object["binaryData"][key].is_null()) {
        let detail = "duplicate of key present in data";
        causes.invalid(format!("binaryData[{key}]"), &json!(key), detail);
    }
    if bytes > DATA_BYTES_MAX {
        causes.too_long("data", DATA_BYTES_MAX);
    }
}

/// A change of a ConfigMap.
pub(super) fn config_map_update(new: &Value, current: &Value, causes: &mut Causes) {
    immutable(new, current, &["data", "binaryData"], causes);
}

/// `v1 Secret`.
pub(super) fn secret(object: &Value, causes: &mut Causes) {
    let bytes = entries(object, "data", decoded_bytes, causes);
    if bytes > DATA_BYTES_MAX {
        causes.too_long("data", DATA_BYTES_MAX);
    }
    let kind = object["type"].as_str().unwrap_or_default();
    for key in keys_required(kind) {
        if object["data"][*key].is_null() {
            causes.required(format!("data[{key}]"), "");
        }
    }
}

/// A change of a Secret.
pub(super) fn secret_update(new: &Value, current: &Value, causes: &mut Causes) {
    if new["type"] != current["type"] {
        causes.invalid("type", &new["type"], "field is immutable");
    }
    immutable(new, current, &["data"], causes);
}

fn keys_required(secret_type: &str) -> &'static [&'static str] {
    match secret_type {
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    }
}

/// How many bytes a text in base64 stands for.
fn decoded_bytes(base64: &str) -> usize {
    let digits = base64.bytes().filter(|byte| *byte != b'=').count();
    digits * 3 / 4
}

/// Checks the keys and returns the values' bytes.
fn entries(object: &Value, field: &str, size: fn(&str) -> usize, causes: &mut Causes) -> usize {
    let entries = object[field].as_object().into_iter().flatten();
    let mut bytes = 0;
    for (key, value) in entries {
        bytes += value.as_str().map_or(0, size);
        if let Some(complaint) = names::config_key(key) {
            causes.invalid(format!("{field}[{key}]"), &json!(key), &complaint);
        }
    }
    bytes
}

const IMMUTABLE: &str = "field is immutable when `immutable` is set";

/// Once `immutable` is true, neither it nor the named fields may change.
fn immutable(new: &Value, current: &Value, fields: &[&str], causes: &mut Causes) {
    if current["immutable"] != true {
        return;
    }
    if new["immutable"] != true {
        causes.forbidden("immutable", IMMUTABLE);
    }
    for field in fields
        .iter()
        .filter(|field| new[**field] != current[**field])
    {
        causes.forbidden(*field, IMMUTABLE);
    }
}

/// `v1 Event`.
pub(super) fn event(object: &Value, causes: &mut Causes) {
    let involved = &object["involvedObject"]["namespace"];
    let empty = involved.as_str().is_none_or(str::is_empty);
    if !empty && *involved != object["metadata"]["namespace"] {
        let detail = "does not match event.namespace";
        causes.invalid("involvedObject.namespace", involved, detail);
    }
    let kind = &object["type"];
    if !kind.is_null() && !matches!(kind.as_str(), Some("" | "Normal" | "Warning")) {
        causes.not_supported("type", kind, &["Normal", "Warning"]);
    }
}

/// `coordination.k8s.io/v1 Lease`.
pub(super) fn lease(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    if spec["leaseDurationSeconds"]
        .as_i64()
        .is_some_and(|seconds| seconds <= 0)
    {
        let value = &spec["leaseDurationSeconds"];
        causes.invalid("spec.leaseDurationSeconds", value, "must be greater than 0");
    }
    if spec["leaseTransitions"]
        .as_i64()
        .is_some_and(|count| count < 0)
    {
        let value = &spec["leaseTransitions"];
        causes.invalid(
            "spec.leaseTransitions",
            value,
            "must be greater than or equal to 0",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::validate::Check;

    fn fields(check: Check, object: &Value) -> Vec<String> {
        let mut causes = Causes::default();
        check(object, &mut causes);
        causes.iter().map(|cause| cause.field.clone()).collect()
    }

    #[test]
    fn each_rule_names_its_field() {
        let big = "x".repeat(DATA_BYTES_MAX + 1);
        let table: [(Check, Value, &[&str]); 9] = [
            (
                config_map,
                json!({"data": {"a": "b"}, "binaryData": {"c": "eA=="}}),
                &[],
            ),
            (config_map, json!({"data": {"a/b": ""}}), &["data[a/b]"]),
            (
                config_map,
                json!({"data": {"a": ""}, "binaryData": {"a": ""}}),
                &["binaryData[a]"],
            ),
            (config_map, json!({"data": {"a": big}}), &["data"]),
            (
                secret,
                json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}),
                &["data[tls.key]"],
            ),
            (
                event,
                json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "b"}}),
                &["involvedObject.namespace"],
            ),
            (
                event,
                json!({"metadata": {"namespace": "a"}, "involvedObject": {}, "type": "Odd"}),
                &["type"],
            ),
            (
                lease,
                json!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}}),
                &["spec.leaseDurationSeconds", "spec.leaseTransitions"],
            ),
            (lease, json!({}), &[]),
        ];
        for (check, object, expected) in table {
            assert_eq!(fields(check, &object), expected);
        }
    }

    #[test]
    fn bytes_count_as_they_are_and_not_as_they_are_written() {
        use base64::Engine as _;
        let encoded =
            |bytes: usize| base64::engine::general_purpose::STANDARD.encode(vec![7; bytes]);
        for bytes in 0..9 {
            assert_eq!(decoded_bytes(&encoded(bytes)), bytes);
        }
        let (fits, too_long) = (encoded(DATA_BYTES_MAX), encoded(DATA_BYTES_MAX + 1));
        assert!(fields(secret, &json!({"data": {"a": fits}})).is_empty());
        assert!(fields(config_map, &json!({"binaryData": {"a": fits}})).is_empty());
        assert_eq!(fields(secret, &json!({"data": {"a": too_long}})), ["data"]);
        let both = json!({"data": {"b": "x"}, "binaryData": {"a": fits}});
        assert_eq!(fields(config_map, &both), ["data"]);
    }

    #[test]
    fn what_is_immutable_stays() {
        let current = json!({"immutable": true, "data": {"a": "eA=="}, "type": "Opaque"});
        let fields = |check: fn(&Value, &Value, &mut Causes), new: &Value| {
            let mut causes = Causes::default();
            check(new, &current, &mut causes);
            causes
                .iter()
                .map(|cause| cause.field.clone())
                .collect::<Vec<_>>()
        };
        assert!(fields(secret_update, &current).is_empty());
        let new = json!({"data": {"a": "eQ=="}, "type": "Other"});
        assert_eq!(fields(secret_update, &new), ["type", "immutable", "data"]);
        assert_eq!(fields(config_map_update, &new), ["immutable", "data"]);
    }
}
