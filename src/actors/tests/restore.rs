//! Everything is lost: what forms again of the archive, what refuses to, and what manifests bring.

use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use crate::actors::archive::{Header, decode};
use crate::actors::manifests::Manifest;
use crate::actors::testing::host::{Host, env, eventually, obtain, options};
use crate::actors::testing::network::Wires;
use crate::actors::testing::objects::Shelf;
use crate::cli::client::{Client, Patch};
use crate::node::Options;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub(super) const RECOVERY: &str = "/kagero/v1/recovery";
const STATUS: &str = "/kagero/v1/status";
/// The first revision of generation 1.
const FIRST: u64 = 1 << 40;

pub(super) async fn write(client: &Client, name: &str) -> u64 {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "a": "b" },
    });
    revision(&obtain("a write", || client.post(CONFIG_MAPS, &object)).await)
}

pub(super) fn revision(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str().unwrap();
    text.parse().unwrap()
}

pub(super) async fn start(wires: &Wires, shelf: &Shelf, options: Options, seed: u64) -> Host {
    let mut env = env(wires, seed);
    env.objects = Some(shelf.edge());
    Host::start_in(env, options).await
}

/// Three seeds with an archive, which may or may not form a cluster.
pub(super) async fn seeds(wires: &Wires, shelf: &Shelf, seed: u64) -> Vec<Host> {
    let mut hosts = Vec::new();
    for number in 1..=3 {
        hosts.push(start(wires, shelf, options(number), seed + u64::from(number)).await);
    }
    hosts
}

pub(super) async fn three(wires: &Wires, shelf: &Shelf, seed: u64) -> Vec<Host> {
    let hosts = seeds(wires, shelf, seed).await;
    eventually("a leader", || hosts.iter().any(Host::leads)).await;
    hosts
}

/// Headers of all snapshots, the newest last.
pub(super) fn kept(shelf: &Shelf) -> Vec<(String, Header)> {
    let objects = shelf.objects.borrow();
    let names = shelf.names("snapshots/");
    let header = |name: String| {
        let (header, _) = decode(&objects[&name]).ok()?;
        Some((name, header))
    };
    let mut all: Vec<_> = names.into_iter().filter_map(header).collect();
    all.sort_by_key(|(_, header)| header.name());
    all
}

/// Waits until a state of at least this revision is kept; gives the newest one's name and revision.
pub(super) async fn kept_since(shelf: &Shelf, revision: u64) -> (String, u64) {
    eventually("it is kept", || {
        kept(shelf)
            .last()
            .is_some_and(|(_, newest)| newest.revision >= revision)
    })
    .await;
    let (name, header) = kept(shelf).pop().unwrap();
    (name, header.revision)
}

pub(super) async fn status(client: &Client) -> Value {
    obtain("the status", || client.get(STATUS)).await
}

pub(super) async fn voters(client: &Client, wanted: usize) {
    obtain("the voters", async || {
        let status = status(client).await;
        let members = status["members"].as_array().unwrap();
        let votes = |member: &&Value| member["role"] == "leader" || member["role"] == "voter";
        let count = members.iter().filter(votes).count();
        (count == wanted)
            .then_some(())
            .ok_or_else(|| status.to_string())
    })
    .await;
}

pub(super) async fn exists(client: &Client, name: &str) -> bool {
    let path = format!("{CONFIG_MAPS}/{name}");
    obtain("an answer", async || match client.get(&path).await {
        Ok(_) => Ok(true),
        Err(error) if error.code() == Some(404) => Ok(false),
        Err(error) => Err(error.to_string()),
    })
    .await
}

pub(super) fn generation(host: &Host) -> Option<u64> {
    let known = host.node.known.borrow();
    known
        .as_ref()
        .map(|known| known.standing.cluster.generation)
}

