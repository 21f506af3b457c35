//! `sim core`: runs seeds of the core tier and says what they covered; or one seed with its timeline.
//!
//! What is printed says nothing that decides a run: the wall clock is read here alone, for how quick it was.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::core::batch::{self, Batch, COVERED_FROM_RUNS};
use crate::core::coverage::Kind;
use crate::core::run::command;
use crate::core::{Failure, Outcome, play};
use crate::tally::{Tally, wall};

/// How often progress is shown.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Run seeds of the core tier: consensus core and store alone, thousands of clusters a minute.
#[derive(Args)]
pub struct CoreArgs {
    /// How many seeds, counted from --seed.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// First seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads; one a processor if not given. They change nothing but the time it takes.
    #[arg(long)]
    threads: Option<usize>,
    /// Print the timeline of the first seed, and run no other.
    #[arg(long)]
    trace: bool,
}

/// Runs what was asked; true if everything held.
pub fn run(args: &CoreArgs) -> Result<bool> {
    if args.trace {
        return trace(args.seed);
    }
    let threads = args
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let began = wall();
    let shown = Mutex::new(began);
    let on_terminal = std::io::stderr().is_terminal();
    let progress = |done: u64| {
        let mut shown = shown.lock().expect("no holder of the lock panics");
        if on_terminal && shown.elapsed() >= PROGRESS_EVERY {
            *shown = wall();
            let a_minute = per_minute(done, began.elapsed());
            eprint!("\r{done} of {} runs, {a_minute:.0} a minute ", args.runs);
        }
    };
    let seeds = args.seed..args.seed.saturating_add(args.runs);
    let batch = batch::run(seeds, threads, &progress);
    if on_terminal {
        eprint!("\r\x1b[K");
    }
    report(args, &batch, began.elapsed())
}

fn per_minute(runs: u64, took: Duration) -> f64 {
    runs as f64 * 60.0 / took.as_secs_f64().max(1e-9)
}

fn report(args: &CoreArgs, batch: &Batch, took: Duration) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    for (kind, title) in [(Kind::Fault, "faults"), (Kind::Branch, "branches")] {
        writeln!(out, "{title}")?;
        for (_, _, text, count) in batch.coverage.rows().filter(|row| row.1 == kind) {
            writeln!(out, "{count:>14}  {text}")?;
        }
    }
    writeln!(
        out,
        "{} runs, {} steps in {:.1} s: {:.0} runs a minute; well again within {} ms",
        batch.runs,
        batch.steps,
        took.as_secs_f64(),
        per_minute(batch.runs, took),
        batch.recovered_in_max.as_millis()
    )?;
    let missed = batch.missed();
    if !missed.is_empty() {
        writeln!(
            out,
            "FAILED: after {COVERED_FROM_RUNS} runs or more, never: {missed:?}"
        )?;
    }
    if let Some(failure) = &batch.failure {
        writeln!(out, "{}", told(failure))?;
    }
    let failed = u64::from(batch.failure.is_some());
    let tally = Tally {
        first: args.seed,
        seeds: args.runs,
        passed: batch.runs - failed,
        failed,
        simulated: batch.simulated,
        took,
    };
    writeln!(out, "core: {tally}")?;
    Ok(batch.failure.is_none() && missed.is_empty())
}

/// A failure in words, with the command that repeats it.
pub fn told(failure: &Failure) -> String {
    let Failure {
        seed,
        violation,
        at,
    } = failure;
    let command = command(*seed);
    format!(
        "core seed {seed} FAILED after {:.3} simulated seconds: {}: {}\nrepeat it with: {command}",
        at.as_secs_f64(),
        violation.property,
        violation.text
    )
}

fn trace(seed: u64) -> Result<bool> {
    let sink = |line: &str| println!("{line}");
    let Outcome {
        failure,
        recovered_in,
        ..
    } = play(seed, Some(Box::new(sink)));
    let mut out = std::io::stdout().lock();
    match &failure {
        Some(failure) => writeln!(out, "{}", told(failure))?,
        None => writeln!(out, "core seed {seed} held; well again in {recovered_in:?}")?,
    }
    Ok(failure.is_none())
}
