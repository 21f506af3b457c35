//! How every run of real processes ends: whole again in time, all promises kept, and all that clients saw explained.
//!
//! The counterpart of `settle.rs` of the simulation, with what can be known from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::json;
use tokio::task::JoinHandle;

use super::field::Field;
use super::scout::Scout;
use super::witness::{Witnesses, listed};
use crate::checkers::liveness::WHOLE_MAX;
use crate::checkers::{acknowledged, judge_history, liveness, watches};
use crate::clients::{CONFIG_MAPS, Ground};
use crate::scenarios::steps::ready_nodes;
use crate::truth::State;

/// Members of a whole cluster of five machines: three voters and the two standbys that it keeps (`raft::Limits`).
const MEMBERS: usize = 5;
const LOOK: Duration = Duration::from_millis(100);
/// Watchers and witnesses have seen the last change by then: they come back every few seconds.
const CAUGHT_UP_MAX: Duration = Duration::from_secs(40);
/// Attempts at the last write; the cluster is whole, but a client may find a connection that is not.
const ATTEMPTS: usize = 10;

/// Waits until all nodes are Ready and all voters and standbys are there.
pub(super) async fn until_whole(field: &Field, scout: &mut Scout) -> Result<()> {
    let began = field.elapsed();
    let mut last = String::from("no leader answers");
    loop {
        field.revive()?;
        if let Some(broken) = field.broken() {
            bail!("{broken}");
        }
        if let Some(standing) = scout.look(field, &BTreeSet::new()).await? {
            let ready = ready_nodes(&field.client(&standing.status.leader)).await;
            if standing.is_whole(MEMBERS) && ready.len() == field.len() {
                let (leader, voters) = (&standing.status.leader, standing.voters());
                field.meter().on_whole(leader, voters, field.elapsed());
                return Ok(());
            }
            let members = standing.status.members.iter();
            let members = members.map(|of| format!("{} {} {}", of.name, of.incarnation, of.role));
            let members: Vec<String> = members.collect();
            last = format!("members are {}; ready are {ready:?}", members.join(", "));
        }
        if field.elapsed() > began + WHOLE_MAX {
            bail!("not whole after {WHOLE_MAX:?}: {last}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Who is to come to an end before it is judged.
pub(super) struct Clients {
    /// Those who write.
    pub(super) writers: Vec<JoinHandle<()>>,
    /// Those who watch.
    pub(super) watchers: Vec<JoinHandle<()>>,
    /// Those whose accounts are the history.
    pub(super) witnesses: Witnesses,
}

/// Waits for wholeness and judges.
pub(super) async fn settle(field: &Field, scout: &mut Scout, clients: Clients) -> Result<()> {
    let calm = field.elapsed();
    until_whole(field, scout).await?;
    liveness::check(Some(calm), field.elapsed())?;
    field.note("whole again");
    field.stop_writing();
    for writer in clients.writers {
        writer.await.context("a client panicked")?;
    }
    let last = last_write(field).await?;
    field.truth().tell(last);
    let began = field.elapsed();
    while !(clients.witnesses.have_seen(last) && have_caught_up(field)) {
        if field.elapsed() > began + CAUGHT_UP_MAX {
            let what = if clients.witnesses.have_seen(last) {
                "a watcher did not catch up"
            } else {
                "no witness saw everything, so nothing can be judged"
            };
            bail!("{what} within {CAUGHT_UP_MAX:?} of the last write");
        }
        tokio::time::sleep(LOOK).await;
    }
    field.stop_watching();
    for watcher in clients.watchers {
        watcher.await.context("a watcher panicked")?;
    }
    clients.witnesses.join().await?;
    if let Some(broken) = field.broken() {
        bail!("{broken}");
    }
    field.check_panics()?;
    look_everywhere(field).await?;
    let (truth, history) = (field.truth(), field.history());
    judge_history(&history, &truth, |what, times| field.count(what, times))
        .map_err(|broken| anyhow!("{broken}"))?;
    field.count(
        "judged: acknowledged writes",
        field.acknowledged().len() as u64,
    );
    Ok(())
}

/// Writes what comes after everything; its revision.
async fn last_write(field: &Field) -> Result<u64> {
    let mut why = None;
    for attempt in 0..ATTEMPTS {
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": format!("last-{attempt}") },
        });
        let machines = field.machines();
        let client = field.client(&machines[attempt % machines.len()]);
        match client.post(CONFIG_MAPS, &object).await {
            Ok(written) => {
                let revision = written["metadata"]["resourceVersion"].as_str();
                let revision = revision.and_then(|revision| revision.parse().ok());
                return revision.context("the last write has no revision");
            }
            Err(error) => why = Some(error),
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(anyhow!("a whole cluster takes no write: {why:?}"))
}

fn have_caught_up(field: &Field) -> bool {
    let (truth, history) = (field.truth(), field.history());
    watches::have_caught_up(&truth, &history.positions)
}

/// Every machine must have all acknowledged writes, and show what the witnesses saw come to be.
async fn look_everywhere(field: &Field) -> Result<()> {
    for name in field.machines() {
        let list = field.client(&name).get(CONFIG_MAPS).await;
        let list = list.with_context(|| format!("{name} of a whole cluster does not answer"))?;
        acknowledged::check(&field.acknowledged(), &list).with_context(|| format!("on {name}"))?;
        let (revision, objects) = listed(&list).context("a list without revisions")?;
        let seen = seen(field);
        let other = |(key, state): &(&String, &State)| seen.get(*key) != Some(*state);
        let unseen = objects.iter().find(other);
        ensure!(
            unseen.is_none(),
            "{name} lists what no witness saw: {unseen:?}"
        );
        let gone = seen.keys().find(|key| !objects.contains_key(*key));
        ensure!(
            gone.is_none(),
            "{name} does not list {gone:?}, which no witness saw go"
        );
        field.truth().tell(revision);
    }
    Ok(())
}

/// What there is in the end, as the witnesses saw it come to be.
fn seen(field: &Field) -> BTreeMap<String, State> {
    let mut objects = BTreeMap::new();
    for change in field.truth().all() {
        match &change.current {
            Some(state) => objects.insert(change.name.clone(), state.clone()),
            None => objects.remove(&change.name),
        };
    }
    objects
}
