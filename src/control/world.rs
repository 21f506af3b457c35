//! Tests' world: controllers over the real write path, store and cache; writes are applied at once, time by hand.
//!
//! Deliberately without a scheduler or agents: a test binds pods and makes them ready itself.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::{Controller, Outcome};
use crate::resource::cache::{Cached, split_key};
use crate::resource::pods::is_bound;
use crate::resource::registry::{Kind, kinds};
use crate::resource::{
    Cache, Deletion, ObjectKey, Options, PatchType, Request, Stamp, Verb, codec, plan,
};
use crate::store::{Command, Operation, ProposalId, Store, Transaction};

/// Rounds of all controllers over all keys before a test is told that they never come to rest.
const ROUNDS_MAX: usize = 300;

pub(crate) struct World {
    store: Store,
    pub(crate) cache: Cache,
    pub(crate) now: Timestamp,
    pub(crate) entropy: StdRng,
    /// `reason message` of every event told so far.
    pub(crate) told: Vec<String>,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut world = Self {
            store: Store::new(),
            cache: Cache::default(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            entropy: StdRng::seed_from_u64(7),
            told: Vec::new(),
        };
        world.create("namespaces", json!({"metadata": {"name": "default"}}));
        world
    }

    /// Creates an object as a client would; returns its UID.
    pub(crate) fn create(&mut self, prefix: &str, mut object: Value) -> String {
        let kind = kind_of(prefix);
        object["apiVersion"] = json!(kind.api_version());
        object["kind"] = json!(kind.kind);
        let meta = &object["metadata"];
        let name = meta["name"].as_str().unwrap().to_owned();
        let namespace = meta["namespace"].as_str().unwrap_or_default().to_owned();
        self.submit(&request(prefix, &namespace, None, Verb::Create(object)));
        let stored = self.get(&format!("{prefix}/{namespace}/{name}")).unwrap();
        stored["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    /// Changes an object by a merge patch, as a client would.
    pub(crate) fn patch(&mut self, key: &str, patch: Value) {
        let (prefix, key) = split_key(key).unwrap();
        let verb = Verb::Patch(PatchType::Merge, patch);
        self.submit(&request(prefix, &key.namespace, Some(&key.name), verb));
    }

    /// Deletes an object as a client would, with this policy.
    pub(crate) fn delete(&mut self, key: &str, policy: &str) {
        let (prefix, key) = split_key(key).unwrap();
        let verb = Verb::Delete(Deletion {
            propagation_policy: Some(policy.into()),
            ..Deletion::default()
        });
        self.submit(&request(prefix, &key.namespace, Some(&key.name), verb));
    }

    /// The stored object of a store key.
    pub(crate) fn get(&self, key: &str) -> Option<Value> {
        let view = self.store.view();
        view.get(key)
            .map(|r| serde_json::from_slice(&r.value).unwrap())
    }

    /// Changes what only a node or the scheduler may: a status, a binding.
    pub(crate) fn merge(&mut self, key: &str, patch: Value) {
        let mut object = self.get(key).unwrap_or_else(|| panic!("{key} is absent"));
        json_patch::merge(&mut object, &patch);
        let key = key.to_owned();
        let value = codec::encode(&object);
        self.apply(vec![Operation::Put { key, value }]);
    }

    /// Lets an object be gone, as a node does with a pod that has ended.
    pub(crate) fn remove(&mut self, key: &str) {
        let key = key.to_owned();
        self.apply(vec![Operation::Delete { key }]);
    }

    fn apply(&mut self, operations: Vec<Operation>) {
        let id = ProposalId {
            origin: 1,
            sequence: self.store.view().revision() + 1,
        };
        let transaction = Transaction {
            compare: Vec::new(),
            operations,
        };
        let applied = self.store.apply(&Command {
            id,
            time_ms: self.now.as_millisecond(),
            transaction,
        });
        let (_, unreadable) = self.cache.apply(&applied.events);
        assert!(unreadable.is_empty(), "{unreadable:?}");
    }

    /// Plans and applies a request; it must succeed.
    pub(crate) fn submit(&mut self, request: &Request) {
        if let (Verb::Create(event), "events") = (&request.verb, &*request.resource.plural) {
            let text = |name: &str| event[name].as_str().unwrap();
            self.told
                .push(format!("{} {}", text("reason"), text("message")));
        }
        let mut stamp = Stamp {
            now: self.now,
            entropy: &mut self.entropy,
        };
        let plan = plan(&self.store.view(), request, &mut stamp);
        let plan = plan.unwrap_or_else(|status| panic!("{status} of {request:?}"));
        for transaction in plan.transactions {
            self.apply(transaction.operations);
        }
    }

    /// Applies what a reconciliation asked for.
    pub(crate) fn perform(&mut self, outcome: &Outcome) {
        for write in &outcome.writes {
            self.submit(&write.request);
            write.event.iter().for_each(|r| self.submit(r));
        }
    }

    /// Reconciles one key once; returns whether there was anything to do.
    pub(crate) fn reconcile(&mut self, controller: &dyn Controller, key: &ObjectKey) -> bool {
        let outcome = controller
            .reconcile(&self.cache, key, self.now, &mut self.entropy)
            .unwrap();
        self.perform(&outcome);
        !outcome.writes.is_empty()
    }

    /// Reconciles everything until nobody has anything to do.
    pub(crate) fn settle(&mut self, controllers: &[&dyn Controller]) {
        for _ in 0..ROUNDS_MAX {
            let mut busy = false;
            for controller in controllers {
                for key in controller.all_keys(&self.cache) {
                    busy |= self.reconcile(*controller, &key);
                }
            }
            if !busy {
                return;
            }
        }
        panic!("the controllers never come to rest; {:?}", self.told);
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now.checked_add(time).unwrap();
    }

    /// Names of a kind's objects in namespace `default`.
    pub(crate) fn names<T: Cached>(&self) -> Vec<String> {
        let objects = self.cache.in_namespace::<T>("default");
        objects.map(|(key, _)| key.name.clone()).collect()
    }

    /// Binds a pod and makes it Running and ready.
    pub(crate) fn run_pod(&mut self, name: &str, node: &str) {
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": self.now});
        let status = json!({"phase": "Running", "conditions": [ready]});
        self.merge(
            &format!("pods/default/{name}"),
            json!({"spec": {"nodeName": node}, "status": status}),
        );
    }

    /// Binds all new pods to `n1` and makes them ready.
    pub(crate) fn run_pods(&mut self) {
        for (key, pod) in self.pods() {
            if !is_bound(&pod) {
                self.run_pod(&key.name, "n1");
            }
        }
    }

    /// Lets those that were asked to go be gone.
    pub(crate) fn end_pods(&mut self) {
        for (key, pod) in self.pods() {
            if pod.metadata.deletion_timestamp.is_some() {
                self.remove(&format!("pods/{}/{}", key.namespace, key.name));
            }
        }
    }

    /// All pods.
    pub(crate) fn pods(&self) -> Vec<(ObjectKey, Arc<Pod>)> {
        let pods = self.cache.list::<Pod>();
        pods.map(|(key, pod)| (key.clone(), pod.clone())).collect()
    }
}

/// A key in namespace `default`.
pub(crate) fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

/// A pod template with these labels and this image.
pub(crate) fn template(labels: &Value, image: &str) -> Value {
    json!({
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "c", "image": image}]},
    })
}

fn kind_of(prefix: &str) -> &'static Kind {
    kinds().iter().find(|kind| kind.prefix() == prefix).unwrap()
}

fn request(prefix: &str, namespace: &str, name: Option<&str>, verb: Verb) -> Request {
    Request {
        resource: kind_of(prefix).resource_name(),
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        name: name.map(str::to_owned),
        subresource: None,
        verb,
        options: Options::default(),
        user: "test".into(),
    }
}
