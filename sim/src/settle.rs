//! How every run ends: the cluster must become whole and quiet again, in time, with all it promised still in it, and what
//! clients saw all the while must have been right.

use std::time::Duration;

use tokio::task::JoinHandle;

use crate::checkers::foundings::{self, Begun};
use crate::checkers::{acknowledged, compacted, judge_history, liveness, replicas, watches};
use crate::clients::CONFIG_MAPS;
use crate::scenarios::steps::{member_roles, ready_nodes};
use crate::scenarios::until;
use crate::world::World;

/// A cluster that nobody asks for anything writes nothing for so long; controllers that answer each other would.
const QUIET: Duration = Duration::from_secs(3);
/// Standbys that a cluster keeps beside its voters (`raft::Limits`).
const STANDBYS: usize = 2;

/// Waits for wholeness and checks what can be checked only at the end.
pub(crate) async fn settle(
    world: &World,
    writers: Vec<JoinHandle<()>>,
    watchers: Vec<JoinHandle<()>>,
) -> turmoil::Result {
    let plan = world.plan().clone();
    let replicas_wanted = plan.nodes.min(plan.voters + STANDBYS);
    until(world, "all nodes ready and all voters there", async || {
        is_whole(world, replicas_wanted).await
    })
    .await;
    is_in_time(world)?;
    world.stop_writing();
    for writer in writers {
        writer.await?;
    }
    until(world, "quiet and equal replicas", async || {
        let before = one_revision(world, replicas_wanted)?;
        tokio::time::sleep(QUIET).await;
        (one_revision(world, replicas_wanted)? == before).then_some(())
    })
    .await;
    until(world, "all watchers up to date", async || {
        have_caught_up(world).then_some(())
    })
    .await;
    world.stop_watching();
    for watcher in watchers {
        watcher.await?;
    }
    replicas::check(&world.known())?;
    has_no_gap(world)?;
    judge_foundings(world)?;
    for (at, name) in world.machines().enumerate() {
        let api = world.client(name);
        let list = api
            .get(&format!("{CONFIG_MAPS}?labelSelector=written-by"))
            .await?;
        if at == 0 {
            world.measure_missing(&world.acknowledged().missing(&list));
        }
        acknowledged::check(&world.acknowledged(), &list)
            .map_err(|lost| format!("on {name}: {lost}"))?;
    }
    judge(world)?;
    let count = world.acknowledged().len();
    world.note(&format!("settled; {count} acknowledged writes are there"));
    Ok(())
}

async fn is_whole(world: &World, replicas_wanted: usize) -> Option<()> {
    let plan = world.plan();
    for name in world.machines() {
        let api = world.client(name);
        let ready = ready_nodes(&api).await;
        if ready.len() < plan.nodes {
            if !ready.is_empty() {
                world.wait_for(&format!("all nodes ready; so far {}", ready.join(" ")));
            }
            continue;
        }
        let roles = member_roles(&api).await?;
        let count = |role: &str| roles.values().filter(|of| *of == role).count();
        let voters = count("leader") + count("voter");
        world.wait_for(&format!(
            "all voters there; so far {voters} of {}",
            roles.len()
        ));
        return (voters == plan.voters && roles.len() == replicas_wanted).then_some(());
    }
    None
}

/// The revision that all replicas stand at, if they do.
fn one_revision(world: &World, replicas_wanted: usize) -> Option<u64> {
    let known = world.known();
    let mut revisions = known.values().map(|known| known.view.revision());
    let first = revisions.next()?;
    (known.len() == replicas_wanted && revisions.all(|revision| revision == first)).then_some(first)
}

/// Whether every watcher has been sent the last change that it selects.
fn have_caught_up(world: &World) -> bool {
    let (truth, history) = (world.truth(), world.history());
    watches::have_caught_up(&truth, &history.positions)
}

/// Judges how long it took until clients were served, and until all was whole.
fn is_in_time(world: &World) -> turmoil::Result {
    liveness::check(world.calm().since(), world.elapsed())?;
    let (able, served) = (world.calm().able(), world.calm().served());
    liveness::check_served(able, served, world.elapsed())?;
    if let (Some(able), Some(served)) = (able, served) {
        let took = served.saturating_sub(able);
        world.count(liveness::within(took), 1);
    }
    Ok(())
}

/// Without the whole history nothing can be judged. There is a gap only if everybody who applied something died before
/// the next step, or if the tap misses something; no scenario does the one, and the other must not pass for a held run.
fn has_no_gap(world: &World) -> Result<(), String> {
    let gaps = world.truth().gaps();
    gaps.is_empty()
        .then_some(())
        .ok_or_else(|| format!("not judged: nobody was seen applying {gaps:?}"))
}

/// Judges what later generations began with.
fn judge_foundings(world: &World) -> turmoil::Result {
    let judged = foundings::check(&world.truth(), &world.history().operations)?;
    for begun in judged {
        let what = match begun {
            Begun::Restored => "judged: a restored state",
            Begun::Recovered => "judged: a recovered state",
            Begun::RecoveredMore => "judged: a recovered state with what was not committed",
        };
        world.count(what, 1);
    }
    Ok(())
}

/// Judges what clients saw.
fn judge(world: &World) -> turmoil::Result {
    let (truth, history) = (world.truth(), world.history());
    let excused = compacted::check(&history.chains, &truth, world.plan().watch_history)?;
    world.count("watch: gone with a generation", excused.by_generation);
    world.count("watch: gone before a snapshot", excused.by_snapshot);
    world.count("watch: gone for want of room", excused.by_bounds);
    judge_history(&history, &truth, |what, times| world.count(what, times))
}
