//! Namespace deletion: deletes what is in a namespace that is being deleted, then lets it go.
//!
//! The write path refuses new objects in it from the moment it is marked, so what is there can only become less.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use rand::RngCore;
use serde_json::json;

use super::kinds::each_kind;
use super::{Controller, Outcome, ReconcileError};
use crate::resource::cache::{Cached, Change};
use crate::resource::{Cache, Deletion, ObjectKey, ResourceName, Verb, Writer};

const WRITER: Writer = Writer {
    user: "system:kagero:namespace-controller",
};
/// Deletions asked for in one reconciliation: what one submit can carry. The rest follows in the next.
const DELETES_MAX: usize = 1_000;

/// The controller of namespaces that end.
#[derive(Debug, Default)]
pub struct NamespaceDeletion;

impl Controller for NamespaceDeletion {
    fn name(&self) -> &'static str {
        "namespace-controller"
    }

    /// The namespace itself, and that of whatever changes in a namespace that ends.
    fn keys_for(&self, change: &Change, cache: &Cache) -> Vec<ObjectKey> {
        if change.prefix == Namespace::PREFIX {
            return vec![change.key.clone()];
        }
        let key = ObjectKey::new("", &change.key.namespace);
        let ends = cache.get::<Namespace>(&key).is_some_and(|n| is_ending(n));
        ends.then_some(key).into_iter().collect()
    }

    fn all_keys(&self, cache: &Cache) -> Vec<ObjectKey> {
        let ending = cache.list::<Namespace>().filter(|(_, n)| is_ending(n));
        ending.map(|(key, _)| key.clone()).collect()
    }

    fn reconcile(
        &self,
        cache: &Cache,
        key: &ObjectKey,
        _now: Timestamp,
        _entropy: &mut dyn RngCore,
    ) -> Result<Outcome, ReconcileError> {
        let mut outcome = Outcome::default();
        let namespace = cache.get::<Namespace>(key);
        let Some(namespace) = namespace.filter(|namespace| is_ending(namespace)) else {
            return Ok(outcome);
        };
        let mut left = 0;
        each_kind!(T => left += delete_all::<T>(cache, &key.name, &mut outcome));
        if left == 0 {
            finalize(key, namespace, &mut outcome);
        }
        Ok(outcome)
    }
}

fn is_ending(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_some()
}

/// Asks for the deletion of what is not going yet. Returns how many objects there still are.
fn delete_all<T: Cached>(cache: &Cache, namespace: &str, outcome: &mut Outcome) -> usize {
    let mut left = 0;
    for (key, object) in cache.in_namespace::<T>(namespace) {
        left += 1;
        if object.meta().deletion_timestamp.is_none() && outcome.writes.len() < DELETES_MAX {
            let deletion = Deletion {
                propagation_policy: Some("Background".into()),
                ..Deletion::default()
            };
            outcome.write(WRITER.delete_as::<T>(key, object.meta(), deletion));
        }
    }
    left
}

/// Takes the namespace's finalizer. Its events go in one request before; were they too many for one, they would go
/// with their age, and hold up nobody.
fn finalize(key: &ObjectKey, namespace: &Namespace, outcome: &mut Outcome) {
    let events = ResourceName::new("", "v1", "events");
    let all = Verb::DeleteCollection {
        label_selector: String::new(),
        field_selector: String::new(),
        deletion: Deletion::default(),
    };
    outcome.write(WRITER.request(events, &key.name, None, all));
    let meta = &namespace.metadata;
    let object = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": key.name, "uid": meta.uid, "resourceVersion": meta.resource_version},
        "spec": {"finalizers": []},
    });
    let verb = Verb::Update(object);
    let request = WRITER.request(ResourceName::of::<Namespace>(), "", Some(&key.name), verb);
    outcome.write(request.on("finalize"));
}
