//! Node life cycle: taints what is not ready, says so of its pods until it is ready again, and evicts what does not
//! tolerate it; and clears a node whose machine's end is announced.
//!
//! Deliberately without heartbeats: the leader's node link decides that a node is silent and writes its condition
//! `Ready`; this controller acts on the condition alone.

mod eviction;
mod notice;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rand::RngCore;
use serde_json::json;

use super::patches::at_this_version;
use super::{Controller, EventSource, Level, Outcome, ReconcileError, event, keys_of};
use crate::resource::cache::{Cached, Change};
use crate::resource::pods::{condition, is_ready, is_terminated, node_name};
use crate::resource::taints::taints;
use crate::resource::{Cache, ObjectKey, PatchType, ResourceName, Verb, Writer, nodes, time};

const COMPONENT: &str = "node-controller";
const WRITER: Writer = Writer {
    user: "system:kagero:node-controller",
};
/// The node says that it is not ready.
const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// The node says nothing.
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// The node is cordoned.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
const NO_SCHEDULE: &str = "NoSchedule";
const NO_EXECUTE: &str = "NoExecute";
/// Why a pod's `Ready` is false by this controller's word.
const MARK: &str = "NodeNotReady";

/// The controller of nodes.
#[derive(Debug, Default)]
pub struct NodeLifecycle;

impl Controller for NodeLifecycle {
    fn name(&self) -> &'static str {
        COMPONENT
    }

    /// A node for itself, and for the pods on it while it has something against them.
    fn keys_for(&self, change: &Change, cache: &Cache) -> Vec<ObjectKey> {
        if change.prefix == Node::PREFIX {
            return vec![change.key.clone()];
        }
        if change.prefix != Pod::PREFIX {
            return Vec::new();
        }
        let pod = cache.get::<Pod>(&change.key);
        let key = pod.and_then(|pod| node_name(pod));
        let key = key.map(|node| ObjectKey::new("", node));
        // A mark may be committed after its node is ready again.
        let marked = pod.is_some_and(|pod| is_marked(pod));
        let concerned = |node: &Node| {
            marked
                || !Health::of(node).is_ready()
                || nodes::eviction(node).is_some()
                || taints(node).iter().any(|t| t.effect == NO_EXECUTE)
        };
        key.filter(|key| cache.get::<Node>(key).is_some_and(|node| concerned(node)))
            .into_iter()
            .collect()
    }

    fn all_keys(&self, cache: &Cache) -> Vec<ObjectKey> {
        keys_of::<Node>(cache)
    }

    fn reconcile(
        &self,
        cache: &Cache,
        key: &ObjectKey,
        now: Timestamp,
        entropy: &mut dyn RngCore,
    ) -> Result<Outcome, ReconcileError> {
        let mut outcome = Outcome::default();
        let Some(node) = cache.get::<Node>(key) else {
            return Ok(outcome);
        };
        let health = Health::of(node);
        if !notice::cordon(key, node, now, entropy, &mut outcome) {
            sync_taints(key, node, &health, now, entropy, &mut outcome);
        }
        if health.is_ready() {
            restore_pods(cache, key, now, &mut outcome);
        } else {
            mark_pods(cache, key, now, entropy, &mut outcome);
        }
        // Gently first: a pod may be due for both.
        notice::evict(cache, key, node, now, entropy, &mut outcome);
        eviction::evict(cache, key, node, &health, now, entropy, &mut outcome);
        Ok(outcome)
    }
}

/// What a node's condition `Ready` says, and since when.
struct Health {
    /// The key of the taints that follow from it; `None` if it is ready.
    taint: Option<&'static str>,
    since: Option<Timestamp>,
}

impl Health {
    /// A node that has never said anything is not ready.
    fn of(node: &Node) -> Self {
        let ready = nodes::condition(node, "Ready");
        let since = ready.and_then(|c| c.last_transition_time.as_ref());
        let taint = match ready.map(|c| c.status.as_str()) {
            Some("True") => None,
            Some("Unknown") => Some(UNREACHABLE),
            _ => Some(NOT_READY),
        };
        Self {
            taint,
            since: since.map(|time| time.0),
        }
    }

    fn is_ready(&self) -> bool {
        self.taint.is_none()
    }
}

