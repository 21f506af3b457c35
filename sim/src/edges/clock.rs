//! Simulated time: the world's, from a fixed date on, so that nothing depends on the day of the run.

use std::time::Duration;

use kagero::env::clock::Clock;

/// 2026-01-01T00:00:00Z, where every simulation begins.
const EPOCH_SECONDS: i64 = 1_767_225_600;

/// The simulated world's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimClock;

/// The world's time since the simulation began.
fn elapsed() -> Duration {
    turmoil::sim_elapsed().expect("the clock is read inside the simulated world only")
}

impl Clock for SimClock {
    fn now(&self) -> Duration {
        elapsed()
    }

    fn wall(&self) -> jiff::Timestamp {
        let epoch =
            jiff::Timestamp::from_second(EPOCH_SECONDS).expect("a constant within jiff's range");
        epoch + jiff::SignedDuration::try_from(elapsed()).expect("simulated hours fit")
    }
}