#[actix::test]
async fn everything_lost_is_formed_of_the_newest_snapshot() {
    tokio::time::pause();
    let (wires, shelf) = (Wires::default(), Shelf::default());
    let hosts = three(&wires, &shelf, 0).await;
    let client = hosts[0].client(&wires);
    let before = status(&client).await;
    let written = write(&client, "kept").await;
    let (source, restored) = kept_since(&shelf, written).await;
    write(&client, "lost").await;
    drop(hosts);
    sleep(Duration::from_secs(30)).await;

    let hosts = three(&wires, &shelf, 100).await;
    let client = hosts[1].client(&wires);
    voters(&client, 3).await;
    assert!(exists(&client, "kept").await);
    assert!(!exists(&client, "lost").await);
    let after = status(&client).await;
    assert_eq!(after["clusterId"], before["clusterId"]);
    assert_eq!(after["generation"], 1);
    let record = &after["restore"];
    assert_eq!(record["source"], format!("test://shelf/{source}"));
    assert_eq!(record["revision"], restored);
    assert_eq!(record["fromGeneration"], 0);
    let lost = record["mayBeLost"].as_str().unwrap();
    assert!(
        lost.contains(&format!("after revision {restored} ")),
        "{lost}"
    );
    let path = "/api/v1/namespaces/kube-system/configmaps/kagero-restore-1";
    assert_eq!(revision(&client.get(path).await.unwrap()), FIRST);
    let mut watch = client
        .watch(&format!(
            "{CONFIG_MAPS}?watch=true&resourceVersion={written}"
        ))
        .await
        .unwrap();
    let event = watch.next(Duration::from_secs(30)).await.unwrap().unwrap();
    assert_eq!(event["object"]["code"], 410, "{event}");
    assert!(write(&client, "lost").await > FIRST);
    assert_eq!(shelf.names("generations/").len(), 2);
}

/// The first cluster dies before anything was kept; the next one is a later generation all the same.
#[actix::test]
async fn without_a_snapshot_everything_is_lost_and_said_so() {
    tokio::time::pause();
    let (wires, shelf) = (Wires::default(), Shelf::default());
    drop(three(&wires, &shelf, 0).await);
    assert_eq!(kept(&shelf).len(), 0);
    let hosts = three(&wires, &shelf, 100).await;
    let client = hosts[0].client(&wires);
    voters(&client, 3).await;
    let status = status(&client).await;
    assert_eq!(
        (&status["generation"], &status["restore"]["source"]),
        (&json!(1), &json!(""))
    );
    let lost = status["restore"]["mayBeLost"].as_str().unwrap();
    assert!(lost.starts_with("everything"), "{lost}");
    assert!(write(&client, "first").await > FIRST);
}

#[actix::test]
async fn a_damaged_snapshot_is_passed_over_and_named() {
    tokio::time::pause();
    let (wires, shelf) = (Wires::default(), Shelf::default());
    let hosts = three(&wires, &shelf, 0).await;
    let client = hosts[0].client(&wires);
    let written = write(&client, "older").await;
    let (older, _) = kept_since(&shelf, written).await;
    let written = write(&client, "newer").await;
    let (newer, _) = kept_since(&shelf, written).await;
    assert_ne!(older, newer);
    drop(hosts);
    shelf.damage(&newer);

    let hosts = three(&wires, &shelf, 100).await;
    let client = hosts[0].client(&wires);
    let record = status(&client).await["restore"].clone();
    let source = record["source"].as_str().unwrap();
    assert!(!source.ends_with(&newer), "{record}");
    let skipped = record["skipped"][0].as_str().unwrap();
    assert!(
        skipped.starts_with(&newer) && skipped.contains("checksum"),
        "{skipped}"
    );
    assert!(exists(&client, "older").await);
    assert!(!exists(&client, "newer").await);
}

#[actix::test]
async fn only_what_has_changed_is_kept_and_only_the_newest() {
    tokio::time::pause();
    let (wires, shelf) = (Wires::default(), Shelf::default());
    let hosts = three(&wires, &shelf, 0).await;
    let client = hosts[0].client(&wires);
    for name in ["a", "b", "c", "d", "e"] {
        let written = write(&client, name).await;
        kept_since(&shelf, written).await;
    }
    // Until everybody is quiet.
    sleep(Duration::from_secs(60)).await;
    let names = shelf.names("snapshots/");
    assert_eq!(names.len(), 3, "{names:?}");
    let asked = shelf.asked.get();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(shelf.names("snapshots/"), names);
    assert_eq!(shelf.asked.get(), asked, "nobody asks for nothing");
    assert_eq!(generation(&hosts[0]), Some(0));
}

/// A bucket may allow to write and not to delete.
#[actix::test]
async fn what_cannot_be_removed_is_no_reason_to_keep_it_again() {
    tokio::time::pause();
    let (wires, shelf) = (Wires::default(), Shelf::default());
    shelf.keeps_all.set(true);
    let hosts = three(&wires, &shelf, 0).await;
    let client = hosts[0].client(&wires);
    for name in ["a", "b", "c", "d", "e"] {
        let written = write(&client, name).await;
        kept_since(&shelf, written).await;
    }
    assert!(shelf.names("snapshots/").len() > 3);
    sleep(Duration::from_secs(30)).await;
    let asked = shelf.asked.get();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(shelf.asked.get(), asked, "nothing has changed");
}

