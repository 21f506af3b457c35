//! A minute of what Spot machines go through: five to ten of them vanish, come back, restart, are cut off one way or both,
//! are slow, paused or told a wrong time, alone and together. The faults never take a majority of the current voters.
//!
//! Deliberately without an expectation of its own while it lasts: what must hold all the time is in `checkers`, and that
//! all is well again soon after is in `settle.rs`.

use std::time::Duration;

use kagero::raft::Config;
use kagero::store::HistoryBounds;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::steps::{all_running, deploy, formed, leader};
use super::until;
use crate::faults::draw::{Shape, draw};
use crate::world::{Plan, Storm, World};

const PODS: usize = 6;
const MACHINES: (u64, u64) = (5, 10);
/// The faults begin after formation (at most 20 s), take a minute and at most half a minute more to end; then there is a
/// minute for the cluster to be whole and one for its pods.
const LIMIT: Duration = Duration::from_secs(300);
/// Sets the bounds' chance apart from all other.
const BOUNDS_STREAM: u64 = 0xb0d5_5a11;
/// Where bounds are small: many times what a storm's clients and controllers have under way.
const UNCOMMITTED_BYTES_MAX: usize = 64 << 10;

/// What a batch of these must have seen.
pub(super) const COVERS: &[&str] = &[
    "fault: lose",
    "fault: restart",
    "fault: cut-off",
    "fault: mute",
    "fault: deaf",
    "fault: slow",
    "fault: pause",
    "fault: skew",
    "fault: split",
    "fault: link",
    "split: with the leader in the minority",
    "split: with the leader in the majority",
    "link: of the leader",
    "link: of others",
    "pattern: single",
    "pattern: together",
    "pattern: swizzle",
    "pattern: rolling",
    "rolling: the one before was Ready",
    "rolling: the leader last",
    "pattern: join-storm",
    "raft: election_won",
    "raft: snapshot_sent",
    "raft: snapshot_installed",
    "membership: joint change",
    "membership: promotion",
    "watch: 410 Gone",
    "watch: 410 from a floor of history",
    "raft: compacted",
    "raft: laggard_restored",
    "plan: small bounds",
    "cluster: node NotReady",
    "client: conflict",
];

/// What a batch with notices must have seen.
pub(super) const NOTICED_COVERS: &[&str] = &[
    "fault: notice",
    "fault: lose",
    "notice: to leader",
    "notice: to voter",
    "notice: to standby",
    "notice: to worker",
    "notice: 0 s",
    "notice: 0 s, heard",
    "notice: 30 s",
    "notice: 120 s",
    "notice: taken away as worker",
    "raft: election_won",
    "membership: joint change",
    "membership: promotion",
];

pub(super) fn plan(seed: u64) -> Plan {
    small_bounds(plan_of(seed, Shape::storm, LIMIT))
}

/// The same storm with evictions that are announced beside; a notice may be two minutes long.
pub(super) fn noticed_plan(seed: u64) -> Plan {
    let limit = LIMIT + Duration::from_secs(120);
    small_bounds(plan_of(seed, Shape::noticed, limit))
}

fn plan_of(seed: u64, shape: fn(u8) -> Shape, limit: Duration) -> Plan {
    // Neighbouring seeds differ in size, so that a small batch has all of them.
    let machines = MACHINES.0 + seed % (MACHINES.1 - MACHINES.0 + 1);
    let shape = shape(u8::try_from(machines).expect("at most ten"));
    Plan {
        limit,
        schedule: draw(seed, &shape),
        ..Plan::of(seed, usize::try_from(machines).expect("at most ten"))
    }
}

/// Half of the seeds keep so little of their logs and histories that a storm's thousand writes go beyond it, many times;
/// in the other half it is what ships. Drawn apart, so that it changes nothing else of a seed.
fn small_bounds(plan: Plan) -> Plan {
    let mut chance = StdRng::seed_from_u64(plan.seed ^ BOUNDS_STREAM);
    if chance.random::<bool>() {
        return plan;
    }
    Plan {
        consensus: Config {
            log_entries_kept: chance.random_range(10..=200),
            log_bytes_kept: chance.random_range(32..=128) << 10,
            uncommitted_bytes_max: UNCOMMITTED_BYTES_MAX,
            snapshot_chunk_bytes: chance.random_range(8..=64) << 10,
            ..plan.consensus
        },
        watch_history: HistoryBounds {
            events_max: chance.random_range(50..=400),
            bytes_max: chance.random_range(64..=256) << 10,
        },
        ..plan
    }
}

pub(super) async fn play(world: World) -> turmoil::Result {
    if world.plan().watch_history != HistoryBounds::default() {
        world.count("plan: small bounds", 1);
    }
    let first = formed(&world).await;
    deploy(&world, &world.client(&first), PODS).await?;
    world.unleash();
    until(&world, "the storm's end", async || {
        (world.storm() == Storm::Over).then_some(())
    })
    .await;
    until(&world, "all pods running again", async || {
        let leader = leader(&world)?;
        all_running(&world, &world.client(&leader), PODS).await
    })
    .await;
    Ok(())
}