/// Taints the node as its health and its cordon ask, and leaves other taints alone but for the time they came: a
/// toleration's seconds count from it.
fn sync_taints(
    key: &ObjectKey,
    node: &Node,
    health: &Health,
    now: Timestamp,
    entropy: &mut dyn RngCore,
    outcome: &mut Outcome,
) {
    let wanted = wanted_taints(node, health);
    let ours = |taint: &Taint| {
        let key = taint.key.as_str();
        matches!(
            key,
            NOT_READY | UNREACHABLE | UNSCHEDULABLE | notice::EVICTING
        )
    };
    let is = |taint: &Taint, (key, effect)| taint.key == key && taint.effect == effect;
    let before = taints(node);
    let mut after = before.to_vec();
    after.retain(|taint| !ours(taint) || wanted.iter().any(|&w| is(taint, w)));
    for &(key, effect) in &wanted {
        if !after.iter().any(|taint| is(taint, (key, effect))) {
            after.push(Taint {
                key: key.into(),
                effect: effect.into(),
                ..Taint::default()
            });
        }
    }
    for taint in after.iter_mut().filter(|t| t.effect == NO_EXECUTE) {
        taint.time_added.get_or_insert(Time(now));
    }
    if after == before {
        return;
    }
    let patch = json!({"metadata": at_this_version(&node.metadata), "spec": {"taints": after}});
    let patch = WRITER.patch::<Node>(key, patch);
    let sick = |taints: &[Taint]| {
        taints
            .iter()
            .any(|t| matches!(t.key.as_str(), NOT_READY | UNREACHABLE))
    };
    let told = match (sick(before), sick(&after)) {
        (false, true) => "NodeNotReady",
        (true, false) => "NodeReady",
        _ => return outcome.write(patch),
    };
    let source = EventSource {
        component: COMPONENT,
        api_version: "v1",
        kind: "Node",
        meta: &node.metadata,
    };
    let message = format!("Node {} status is now: {told}", key.name);
    // A node that has said nothing yet is new, not broken.
    let (told, message) = if told == "NodeNotReady" && health.since.is_none() {
        let message = format!(
            "Node {0} event: Registered Node {0} in Controller",
            key.name
        );
        ("RegisteredNode", message)
    } else {
        (told, message)
    };
    let event = event(source, Level::Normal, told, &message, now, entropy);
    outcome.write_and_tell(patch, event);
}

/// The taints that this controller keeps on a node, by key and effect.
fn wanted_taints(node: &Node, health: &Health) -> Vec<(&'static str, &'static str)> {
    let mut wanted = Vec::new();
    if nodes::eviction(node).is_some() {
        wanted.push((notice::EVICTING, NO_SCHEDULE));
    }
    if node.spec.as_ref().and_then(|s| s.unschedulable) == Some(true) {
        wanted.push((UNSCHEDULABLE, NO_SCHEDULE));
    }
    if let Some(taint) = health.taint {
        wanted.push((taint, NO_SCHEDULE));
        wanted.push((taint, NO_EXECUTE));
    }
    wanted
}

/// Pods on a node that is not ready are not ready either, and nobody on the node can say so.
fn mark_pods(
    cache: &Cache,
    node: &ObjectKey,
    now: Timestamp,
    entropy: &mut dyn RngCore,
    outcome: &mut Outcome,
) {
    let pods = cache.pods_on(&node.name);
    for (key, pod) in pods.filter(|(_, pod)| is_ready(pod) && !is_terminated(pod)) {
        let condition = json!({
            "type": "Ready",
            "status": "False",
            "reason": MARK,
            "message": format!("Node {} is not ready", node.name),
            "lastTransitionTime": time::text(now),
        });
        let mark = WRITER.merge_status::<Pod>(key, json!({ "conditions": [condition] }));
        let source = pod_source(COMPONENT, pod);
        let event = event(
            source,
            Level::Warning,
            MARK,
            "Node is not ready",
            now,
            entropy,
        );
        outcome.write_and_tell(mark, event);
    }
}

/// Takes the marks off the pods of a node that is ready again. The node itself does not: it may have nothing new to say
/// over a link that never broke. Only for the very state that was read, for the node may say more at the same time.
fn restore_pods(cache: &Cache, node: &ObjectKey, now: Timestamp, outcome: &mut Outcome) {
    let pods = cache.pods_on(&node.name);
    for (key, pod) in pods.filter(|(_, pod)| is_marked(pod) && holds_but_for_mark(pod)) {
        let condition = json!({
            "type": "Ready",
            "status": "True",
            "reason": null,
            "message": null,
            "lastTransitionTime": time::text(now),
        });
        let patch = json!({
            "metadata": at_this_version(&pod.metadata),
            "status": { "conditions": [condition] },
        });
        let request = WRITER.request(
            ResourceName::of::<Pod>(),
            &key.namespace,
            Some(&key.name),
            Verb::Patch(PatchType::StrategicMerge, patch),
        );
        outcome.write(request.on("status"));
    }
}

/// This controller said that the pod is not ready, and its node has not said otherwise since.
fn is_marked(pod: &Pod) -> bool {
    let ready = condition(pod, "Ready");
    ready.is_some_and(|c| c.status == "False" && c.reason.as_deref() == Some(MARK))
        && !is_terminated(pod)
}

/// By what its node last said, the pod is ready: its containers are, and its readiness gates hold.
fn holds_but_for_mark(pod: &Pod) -> bool {
    let holds = |kind: &str| condition(pod, kind).is_some_and(|c| c.status == "True");
    let gates = pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter());
    holds("ContainersReady") && gates.flatten().all(|gate| holds(&gate.condition_type))
}

fn pod_source<'a>(component: &'static str, pod: &'a Pod) -> EventSource<'a> {
    EventSource {
        component,
        api_version: "v1",
        kind: "Pod",
        meta: &pod.metadata,
    }
}
