//! What scheduler, controllers and node links ask of a typed Node: is it ready, and since when.
//!
//! Deliberately without any judgement on what to do about it. Taints have a file of their own.

use k8s_openapi::api::core::v1::{Node, NodeCondition};

/// A condition by its type.
pub fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_deref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Its condition `Ready` is true. A node that has never said anything is not ready.
pub fn is_ready(node: &Node) -> bool {
    condition(node, "Ready").is_some_and(|condition| condition.status == "True")
}
