//! The rules of Node.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::names;
use super::quantity::Quantity;
use super::validate::Causes;

/// Effects that a taint may have.
pub(super) const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// `v1 Node`: its taints, and what it says it can carry.
pub(super) fn node(object: &Value, causes: &mut Causes) {
    taints(&object["spec"]["taints"], causes);
    for field in ["capacity", "allocatable"] {
        for (name, amount) in object["status"][field].as_object().into_iter().flatten() {
            let path = format!("status.{field}[{name}]");
            match Quantity::parse(amount.as_str().unwrap_or_default()) {
                Err(error) => causes.invalid(path, amount, &error.to_string()),
                Ok(quantity) if quantity.is_negative() => {
                    causes.invalid(path, amount, "must be greater than or equal to 0");
                }
                Ok(_) => {}
            }
        }
    }
}

fn taints(taints: &Value, causes: &mut Causes) {
    let taints = taints.as_array().map_or(&[][..], Vec::as_slice);
    let mut seen = BTreeSet::new();
    for (index, taint) in taints.iter().enumerate() {
        let path = format!("spec.taints[{index}]");
        let key = taint["key"].as_str().unwrap_or_default();
        if let Some(complaint) = names::qualified(key) {
            causes.invalid(format!("{path}.key"), &json!(key), &complaint);
        }
        let value = taint["value"].as_str().unwrap_or_default();
        if let Some(complaint) = names::label_value(value) {
            causes.invalid(format!("{path}.value"), &json!(value), &complaint);
        }
        if !EFFECTS.iter().any(|effect| taint["effect"] == *effect) {
            causes.not_supported(format!("{path}.effect"), &taint["effect"], &EFFECTS);
        }
        // Looked up, not searched for: a node's list may be as long as a request.
        if !seen.insert((key, taint["effect"].as_str().unwrap_or_default())) {
            causes.duplicate(path, taint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_taints_as_fit_a_request_are_checked_in_no_time() {
        // Compared each with each, these take minutes.
        let taint = |n: usize| json!({"key": format!("k{n}"), "effect": "NoSchedule"});
        let mut taints: Vec<Value> = (0..100_000).map(taint).collect();
        taints.push(taints[7].clone());
        let mut causes = Causes::default();
        node(&json!({"spec": {"taints": taints}}), &mut causes);
        let fields: Vec<&str> = causes.iter().map(|cause| cause.field.as_str()).collect();
        assert_eq!(fields, ["spec.taints[100000]"]);
    }

    #[test]
    fn taints_and_amounts_are_checked() {
        let object = json!({
            "spec": {"taints": [
                {"key": "a", "effect": "NoSchedule"},
                {"key": "a", "effect": "NoSchedule", "value": "x"},
                {"key": "-", "effect": "Odd", "value": "-"},
            ]},
            "status": {"capacity": {"cpu": "much", "memory": "-1", "pods": "110"}},
        });
        let mut causes = Causes::default();
        node(&object, &mut causes);
        let fields: Vec<&str> = causes.iter().map(|cause| cause.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "spec.taints[1]",
                "spec.taints[2].key",
                "spec.taints[2].value",
                "spec.taints[2].effect",
                "status.capacity[cpu]",
                "status.capacity[memory]"
            ]
        );
    }
}
