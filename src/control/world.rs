//! Tests' world: controllers over the real store and cache, with the writes applied at once and time by hand.
//!
//! Deliberately without a scheduler or agents: a test binds pods and makes them ready itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::{Controller, Outcome};
use crate::resource::cache::Cached;
use crate::resource::{Cache, Deletion, ObjectKey, Request, Verb};
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
        Self {
            store: Store::new(),
            cache: Cache::default(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            entropy: StdRng::seed_from_u64(7),
            told: Vec::new(),
        }
    }

    /// Creates an object as a client would; returns its UID.
    pub(crate) fn create(&mut self, prefix: &str, mut object: Value) -> String {
        let uid = format!("uid-{:08x}", self.entropy.random::<u32>());
        let meta = object["metadata"].as_object_mut().unwrap();
        meta.insert("uid".into(), json!(uid));
        meta.insert("creationTimestamp".into(), json!(self.now));
        meta.insert("generation".into(), json!(1));
        let namespace = meta.get("namespace").and_then(Value::as_str).unwrap_or("");
        let key = format!("{prefix}/{namespace}/{}", meta["name"].as_str().unwrap());
        assert!(self.store.view().get(&key).is_none(), "{key} exists");
        self.put(&key, Some(object));
        uid
    }

    /// The stored object of a store key.
    pub(crate) fn get(&self, key: &str) -> Option<Value> {
        let view = self.store.view();
        view.get(key)
            .map(|r| serde_json::from_slice(&r.value).unwrap())
    }

    /// Changes an object by a merge patch, as the owner of that field would.
    pub(crate) fn merge(&mut self, key: &str, patch: Value) {
        let before = self.get(key).unwrap_or_else(|| panic!("{key} is absent"));
        let mut after = before.clone();
        json_patch::merge(&mut after, &patch);
        if after["spec"] != before["spec"] {
            let generation = after["metadata"]["generation"].as_i64().unwrap_or(1);
            after["metadata"]["generation"] = json!(generation + 1);
        }
        let going = !after["metadata"]["deletionTimestamp"].is_null();
        let held = |o: &Value| {
            o["metadata"]["finalizers"]
                .as_array()
                .is_some_and(|f| !f.is_empty())
        };
        if going && held(&before) && !held(&after) {
            self.put(key, None);
        } else if after != before {
            self.put(key, Some(after));
        }
    }

    /// Removes an object as a client's background deletion would, whatever its grace.
    pub(crate) fn remove(&mut self, key: &str) {
        self.put(key, None);
    }

    fn put(&mut self, key: &str, object: Option<Value>) {
        let key = key.to_owned();
        let operation = match object {
            None => Operation::Delete { key },
            Some(object) => Operation::Put {
                key,
                value: Bytes::from(serde_json::to_vec(&object).unwrap()),
            },
        };
        let command = Command {
            id: ProposalId {
                origin: 1,
                sequence: self.store.view().revision() + 1,
            },
            time_ms: 0,
            transaction: Transaction {
                compare: Vec::new(),
                operations: vec![operation],
            },
        };
        let applied = self.store.apply(&command);
        let (_, unreadable) = self.cache.apply(&applied.events);
        assert!(unreadable.is_empty(), "{unreadable:?}");
    }

    /// Applies a request as the API would.
    pub(crate) fn submit(&mut self, request: &Request) {
        let resource = &request.resource;
        let prefix = match resource.group.as_str() {
            "" => resource.plural.clone(),
            group => format!("{}.{group}", resource.plural),
        };
        let namespace = request.namespace.as_deref().unwrap_or_default();
        let name = request.name.as_deref().unwrap_or_default();
        let key = format!("{prefix}/{namespace}/{name}");
        match &request.verb {
            Verb::Create(object) if prefix == "events" => self.told.push(format!(
                "{} {}",
                object["reason"].as_str().unwrap(),
                object["message"].as_str().unwrap()
            )),
            Verb::Create(object) => {
                self.create(&prefix, object.clone());
            }
            Verb::Patch(_, patch) => {
                let mut patch = patch.clone();
                let version = patch["metadata"]["resourceVersion"].take();
                if let Some(version) = version.as_str() {
                    let actual = self.store.view().get(&key).map(|r| r.mod_revision);
                    assert_eq!(Some(version.to_owned()), actual.map(|r| r.to_string()));
                }
                self.merge(&key, patch);
            }
            Verb::Delete(deletion) => self.delete(&key, deletion),
            Verb::DeleteCollection { deletion, .. } => {
                let view = self.store.view();
                let start = format!("{prefix}/{namespace}/");
                let keys = view.range(&start);
                let keys: Vec<_> = keys.map(|(key, _)| key.to_owned()).collect();
                for key in keys {
                    self.delete(&key, deletion);
                }
            }
            Verb::Update(object) => {
                let finalizers = object["spec"]["finalizers"].clone();
                assert_eq!(request.subresource.as_deref(), Some("finalize"));
                if finalizers.as_array().is_none_or(Vec::is_empty) {
                    self.put(&key, None);
                }
            }
        }
    }

    fn delete(&mut self, key: &str, deletion: &Deletion) {
        let Some(object) = self.get(key) else { return };
        let meta = &object["metadata"];
        if let Some(uid) = &deletion.precondition.uid {
            assert_eq!(meta["uid"].as_str(), Some(uid.as_str()), "{key}");
        }
        let mut finalizers: Vec<String> =
            serde_json::from_value(meta["finalizers"].clone()).unwrap_or_default();
        match deletion.propagation_policy.as_deref() {
            Some("Foreground") => finalizers.push("foregroundDeletion".into()),
            Some("Orphan") => finalizers.push("orphan".into()),
            _ => {}
        }
        let bound = object["spec"]["nodeName"].is_string();
        let graceful = bound && deletion.grace_period_seconds != Some(0);
        if finalizers.is_empty() && !graceful {
            return self.put(key, None);
        }
        let at = json!(self.now);
        let meta = json!({"deletionTimestamp": at, "finalizers": finalizers});
        self.merge(key, json!({ "metadata": meta }));
    }

    /// Applies what a reconciliation asked for.
    pub(crate) fn perform(&mut self, outcome: &Outcome) {
        for write in &outcome.writes {
            write.request.iter().for_each(|r| self.submit(r));
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
            if pod.status.is_none() {
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
