//! Runs one seed of a scenario, and says what came of it.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::Duration;

use tracing::Level;

use crate::batch::Job;
use crate::cluster::run;
use crate::coverage::Coverage;
use crate::faults::Schedule;
use crate::figures::Figures;
use crate::scenarios::Scenario;
use crate::tally::wall;
use crate::trace::Trace;
use crate::world::{Plan, World};

/// What came of a run.
pub struct Played {
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// Its trace, one event a line; empty if it was not recorded.
    pub lines: Vec<String>,
    /// How much time passed in the world.
    pub simulated: Duration,
    /// How long it took, in real time.
    pub took: Duration,
    /// What happened in it.
    pub coverage: Coverage,
    /// What was measured in it.
    pub figures: Figures,
}

/// Runs a scenario with a seed, recording a trace. A panic anywhere in the world is a failure like another.
pub fn play(scenario: &Scenario, seed: u64) -> Played {
    play_with(scenario, seed, None, true)
}

/// The same with another schedule than the seed's, or without a trace, which is faster. A trace changes nothing.
pub fn play_with(
    scenario: &Scenario,
    seed: u64,
    schedule: Option<&Schedule>,
    traced: bool,
) -> Played {
    let mut plan = scenario.plan(seed);
    if let Some(schedule) = schedule {
        plan.schedule = schedule.clone();
    }
    play_plan(scenario, &plan, traced)
}

/// One run of a batch, without a trace.
pub fn play_job(job: &Job<'_>) -> Played {
    let mut plan = job.scenario.plan(job.seed);
    plan.probed = job.probed;
    if let Some(schedule) = job.schedule {
        plan.schedule = schedule.clone();
    }
    play_plan(job.scenario, &plan, false)
}

fn play_plan(scenario: &Scenario, plan: &Plan, traced: bool) -> Played {
    let began = wall();
    hear_panics();
    RUNNING.set(command(scenario, plan.seed));
    let simulate = |trace: &Trace| {
        let world = World::new(plan, trace);
        let ran = catch_unwind(AssertUnwindSafe(|| {
            let result = run(&world, |world| scenario.play(world));
            result.err().map(|error| error.to_string())
        }));
        let failure = ran.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Some(format!("panic: {}", text.unwrap_or("without a text")))
        });
        world.take_all_figures();
        (failure, world)
    };
    let ((failure, world), lines) = if traced {
        Trace::record(Level::DEBUG, simulate)
    } else {
        (simulate(&Trace::none()), Vec::new())
    };
    RUNNING.take();
    Played {
        failure,
        lines,
        simulated: world.elapsed(),
        took: began.elapsed(),
        coverage: world.coverage(),
        figures: world.figures(),
    }
}

thread_local! {
    /// The command that repeats what this thread runs; empty if it runs nothing.
    static RUNNING: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Where a panic ends the process, as in a release build, the seed is said before that.
fn hear_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if !cfg!(panic = "abort") {
            return;
        }
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            usual(panic);
            let command = RUNNING.with_borrow(Clone::clone);
            if !command.is_empty() {
                eprintln!("FAILED: panic\nrepeat it with: {command}");
            }
        }));
    });
}

/// The command that repeats a run.
pub fn command(scenario: &Scenario, seed: u64) -> String {
    let name = scenario.name;
    format!(
        "cargo run --profile sim -p sim -- run --scenario {name} --seed {seed} --trace {name}-{seed}.trace"
    )
}

/// Where two traces part: the line's number from 1, and both lines (`None` where one has ended).
pub type Parting = (usize, Option<String>, Option<String>);

/// Compares two traces byte for byte.
pub fn parting(first: &[String], second: &[String]) -> Option<Parting> {
    let longest = first.len().max(second.len());
    let at = (0..longest).find(|at| first.get(*at) != second.get(*at))?;
    Some((at + 1, first.get(at).cloned(), second.get(at).cloned()))
}
