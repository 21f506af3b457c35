//! The only seed of a cluster starts again, cut off from the others, which live on: it finds nobody, loads what was kept, and
//! claims the next generation. Before it hears that it has it, the cluster's leader calls, or its process dies.
//!
//! It joins the cluster that lives, whose state is kept as before: the claim is void. Nothing acknowledged is lost, which
//! every run checks. What an operator would do with the same claim, `tests/claims.rs` of the actors has.

use std::time::Duration;

use super::everything_lost::newest;
use super::steps::formed;
use super::until;
use crate::world::{Fault, Plan, World};

pub(super) const COVERS: &[&str] = &[
    "claim: interrupted by a leader",
    "claim: its founder died",
    "fault: cut-off",
    "fault: restart",
];

const MACHINES: usize = 5;
/// Longer than a formation takes that waits, loads and asks: one that finds a new snapshot begins anew.
const INTERVAL: Duration = Duration::from_secs(30);
/// Half of an operation takes so long: the answer to the claim is late enough for whatever is to come first.
const SLOW: Duration = Duration::from_millis(300);
/// A leader calls a machine that comes back within two seconds.
const SLOWER: Duration = Duration::from_secs(2);
/// Between two looks for the claim.
const LOOK: Duration = Duration::from_millis(10);
const SEED: &str = "n1";
const CLAIM: &str = "generations/00000000000000000001.json";
const VOID: &str = "generations/00000000000000000001.void.json";

pub(super) fn plan(seed: u64) -> Plan {
    Plan {
        seeds: 1,
        snapshot_interval: Some(INTERVAL),
        ..Plan::of(seed, MACHINES)
    }
}

pub(super) async fn play(world: World) -> turmoil::Result {
    formed(&world).await;
    until(&world, "all replicas", async || {
        (world.known().len() == MACHINES).then_some(())
    })
    .await;
    until(&world, "a snapshot", async || newest(&world)).await;
    world.disturb(SEED);
    world.inflict(Fault::CutOff(SEED.to_owned()));
    world.inflict(Fault::RestartProcess(SEED.to_owned()));
    world.bucket().slow(SLOW);
    world.wait_for("a claim");
    while world.bucket().content(CLAIM).is_none() {
        tokio::time::sleep(LOOK).await;
    }
    let dies = world.chance(0..=1) == 1;
    if dies {
        world.inflict(Fault::RestartProcess(SEED.to_owned()));
    } else {
        world.bucket().slow(SLOWER);
    }
    world.inflict(Fault::Heal(SEED.to_owned()));
    let known = world.known();
    let revisions = known.values().map(|known| known.view.revision());
    let claimed_at = revisions.max().unwrap_or_default();
    until(&world, "the seed in the cluster that lives", async || {
        let known = world.known();
        let standing = &known.get(SEED)?.standing;
        (standing.cluster.generation == 0).then_some(())
    })
    .await;
    world.bucket().slow(Duration::ZERO);
    until(&world, "a void claim", async || {
        world.bucket().content(VOID)
    })
    .await;
    until(&world, "a snapshot since", async || {
        let (_, header) = newest(&world)?;
        (header.generation == 0 && header.revision > claimed_at).then_some(())
    })
    .await;
    world.count(COVERS[usize::from(dies)], 1);
    Ok(())
}
