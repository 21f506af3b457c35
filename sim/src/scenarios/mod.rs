//! Named runs. A failing seed that was fixed is pinned in `tests/pinned.rs`.
//!
//! A scenario says what happens and what it must see; what must always hold is in `checkers` and what every run ends
//! with in `settle.rs`, so neither stands here.

mod abandoned_claim;
mod cloud_tells;
mod config_map;
mod everything_lost;
mod evict_in_turn;
mod follower_lost;
mod late_survivor;
mod leader_lost;
mod majority_lost;
mod minority_lost;
mod noticed_eviction;
mod partition;
mod process_restarts;
mod rolling_update;
mod spot_storm;
mod stateful;
pub(crate) mod steps;
mod ten_nodes;
mod unique_over;
mod unique_pods;
mod voter_demoted;

use std::time::Duration;

use futures::future::LocalBoxFuture;

use crate::world::{Plan, World};

/// How often a scenario looks whether something has come true.
const LOOK_MS: u64 = 100;

/// One named scenario.
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What happens, in a line.
    pub about: &'static str,
    /// What to simulate for a seed.
    plan: fn(u64) -> Plan,
    /// What must have happened in a batch of [`COVERING_SEEDS`] or more: its faults, and the branches it exists for.
    /// `raft` and `membership` count from the first fault on, or from when a schedule is let loose.
    pub covers: &'static [&'static str],
    play: fn(World) -> LocalBoxFuture<'static, turmoil::Result>,
}

macro_rules! scenario {
    ($name:ident, $nodes:expr, $about:literal, $covers:expr) => {
        Scenario {
            name: stringify!($name),
            about: $about,
            plan: |seed| Plan::of(seed, $nodes),
            covers: $covers,
            play: |world| Box::pin($name::play(world)),
        }
    };
}

/// So many seeds of a scenario are enough for all that it covers to happen.
pub const COVERING_SEEDS: u64 = 20;

/// What clients saw was judged although the history goes on from an earlier state.
const JUDGED_OVER: &str = "judged: over a change of generations";

/// A cluster went on from what was left, or kept, of an earlier one.
const BEGUN: &str = "cluster: generation begun";

