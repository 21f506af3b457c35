//! The cache against the store: whatever happens, it equals a fresh fill, and its clones stay as they were.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::*;
use crate::store::{Command, Operation, ProposalId, Store, Transaction};

fn write(store: &mut Store, key: &str, object: Option<Value>) -> Vec<Event> {
    let key = key.to_owned();
    let operation = match object {
        None => Operation::Delete { key },
        Some(object) => Operation::Put {
            key,
            value: Bytes::from(object.to_string()),
        },
    };
    let id = ProposalId {
        origin: 1,
        sequence: store.usage().outcomes as u64 + 1,
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

/// A pod on one of three nodes or none, with one of three owners or none, some of them controllers.
fn pod(random: &mut StdRng, name: &str) -> Value {
    let mut pod = json!({ "metadata": { "name": name }, "spec": { "containers": [] } });
    match random.random_range(0..4) {
        0 => {}
        node => pod["spec"]["nodeName"] = json!(format!("n{node}")),
    }
    match random.random_range(0..4) {
        0 => {}
        owner => {
            pod["metadata"]["ownerReferences"] = json!([{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": format!("uid-{owner}"),
                "controller": random.random_bool(0.5),
            }]);
        }
    }
    pod
}

/// Everything a reader can ask, as text.
fn everything(cache: &Cache) -> Vec<String> {
    fn names<'a>(
        what: &str,
        objects: impl Iterator<Item = (&'a ObjectKey, &'a Arc<Pod>)>,
    ) -> String {
        let version = |pod: &Pod| pod.metadata.resource_version.clone().unwrap();
        let objects = objects.map(|(key, pod)| format!(" {key}@{}", version(pod)));
        format!("{what}:{}", objects.collect::<String>())
    }
    let mut told = vec![
        format!("revision {}", cache.revision()),
        names("all", cache.list()),
    ];
    for at in 0..4 {
        told.push(names("node", cache.pods_on(&format!("n{at}"))));
        told.push(names("owner", cache.owned_by(&format!("uid-{at}"))));
        told.push(names("namespace", cache.in_namespace(&format!("ns{at}"))));
        told.push(names("unmanaged", cache.unmanaged_in(&format!("ns{at}"))));
    }
    told
}

#[test]
fn the_cache_equals_a_fresh_fill_and_clones_never_change() {
    let mut random = StdRng::seed_from_u64(1);
    let mut store = Store::new();
    let mut cache = Cache::default();
    for _ in 0..2_000 {
        let name = format!("p{}", random.random_range(0..60));
        let key = format!("pods/ns{}/{name}", random.random_range(0..3));
        let object = random.random_bool(0.7).then(|| pod(&mut random, &name));
        let events = write(&mut store, &key, object);
        let (clone, before) = (cache.clone(), everything(&cache));
        let (changes, unreadable) = cache.apply(&events);
        assert_eq!((changes.len(), unreadable.len()), (events.len(), 0));
        assert_eq!(everything(&clone), before);
        assert_eq!(
            everything(&cache),
            everything(&Cache::fill(&store.view()).0)
        );
    }
    assert!(
        cache.list::<Pod>().count() > 60,
        "the test has something to compare"
    );
}

#[test]
fn clones_share_their_objects() {
    let mut store = Store::new();
    let key = ObjectKey::new("default", "a");
    let pod = || Some(json!({ "metadata": { "name": "x" }, "spec": { "containers": [] } }));
    write(&mut store, "pods/default/a", pod());
    let (mut cache, _) = Cache::fill(&store.view());
    let clone = cache.clone();
    cache.apply(&write(&mut store, "pods/default/b", pod()));
    let (one, other) = (
        cache.get::<Pod>(&key).unwrap(),
        clone.get::<Pod>(&key).unwrap(),
    );
    assert!(Arc::ptr_eq(one, other));
    assert_eq!(
        (cache.list::<Pod>().count(), clone.list::<Pod>().count()),
        (2, 1)
    );
}

#[test]
fn a_change_names_owners_before_and_after() {
    let mut store = Store::new();
    let owned = |uid: &str| {
        Some(json!({ "metadata": { "name": "a", "ownerReferences": [
            { "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": uid, "controller": true },
        ] }, "spec": { "containers": [] } }))
    };
    write(&mut store, "pods/default/a", owned("u1"));
    let (mut cache, _) = Cache::fill(&store.view());
    let (changes, _) = cache.apply(&write(&mut store, "pods/default/a", owned("u2")));
    let uids: Vec<_> = changes[0]
        .owners
        .iter()
        .map(|owner| owner.uid.as_str())
        .collect();
    assert_eq!(uids, ["u1", "u2"]);
    assert_eq!(cache.owned_by::<Pod>("u1").count(), 0);
    assert_eq!(cache.owned_by::<Pod>("u2").count(), 1);
}

#[test]
fn what_cannot_be_read_is_left_out_and_told() {
    let mut store = Store::new();
    write(&mut store, "pods/default/a", Some(json!({ "metadata": 1 })));
    let (mut cache, unreadable) = Cache::fill(&store.view());
    assert_eq!(unreadable[0].0, "pods/default/a");
    let events = write(&mut store, "pods/default/b", Some(json!([])));
    let (changes, unreadable) = cache.apply(&events);
    assert!(changes.is_empty());
    assert_eq!(unreadable[0].0, "pods/default/b");
    assert_eq!(cache.list::<Pod>().count(), 0);
    assert_eq!(cache.revision(), store.revision());
}
