//! Removes pods that are bound to a node whose Node object no longer exists.
//!
//! Deliberately at once: the cache is the leader's own state in order, so an absent node is absent and not late.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use rand::RngCore;

use super::{Controller, Outcome, ReconcileError, keys_of};
use crate::resource::cache::{Cached, Change};
use crate::resource::pods::node_name;
use crate::resource::{Cache, Deletion, ObjectKey, Writer};

const WRITER: Writer = Writer {
    user: "system:kagero:pod-garbage-collector",
};

/// The controller of pods without a node.
#[derive(Debug, Default)]
pub struct PodCleanup;

impl Controller for PodCleanup {
    fn name(&self) -> &'static str {
        "pod-garbage-collector"
    }

    fn keys_for(&self, change: &Change, cache: &Cache) -> Vec<ObjectKey> {
        match change.prefix.as_str() {
            Pod::PREFIX => vec![change.key.clone()],
            Node::PREFIX if cache.get::<Node>(&change.key).is_none() => {
                let pods = cache.pods_on(&change.key.name);
                pods.map(|(key, _)| key.clone()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn all_keys(&self, cache: &Cache) -> Vec<ObjectKey> {
        keys_of::<Pod>(cache)
    }

    fn reconcile(
        &self,
        cache: &Cache,
        key: &ObjectKey,
        _now: Timestamp,
        _entropy: &mut dyn RngCore,
    ) -> Result<Outcome, ReconcileError> {
        let mut outcome = Outcome::default();
        let Some(pod) = cache.get::<Pod>(key) else {
            return Ok(outcome);
        };
        let node = node_name(pod).map(|name| ObjectKey::new("", name));
        if node.is_some_and(|node| cache.get::<Node>(&node).is_none()) {
            let deletion = Deletion {
                grace_period_seconds: Some(0),
                ..Deletion::default()
            };
            outcome.write(WRITER.delete_as::<Pod>(key, &pod.metadata, deletion));
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::control::world::World;

    #[test]
    fn pods_go_with_their_node_and_others_stay() {
        let mut world = World::new();
        world.create("nodes", json!({"metadata": {"name": "n1"}}));
        for (name, node) in [("a", json!("n1")), ("b", json!("gone")), ("c", json!(null))] {
            let meta = json!({"name": name, "namespace": "default"});
            let spec = json!({"nodeName": node, "containers": [{"name": "c", "image": "i"}]});
            world.create("pods", json!({"metadata": meta, "spec": spec}));
        }
        world.settle(&[&PodCleanup]);
        assert_eq!(world.names::<Pod>(), ["a", "c"]);
        world.remove("nodes//n1");
        let change = Change {
            prefix: "nodes".into(),
            key: ObjectKey::new("", "n1"),
            uid: String::new(),
            owners: Vec::new(),
        };
        let keys = PodCleanup.keys_for(&change, &world.cache);
        assert_eq!(keys, [ObjectKey::new("default", "a")]);
        world.settle(&[&PodCleanup]);
        assert_eq!(world.names::<Pod>(), ["c"]);
    }
}
