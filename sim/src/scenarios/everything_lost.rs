//! Every process dies at the same moment, with all machines or on machines whose containers live on, and all start again:
//! they form one cluster, a later generation of the same one, with the newest snapshot that is whole.
//!
//! What was acknowledged later may be lost, as the record says, and nothing else; nothing that was gone before the snapshot
//! is back; the pods run again, and those whose containers lived are the same. A cluster's other properties are checked all
//! the time, as in every run.

use std::collections::BTreeMap;
use std::time::Duration;

use kagero::actors::archive::{Header, decode};
use kagero::actors::manifests::Manifest;
use kagero::store::Revision;
use serde_json::{Value, json};

use super::steps::{all_running, deploy, formed, items, leader};
use super::until;
use crate::clients::CONFIG_MAPS;
use crate::edges::EPOCH_SECONDS;
use crate::world::{Fault, Plan, World};

pub(super) const COVERS: &[&str] = &[
    "restore: of a snapshot",
    "restore: of an older one, the newest being damaged",
    "restore: with new machines",
    "restore: with living containers",
    "fault: lose",
    "fault: restart",
    "cluster: generation begun",
];

const MACHINES: usize = 5;
const PODS: usize = 6;
const INTERVAL: Duration = Duration::from_secs(10);
/// A save that fails is tried again after 1, 2, 4 s; each of its steps takes 0.2 s at most.
const SLACK: Duration = Duration::from_secs(10);
/// Seeds that wait for each other, and for those who hold a replica to be gone for long enough, take up to 30 s; an
/// attempt of some ten requests, of which one of twenty-five fails, is made again after some seconds, several times.
const RESTORED_WITHIN: Duration = Duration::from_secs(90);
/// The first revision of generation 1; no earlier generation's is so high, no later one's lower.
const FIRST: Revision = 1 << 40;
/// A fault is done at the next step.
const DONE_WITHIN: Duration = Duration::from_millis(50);
const STATUS: &str = "/kagero/v1/status";

pub(super) fn plan(seed: u64) -> Plan {
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "from-manifests" },
        "data": { "said": "by the operator" },
    });
    let manifest = Manifest::new("all.yaml, document 1".to_owned(), object);
    Plan {
        snapshot_interval: Some(INTERVAL),
        manifests: vec![manifest.expect("a ConfigMap is served")],
        ..Plan::of(seed, MACHINES)
    }
}

pub(super) async fn play(world: World) -> turmoil::Result {
    let first = formed(&world).await;
    deploy(&world, &world.client(&first), PODS).await?;
    let deployed = world.known()[&first].view.revision();
    until(&world, "the running pods are kept", async || {
        (newest(&world)?.1.revision >= deployed).then_some(())
    })
    .await;
    let spoils = world.chance(0..=2) == 0;
    if spoils {
        // So that there is an older one that has the pods, too.
        let (_, older) = newest(&world).expect("it was just seen");
        until(&world, "a later snapshot", async || {
            (newest(&world)?.1.revision > older.revision).then_some(())
        })
        .await;
    }
    world.pass(0..=15_000).await;
    let containers = world.running_containers();
    let lost_at = world.elapsed();
    let with_machines = world.chance(0..=1) == 1;
    world.measure_disaster();
    lose(&world, with_machines);
    // Until it is done; nobody forms a cluster so soon.
    tokio::time::sleep(DONE_WITHIN).await;
    let kept = kept(&world);
    let damaged = newest(&world).filter(|_| spoils);
    if let Some((name, _)) = &damaged {
        world.bucket().damage(name);
    }
    let began = bring_back(&world, with_machines).await;
    let record = restored(&world).await;
    let served_at = world.elapsed();
    let revision = record["revision"].as_u64().ok_or("no revision")?;
    let forgiven = world.acknowledged().forgive(revision, FIRST);
    let age = age_at(&record, &kept, lost_at)?;
    world.note(&format!(
        "recovery point {} ms, {forgiven} acknowledged writes; recovery time {} ms",
        age.as_millis(),
        served_at.saturating_sub(began).as_millis()
    ));
    is_as_recorded(&record, age, damaged.as_ref())?;
    let leader = until(&world, "one leader", async || leader(&world)).await;
    let api = world.client(&leader).with_deadline(Duration::from_secs(10));
    until(&world, "all pods running again", async || {
        all_running(&world, &api, PODS).await
    })
    .await;
    until(&world, "the manifests are there", async || {
        let path = format!("{CONFIG_MAPS}/from-manifests");
        api.get(&path).await.ok()
    })
    .await;
    nothing_else_is_back(&world, &items(&api, CONFIG_MAPS).await?, revision)?;
    if !with_machines && world.running_containers() != containers {
        return Err("containers that lived are not the same".into());
    }
    count(&world, with_machines, spoils);
    Ok(())
}

fn count(world: &World, with_machines: bool, spoils: bool) {
    world.count(COVERS[0], 1);
    world.count(COVERS[1], u64::from(spoils));
    world.count(COVERS[2], u64::from(with_machines));
    world.count(COVERS[3], u64::from(!with_machines));
}