#[actix::test]
async fn an_archive_that_is_out_of_order_is_told_of_and_tried_again() {
    tokio::time::pause();
    let (wires, shelf) = (Wires::default(), Shelf::default());
    let hosts = three(&wires, &shelf, 0).await;
    let client = hosts[0].client(&wires);
    let written = write(&client, "a").await;
    kept_since(&shelf, written).await;
    shelf.broken.set(true);
    let written = write(&client, "b").await;
    let reason = |wanted: &'static str| {
        let client = client.clone();
        obtain("an event", async move || {
            let events = client.get("/api/v1/namespaces/default/events").await;
            let events = events.map_err(|error| error.to_string())?;
            let mut events = events["items"].as_array().unwrap().iter();
            let found = events.find(|event| event["reason"] == wanted);
            found
                .map(|event| event["message"].to_string())
                .ok_or_else(|| wanted.to_owned())
        })
    };
    let message = reason("SnapshotFailed").await;
    assert!(message.contains("out of order"), "{message}");
    let asked = shelf.asked.get();
    sleep(Duration::from_secs(60)).await;
    let often = shelf.asked.get() - asked;
    assert!((4..=12).contains(&often), "{often} attempts in a minute");
    let leader = hosts.iter().find(|host| host.leads()).unwrap();
    let metrics = leader.client(&wires).text("/metrics").await.unwrap();
    let failures = metrics
        .lines()
        .find(|line| line.starts_with("kagero_snapshot_failures_total "));
    let failures: f64 = failures
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    assert!(failures >= 5.0, "{failures}");
    shelf.broken.set(false);
    kept_since(&shelf, written).await;
    reason("SnapshotSaved").await;
}

#[actix::test]
async fn nobody_forms_a_cluster_while_the_archive_cannot_be_asked() {
    tokio::time::pause();
    let (wires, shelf) = (Wires::default(), Shelf::default());
    let hosts = three(&wires, &shelf, 0).await;
    let written = write(&hosts[0].client(&wires), "kept").await;
    kept_since(&shelf, written).await;
    drop(hosts);
    shelf.broken.set(true);
    let hosts = seeds(&wires, &shelf, 100).await;
    sleep(Duration::from_secs(60)).await;
    assert!(hosts.iter().all(|host| generation(host).is_none()));
    shelf.broken.set(false);
    eventually("a leader", || hosts.iter().any(Host::leads)).await;
    assert!(exists(&hosts[0].client(&wires), "kept").await);
}

/// Machines of other seeds, over another network, are told the same archive: they cannot know whether the first cluster
/// is dead.
#[actix::test]
async fn a_cluster_of_other_seeds_is_not_followed() {
    tokio::time::pause();
    let (wires, shelf, far) = (Wires::default(), Shelf::default(), Wires::default());
    let hosts = three(&wires, &shelf, 0).await;
    let written = write(&hosts[0].client(&wires), "kept").await;
    kept_since(&shelf, written).await;
    let alone = |init| {
        let mut other = options(9);
        other.seeds = vec![other.listen.clone()];
        other.init = init;
        other
    };
    let other = start(&far, &shelf, alone(false), 9).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(generation(&other), None);
    assert_eq!(shelf.names("generations/").len(), 1);
    drop(other);

    // An operator's word is taken; the first cluster keeps nothing any more, lest it mixes with the second one's.
    let other = start(&far, &shelf, alone(true), 99).await;
    eventually("it leads", || other.leads()).await;
    assert_eq!(generation(&other), Some(1));
    let client = other.client(&far);
    assert!(exists(&client, "kept").await);
    let written = write(&client, "second").await;
    kept_since(&shelf, written).await;
    let written = write(&hosts[0].client(&wires), "first").await;
    sleep(Duration::from_secs(60)).await;
    let kept = kept(&shelf);
    assert_eq!(kept.last().unwrap().1.generation, 1);
    let first = kept.iter().filter(|(_, header)| header.generation == 0);
    let late = first.filter(|(_, header)| header.revision >= written);
    assert_eq!(late.count(), 0, "the first cluster keeps nothing any more");
    let refused = json!({"dead": ["n2", "n3"]});
    let mut hosts = hosts;
    hosts.truncate(1);
    sleep(Duration::from_secs(10)).await;
    let client = hosts[0]
        .client(&wires)
        .with_deadline(Duration::from_secs(60));
    let refused = client
        .post(RECOVERY, &refused)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("generation 1 of this cluster was claimed by n9"),
        "{refused}"
    );
}