/// All of them.
pub const ALL: &[Scenario] = &[
    scenario!(
        leader_lost,
        3,
        "the leader's machine vanishes silently; pods run elsewhere; it comes back and votes",
        &[
            "fault: lose",
            "raft: election_won",
            "membership: promotion",
            "cluster: node NotReady"
        ]
    ),
    scenario!(
        follower_lost,
        3,
        "a follower's machine vanishes: no election, its pods run elsewhere, it comes back",
        &[
            "fault: lose",
            "membership: promotion",
            "cluster: node NotReady"
        ]
    ),
    scenario!(
        process_restarts,
        3,
        "each node's process dies and starts again; its containers are adopted",
        &[
            "fault: restart",
            "raft: election_won",
            "membership: promotion"
        ]
    ),
    scenario!(
        ten_nodes,
        10,
        "3 voters, 2 standbys, 5 workers; a standby takes a lost voter's place; workers answer",
        &["fault: lose", "membership: joint change"]
    ),
    scenario!(
        rolling_update,
        4,
        "a Deployment is rolled while a follower vanishes",
        &[
            "fault: lose",
            "cluster: pod created",
            "cluster: pod removed"
        ]
    ),
    scenario!(
        config_map,
        3,
        "a ConfigMap and a Secret reach a pod; a change is pushed, also by the next leader",
        &["fault: lose", "raft: election_won"]
    ),
    scenario!(
        partition,
        3,
        "the leader is cut off from the others for 20 s and rejoins",
        &["fault: cut-off", "raft: quorum_lost", "raft: election_won"]
    ),
    scenario!(
        voter_demoted,
        10,
        "a voter is cut off until a standby has its place, and goes on as a worker",
        &["fault: cut-off", "membership: joint change"]
    ),
    Scenario {
        name: "minority_lost",
        about: "five voters in three zones; a zone vanishes, then two voters: standbys vote in their stead",
        plan: minority_lost::plan,
        covers: minority_lost::COVERS,
        play: |world| Box::pin(minority_lost::play(world)),
    },
    Scenario {
        name: "majority_lost",
        about: "both followers are lost, or one called dead: an operator recovers, they join the new generation",
        plan: |seed| Plan::of(seed, 3),
        covers: &["fault: lose", "fault: cut-off", BEGUN, JUDGED_OVER],
        play: |world| Box::pin(majority_lost::play(world)),
    },
    Scenario {
        name: "cloud_tells",
        about: "the cloud says who is gone: a voter is replaced at once, a lost majority recovered unattended",
        plan: cloud_tells::plan,
        covers: &[
            "fault: lose",
            "fault: cut-off",
            "membership: joint change",
            BEGUN,
            JUDGED_OVER,
        ],
        play: |world| Box::pin(cloud_tells::play(world)),
    },
    Scenario {
        name: "everything_lost",
        about: "every process dies at once, with its machine or without; a snapshot and manifests bring the cluster back",
        plan: everything_lost::plan,
        covers: everything_lost::COVERS,
        play: |world| Box::pin(everything_lost::play(world)),
    },
    Scenario {
        name: "abandoned_claim",
        about: "beside a living cluster its only seed claims a generation, and is interrupted or dies: nothing comes of it",
        plan: abandoned_claim::plan,
        covers: abandoned_claim::COVERS,
        play: |world| Box::pin(abandoned_claim::play(world)),
    },
    Scenario {
        name: "late_survivor",
        about: "all seeds are lost; a node that came after the newest snapshot survives: nothing is formed past it",
        plan: late_survivor::plan,
        covers: late_survivor::COVERS,
        play: |world| Box::pin(late_survivor::play(world)),
    },
    Scenario {
        name: "spot_storm",
        about: "a minute of random faults on 5 to 10 machines, of which the voters' majority is spared",
        plan: spot_storm::plan,
        covers: spot_storm::COVERS,
        play: |world| Box::pin(spot_storm::play(world)),
    },
    Scenario {
        name: "noticed_eviction",
        about: "the leader's machine goes away 30 s after a notice: another leads, votes and serves before",
        plan: |seed| Plan::of(seed, noticed_eviction::MACHINES),
        covers: &[
            "fault: notice",
            "fault: lose",
            "raft: election_won",
            "membership: joint change",
        ],
        play: |world| Box::pin(noticed_eviction::play(world)),
    },
    Scenario {
        name: "noticed_storm",
        about: "a spot_storm in which the clouds announce some evictions, 0, 30 or 120 s ahead",
        plan: spot_storm::noticed_plan,
        covers: spot_storm::NOTICED_COVERS,
        play: |world| Box::pin(spot_storm::play(world)),
    },
    Scenario {
        name: "unique_pods",
        about: "unique pods through faults of up to a minute: stopped, replaced, and never running twice",
        plan: unique_pods::plan,
        covers: unique_pods::COVERS,
        play: |world| Box::pin(unique_pods::play(world)),
    },
    Scenario {
        name: "unique_over",
        about: "unique pods over a recovery, or a restore of where they were before: never running twice",
        plan: unique_over::plan,
        covers: unique_over::COVERS,
        play: |world| Box::pin(unique_over::play(world)),
    },
    Scenario {
        name: "evict_in_turn",
        about: "of ten machines a voter vanishes every 20 s; the quorum is never lost",
        plan: evict_in_turn::plan,
        covers: &[
            "fault: lose",
            "raft: election_won",
            "membership: joint change",
        ],
        play: |world| Box::pin(evict_in_turn::play(world)),
    },
    Scenario {
        name: "evict_in_turn_noticed",
        about: "of ten machines a voter goes every 20 s, 12 s after a notice; nobody misses it",
        plan: evict_in_turn::plan,
        covers: &[
            "fault: notice",
            "fault: lose",
            "raft: election_won",
            "membership: joint change",
        ],
        play: |world| Box::pin(evict_in_turn::play_noticed(world)),
    },
];

/// The scenario of a name, which may have hyphens.
pub fn find(name: &str) -> Option<&'static Scenario> {
    let name = name.replace('-', "_");
    ALL.iter().find(|scenario| scenario.name == name)
}

impl Scenario {
    /// What to simulate for a seed.
    pub fn plan(&self, seed: u64) -> Plan {
        (self.plan)(seed)
    }

    /// Its own part of a run.
    pub fn play(&self, world: World) -> LocalBoxFuture<'static, turmoil::Result> {
        (self.play)(world)
    }
}

/// Waits until something is true, in simulated time; the run's limit bounds it.
pub(crate) async fn until<T>(
    world: &World,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    world.wait_for(what);
    loop {
        if let Some(found) = look().await {
            world.note(&format!("seen: {what}"));
            return found;
        }
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
    }
}
