//! After a recovery: the pods that a node runs and the recovered store does not know, written again rather than killed.
//!
//! Pure. What was acknowledged last may be lost with the majority that had it; the containers that it led to are not.
//! A pod that is not there any more because it was deleted since is another matter: its node may come back late, and
//! must not bring it back. So a generation begins with the UIDs of the pods that its founding state knew, by node.
//! Deliberately only for pods whose node was told them by its living process: nobody else has their spec.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use rand::RngCore;
use serde::Deserialize;
use serde_json::{Value, json};

use super::node_messages::HeldPod;
use crate::control::{Owner, owner};
use crate::resource::{Cache, ObjectKey, codec, names, registry};
use crate::store::{Compare, Operation, Record, Transaction, View};

/// Annotation of an adopted pod: the generation that found it.
const ADOPTED: &str = "kagero.dev/adopted-in-generation";

/// Before a node's name: the UIDs of the pods that were bound to it when a generation began. No object of the API.
const KNOWN: &str = "kagero-known-pods/";

/// The writes that tell a generation which pods its founding state knew, or an earlier generation's.
pub(super) fn remember_known_pods(view: &View) -> Vec<Operation> {
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (node, uids) in known_pods(view) {
        known.entry(node).or_default().extend(uids_of(&uids));
    }
    for (key, record) in view.range("pods/") {
        match serde_json::from_slice::<Bound>(&record.value) {
            Ok(Bound { metadata, spec }) => {
                let node = spec.node_name.filter(|node| !node.is_empty());
                if let Some(node) = node {
                    known.entry(node).or_default().insert(metadata.uid);
                }
            }
            Err(error) => tracing::error!(key, %error, "a stored pod cannot be read"),
        }
    }
    let put = |(node, uids): (String, BTreeSet<String>)| Operation::Put {
        key: format!("{KNOWN}{node}"),
        value: serde_json::to_vec(&uids)
            .expect("strings serialise into memory")
            .into(),
    };
    known.into_iter().map(put).collect()
}

/// The same, read again: by node, encoded.
pub(super) fn known_pods(view: &View) -> BTreeMap<String, Bytes> {
    let records = view.range(KNOWN);
    let entry = |(key, record): (&str, &Record)| {
        let node = key.strip_prefix(KNOWN).unwrap_or_default();
        (node.to_owned(), record.value.clone())
    };
    records.map(entry).collect()
}

/// One node's.
pub(super) fn uids_of(known: &Bytes) -> BTreeSet<String> {
    serde_json::from_slice(known).expect("written by `remember_known_pods`")
}

/// As much of a pod as tells where it is bound.
#[derive(Deserialize)]
struct Bound {
    metadata: Uid,
    #[serde(default)]
    spec: Place,
}

#[derive(Deserialize)]
struct Uid {
    uid: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    node_name: Option<String>,
}

/// A pod to be written again.
#[derive(Clone, Debug)]
pub(super) struct Adoption {
    /// Its name.
    pub(super) key: ObjectKey,
    /// As it will stand in the store.
    pub(super) pod: Pod,
    /// The write; a conflict means that its name is taken.
    pub(super) transaction: Transaction,
}

/// What to write for the pods that a node holds: nothing for those that are, or were, known, have ended or were about to
/// go, nor for one that cannot be read.
pub(super) fn adoptions(
    cache: &Cache,
    node: &str,
    generation: u64,
    held: &[HeldPod],
    known: &BTreeSet<String>,
) -> Vec<Adoption> {
    let held = held.iter().filter(|pod| !known.contains(&pod.uid));
    let read = |held: &HeldPod| match adoption(cache, node, generation, held) {
        Ok(adoption) => adoption,
        Err(error) => {
            tracing::error!(node, uid = held.uid, %error, "a pod that a node holds cannot be read");
            None
        }
    };
    held.filter_map(read).collect()
}