/// Who is told to found alone, beside a cluster that lives, does not go on from a state that may be older.
#[actix::test]
async fn nobody_goes_on_from_the_archive_beside_a_living_cluster() {
    tokio::time::pause();
    let (wires, shelf) = (Wires::default(), Shelf::default());
    let hosts = three(&wires, &shelf, 0).await;
    let written = write(&hosts[0].client(&wires), "kept").await;
    kept_since(&shelf, written).await;
    let mut other = options(9);
    other.seeds = vec![other.listen.clone()];
    other.init = true;
    let other = start(&wires, &shelf, other, 9).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(generation(&other), None);
    assert!(hosts.iter().all(|host| generation(host) == Some(0)));
    assert_eq!(shelf.names("generations/").len(), 1, "nothing was claimed");
}

/// All seeds are lost, and a standby that is none holds a later state than the archive.
#[actix::test]
async fn seeds_that_lost_all_leave_a_survivor_to_the_operator() {
    tokio::time::pause();
    let (wires, shelf) = (Wires::default(), Shelf::default());
    let hosts = three(&wires, &shelf, 0).await;
    let four = start(&wires, &shelf, options(4), 4).await;
    let written = write(&hosts[0].client(&wires), "kept").await;
    let holds = || {
        let known = four.node.known.borrow();
        let known = known.as_ref();
        known.is_some_and(|known| known.view.revision() >= written)
    };
    eventually("the standby has it", holds).await;
    // Until its registration is kept too.
    sleep(Duration::from_secs(60)).await;
    drop(hosts);
    let hosts = seeds(&wires, &shelf, 100).await;
    sleep(Duration::from_secs(60)).await;
    assert!(hosts.iter().all(|host| generation(host).is_none()));
    assert!(holds(), "the survivor still has it");
    drop(four);
    eventually("a leader", || hosts.iter().any(Host::leads)).await;
    assert!(exists(&hosts[0].client(&wires), "kept").await);
}

/// Both are told to found alone, and look at the archive at the same time.
#[actix::test]
async fn of_two_that_found_alone_at_once_one_wins() {
    tokio::time::pause();
    let (wires, shelf) = (Wires::default(), Shelf::default());
    shelf.delay.set(Duration::from_secs(1));
    let mut hosts = Vec::new();
    for number in [7, 8] {
        let mut options = options(number);
        options.seeds = vec![options.listen.clone()];
        options.init = true;
        hosts.push(start(&wires, &shelf, options, number.into()).await);
    }
    sleep(Duration::from_secs(60)).await;
    let leading = hosts.iter().filter(|host| host.leads()).count();
    let claims = shelf.names("generations/").len();
    assert_eq!((leading, claims), (1, 1));
}

#[actix::test]
async fn a_recovery_claims_its_generation() {
    tokio::time::pause();
    let (wires, shelf) = (Wires::default(), Shelf::default());
    let mut hosts = three(&wires, &shelf, 0).await;
    write(&hosts[0].client(&wires), "before").await;
    sleep(Duration::from_secs(2)).await;
    hosts.truncate(1);
    sleep(Duration::from_secs(10)).await;
    let client = hosts[0]
        .client(&wires)
        .with_deadline(Duration::from_secs(60));
    let mut request = json!({"dead": ["n2", "n3"]});
    request["confirm"] = client.post(RECOVERY, &request).await.unwrap()["confirm"].clone();
    shelf.broken.set(true);
    let refused = client
        .post(RECOVERY, &request)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("nothing was begun"), "{refused}");
    shelf.broken.set(false);
    client.post(RECOVERY, &request).await.unwrap();
    eventually("it leads", || hosts[0].leads()).await;
    assert_eq!(generation(&hosts[0]), Some(1));
    let claims = shelf.names("generations/");
    let claim: Value = serde_json::from_slice(&shelf.objects.borrow()[&claims[1]]).unwrap();
    assert_eq!(
        (&claim["purpose"], &claim["node"]),
        (&json!("recovery"), &json!("n1"))
    );
}

