//! What every cluster has from the start: four namespaces, and a ServiceAccount `default` in every namespace.
//!
//! Deliberately a controller and not a step of formation: idempotent, and it puts back what somebody deleted.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use rand::RngCore;
use serde_json::json;

use super::{Controller, Outcome, ReconcileError};
use crate::resource::cache::{Cached, Change};
use crate::resource::{Cache, ObjectKey, ResourceName, Writer};

const WRITER: Writer = Writer {
    user: "system:kagero:bootstrap-controller",
};
/// The namespaces that exist in every Kubernetes cluster.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
const SERVICE_ACCOUNT: &str = "default";

/// The controller of what must exist. Its keys are namespaces.
#[derive(Debug, Default)]
pub struct Bootstrap;

impl Controller for Bootstrap {
    fn name(&self) -> &'static str {
        "bootstrap-controller"
    }

    fn keys_for(&self, change: &Change, _cache: &Cache) -> Vec<ObjectKey> {
        match change.prefix.as_str() {
            Namespace::PREFIX => vec![change.key.clone()],
            ServiceAccount::PREFIX => vec![ObjectKey::new("", &change.key.namespace)],
            _ => Vec::new(),
        }
    }

    fn all_keys(&self, cache: &Cache) -> Vec<ObjectKey> {
        let present = cache.list::<Namespace>().map(|(key, _)| key.clone());
        let wanted = NAMESPACES.map(|name| ObjectKey::new("", name));
        let mut keys: Vec<_> = present.chain(wanted).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    fn reconcile(
        &self,
        cache: &Cache,
        key: &ObjectKey,
        _now: Timestamp,
        _entropy: &mut dyn RngCore,
    ) -> Result<Outcome, ReconcileError> {
        let mut outcome = Outcome::default();
        let object = |kind: &str, meta| json!({"apiVersion": "v1", "kind": kind, "metadata": meta});
        match cache.get::<Namespace>(key) {
            None if NAMESPACES.contains(&key.name.as_str()) => {
                let namespace = object("Namespace", json!({"name": key.name}));
                outcome.write(WRITER.create(ResourceName::of::<Namespace>(), "", namespace));
            }
            Some(namespace) if namespace.metadata.deletion_timestamp.is_none() => {
                let account = ObjectKey::new(&key.name, SERVICE_ACCOUNT);
                if cache.get::<ServiceAccount>(&account).is_none() {
                    let meta = json!({"name": SERVICE_ACCOUNT, "namespace": key.name});
                    let account = object("ServiceAccount", meta);
                    outcome.write(WRITER.create(
                        ResourceName::of::<ServiceAccount>(),
                        &key.name,
                        account,
                    ));
                }
            }
            _ => {}
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::world::World;

    #[test]
    fn what_must_exist_comes_and_comes_back() {
        let mut world = World::new();
        world.create("namespaces", json!({"metadata": {"name": "mine"}}));
        world.create("namespaces", json!({"metadata": {"name": "ending"}}));
        world.delete("namespaces//ending", "Background");
        world.settle(&[&Bootstrap]);
        let expected = [
            "default",
            "ending",
            "kube-node-lease",
            "kube-public",
            "kube-system",
            "mine",
        ];
        let namespaces = world.cache.list::<Namespace>();
        let names: Vec<_> = namespaces.map(|(key, _)| key.name.as_str()).collect();
        assert_eq!(names, expected);
        let accounts = world.cache.list::<ServiceAccount>();
        let places: Vec<_> = accounts.map(|(key, _)| key.namespace.as_str()).collect();
        assert_eq!(
            places,
            [
                "default",
                "kube-node-lease",
                "kube-public",
                "kube-system",
                "mine"
            ]
        );
        world.remove("serviceaccounts/mine/default");
        world.settle(&[&Bootstrap]);
        assert!(world.get("serviceaccounts/mine/default").is_some());
    }
}