fn adoption(
    cache: &Cache,
    node: &str,
    generation: u64,
    held: &HeldPod,
) -> Result<Option<Adoption>, serde_json::Error> {
    let mut object: Value = serde_json::from_slice(&held.pod)?;
    let status: Value = serde_json::from_slice(&held.status)?;
    let metadata = &object["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let key = ObjectKey::new(text(&metadata["namespace"]), text(&metadata["name"]));
    let known = cache.get::<Pod>(&key);
    let known = known.is_some_and(|known| known.metadata.uid.as_ref() == Some(&held.uid));
    let ended = status["phase"] == "Succeeded" || status["phase"] == "Failed";
    let goes = !metadata["deletionTimestamp"].is_null();
    if known || ended || goes || object["spec"]["nodeName"] != node {
        return Ok(None);
    }
    object["status"] = status;
    object["metadata"]["annotations"][ADOPTED] = json!(generation.to_string());
    keep_living_owners(cache, &key.namespace, &mut object["metadata"])?;
    Ok(Some(Adoption {
        pod: serde_json::from_value(object.clone())?,
        transaction: create("pods", Some(&key.namespace), &key.name, &object),
        key,
    }))
}

/// The namespaces of these pods that are not known either.
pub(super) fn namespaces(
    cache: &Cache,
    adoptions: &[Adoption],
    now: &str,
    entropy: &mut dyn RngCore,
) -> Vec<Transaction> {
    let mut wanted: Vec<&str> = adoptions.iter().map(|a| a.key.namespace.as_str()).collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted.retain(|name| cache.get::<Namespace>(&ObjectKey::new("", *name)).is_none());
    let mut namespace = |name: &str| {
        let object = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": name,
                "uid": names::uid(entropy),
                "creationTimestamp": now,
                "labels": { "kubernetes.io/metadata.name": name },
            },
            "spec": { "finalizers": ["kubernetes"] },
            "status": { "phase": "Active" },
        });
        create("namespaces", None, name, &object)
    };
    wanted.into_iter().map(&mut namespace).collect()
}

/// Garbage collection would take a pod whose owners are all gone.
fn keep_living_owners(
    cache: &Cache,
    namespace: &str,
    metadata: &mut Value,
) -> Result<(), serde_json::Error> {
    let Value::Array(references) = metadata["ownerReferences"].take() else {
        drop(
            metadata
                .as_object_mut()
                .map(|m| m.remove("ownerReferences")),
        );
        return Ok(());
    };
    let mut kept = Vec::new();
    for reference in references {
        let read: OwnerReference = serde_json::from_value(reference.clone())?;
        if owner(cache, namespace, &read) != Owner::Gone {
            kept.push(reference);
        }
    }
    if kept.is_empty() {
        drop(
            metadata
                .as_object_mut()
                .map(|m| m.remove("ownerReferences")),
        );
    } else {
        metadata["ownerReferences"] = Value::Array(kept);
    }
    Ok(())
}

