//! What controllers ask of pods as replicas: how long until it is available, and which of two should go first.
//!
//! Deliberately only questions; nothing here writes. What anybody may ask of a pod stands in `resource::pods`.

use std::cmp::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::resource::pods::{condition, is_bound, is_ready, phase};

/// Since when it is ready: `None` if it is not, the epoch if it does not say.
fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let condition = condition(pod, "Ready").filter(|c| c.status == "True")?;
    let since = condition.last_transition_time.as_ref();
    Some(since.map_or(Timestamp::UNIX_EPOCH, |t| t.0))
}

/// Whether it has been ready for long enough: zero if so, the time left if not yet, `None` if it is not ready.
pub(crate) fn available_in(pod: &Pod, min_ready: Duration, now: Timestamp) -> Option<Duration> {
    let since = ready_since(pod)?;
    let elapsed = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    Some(min_ready.saturating_sub(elapsed))
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|s| s.container_statuses.as_deref());
    let counts = statuses.unwrap_or_default().iter();
    counts.map(|s| s.restart_count).max().unwrap_or_default()
}

fn deletion_cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    let cost = annotations.and_then(|a| a.get("controller.kubernetes.io/pod-deletion-cost"));
    cost.and_then(|c| c.parse().ok()).unwrap_or_default()
}

fn phase_rank(pod: &Pod) -> u8 {
    match phase(pod) {
        "" | "Pending" => 0,
        "Running" => 2,
        _ => 1,
    }
}

/// Which of two replicas is deleted first (`Less`), as Kubernetes' `ActivePodsWithRanks` has it: unassigned, pending,
/// not ready, cheaper to delete, on the fuller node (`mates` counts replicas on the same node), ready for less long,
/// restarted more often, younger. Ends with the name, so that the order is total.
pub(crate) fn deletion_order(a: (&Pod, usize), b: (&Pod, usize)) -> Ordering {
    let ((a, a_mates), (b, b_mates)) = (a, b);
    is_bound(a)
        .cmp(&is_bound(b))
        .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| b_mates.cmp(&a_mates))
        .then_with(|| ready_since(b).cmp(&ready_since(a)))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| {
            b.metadata
                .creation_timestamp
                .cmp(&a.metadata.creation_timestamp)
        })
        .then_with(|| a.metadata.name.cmp(&b.metadata.name))
}
