//! The writes of the scheduler: a binding, and the condition of a pod that has none.
//!
//! Deliberately without events; the actor tells those once the write has succeeded.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::plan::Binding;
use crate::resource::{ObjectKey, PatchType, Request, ResourceName, Verb, Writer, time};

const WRITER: Writer = Writer {
    user: "system:kagero:scheduler",
};

/// POST of `pods/<name>/binding`, for exactly this incarnation of the pod.
pub fn bind(pod: &Pod, binding: &Binding) -> Request {
    let body = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {
            "name": binding.pod.name,
            "namespace": binding.pod.namespace,
            "uid": pod.metadata.uid,
        },
        "target": { "apiVersion": "v1", "kind": "Node", "name": binding.node },
    });
    request(&binding.pod, "binding", Verb::Create(body))
}

/// Sets the condition `PodScheduled` to false with the reason why; `None` if it says so already.
pub fn mark_unschedulable(
    key: &ObjectKey,
    pod: &Pod,
    message: &str,
    now: Timestamp,
) -> Option<Request> {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref());
    let mut conditions = conditions.unwrap_or_default().iter();
    let before = conditions.find(|c| c.type_ == "PodScheduled" && c.status == "False");
    if before.is_some_and(|c| c.message.as_deref() == Some(message)) {
        return None;
    }
    let since = before.and_then(|c| c.last_transition_time.as_ref());
    let condition = json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
        "lastTransitionTime": since.map_or_else(|| Value::from(time::text(now)), |t| json!(t)),
    });
    let patch = json!({
        "metadata": { "uid": pod.metadata.uid },
        "status": { "conditions": [condition] },
    });
    // Strategic, so that the agent's conditions of other types stay.
    Some(request(
        key,
        "status",
        Verb::Patch(PatchType::StrategicMerge, patch),
    ))
}

fn request(key: &ObjectKey, subresource: &str, verb: Verb) -> Request {
    let pods = ResourceName::of::<Pod>();
    let request = WRITER.request(pods, &key.namespace, Some(&key.name), verb);
    request.on(subresource)
}