fn manifest(at: usize, object: Value) -> Manifest {
    Manifest::new(format!("all.yaml, document {at}"), object).unwrap()
}

fn manifests() -> Vec<Manifest> {
    let config_map = |name: &str, namespace: &str, data: Value| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": name, "namespace": namespace }, "data": data,
        })
    };
    let bad = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "bad" }, "spec": {},
    });
    let mine = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "mine" } });
    vec![
        manifest(1, config_map("one", "mine", json!({ "a": "manifest" }))),
        manifest(2, bad),
        manifest(3, config_map("two", "default", json!({ "a": "manifest" }))),
        manifest(4, mine),
    ]
}

#[actix::test]
async fn manifests_are_applied_once_after_each_formation() {
    tokio::time::pause();
    let (wires, shelf) = (Wires::default(), Shelf::default());
    let with_manifests = async |seed: u64| {
        let mut hosts = Vec::new();
        for number in 1..=3 {
            let mut options = options(number);
            options.manifests = manifests();
            hosts.push(start(&wires, &shelf, options, seed + u64::from(number)).await);
        }
        eventually("a leader", || hosts.iter().any(Host::leads)).await;
        hosts
    };
    let mark = async |client: &Client, generation: u64| {
        let path =
            format!("/api/v1/namespaces/kube-system/configmaps/kagero-manifests-{generation}");
        obtain("the mark", || client.get(&path)).await
    };
    let two = format!("{CONFIG_MAPS}/two");
    let mut hosts = with_manifests(0).await;
    let client = hosts[0].client(&wires);
    let done = mark(&client, 0).await;
    assert_eq!(
        (&done["data"]["applied"], &done["data"]["refused"]),
        (&json!("3"), &json!("1"))
    );
    client
        .get("/api/v1/namespaces/mine/configmaps/one")
        .await
        .unwrap();
    let events = client
        .get("/api/v1/namespaces/default/events")
        .await
        .unwrap();
    let mut events = events["items"].as_array().unwrap().iter();
    let refused = events
        .find(|event| event["reason"] == "ManifestRefused")
        .unwrap();
    assert_eq!(refused["involvedObject"]["kind"], "Deployment");
    let message = refused["message"].as_str().unwrap();
    assert!(message.starts_with("all.yaml, document 2: "), "{message}");

    // Another leader leaves what was changed since.
    let patch = json!({ "data": { "a": "mine", "b": "mine" } });
    let patched = client.patch(&two, Patch::Merge, &patch).await.unwrap();
    let leader = hosts.iter().position(Host::leads).unwrap();
    drop(hosts.remove(leader));
    eventually("another leader", || hosts.iter().any(Host::leads)).await;
    sleep(Duration::from_secs(20)).await;
    let client = hosts[0].client(&wires);
    assert_eq!(client.get(&two).await.unwrap()["data"]["a"], "mine");
    kept_since(&shelf, revision(&patched)).await;
    drop(hosts);

    // Another formation merges them into what was kept.
    let hosts = with_manifests(100).await;
    let client = hosts[0].client(&wires);
    mark(&client, 1).await;
    let merged = client.get(&two).await.unwrap();
    assert_eq!(merged["data"], json!({ "a": "manifest", "b": "mine" }));
}

/// One node alone was given some, and leads later.
#[actix::test]
async fn manifests_are_not_applied_late() {
    tokio::time::pause();
    let (wires, shelf) = (Wires::default(), Shelf::default());
    let hosts = three(&wires, &shelf, 0).await;
    let client = hosts[0].client(&wires);
    let path = "/api/v1/namespaces/kube-system/configmaps/kagero-manifests-0";
    let mark = obtain("the mark", || client.get(path)).await;
    assert!(mark["data"]["said"].is_string(), "{mark}");
    let mut given = options(4);
    given.manifests = manifests();
    let given = start(&wires, &shelf, given, 4).await;
    voters(&client, 3).await;
    eventually("a standby", || generation(&given) == Some(0)).await;
    // It is the only one that stays.
    for name in ["n1", "n2", "n3"] {
        let notice = json!({ "node": name, "inMs": 600_000 });
        let path = "/kagero/v1/evictions";
        obtain("a notice", || client.post(path, &notice)).await;
    }
    eventually("it leads", || given.leads()).await;
    sleep(Duration::from_secs(20)).await;
    assert!(!exists(&given.client(&wires), "two").await);
}
