//! A node whose machine's end is announced: no new pods, and every pod on it asked to go in time.
//!
//! Deliberately not the one who replaces pods: their owner does, before they go (`replica_set.rs`).

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use rand::RngCore;
use serde_json::{Value, json};

use super::{Level, Outcome, WRITER, event, pod_source};
use crate::control::EventSource;
use crate::control::notice::{grace_seconds, latest};
use crate::control::patches::at_this_version;
use crate::resource::nodes::{EVICTION, eviction};
use crate::resource::pods::is_active;
use crate::resource::{Cache, Deletion, ObjectKey};

const COMPONENT: &str = "node-eviction-controller";
/// Taint of a node whose machine's end is announced.
pub(super) const EVICTING: &str = "kagero.dev/evicting";
/// Annotation: this controller cordoned the node for its end, so that it takes the cordon off again if the end does not
/// come; one that an operator made stays.
const CORDONED: &str = "kagero.dev/cordoned-for-eviction";

/// Cordons a node once when its end is announced; takes that back when it is not announced any more. Returns whether it
/// wrote: what else there is to write of the node waits for that to be seen.
pub(super) fn cordon(
    key: &ObjectKey,
    node: &Node,
    now: Timestamp,
    entropy: &mut dyn RngCore,
    outcome: &mut Outcome,
) -> bool {
    let eviction = eviction(node);
    let annotations = node.metadata.annotations.as_ref();
    let noted = annotations.is_some_and(|all| all.contains_key(CORDONED));
    let is_cordoned = node.spec.as_ref().and_then(|s| s.unschedulable) == Some(true);
    let (told, message) = match &eviction {
        Some(eviction) if !noted => {
            let by = eviction.deadline;
            let message = format!("Node {} is going to be evicted by {by}", key.name);
            ("NodeEvicting", message)
        }
        None if noted => {
            let message = format!("Node {} is not going to be evicted any more", key.name);
            ("NodeNotEvicting", message)
        }
        _ => return false,
    };
    let mut metadata = at_this_version(&node.metadata);
    let mut patch = json!({});
    let note = match (&eviction, is_cordoned) {
        (Some(_), true) => json!("false"),
        (Some(_), false) => {
            patch["spec"] = json!({ "unschedulable": true });
            json!("true")
        }
        (None, _) => {
            if annotations
                .and_then(|all| all.get(CORDONED))
                .map(String::as_str)
                == Some("true")
            {
                patch["spec"] = json!({ "unschedulable": null });
            }
            Value::Null
        }
    };
    let mut annotations = json!({ CORDONED: note });
    if eviction.is_none() {
        // What is left of one was announced to an earlier incarnation.
        annotations[EVICTION] = Value::Null;
    }
    metadata.insert("annotations".into(), annotations);
    patch["metadata"] = metadata.into();
    let patch = WRITER.patch::<Node>(key, patch);
    let source = EventSource {
        component: COMPONENT,
        api_version: "v1",
        kind: "Node",
        meta: &node.metadata,
    };
    let event = event(source, Level::Normal, told, &message, now, entropy);
    outcome.write_and_tell(patch, event);
    true
}

/// Asks every pod to go that must not serve any longer, with the grace that is left.
pub(super) fn evict(
    cache: &Cache,
    key: &ObjectKey,
    node: &Node,
    now: Timestamp,
    entropy: &mut dyn RngCore,
    outcome: &mut Outcome,
) {
    let Some(eviction) = eviction(node) else {
        return;
    };
    for (pod_key, pod) in cache.pods_on(&key.name).filter(|(_, pod)| is_active(pod)) {
        let left = latest(pod, &eviction).duration_since(now);
        if let Ok(left) = Duration::try_from(left)
            && !left.is_zero()
        {
            outcome.requeue_within(left);
            continue;
        }
        let grace = grace_seconds(pod, &eviction, now);
        let deletion = Deletion {
            grace_period_seconds: Some(grace),
            ..Deletion::default()
        };
        let delete = WRITER.delete_as::<Pod>(pod_key, &pod.metadata, deletion);
        let message = format!("Node {} is evicted; {grace} s are left", key.name);
        let source = pod_source(COMPONENT, pod);
        let event = event(source, Level::Normal, "Evicted", &message, now, entropy);
        outcome.write_and_tell(delete, event);
    }
}

#[cfg(test)]
mod tests;
