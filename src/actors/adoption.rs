//! After a recovery: the pods that a node runs and the recovered store does not know, written again rather than killed.
//!
//! Pure. What was acknowledged last may be lost with the majority that had it; the containers that it led to are not.
//! A pod that is there but has no node lost its binding alone, and gets it back. One that is not there any more because it
//! was deleted is another matter: its node may come back late, and must not bring it back (`founding_state.rs`).
//! Deliberately only for pods whose node was told them by its living process: nobody else has their spec.

use k8s_openapi::api::core::v1::{Namespace, Pod, PodStatus};
use rand::RngCore;
use serde_json::{Value, json};

use super::founding_state::{KnownPods, revision};
use super::node_messages::HeldPod;
use crate::control::{Owner, owner};
use crate::resource::{Cache, ObjectKey, codec, names, pods, registry};
use crate::store::{Compare, Operation, Revision, Transaction};

/// Annotation of an adopted pod: the generation that found it.
const ADOPTED: &str = "kagero.dev/adopted-in-generation";

/// A pod to be written again.
#[derive(Clone, Debug)]
pub(super) struct Adoption {
    /// Its name.
    pub(super) key: ObjectKey,
    /// What of it was lost, for people.
    pub(super) lost: &'static str,
    /// As it will stand in the store.
    pub(super) pod: Pod,
    /// The write; a conflict means that another came first.
    pub(super) transaction: Transaction,
}

impl Adoption {
    /// Whether it stands in the store as it was to be written.
    pub(super) fn is_kept(&self, cache: &Cache) -> bool {
        let stored = cache.get::<Pod>(&self.key);
        stored.is_some_and(|stored| {
            stored.metadata.uid == self.pod.metadata.uid
                && pods::node_name(stored) == pods::node_name(&self.pod)
        })
    }
}

/// What to write for the pods that a node holds: nothing for those that are, or were, known, have ended or were about to
/// go, nor for one that cannot be read.
pub(super) fn adoptions(
    cache: &Cache,
    node: &str,
    generation: u64,
    held: &[HeldPod],
    known: &KnownPods,
) -> Vec<Adoption> {
    let read = |held: &HeldPod| match adoption(cache, node, generation, held, known) {
        Ok(adoption) => adoption,
        Err(error) => {
            tracing::error!(node, uid = held.uid, %error, "a pod that a node holds cannot be read");
            None
        }
    };
    held.iter().filter_map(read).collect()
}

