//! How bad a run is, drawn from its seed: bounds of the core, the network, clocks, faults and how long it lasts.
//!
//! Most runs are short, because most bugs need few things to go wrong at once; a few are long, for what takes a second
//! of quiet (promotion) or several elections.

use std::time::Duration;

use kagero::raft::Config;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// The heartbeat of every run; the election timeout is ten of them.
pub const HEARTBEAT: Duration = Duration::from_millis(10);
/// The election timeout of every run.
pub const ELECTION_TIMEOUT: Duration = Duration::from_millis(100);
/// Bytes of proposals that a leader accepts uncommitted: some thirty of the clients' commands.
const UNCOMMITTED_BYTES_MAX: usize = 4_000;

/// What a run is drawn to be. Chances are in per mille: for a message each, for a fault every few milliseconds.
#[derive(Clone, Debug)]
pub struct Weather {
    /// Founders.
    pub founders: u64,
    /// How long faults last.
    pub storm: Duration,
    /// A message is lost.
    pub lost: u32,
    /// A message is sent twice.
    pub doubled: u32,
    /// A message is late by election timeouts.
    pub very_late: u32,
    /// A message takes at most so long, and at least a tenth of it.
    pub latency_max: Duration,
    /// Every message takes as long as any other, so that none overtakes another.
    pub steady: bool,
    /// A peer dies.
    pub crashes: u32,
    /// A peer pauses.
    pub pauses: u32,
    /// Somebody asks for a change of membership.
    pub changes: u32,
    /// The network is cut somewhere.
    pub cuts: u32,
    /// The network is mended.
    pub mends: u32,
    /// A clock jumps.
    pub jumps: u32,
    /// A transfer is asked, or somebody is told that another is gone.
    pub orders: u32,
    /// A message of a stranger, or for one.
    pub strangers: u32,
    /// Clocks run at 700 to 1,400 thousandths of true time.
    pub skewed: bool,
    /// Membership follows the plan and nothing else.
    pub planned: bool,
    /// Time between two requests of clients, at most.
    pub request_gap_max: Duration,
    /// Time between two faults that may happen, at most.
    pub fault_gap_max: Duration,
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Weather {
    /// A run's.
    pub fn draw(rng: &mut StdRng) -> Self {
        let planned = rng.random_ratio(3, 100);
        let storm = match rng.random_range(0..100) {
            _ if planned => rng.random_range(1_500..3_000),
            0..80 => rng.random_range(60..200),
            80..98 => rng.random_range(200..600),
            _ => rng.random_range(1_000..2_500),
        };
        let pick = |rng: &mut StdRng, from: &[u32]| *from.choose(rng).expect("not empty");
        Self {
            founders: *[1, 2, 3, 3, 3, 4, 5].choose(rng).expect("not empty"),
            storm: millis(storm),
            lost: pick(rng, &[0, 0, 20, 100, 300]),
            doubled: pick(rng, &[0, 50, 200]),
            very_late: pick(rng, &[0, 0, 10, 50]),
            latency_max: millis(*[1, 4, 12, 40].choose(rng).expect("not empty")),
            steady: rng.random_ratio(1, 4),
            crashes: pick(rng, &[0, 5, 30]),
            pauses: pick(rng, &[0, 0, 10, 40]),
            changes: if planned { 0 } else { pick(rng, &[0, 30, 150]) },
            cuts: pick(rng, &[0, 20, 100]),
            mends: pick(rng, &[20, 60]),
            // The plan counts a second of quick rounds by the leader's clock, and a checker counts with it.
            jumps: if planned { 0 } else { pick(rng, &[0, 0, 10]) },
            orders: pick(rng, &[0, 10, 40, 250]),
            strangers: pick(rng, &[0, 5, 20]),
            skewed: !planned && rng.random_ratio(1, 4),
            planned,
            request_gap_max: millis(*[4, 12, 30].choose(rng).expect("not empty")),
            fault_gap_max: millis(10),
        }
    }

    /// No faults at all, and a quick network.
    #[must_use]
    pub fn calm(&self) -> Self {
        Self {
            lost: 0,
            doubled: 0,
            very_late: 0,
            latency_max: millis(2),
            steady: true,
            crashes: 0,
            pauses: 0,
            changes: 0,
            cuts: 0,
            mends: 0,
            jumps: 0,
            orders: 0,
            strangers: 0,
            skewed: false,
            planned: false,
            ..self.clone()
        }
    }
}

/// The core's bounds in a run: so small that they are all met.
pub fn config(rng: &mut StdRng) -> Config {
    Config {
        heartbeat: HEARTBEAT,
        election_timeout: ELECTION_TIMEOUT,
        append_bytes_max: 500,
        inflight_messages_max: 4,
        inflight_bytes_max: 1_500,
        uncommitted_bytes_max: UNCOMMITTED_BYTES_MAX,
        snapshot_chunk_bytes: *[64, 256, 1_024].choose(rng).expect("not empty"),
        log_entries_kept: rng.random_range(0..20),
        log_bytes_kept: 2_000,
    }
}
