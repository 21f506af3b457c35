//! What a generation remembers of the state that it began with, so that a node that was away can be judged later.
//!
//! Pure. A node may hold a pod that the store does not have. Either it was lost with the majority, and its containers
//! are to live on; or it was deleted, and must not come back. The last version that its node was told decides: one that
//! is within what the founding state came from was known, so its absence is a deletion. Deliberately no list of
//! what was deleted before: it would have no end.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;

use crate::store::{Event, Operation, Record, Revision, View};

/// Before a node's name: the UIDs of the pods that were bound to it when a generation began; before "", of those that
/// were bound to none. No object of the API.
const KNOWN: &str = "kagero-known-pods/";

/// Before a generation: the last revision of the one before that the founding state is certain to come from. Written at
/// the generation's first revision, and never again. No object of the API.
const BEGAN: &str = "kagero-generation-began/";

/// How a generation ended, and what the next begins with.
pub(super) struct Ending<'a> {
    /// The generation that begins.
    pub(super) generation: u64,
    /// The last revision that was certainly committed.
    pub(super) committed: Revision,
    /// What the log that won has beyond it. Others may have committed something else at these revisions.
    pub(super) tail: &'a [Event],
    /// What all of it came to.
    pub(super) state: &'a View,
}

/// The writes that tell a generation what its founding state knew, and earlier generations'.
pub(super) fn remember(ending: &Ending<'_>) -> Vec<Operation> {
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (node, uids) in known_pods(ending.state) {
        known.entry(node).or_default().extend(uids_of(&uids));
    }
    let stored = ending.state.range("pods/");
    let deleted = ending.tail.iter().filter(|event| event.current.is_none());
    let deleted = deleted.filter_map(|event| Some((&*event.key, event.previous.as_ref()?)));
    let deleted = deleted.filter(|(key, _)| key.starts_with("pods/"));
    for (key, record) in stored.chain(deleted) {
        match serde_json::from_slice::<Bound>(&record.value) {
            Ok(Bound { metadata, spec }) => {
                let node = spec.node_name.unwrap_or_default();
                known.entry(node).or_default().insert(metadata.uid);
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
    let began = Operation::Put {
        key: format!("{BEGAN}{}", ending.generation),
        value: ending.committed.to_string().into(),
    };
    known.into_iter().map(put).chain([began]).collect()
}

/// What the generations so far began with.
#[derive(Clone, Default)]
pub(super) struct FoundingState {
    /// UIDs by node, encoded.
    pods: BTreeMap<String, Bytes>,
    /// Between these, both exclusive, lie revisions that this cluster went back before.
    lost: Vec<(Revision, Revision)>,
}

/// The same, of one node.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownPods {
    uids: BTreeSet<String>,
    lost: Vec<(Revision, Revision)>,
}

impl FoundingState {
    /// As [`remember`] wrote it. Of a generation that did not begin with a recovery there is nothing.
    pub(super) fn of(view: &View) -> Self {
        let began = view.range(BEGAN).filter_map(|(key, record)| {
            let committed = std::str::from_utf8(&record.value).ok()?.parse().ok();
            if committed.is_none() {
                tracing::error!(key, "a generation's beginning cannot be read");
            }
            Some((committed?, record.mod_revision))
        });
        Self {
            pods: known_pods(view),
            lost: began.collect(),
        }
    }

    /// What it says of a node's pods. A pod that was bound to none may have been bound to this one since.
    pub(super) fn of_node(&self, node: &str) -> KnownPods {
        let lists = [node, ""].into_iter().filter_map(|at| self.pods.get(at));
        KnownPods {
            uids: lists.flat_map(uids_of).collect(),
            lost: self.lost.clone(),
        }
    }

    /// The pods that were bound to no node: some may run where their binding was lost.
    pub(super) fn unbound(&self) -> BTreeSet<String> {
        self.pods.get("").map(uids_of).unwrap_or_default()
    }
}

impl KnownPods {
    /// Whether a pod that the store does not have was lost with the majority, given the last version that its node
    /// was told; else it was deleted.
    pub(super) fn lost(&self, uid: &str, pod: &Pod) -> bool {
        let told = revision(pod);
        let within = |(kept, began): &(Revision, Revision)| *kept < told && told < *began;
        self.lost.iter().any(within) && !self.uids.contains(uid)
    }
}

/// The revision that an object was read at; 0 if it does not say.
pub(super) fn revision(pod: &Pod) -> Revision {
    let text = pod.metadata.resource_version.as_deref();
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn known_pods(view: &View) -> BTreeMap<String, Bytes> {
    let records = view.range(KNOWN);
    let entry = |(key, record): (&str, &Record)| {
        let node = key.strip_prefix(KNOWN).unwrap_or_default();
        (node.to_owned(), record.value.clone())
    };
    records.map(entry).collect()
}

fn uids_of(known: &Bytes) -> BTreeSet<String> {
    serde_json::from_slice(known).expect("written by `remember`")
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::{Command, ProposalId, Store, Transaction};

    fn key(name: &str) -> String {
        format!("pods/default/{name}")
    }

    fn put(name: &str, node: Option<&str>) -> Operation {
        let object = json!({ "metadata": { "uid": name }, "spec": { "nodeName": node } });
        let value = object.to_string().into();
        Operation::Put {
            key: key(name),
            value,
        }
    }

    fn delete(name: &str) -> Operation {
        Operation::Delete { key: key(name) }
    }

    fn apply(store: &mut Store, operation: Operation) -> Vec<Event> {
        let id = ProposalId {
            origin: 1,
            sequence: store.revision() + 1,
        };
        let transaction = Transaction {
            compare: Vec::new(),
            operations: vec![operation],
        };
        let command = Command {
            id,
            time_ms: 0,
            transaction,
        };
        store.apply(&command).events
    }

    fn begin(store: &mut Store, generation: u64, committed: Revision, tail: &[Event]) {
        let ending = Ending {
            generation,
            committed,
            tail,
            state: &store.view(),
        };
        let operations = remember(&ending);
        store.begin_generation(generation, &operations);
    }

    /// Whether a pod that n1 was told at this revision was lost.
    fn lost(store: &Store, uid: &str, told: Revision) -> bool {
        let mut pod = Pod::default();
        pod.metadata.resource_version = Some(told.to_string());
        let founding = FoundingState::of(&store.view());
        founding.of_node("n1").lost(uid, &pod)
    }

    #[test]
    fn what_the_founding_state_came_from_was_deleted_and_what_it_never_saw_was_lost() {
        let mut store = Store::new();
        apply(&mut store, put("deleted", Some("n1")));
        apply(&mut store, delete("deleted"));
        apply(&mut store, put("known", Some("n1")));
        apply(&mut store, put("unbound", None));
        apply(&mut store, put("elsewhere", Some("n2")));
        let end = store.revision();
        assert!(!lost(&store, "new", end + 1), "no generation ended");
        begin(&mut store, 1, end, &[]);
        let first = 1 << 40;
        let cases = [
            ("deleted", 1, false),
            ("deleted since", end, false),
            ("new", end + 1, true),
            ("new", first - 1, true),
            ("of this generation", first, false),
            ("known", end + 1, false),
            ("unbound", end + 1, false),
            ("new", 0, false),
        ];
        for (uid, told, expected) in cases {
            assert_eq!(lost(&store, uid, told), expected, "{uid} at {told}");
        }
        // Whatever becomes of them in this generation, later ones know them too.
        apply(&mut store, delete("known"));
        let end_of_first = store.revision();
        begin(&mut store, 3, end_of_first, &[]);
        assert!(!lost(&store, "known", end + 1));
        assert!(lost(&store, "new", end + 1));
        assert!(!lost(&store, "new", end_of_first));
        assert!(lost(&store, "of the generation that died young", 2 << 40));
    }

    /// Others may have committed something else at the revisions of the tail.
    #[test]
    fn the_tail_of_the_log_that_won_speaks_for_its_own_pods_only() {
        let mut store = Store::new();
        apply(&mut store, put("early", Some("n1")));
        let committed = store.revision();
        let mut tail = apply(&mut store, put("brief", Some("n1")));
        tail.extend(apply(&mut store, delete("brief")));
        tail.extend(apply(&mut store, put("late", Some("n1"))));
        begin(&mut store, 1, committed, &tail);
        for (uid, expected) in [("brief", false), ("late", false), ("another", true)] {
            assert_eq!(lost(&store, uid, committed + 1), expected, "{uid}");
        }
        assert!(!lost(&store, "early", committed));
    }

    #[test]
    fn an_empty_node_name_is_none() {
        let mut store = Store::new();
        apply(&mut store, put("a", Some("")));
        begin(&mut store, 1, 1, &[]);
        let unbound = FoundingState::of(&store.view()).unbound();
        assert_eq!(unbound, BTreeSet::from(["a".to_owned()]));
    }
}
