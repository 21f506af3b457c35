//! Ten machines, three voters: every 20 s the machine of a voter vanishes, the leader's as often as any. By then the one
//! lost before has been replaced, so the quorum is never lost; the machines come back later, as standbys or workers. The same
//! with notices: by the time that the machine goes it neither leads nor votes, and nobody misses it.

use std::time::Duration;

use super::steps::{deploy, formed, leader, living_voters};
use super::until;
use crate::faults::quorum::majority_without;
use crate::world::{Fault, Plan, World};

const MACHINES: usize = 10;
const PODS: usize = 10;
const VOTERS: usize = 3;
/// The machine of a voter vanishes this often.
const INTERVAL: Duration = Duration::from_secs(20);
/// So many times; each of ten machines once, on average.
const EVICTIONS: usize = 10;
/// A machine stays away so long: always more than one is gone.
const AWAY_MS: (u64, u64) = (21_000, 45_000);
/// A cluster that lost its leader answers again within this time.
const SERVES_AGAIN: Duration = Duration::from_secs(5);

pub(super) fn plan(seed: u64) -> Plan {
    Plan {
        limit: INTERVAL * EVICTIONS as u32 + Duration::from_secs(180),
        ..Plan::of(seed, MACHINES)
    }
}

/// How long ahead an eviction is announced, where it is: half of what the clouds give.
const NOTICE: Duration = Duration::from_secs(12);

pub(super) async fn play(world: World) -> turmoil::Result {
    evict(world, false).await
}

pub(super) async fn play_noticed(world: World) -> turmoil::Result {
    evict(world, true).await
}

async fn evict(world: World, announced: bool) -> turmoil::Result {
    let first = formed(&world).await;
    deploy(&world, &world.client(&first), PODS).await?;
    for turn in 1..=EVICTIONS {
        let next = tokio::time::Instant::now() + INTERVAL;
        let leader_then = until(&world, "a leader", async || leader(&world)).await;
        let voters = voters(&world, &leader_then)?;
        let chosen = usize::try_from(world.chance(0..=VOTERS as u64 - 1)).expect("one of three");
        let lost = voters[chosen].clone();
        if !majority_without(&world, &lost) {
            return Err(format!("eviction {turn}, of {lost}, would take the quorum").into());
        }
        let elections = world.raft_events("pre_vote");
        if announced {
            world.inflict(Fault::Announce(lost.clone(), NOTICE));
            tokio::time::sleep(NOTICE).await;
            let leader = leader(&world).ok_or("nobody leads at the deadline")?;
            if self::voters(&world, &leader)?.contains(&lost) {
                return Err(format!("{lost} still votes at its deadline").into());
            }
        }
        world.inflict(Fault::LoseMachine(lost.clone()));
        tokio::task::spawn_local(come_back(world.clone(), lost.clone()));
        tokio::time::sleep(SERVES_AGAIN).await;
        if announced && world.raft_events("pre_vote") != elections {
            return Err(
                format!("an election around the end of {lost}, which was announced").into(),
            );
        }
        let again = leader(&world).filter(|again| *again != lost);
        let again =
            again.ok_or_else(|| format!("no leader {SERVES_AGAIN:?} after eviction {turn}"))?;
        world
            .client(&again)
            .get("/api/v1/namespaces/default")
            .await?;
        tokio::time::sleep_until(next).await;
    }
    until(&world, "all machines back", async || {
        world
            .machines()
            .all(|name| world.is_running(name))
            .then_some(())
    })
    .await;
    Ok(())
}

async fn come_back(world: World, lost: String) {
    world.pass(AWAY_MS.0..=AWAY_MS.1).await;
    world.inflict(Fault::ReturnMachine(lost));
}

/// The machines of the voters, all of which must be alive: 20 s are enough to replace one.
fn voters(world: &World, leader: &str) -> Result<Vec<String>, String> {
    let (alive, voters) = living_voters(world, leader).ok_or("the leader holds no replica")?;
    if alive.len() == VOTERS && voters == VOTERS {
        return Ok(alive);
    }
    Err(format!(
        "of {voters} voters {alive:?} are alive, {INTERVAL:?} after the last eviction"
    ))
}