/// All snapshots whose header can be read, by name.
fn kept(world: &World) -> BTreeMap<String, Header> {
    let names = world.bucket().names("snapshots/");
    let read = |name: String| {
        let (header, _) = decode(&world.bucket().content(&name)?).ok()?;
        Some((name, header))
    };
    names.into_iter().filter_map(read).collect()
}

/// The newest, with its name.
pub(super) fn newest(world: &World) -> Option<(String, Header)> {
    let kept = kept(world).into_iter();
    kept.max_by_key(|(_, header)| header.name())
}

fn lose(world: &World, with_machines: bool) {
    let machines: Vec<String> = world.machines().map(str::to_owned).collect();
    for name in machines {
        world.inflict(if with_machines {
            Fault::LoseMachine(name)
        } else {
            Fault::RestartProcess(name)
        });
    }
}

/// All machines, in any order; gives when the last one was back.
async fn bring_back(world: &World, with_machines: bool) -> Duration {
    if with_machines {
        world.pass(1_000..=20_000).await;
        let mut machines: Vec<String> = world.machines().map(str::to_owned).collect();
        while !machines.is_empty() {
            let at = world.chance(0..=machines.len() as u64 - 1);
            let at = usize::try_from(at).expect("a handful of machines");
            world.inflict(Fault::ReturnMachine(machines.swap_remove(at)));
            world.pass(0..=2_000).await;
        }
    }
    world.measure_recovery();
    world.elapsed()
}

/// Waits until the new generation serves, which it must within [`RESTORED_WITHIN`]; gives its record.
pub(super) async fn restored(world: &World) -> Value {
    let began = world.elapsed();
    let record = until(world, "the restored cluster", async || {
        let leader = leader(world)?;
        // Usually the first; a later one where a claim was made whose maker was told that it was not.
        if world.known()[&leader].standing.cluster.generation == 0 {
            return None;
        }
        let status = world.client(&leader).get(STATUS).await.ok()?;
        status.get("restore").cloned()
    })
    .await;
    world.enable();
    let took = world.elapsed().saturating_sub(began);
    if took > RESTORED_WITHIN {
        world.report_broken(format!(
            "a restore took {took:?}, more than {RESTORED_WITHIN:?}"
        ));
    }
    record
}

/// How old the restored state was when everything was lost. The machines' clocks tell the world's time.
fn age_at(
    record: &Value,
    kept: &BTreeMap<String, Header>,
    lost_at: Duration,
) -> Result<Duration, String> {
    let source = record["source"].as_str().unwrap_or_default();
    let found = kept
        .iter()
        .find(|(name, _)| source.ends_with(name.as_str()));
    let (_, header) = found.ok_or_else(|| format!("no such snapshot: {record}"))?;
    let taken = header.time_ms - EPOCH_SECONDS * 1_000;
    let taken = u64::try_from(taken).map_err(|error| error.to_string())?;
    Ok(lost_at.saturating_sub(Duration::from_millis(taken)))
}

/// The record tells of the newest snapshot that is whole, which is no older than it may be.
fn is_as_recorded(
    record: &Value,
    age: Duration,
    damaged: Option<&(String, Header)>,
) -> Result<(), String> {
    let bound = if damaged.is_some() { 2 } else { 1 } * (INTERVAL + SLACK);
    if age > bound {
        return Err(format!(
            "the restored state is {age:?} old, and may be {bound:?}: {record}"
        ));
    }
    let skipped = record["skipped"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let names = |name: &String| skipped.iter().any(|line| line.to_string().contains(name));
    match damaged {
        Some((name, _)) if !names(name) => Err(format!("{name} is not named: {record}")),
        None if !skipped.is_empty() => Err(format!("nothing was damaged: {record}")),
        _ => Ok(()),
    }
}

/// What has not changed since the restore is as it was at the snapshot's revision.
fn nothing_else_is_back(world: &World, found: &[Value], revision: Revision) -> Result<(), String> {
    let truth = world.truth();
    if truth.gaps().iter().any(|(after, _)| *after < revision) {
        world.note("not compared with the snapshot's revision, because of a gap before it");
        return Ok(());
    }
    let mut then: BTreeMap<&str, Revision> = BTreeMap::new();
    for change in truth.changes(0, revision) {
        match &change.current {
            Some(state) => drop(then.insert(&change.name, state.revision)),
            None => drop(then.remove(change.name.as_str())),
        }
    }
    for object in found {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let version = object["metadata"]["resourceVersion"]
            .as_str()
            .unwrap_or_default();
        let version: Revision = version
            .parse()
            .map_err(|error| format!("{name}: {error}"))?;
        if version < FIRST && then.get(name) != Some(&version) {
            let then = then.get(name);
            return Err(format!(
                "{name} of revision {version} is back; at revision {revision} it was {then:?}"
            ));
        }
    }
    Ok(())
}
