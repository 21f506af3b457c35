//! One run: a storm, then calm.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::Duration;

use super::checkers::Violation;
use super::coverage::Coverage;
use super::trace::Sink;
use super::world::World;

/// A run in which something did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// What did not hold.
    pub violation: Violation,
    /// When, in simulated time.
    pub at: Duration,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// What happened in it.
    pub coverage: Coverage,
    /// Simulated time.
    pub simulated: Duration,
    /// From the last fault until all was well.
    pub recovered_in: Duration,
    /// Steps of the core.
    pub steps: u64,
}

/// What the core's own assertions are told as: a checker like the others.
pub const ASSERTION: &str = "assertion";

thread_local! {
    static RUNNING: Cell<Option<u64>> = const { Cell::new(None) };
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs a seed. A line of its timeline at a time goes to `sink`, if there is one.
pub fn play(seed: u64, sink: Option<Sink>) -> Outcome {
    run(&mut World::new(seed, sink), seed)
}

/// Runs a seed to its end, whatever is broken in it: the first violation of each property, as if it were judged alone.
///
/// Checkers change nothing, so a run is the same whoever looks on; a broken assertion ends it all the same.
pub fn play_on(seed: u64) -> Vec<Violation> {
    let mut world = World::new(seed, None);
    world.verdicts.alone = true;
    run(&mut world, seed);
    world.verdicts.broken
}

fn run(world: &mut World, seed: u64) -> Outcome {
    hear_panics();
    RUNNING.set(Some(seed));
    let recovered_in = catch_unwind(AssertUnwindSafe(|| {
        world.pass(world.weather.storm);
        world.calm()
    }));
    RUNNING.set(None);
    if recovered_in.is_err() {
        let text = PANIC.take().unwrap_or_else(|| "without a text".into());
        world.fail(ASSERTION, text);
    }
    let at = world.now;
    Outcome {
        failure: world.failure.take().map(|violation| Failure {
            seed,
            violation,
            at,
        }),
        coverage: std::mem::take(&mut world.coverage),
        simulated: at,
        recovered_in: recovered_in.unwrap_or_default(),
        steps: world.steps,
    }
}

/// The command that repeats a run.
pub fn command(seed: u64) -> String {
    format!("cargo run --release -p sim -- core --seed {seed} --runs 1 --trace")
}

/// A broken assertion of the core is a failed run like another. Where a panic ends the process, as in a release build,
/// the seed is said before that.
fn hear_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let Some(seed) = RUNNING.get() else {
                return usual(panic);
            };
            PANIC.set(Some(panic.to_string().replace('\n', " ")));
            if cfg!(panic = "abort") {
                eprintln!(
                    "core seed {seed} FAILED: {panic}\nrepeat it with: {}",
                    command(seed)
                );
            }
        }));
    });
}
