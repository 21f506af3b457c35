//! Runs one seed of a scenario, or the same seed twice, and says what came of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use tracing::Level;

use crate::cluster::run;
use crate::scenarios::Scenario;
use crate::trace::Trace;

/// What came of a run.
pub struct Played {
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// Its trace, one event a line.
    pub lines: Vec<String>,
    /// How long it took, in real time.
    pub took: Duration,
}

impl Played {
    /// Simulated seconds that passed, as the trace tells.
    pub fn simulated_seconds(&self) -> f64 {
        let last = self
            .lines
            .last()
            .and_then(|line| line.split_whitespace().next());
        last.and_then(|seconds| seconds.parse().ok())
            .unwrap_or_default()
    }
}

/// Runs a scenario with a seed. A panic anywhere in the world is a failure like another.
#[expect(
    clippy::disallowed_methods,
    reason = "how long a run took is told to a human, never to the world"
)]
pub fn play(scenario: &Scenario, seed: u64) -> Played {
    let began = Instant::now();
    let (failure, lines) = Trace::record(Level::DEBUG, |trace| {
        let ran = catch_unwind(AssertUnwindSafe(|| {
            let result = run(&scenario.plan(seed), trace, |world| scenario.play(world));
            result.err().map(|error| error.to_string())
        }));
        ran.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Some(format!("panic: {}", text.unwrap_or("without a text")))
        })
    });
    Played {
        failure,
        lines,
        took: began.elapsed(),
    }
}

/// The command that repeats a run.
pub fn command(scenario: &Scenario, seed: u64) -> String {
    let name = scenario.name;
    format!("cargo run -p sim -- run --scenario {name} --seed {seed} --trace {name}-{seed}.trace")
}

/// Where two traces part: the line's number from 1, and both lines (`None` where one has ended).
pub type Parting = (usize, Option<String>, Option<String>);

/// Compares two traces byte for byte.
pub fn parting(first: &[String], second: &[String]) -> Option<Parting> {
    let longest = first.len().max(second.len());
    let at = (0..longest).find(|at| first.get(*at) != second.get(*at))?;
    Some((at + 1, first.get(at).cloned(), second.get(at).cloned()))
}
