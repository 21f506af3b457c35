//! Many seeds, on several threads; what they covered, and the first that failed.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::coverage::Coverage;
use super::run::{Failure, Outcome, play};

/// From so many runs on, every fault and every branch must have happened.
pub const COVERED_FROM_RUNS: u64 = 5_000;

/// What came of many runs.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Runs made.
    pub runs: u64,
    /// The failed one with the lowest seed among those that were made.
    pub failure: Option<Failure>,
    /// What happened in all of them.
    pub coverage: Coverage,
    /// Simulated time of all.
    pub simulated: Duration,
    /// The longest time from the last fault until all was well.
    pub recovered_in_max: Duration,
    /// Steps of the core.
    pub steps: u64,
}

impl Batch {
    fn add(&mut self, outcome: Outcome) {
        self.runs += 1;
        self.coverage.merge(&outcome.coverage);
        self.simulated += outcome.simulated;
        self.recovered_in_max = self.recovered_in_max.max(outcome.recovered_in);
        self.steps += outcome.steps;
        let earlier = |failure: &Failure| {
            let known = self.failure.as_ref();
            known.is_none_or(|known| failure.seed < known.seed)
        };
        if let Some(failure) = outcome.failure.filter(earlier) {
            self.failure = Some(failure);
        }
    }

    /// What never happened, though there were runs enough that it should.
    pub fn missed(&self) -> Vec<&'static str> {
        if self.runs < COVERED_FROM_RUNS || self.failure.is_some() {
            return Vec::new();
        }
        self.coverage.never()
    }
}

/// Runs the seeds until one fails; `progress` is told how many are done, from any thread.
pub fn run(seeds: Range<u64>, threads: usize, progress: &(dyn Fn(u64) + Sync)) -> Batch {
    let next = AtomicU64::new(seeds.start);
    let failed = AtomicBool::new(false);
    let total = Mutex::new(Batch::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = play(seed, None);
                    failed.fetch_or(outcome.failure.is_some(), Ordering::Relaxed);
                    let mut total = total.lock().expect("no holder of the lock panics");
                    total.add(outcome);
                    progress(total.runs);
                }
            });
        }
    });
    total.into_inner().expect("no holder of the lock panics")
}