/// Writes an object as it is, UID and all, if its name is free.
fn create(plural: &str, namespace: Option<&str>, name: &str, object: &Value) -> Transaction {
    let kind = registry::find("", "v1", plural).expect("it is in the registry");
    let key = kind.key(namespace, name);
    Transaction {
        compare: vec![Compare {
            key: key.clone(),
            mod_revision: 0,
        }],
        operations: vec![Operation::Put {
            key,
            value: codec::encode(object),
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::entropy::Entropy;
    use crate::store::{Command, Outcome, ProposalId, Store};

    const NODE: &str = "n1";

    fn pod(name: &str, owner: Option<&str>) -> Value {
        let mut pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name, "namespace": "default", "uid": format!("uid-{name}") },
            "spec": { "nodeName": NODE, "containers": [{ "name": "c" }] },
            "status": { "phase": "Pending" },
        });
        if let Some(uid) = owner {
            pod["metadata"]["ownerReferences"] = json!([
                { "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": uid, "controller": true },
            ]);
        }
        pod
    }

    fn held(pod: &Value, phase: &str) -> HeldPod {
        HeldPod {
            uid: pod["metadata"]["uid"].as_str().unwrap().to_owned(),
            pod: pod.to_string().into(),
            status: json!({ "phase": phase }).to_string().into(),
        }
    }

    /// A store that knows the namespace and a ReplicaSet, and its cache.
    fn store() -> (Store, Cache) {
        let mut store = Store::new();
        let put = |key: &str, object: Value| Operation::Put {
            key: key.to_owned(),
            value: codec::encode(&object),
        };
        let web = json!({ "metadata": { "name": "web", "namespace": "default", "uid": "living" } });
        store.begin_generation(
            1,
            &[
                put(
                    "namespaces//default",
                    json!({ "metadata": { "name": "default", "uid": "d" } }),
                ),
                put("replicasets.apps/default/web", web),
                put("pods/default/known", pod("known", None)),
            ],
        );
        let (cache, unreadable) = Cache::fill(&store.view());
        assert!(unreadable.is_empty(), "{unreadable:?}");
        (store, cache)
    }

    fn adopt(held: &[HeldPod]) -> Vec<Adoption> {
        adoptions(&store().1, NODE, 1, held, &BTreeSet::new())
    }

    #[test]
    fn what_runs_and_is_not_known_is_written_with_its_newest_state() {
        let (mut store, cache) = store();
        let running = held(&pod("lost", None), "Running");
        let adopted = adoptions(&cache, NODE, 1, &[running], &BTreeSet::new());
        assert_eq!(adopted.len(), 1);
        let id = ProposalId {
            origin: 1,
            sequence: 1,
        };
        let command = |transaction: &Transaction| Command {
            id,
            time_ms: 0,
            transaction: transaction.clone(),
        };
        let outcome = store.apply(&command(&adopted[0].transaction)).outcome;
        assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
        let (cache, _) = Cache::fill(&store.view());
        let pod = cache.get::<Pod>(&adopted[0].key).unwrap();
        assert_eq!(pod.metadata.uid.as_deref(), Some("uid-lost"));
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        assert_eq!(phase, Some("Running"));
        assert_eq!(pod.metadata.annotations.as_ref().unwrap()[ADOPTED], "1");
    }

    #[test]
    fn what_is_known_has_ended_was_going_or_is_elsewhere_is_left() {
        let mut going = pod("going", None);
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let mut elsewhere = pod("elsewhere", None);
        elsewhere["spec"]["nodeName"] = json!("n2");
        let left = [
            held(&pod("known", None), "Running"),
            held(&pod("ended", None), "Succeeded"),
            held(&pod("failed", None), "Failed"),
            held(&going, "Running"),
            held(&elsewhere, "Running"),
        ];
        assert!(adopt(&left).is_empty());
    }

    /// Its node was away while it was replaced: the store does not know it any more, but it was never lost.
    #[test]
    fn what_was_known_and_is_deleted_since_stays_deleted() {
        let mut store = store().0;
        let remembered = remember_known_pods(&store.view());
        store.begin_generation(2, &remembered);
        let deletion = Operation::Delete {
            key: "pods/default/known".to_owned(),
        };
        // The next generation still knows what this one knew at its beginning.
        store.begin_generation(3, &[deletion]);
        let remembered = remember_known_pods(&store.view());
        store.begin_generation(4, &remembered);
        let known = uids_of(&known_pods(&store.view())[NODE]);
        assert_eq!(known, BTreeSet::from(["uid-known".to_owned()]));
        let (cache, _) = Cache::fill(&store.view());
        let held = ["known", "lost"].map(|name| held(&pod(name, None), "Running"));
        let adopted = adoptions(&cache, NODE, 4, &held, &known);
        let names: Vec<_> = adopted.iter().map(|a| a.key.name.as_str()).collect();
        assert_eq!(names, ["lost"]);
    }

    #[test]
    fn owners_that_are_gone_are_forgotten_and_living_ones_kept() {
        let cases = [("living", 1), ("another", 0)];
        for (uid, kept) in cases {
            let adopted = adopt(&[held(&pod("lost", Some(uid)), "Running")]);
            let owners = adopted[0].pod.metadata.owner_references.as_ref();
            assert_eq!(owners.map_or(0, Vec::len), kept, "{uid}");
        }
    }

    #[test]
    fn a_lost_namespace_comes_back_with_its_pods() {
        let cache = store().1;
        let mut other = pod("lost", None);
        other["metadata"]["namespace"] = json!("other");
        let both = [held(&pod("lost", None), "Running"), held(&other, "Running")];
        let adopted = adoptions(&cache, NODE, 1, &both, &BTreeSet::new());
        let entropy = &mut Entropy::from_seed(1);
        let namespaces = namespaces(&cache, &adopted, "2026-01-01T00:00:00Z", entropy);
        assert_eq!(namespaces.len(), 1);
        assert_eq!(namespaces[0].compare[0].key, "namespaces//other");
    }
}
