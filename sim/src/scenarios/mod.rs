//! Named runs. A failing seed that was fixed is pinned beside its scenario's tests.

pub mod leader_lost;

use std::time::Duration;

use crate::cluster::World;

/// How often a scenario looks whether something has come true.
const LOOK_MS: u64 = 100;

/// Waits until something is true, in simulated time; the run's limit bounds it.
pub(crate) async fn until<T>(
    world: &World,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    loop {
        if let Some(found) = look().await {
            world.note(&format!("seen: {what}"));
            return found;
        }
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
    }
}
