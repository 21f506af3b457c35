//! How every run ends: the cluster must become whole and quiet again, with all it promised still in it.

use std::time::Duration;

use tokio::task::JoinHandle;

use crate::checkers::{acknowledged, replicas};
use crate::scenarios::steps::{member_roles, ready_nodes};
use crate::scenarios::until;
use crate::world::World;
use crate::writers::CONFIG_MAPS;

/// A cluster that nobody asks for anything writes nothing for so long; controllers that answer each other would.
const QUIET: Duration = Duration::from_secs(3);
/// Standbys that a cluster keeps beside its voters (`raft::Limits`).
const STANDBYS: usize = 2;

/// Waits for wholeness and checks what can be checked only at the end.
pub(crate) async fn settle(world: &World, writers: Vec<JoinHandle<()>>) -> turmoil::Result {
    world.stop_writing();
    for writer in writers {
        writer.await?;
    }
    let plan = world.plan().clone();
    let replicas_wanted = plan.nodes.min(plan.voters + STANDBYS);
    until(world, "all nodes ready and all voters there", async || {
        for name in world.machines() {
            let api = world.client(name);
            if ready_nodes(&api).await.len() == plan.nodes {
                let roles = member_roles(&api).await?;
                let count = |role: &str| roles.values().filter(|of| *of == role).count();
                return (count("leader") + count("voter") == plan.voters
                    && roles.len() == replicas_wanted)
                    .then_some(());
            }
        }
        None
    })
    .await;
    until(world, "quiet and equal replicas", async || {
        let before = one_revision(world, replicas_wanted)?;
        tokio::time::sleep(QUIET).await;
        (one_revision(world, replicas_wanted)? == before).then_some(())
    })
    .await;
    replicas::check(&world.known())?;
    for name in world.machines() {
        let api = world.client(name);
        let list = api
            .get(&format!("{CONFIG_MAPS}?labelSelector=written-by"))
            .await?;
        acknowledged::check(&world.acknowledged(), &list)
            .map_err(|lost| format!("on {name}: {lost}"))?;
    }
    let count = world.acknowledged().len();
    world.note(&format!("settled; {count} acknowledged writes are there"));
    Ok(())
}

/// The revision that all replicas stand at, if they do.
fn one_revision(world: &World, replicas_wanted: usize) -> Option<u64> {
    let known = world.known();
    let mut revisions = known.values().map(|known| known.view.revision());
    let first = revisions.next()?;
    (known.len() == replicas_wanted && revisions.all(|revision| revision == first)).then_some(first)
}
