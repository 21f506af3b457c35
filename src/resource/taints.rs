//! Taints of nodes and pods' tolerations of them.
//!
//! Deliberately without a judgement on what an effect means; scheduler and node life cycle differ in that.

use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};

/// A node's taints.
pub fn taints(node: &Node) -> &[Taint] {
    let spec = node.spec.as_ref();
    spec.and_then(|s| s.taints.as_deref()).unwrap_or_default()
}

/// The pod's tolerations that cover a taint (core/v1 `Toleration`): same effect or none, same key or none with
/// `Exists`, same value or `Exists`.
pub fn tolerations<'a>(pod: &'a Pod, taint: &'a Taint) -> impl Iterator<Item = &'a Toleration> {
    let tolerations = pod.spec.as_ref().and_then(|s| s.tolerations.as_deref());
    let tolerations = tolerations.unwrap_or_default().iter();
    tolerations.filter(|toleration| covers(toleration, taint))
}

/// Whether the pod tolerates the taint at all, for however short.
pub fn tolerates(pod: &Pod, taint: &Taint) -> bool {
    tolerations(pod, taint).next().is_some()
}

fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let given =
        |text: &Option<String>| text.as_deref().filter(|t| !t.is_empty()).map(str::to_owned);
    let exists = toleration.operator.as_deref() == Some("Exists");
    given(&toleration.effect).is_none_or(|effect| effect == taint.effect)
        && given(&toleration.key).map_or(exists, |key| key == taint.key)
        && (exists || given(&toleration.value) == given(&taint.value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_toleration_covers_as_in_kubernetes() {
        let taint: Taint =
            serde_json::from_value(json!({"key": "a", "value": "1", "effect": "NoSchedule"}))
                .unwrap();
        let table = [
            (json!({"operator": "Exists"}), true),
            (json!({"key": "a", "operator": "Exists"}), true),
            (json!({"key": "b", "operator": "Exists"}), false),
            (json!({"key": "a", "value": "1"}), true),
            (json!({"key": "a", "value": "2"}), false),
            (json!({"key": "a"}), false),
            (
                json!({"key": "a", "value": "1", "effect": "NoExecute"}),
                false,
            ),
            (
                json!({"key": "a", "value": "1", "effect": "NoSchedule"}),
                true,
            ),
            (json!({"value": "1"}), false),
        ];
        for (toleration, expected) in table {
            let pod =
                json!({"metadata": {}, "spec": {"containers": [], "tolerations": [toleration]}});
            let pod: Pod = serde_json::from_value(pod).unwrap();
            assert_eq!(tolerates(&pod, &taint), expected, "{toleration}");
        }
    }
}
