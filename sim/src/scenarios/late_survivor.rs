//! A standby registers after the newest snapshot was taken; then the processes of all others die at once. All seeds are
//! empty, and the snapshot knows nothing of the one that holds the log still: the roster does.
//!
//! No cluster is formed while it lives. Then either the operator has it go on (`kagero recover`), or gives it up, and the
//! cluster is formed of the snapshot. How old that may be, `everything_lost.rs` checks.

use std::time::Duration;

use kagero::store::Revision;

use super::everything_lost::{newest, restored};
use super::steps::{formed, recover};
use super::until;
use crate::checkers::foundings;
use crate::world::{Fault, Plan, World};

pub(super) const COVERS: &[&str] = &[
    "late survivor: recovered from",
    "late survivor: given up",
    "fault: lose",
    "fault: restart",
    "cluster: generation begun",
];

const MACHINES: usize = 4;
/// So long that none is taken between the registration and the loss.
const INTERVAL: Duration = Duration::from_secs(45);
const LATE: &str = "n4";
/// Long enough for a formation that asks nobody else.
const WAITS_MS: (u64, u64) = (10_000, 25_000);
/// The first revision of generation 1.
const FIRST: Revision = 1 << 40;

pub(super) fn plan(seed: u64) -> Plan {
    Plan {
        snapshot_interval: Some(INTERVAL),
        ..Plan::of(seed, MACHINES)
    }
}

pub(super) async fn play(world: World) -> turmoil::Result {
    formed(&world).await;
    let (first, _) = until(&world, "a snapshot", async || newest(&world)).await;
    world.inflict(Fault::LoseMachine(LATE.to_owned()));
    world.pass(500..=3_000).await;
    world.inflict(Fault::ReturnMachine(LATE.to_owned()));
    until(&world, "the latecomer in the roster", async || {
        let id = world.incarnations().get(LATE)?.to_string();
        let rosters = world.bucket().names("rosters/");
        let roster = world.bucket().content(rosters.last()?)?;
        let holds = world.known().contains_key(LATE);
        let text = String::from_utf8_lossy(&roster);
        (holds && text.contains(&id)).then_some(())
    })
    .await;
    let late = newest(&world).map(|(name, _)| name) == Some(first);
    for name in world.others(LATE) {
        world.inflict(Fault::RestartProcess(name));
    }
    world.measure_disaster();
    world.pass(WAITS_MS.0..=WAITS_MS.1).await;
    let claims = world.bucket().names("generations/");
    if claims.len() != 1 {
        return Err(format!("a cluster is formed past a survivor: {claims:?}").into());
    }
    let gives_up = world.chance(0..=1) == 1;
    if gives_up {
        world.inflict(Fault::LoseMachine(LATE.to_owned()));
        world.measure_recovery();
        let record = restored(&world).await;
        let revision = record["revision"].as_u64().ok_or("no revision")?;
        world.acknowledged().forgive(revision, FIRST);
        world.inflict(Fault::ReturnMachine(LATE.to_owned()));
    } else {
        recover_late(&world).await?;
    }
    if late {
        world.count(COVERS[usize::from(gives_up)], 1);
    }
    Ok(())
}

/// The operator has the latecomer go on; the others' next processes are proof enough of what became of them.
async fn recover_late(world: &World) -> turmoil::Result {
    // The store of the claims is out of order now and then: the operator asks again.
    until(world, "a recovery", async || {
        recover(world, LATE, &[]).await.ok()
    })
    .await;
    let kept = until(world, "the generation's record", async || {
        foundings::kept(&world.truth())
    })
    .await?;
    world.acknowledged().forgive(kept, FIRST);
    Ok(())
}
