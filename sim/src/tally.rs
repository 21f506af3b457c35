//! The last line of a batch of runs: which seeds, how many passed and failed, how much time they simulated and how fast.
//!
//! `tests/run` reads it, so all batches word it alike.

use std::fmt;
use std::time::{Duration, Instant};

/// What came of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// The first seed.
    pub first: u64,
    /// How many seeds were asked for, counted from it.
    pub seeds: u64,
    /// Runs in which all held.
    pub passed: u64,
    /// Runs that failed.
    pub failed: u64,
    /// Simulated time of all runs.
    pub simulated: Duration,
    /// Real time of the batch.
    pub took: Duration,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.first.saturating_add(self.seeds).saturating_sub(1);
        let simulated = self.simulated.as_secs_f64();
        write!(
            f,
            "{} passed, {} failed; seeds {} to {last}, {:.2} simulated hours, {:.0} simulated seconds a second",
            self.passed,
            self.failed,
            self.first,
            simulated / 3_600.0,
            simulated / self.took.as_secs_f64().max(1e-9),
        )
    }
}

/// The time on the wall, for humans.
#[expect(
    clippy::disallowed_methods,
    reason = "how long runs took is told to a human, never to a run"
)]
pub fn wall() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_came_of_which_seeds() {
        let tally = Tally {
            first: 301,
            seeds: 50,
            passed: 49,
            failed: 1,
            simulated: Duration::from_secs(3_600),
            took: Duration::from_secs(60),
        };
        assert_eq!(
            tally.to_string(),
            "49 passed, 1 failed; seeds 301 to 350, 1.00 simulated hours, 60 simulated seconds a second"
        );
    }
}
