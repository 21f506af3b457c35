//! Node selectors and node affinity: does a node's description meet what a pod asks of it.
//!
//! Deliberately without affinity between pods.

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, PreferredSchedulingTerm,
};

/// Whether the node has every label of `nodeSelector` and meets one term of the required affinity.
pub(crate) fn required(pod: &Pod, node: &Node) -> bool {
    let Some(spec) = &pod.spec else { return true };
    let labels = node.metadata.labels.as_ref();
    let mut selector = spec.node_selector.iter().flatten();
    if !selector.all(|(key, value)| labels.and_then(|l| l.get(key)) == Some(value)) {
        return false;
    }
    let affinity = spec
        .affinity
        .as_ref()
        .and_then(|a| a.node_affinity.as_ref());
    let required = affinity.and_then(|a| {
        a.required_during_scheduling_ignored_during_execution
            .as_ref()
    });
    required.is_none_or(|r| r.node_selector_terms.iter().any(|term| meets(term, node)))
}

/// The weight of the preferred terms that the node does not meet, 0 for the best node.
pub(crate) fn preference_missed(pod: &Pod, node: &Node) -> i64 {
    let terms = pod.spec.as_ref().map(preferred).unwrap_or_default();
    let missed = terms.iter().filter(|term| !meets(&term.preference, node));
    missed.map(|term| i64::from(term.weight)).sum()
}

fn preferred(spec: &PodSpec) -> &[PreferredSchedulingTerm] {
    let affinity = spec
        .affinity
        .as_ref()
        .and_then(|a| a.node_affinity.as_ref());
    affinity
        .and_then(|a| {
            a.preferred_during_scheduling_ignored_during_execution
                .as_deref()
        })
        .unwrap_or_default()
}

/// All requirements of a term; a term without any meets nothing (core/v1 `NodeSelectorTerm`).
fn meets(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let labels = node.metadata.labels.as_ref();
    let label = |key: &str| labels.and_then(|l| l.get(key)).map(String::as_str);
    let field = |key: &str| {
        let name = node.metadata.name.as_deref();
        name.filter(|_| key == "metadata.name")
    };
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|r| holds(r, label(&r.key)))
        && fields.iter().all(|r| holds(r, field(&r.key)))
}

fn holds(requirement: &NodeSelectorRequirement, actual: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = || actual.is_some_and(|a| values.iter().any(|v| v == a));
    let number = |text: &str| text.parse::<i64>().ok();
    let numbers = || Some((number(actual?)?, number(values.first()?)?));
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => actual.is_some(),
        "DoesNotExist" => actual.is_none(),
        "Gt" => numbers().is_some_and(|(actual, bound)| actual > bound),
        "Lt" => numbers().is_some_and(|(actual, bound)| actual < bound),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operators_hold_as_in_kubernetes() {
        let table = [
            (
                json!({"key": "zone", "operator": "In", "values": ["a", "b"]}),
                true,
            ),
            (
                json!({"key": "zone", "operator": "In", "values": ["b"]}),
                false,
            ),
            (
                json!({"key": "zone", "operator": "NotIn", "values": ["b"]}),
                true,
            ),
            (
                json!({"key": "none", "operator": "NotIn", "values": ["b"]}),
                true,
            ),
            (json!({"key": "zone", "operator": "Exists"}), true),
            (json!({"key": "zone", "operator": "DoesNotExist"}), false),
            (
                json!({"key": "disks", "operator": "Gt", "values": ["3"]}),
                true,
            ),
            (
                json!({"key": "disks", "operator": "Lt", "values": ["3"]}),
                false,
            ),
            (
                json!({"key": "zone", "operator": "Gt", "values": ["3"]}),
                false,
            ),
            (json!({"key": "zone", "operator": "Near"}), false),
        ];
        let node = json!({"metadata": {"name": "n", "labels": {"zone": "a", "disks": "4"}}});
        let node: Node = serde_json::from_value(node).unwrap();
        for (requirement, expected) in table {
            let term = json!({"matchExpressions": [requirement]});
            assert_eq!(
                meets(&serde_json::from_value(term).unwrap(), &node),
                expected,
                "{requirement}"
            );
        }
        assert!(!meets(&NodeSelectorTerm::default(), &node));
        let by_name =
            json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]});
        assert!(meets(&serde_json::from_value(by_name).unwrap(), &node));
    }
}
