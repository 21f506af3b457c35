//! What may change of a pod once it exists: almost nothing.

use std::collections::BTreeSet;

use serde_json::Value;

use super::json::items;
use super::validate::Causes;

const DETAIL: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
    `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
    tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// A change of a Pod (new, current).
pub(super) fn check(new: &Value, current: &Value, causes: &mut Causes) {
    let (spec, old) = (&new["spec"], &current["spec"]);
    for list in ["containers", "initContainers"] {
        if length(&spec[list]) != length(&old[list]) {
            let detail = "pod updates may not add or remove containers";
            causes.forbidden(format!("spec.{list}"), detail);
            return;
        }
    }
    deadline(spec, old, causes);
    tolerations(spec, old, causes);
    if with_the_changeable(spec, old) != *spec {
        causes.forbidden("spec", DETAIL);
    }
}

/// The old spec with what may change taken from the new one. Equal to the new one if nothing else changed.
fn with_the_changeable(spec: &Value, old: &Value) -> Value {
    let mut allowed = old.clone();
    for field in ["activeDeadlineSeconds", "tolerations"] {
        if spec[field].is_null() {
            if let Some(members) = allowed.as_object_mut() {
                members.remove(field);
            }
        } else {
            allowed[field] = spec[field].clone();
        }
    }
    let grace = "terminationGracePeriodSeconds";
    if old[grace].as_i64().is_some_and(|seconds| seconds < 0) && spec[grace] == 1 {
        allowed[grace] = spec[grace].clone();
    }
    for list in ["containers", "initContainers"] {
        let images = spec[list].as_array().into_iter().flatten();
        for (container, new) in items(&mut allowed, list).zip(images) {
            container["image"] = new["image"].clone();
        }
    }
    allowed
}

fn deadline(spec: &Value, old: &Value, causes: &mut Causes) {
    let (new, old) = (
        &spec["activeDeadlineSeconds"],
        &old["activeDeadlineSeconds"],
    );
    let Some(before) = old.as_i64() else { return };
    match new.as_i64() {
        None => {
            let detail = "must not update from a positive integer to nil value";
            causes.invalid("spec.activeDeadlineSeconds", new, detail);
        }
        Some(after) if after > before => {
            let detail = format!("must be less than or equal to previous value ({before})");
            causes.invalid("spec.activeDeadlineSeconds", new, &detail);
        }
        Some(_) => {}
    }
}

fn tolerations(spec: &Value, old: &Value, causes: &mut Causes) {
    // Only `tolerationSeconds` may change; a toleration is known by the rest.
    let known_by = |toleration: &Value| {
        ["key", "operator", "value", "effect"].map(|field| toleration[field].to_string())
    };
    let list = |spec: &Value| -> BTreeSet<[String; 4]> {
        let tolerations = spec["tolerations"].as_array().into_iter().flatten();
        tolerations.map(known_by).collect()
    };
    // Sets, since both lists may be as long as a request.
    if !list(old).is_subset(&list(spec)) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        causes.forbidden("spec.tolerations", detail);
    }
}

fn length(list: &Value) -> usize {
    list.as_array().map_or(0, Vec::len)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(changes: &[(&str, Value)]) -> Vec<String> {
        let current = json!({"spec": {
            "containers": [{"name": "c", "image": "i:1"}],
            "activeDeadlineSeconds": 10,
            "tolerations": [{"key": "a", "operator": "Exists"}],
            "nodeName": "n1",
        }});
        let mut new = current.clone();
        for (field, value) in changes {
            new["spec"][*field] = value.clone();
        }
        let mut causes = Causes::default();
        check(&new, &current, &mut causes);
        causes.iter().map(|cause| cause.field.clone()).collect()
    }

    #[test]
    fn as_many_tolerations_as_fit_a_request_are_checked_in_no_time() {
        // Compared each with each, these take minutes.
        let toleration = |n: usize| json!({"key": format!("k{n}"), "operator": "Exists"});
        let mut tolerations: Vec<Value> = (0..50_000).map(toleration).collect();
        let current = json!({"spec": {"tolerations": tolerations}});
        tolerations.reverse();
        let mut causes = Causes::default();
        super::tolerations(
            &json!({"tolerations": tolerations}),
            &current["spec"],
            &mut causes,
        );
        assert!(causes.is_empty(), "{causes}");
        super::tolerations(
            &json!({"tolerations": tolerations[1..]}),
            &current["spec"],
            &mut causes,
        );
        assert!(!causes.is_empty());
    }

    #[test]
    fn little_may_change() {
        let added = json!([{"key": "a", "operator": "Exists", "tolerationSeconds": 3}, {"key": "b", "operator": "Exists"}]);
        let cases: [(&str, Value, &[&str]); 10] = [
            ("nodeName", json!("n1"), &[]),
            ("containers", json!([{"name": "c", "image": "i:2"}]), &[]),
            (
                "containers",
                json!([{"name": "c", "image": "i:1", "args": ["x"]}]),
                &["spec"],
            ),
            ("containers", json!([]), &["spec.containers"]),
            ("activeDeadlineSeconds", json!(5), &[]),
            (
                "activeDeadlineSeconds",
                json!(15),
                &["spec.activeDeadlineSeconds"],
            ),
            ("tolerations", added, &[]),
            ("tolerations", json!([]), &["spec.tolerations"]),
            ("nodeName", json!("n2"), &["spec"]),
            ("priority", json!(1), &["spec"]),
        ];
        for (field, value, expected) in cases {
            assert_eq!(
                fields(&[(field, value.clone())]),
                expected,
                "{field}: {value}"
            );
        }
    }
}