fn adoption(
    cache: &Cache,
    node: &str,
    generation: u64,
    held: &HeldPod,
    known: &KnownPods,
) -> Result<Option<Adoption>, serde_json::Error> {
    let told: Pod = serde_json::from_slice(&held.pod)?;
    let status: PodStatus = serde_json::from_slice(&held.status)?;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (namespace, name) = (text(&told.metadata.namespace), text(&told.metadata.name));
    let key = ObjectKey::new(namespace, name);
    let is_it = |pod: &Pod| pod.metadata.uid.as_ref() == Some(&held.uid);
    if !is_it(&told) || pods::node_name(&told) != Some(node) || pods::is_terminating(&told) {
        return Ok(None);
    }
    let stored = cache.get::<Pod>(&key).filter(|stored| is_it(stored));
    let mut pod = match stored {
        // Its binding alone was lost.
        Some(stored) if !pods::is_bound(stored) => (**stored).clone(),
        Some(_) => return Ok(None),
        None if known.lost(&held.uid, &told) => told,
        None => return Ok(None),
    };
    pod.status = Some(status);
    if stored.is_none() && pods::is_terminated(&pod) {
        return Ok(None);
    }
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(ADOPTED.to_owned(), generation.to_string());
    pod.spec.get_or_insert_default().node_name = Some(node.to_owned());
    keep_living_owners(cache, &key.namespace, &mut pod);
    let expected = stored.map_or(0, |stored| revision(stored));
    let object = serde_json::to_value(&pod)?;
    Ok(Some(Adoption {
        transaction: write("pods", Some(&key.namespace), &key.name, &object, expected),
        lost: if stored.is_some() {
            "binding"
        } else {
            "object"
        },
        pod,
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
        write("namespaces", None, name, &object, 0)
    };
    wanted.into_iter().map(&mut namespace).collect()
}

/// Garbage collection would take a pod whose owners are all gone.
fn keep_living_owners(cache: &Cache, namespace: &str, pod: &mut Pod) {
    let mut references = pod.metadata.owner_references.take().unwrap_or_default();
    references.retain(|reference| owner(cache, namespace, reference) != Owner::Gone);
    pod.metadata.owner_references = (!references.is_empty()).then_some(references);
}

/// Writes an object as it is, UID and all, if its key's modification revision is this (0: if its name is free).
fn write(
    plural: &str,
    namespace: Option<&str>,
    name: &str,
    object: &Value,
    expected: Revision,
) -> Transaction {
    let kind = registry::find("", "v1", plural).expect("it is in the registry");
    let key = kind.key(namespace, name);
    Transaction {
        compare: vec![Compare {
            key: key.clone(),
            mod_revision: expected,
        }],
        operations: vec![Operation::Put {
            key,
            value: codec::encode(object),
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::super::founding_state::{Ending, FoundingState, remember};
    use super::*;
    use crate::env::entropy::Entropy;
    use crate::store::{Command, Outcome, ProposalId, Store};

    const NODE: &str = "n1";
    /// The last revision of generation 0 that generation 1 knows.
    const KEPT: Revision = 10;

    /// A pod as its node was told it: after what the next generation knows.
    fn pod(name: &str, owner: Option<&str>) -> Value {
        let mut pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name, "namespace": "default", "uid": format!("uid-{name}"), "resourceVersion": "11",
            },
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

    fn put(key: &str, object: &Value) -> Operation {
        Operation::Put {
            key: key.to_owned(),
            value: codec::encode(object),
        }
    }

    /// Generation 1, which began with a namespace, a ReplicaSet and these pods.
    fn store(pods: &[Value]) -> Store {
        let mut store = Store::new();
        let web = json!({ "metadata": { "name": "web", "namespace": "default", "uid": "living" } });
        let default = json!({ "metadata": { "name": "default", "uid": "d" } });
        let mut operations = vec![
            put("namespaces//default", &default),
            put("replicasets.apps/default/web", &web),
        ];
        for pod in pods {
            let name = pod["metadata"]["name"].as_str().unwrap();
            operations.push(put(&format!("pods/default/{name}"), pod));
        }
        store.begin_generation(0, &operations);
        let ending = Ending {
            generation: 1,
            committed: KEPT,
            tail: &[],
            state: &store.view(),
        };
        let operations = remember(&ending);
        store.begin_generation(1, &operations);
        store
    }

    fn adopt_into(store: &Store, held: &[HeldPod]) -> Vec<Adoption> {
        let (cache, unreadable) = Cache::fill(&store.view());
        assert!(unreadable.is_empty(), "{unreadable:?}");
        let known = FoundingState::of(&store.view()).of_node(NODE);
        adoptions(&cache, NODE, 1, held, &known)
    }

    fn adopt(held: &[HeldPod]) -> Vec<Adoption> {
        adopt_into(&store(&[pod("known", None)]), held)
    }

    fn apply(store: &mut Store, transaction: Transaction) -> Outcome {
        let id = ProposalId {
            origin: 1,
            sequence: store.revision(),
        };
        let command = Command {
            id,
            time_ms: 0,
            transaction,
        };
        store.apply(&command).outcome
    }

    #[test]
    fn what_runs_and_is_not_known_is_written_with_its_newest_state() {
        let mut store = store(&[]);
        let adopted = adopt_into(&store, &[held(&pod("lost", None), "Running")]);
        assert_eq!(adopted.len(), 1);
        let outcome = apply(&mut store, adopted[0].transaction.clone());
        assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
        let (cache, _) = Cache::fill(&store.view());
        assert!(adopted[0].is_kept(&cache));
        let pod = cache.get::<Pod>(&adopted[0].key).unwrap();
        assert_eq!(pod.metadata.uid.as_deref(), Some("uid-lost"));
        assert_eq!(pods::phase(pod), "Running");
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

    /// Its node was away while it was deleted, before the recovery or after: the store does not have it, but it was
    /// never lost.
    #[test]
    fn what_was_deleted_stays_deleted() {
        let mut early = pod("early", None);
        early["metadata"]["resourceVersion"] = json!(KEPT.to_string());
        let mut unbound = pod("unbound", None);
        unbound["spec"]["nodeName"] = Value::Null;
        let mut store = store(&[pod("known", None), unbound]);
        for name in ["known", "unbound"] {
            let key = format!("pods/default/{name}");
            let deletion = Transaction {
                compare: Vec::new(),
                operations: vec![Operation::Delete { key }],
            };
            apply(&mut store, deletion);
        }
        let mut back: Vec<_> = ["known", "unbound", "lost"]
            .map(|name| held(&pod(name, None), "Running"))
            .into();
        back.push(held(&early, "Running"));
        let adopted = adopt_into(&store, &back);
        let names: Vec<_> = adopted.iter().map(|a| a.key.name.as_str()).collect();
        assert_eq!(names, ["lost"]);
    }

    /// The log that won knows the pod and not that it was bound.
    #[test]
    fn a_pod_whose_binding_alone_was_lost_is_bound_where_it_runs() {
        let mut unbound = pod("unbound", None);
        unbound["spec"]["nodeName"] = Value::Null;
        unbound["metadata"]["labels"] = json!({ "of": "the store" });
        let store = store(&[unbound]);
        let adopted = adopt_into(&store, &[held(&pod("unbound", None), "Running")]);
        assert_eq!((adopted.len(), adopted[0].lost), (1, "binding"));
        let write = || adopted[0].transaction.clone();
        let mut bound = store;
        let outcome = apply(&mut bound, write());
        assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
        let (cache, _) = Cache::fill(&bound.view());
        assert!(adopted[0].is_kept(&cache));
        let pod = cache.get::<Pod>(&adopted[0].key).unwrap();
        assert_eq!(pods::node_name(pod), Some(NODE));
        assert_eq!(pods::phase(pod), "Running");
        assert_eq!(pod.metadata.labels.as_ref().unwrap()["of"], "the store");
        // Whoever changed it first is not overwritten.
        let outcome = apply(&mut bound, write());
        assert!(matches!(outcome, Outcome::Conflict { .. }), "{outcome:?}");
    }

    #[test]
    fn what_makes_no_sense_is_left() {
        let mut annotations = pod("annotations", None);
        annotations["metadata"]["annotations"] = json!("x");
        let mut metadata = pod("metadata", None);
        metadata["metadata"] = json!([]);
        let held = [annotations, metadata, json!(7)].map(|senseless| HeldPod {
            pod: senseless.to_string().into(),
            ..held(&pod("annotations", None), "Running")
        });
        assert!(adopt(&held).is_empty());
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
        let store = store(&[]);
        let mut other = pod("lost", None);
        other["metadata"]["namespace"] = json!("other");
        let both = [held(&pod("lost", None), "Running"), held(&other, "Running")];
        let adopted = adopt_into(&store, &both);
        let (cache, _) = Cache::fill(&store.view());
        let entropy = &mut Entropy::from_seed(1);
        let namespaces = namespaces(&cache, &adopted, "2026-01-01T00:00:00Z", entropy);
        assert_eq!(namespaces.len(), 1);
        assert_eq!(namespaces[0].compare[0].key, "namespaces//other");
    }
}
