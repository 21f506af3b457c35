//! Eviction by NoExecute taints: which pods of a node must go, when, and how.
//!
//! Deliberately unlike Kubernetes in one number: a pod that does not say how long it tolerates a silent node is
//! replaced after seconds, not after five minutes, because here nodes are expected to die.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use rand::RngCore;

use super::{
    Health, Level, NO_EXECUTE, NOT_READY, Outcome, UNREACHABLE, WRITER, event, pod_source,
};
use crate::resource::nodes::is_ready;
use crate::resource::pods::{is_terminated, is_terminating, is_unique};
use crate::resource::taints::{taints, tolerations};
use crate::resource::{Cache, Deletion, ObjectKey};

const COMPONENT: &str = "taint-eviction-controller";
/// From a node's transition to not ready to the eviction of its pods. The transition follows 10 s of silence, so
/// pods are replaced 15 s after the last sign of life: time enough for a process to restart or a link to heal.
const EVICT_AFTER: Duration = Duration::from_secs(5);
/// While no node at all is ready nothing is evicted; that is looked at again this often.
const HELD_BACK_RETRY: Duration = Duration::from_secs(5);

/// Evicts what does not tolerate the node's NoExecute taints, or no longer does.
///
/// While no node at all is ready, nobody is evicted for a node's silence: replacements would have nowhere to run, and
/// the fault is more likely on this side of the network. Kubernetes has the same rule for a zone that is wholly
/// down. It also slows down when more than half of a zone is silent; here it does not, because losing one of
/// two nodes is an ordinary event.
pub(super) fn evict(
    cache: &Cache,
    key: &ObjectKey,
    node: &Node,
    health: &Health,
    now: Timestamp,
    entropy: &mut dyn RngCore,
    outcome: &mut Outcome,
) {
    let nobody_ready = || !cache.list::<Node>().any(|(_, n)| is_ready(n));
    let held_back = !health.is_ready() && nobody_ready();
    for taint in taints(node).iter().filter(|t| t.effect == NO_EXECUTE) {
        let ours = matches!(taint.key.as_str(), NOT_READY | UNREACHABLE);
        if ours && held_back {
            outcome.requeue_within(HELD_BACK_RETRY);
            continue;
        }
        // A stale taint of ours goes with this same reconciliation; it must evict nobody.
        if ours && health.taint != Some(taint.key.as_str()) {
            continue;
        }
        let added = taint.time_added.as_ref().map_or(now, |time| time.0);
        let start = if ours {
            health.since.unwrap_or(added)
        } else {
            added
        };
        let elapsed = Duration::try_from(now.duration_since(start)).unwrap_or_default();
        let concerned = |pod: &Pod| !is_terminated(pod) || ours && waits_for_node(pod);
        let pods = cache.pods_on(&key.name);
        for (pod_key, pod) in pods.filter(|(_, pod)| concerned(pod)) {
            match patience(pod, taint, ours) {
                None => {}
                Some(patience) if patience > elapsed => {
                    outcome.requeue_within(patience.saturating_sub(elapsed));
                }
                Some(_) => remove(pod_key, pod, ours, now, entropy, outcome),
            }
        }
    }
}

/// A unique pod that is over and was asked to go stays until its node says that nothing of it is left, which one that is
/// lost never does.
fn waits_for_node(pod: &Pod) -> bool {
    is_unique(pod) && is_terminating(pod)
}

/// How long the pod tolerates the taint; `None` for ever.
fn patience(pod: &Pod, taint: &Taint, ours: bool) -> Option<Duration> {
    let seconds = |s: i64| Duration::from_secs(u64::try_from(s).unwrap_or_default());
    let mut covering = tolerations(pod, taint).peekable();
    if covering.peek().is_none() {
        return Some(if ours { EVICT_AFTER } else { Duration::ZERO });
    }
    // The shortest counts; one without a limit does not shorten it (core/v1 `Toleration`).
    covering
        .filter_map(|t| t.toleration_seconds)
        .min()
        .map(seconds)
}

/// On a node that is not ready the pod is removed without grace, even one that is going already: nobody there can
/// confirm that it has gone. Elsewhere it is deleted as a client would delete it.
fn remove(
    key: &ObjectKey,
    pod: &Pod,
    node_is_lost: bool,
    now: Timestamp,
    entropy: &mut dyn RngCore,
    outcome: &mut Outcome,
) {
    if is_terminating(pod) && !node_is_lost {
        return;
    }
    let deletion = Deletion {
        grace_period_seconds: node_is_lost.then_some(0),
        ..Deletion::default()
    };
    let delete = WRITER.delete_as::<Pod>(key, &pod.metadata, deletion);
    let source = pod_source(COMPONENT, pod);
    let message = format!("Marking for deletion Pod {key}");
    let reason = "TaintManagerEviction";
    let event = event(source, Level::Normal, reason, &message, now, entropy);
    outcome.write_and_tell(delete, event);
}
