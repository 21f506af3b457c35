//! What the announced end of a machine means for the pods on it: until when each may serve, and the grace that is left.
//!
//! Deliberately only arithmetic: the ReplicaSet controller replaces pods before they go, the node life cycle sees to it
//! that every pod has been asked to go in time.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};

use crate::resource::cache::controller_of;
use crate::resource::nodes::{Eviction, eviction};
use crate::resource::pods::node_name;
use crate::resource::{Cache, ObjectKey};

/// Kept before the deadline: the pods' last reports must still reach the leader, and the cloud's clock is another.
const RESERVED: SignedDuration = SignedDuration::from_secs(2);
/// What a pod gets at least: 0 would mean to forget it without asking its node.
const GRACE_SECONDS_MIN: i64 = 1;
/// Kubernetes' default, which every stored pod has in writing.
const GRACE_SECONDS_DEFAULT: i64 = 30;

/// The announced end of the machine that a pod is on.
pub(crate) fn announced(cache: &Cache, pod: &Pod) -> Option<Eviction> {
    let node = cache.get::<Node>(&ObjectKey::new("", node_name(pod)?))?;
    eviction(node)
}

/// When a pod is asked to go at the latest. One that somebody replaces serves on for half of the notice, if its grace is
/// longer than the other half; any other gets all of its grace, as far as there is time.
pub(crate) fn latest(pod: &Pod, eviction: &Eviction) -> Timestamp {
    let end = eviction.deadline - RESERVED;
    let notice = end.duration_since(eviction.since).max(SignedDuration::ZERO);
    let is_replaced = controller_of(&pod.metadata).is_some_and(|owner| owner.kind == "ReplicaSet");
    let most = if is_replaced { notice / 2 } else { notice };
    end - own_grace(pod).min(most)
}

/// Seconds of grace for a pod that is asked to go now: its own, or what is left until shortly before the deadline.
pub(crate) fn grace_seconds(pod: &Pod, eviction: &Eviction, now: Timestamp) -> i64 {
    let left = (eviction.deadline - RESERVED).duration_since(now);
    own_grace(pod).min(left).as_secs().max(GRACE_SECONDS_MIN)
}

fn own_grace(pod: &Pod) -> SignedDuration {
    let spec = pod.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.termination_grace_period_seconds);
    SignedDuration::from_secs(seconds.unwrap_or(GRACE_SECONDS_DEFAULT).max(0))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn pod(grace: i64, owner: &Value) -> Pod {
        let meta = json!({"name": "p", "ownerReferences": owner});
        let spec = json!({"containers": [], "terminationGracePeriodSeconds": grace});
        serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap()
    }

    #[test]
    fn grace_ends_two_seconds_before_the_machine() {
        let eviction = |notice: i64| Eviction {
            incarnation: String::new(),
            since: at(100),
            deadline: at(100 + notice),
        };
        let set = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "s", "uid": "u", "controller": true}]);
        // Notice, own grace, replaced by somebody; asked to go at the latest after, with how much grace then.
        for (notice, own, owner, after, grace) in [
            (30, 30, &set, 14, 14),
            (30, 5, &set, 23, 5),
            (120, 30, &set, 88, 30),
            (30, 30, &json!([]), 0, 28),
            (30, 10, &json!([]), 18, 10),
            (0, 30, &set, -2, 1),
            (30, 0, &set, 28, 1),
        ] {
            let (pod, eviction) = (pod(own, owner), eviction(notice));
            let latest = latest(&pod, &eviction);
            let then = latest.max(at(100));
            let found = (
                latest.as_second() - 100,
                grace_seconds(&pod, &eviction, then),
            );
            assert_eq!(
                found,
                (after, grace),
                "{notice} s, own grace {own} s, {owner}"
            );
        }
    }
}
