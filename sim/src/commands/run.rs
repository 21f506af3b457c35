//! `sim run`: runs seeds, says how far it is, what happened in them, and for each failure how to repeat it.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use indicatif::ProgressBar;
use sim::batch::{Job, play_all};
use sim::coverage::Coverage;
use sim::faults::Schedule;
use sim::minimise::minimise;
use sim::play::{Played, command, play_with};
use sim::scenarios::{ALL, COVERING_SEEDS, Scenario};
use sim::tally::{Tally, wall};

use super::{TAIL_LINES, bar, jobs_at_once, scenario};

/// Larger batches are told of in steps of so many percent where no bar can be drawn.
const STEP_PERCENT: usize = 5;
/// Each run of a batch that is not larger has a line of its own.
const TOLD_ONE_BY_ONE: usize = 50;
/// After so many failures a batch ends: more of them say nothing new.
const FAILURES_MAX: usize = 10;

/// What to run.
#[derive(Args)]
pub struct Run {
    /// Scenario, more than once for several; every one if not given.
    #[arg(long, value_parser = scenario)]
    scenario: Vec<&'static Scenario>,
    /// First seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, counted from --seed.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Runs at once; as many as there are processors if not given.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Faults instead of those that the seed draws: `12340 lose leader 8200 single; …` (see --minimise).
    #[arg(long, value_name = "FAULTS")]
    schedule: Option<Schedule>,
    /// Shrink the schedule of the first failed run to what it needs to fail.
    #[arg(long)]
    minimise: bool,
    /// Write the trace of the first failed run (or, if none fails, of the last seed) here.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Print every run's trace.
    #[arg(short, long)]
    verbose: bool,
}

/// What came of all runs.
#[derive(Default)]
struct Sum {
    runs: usize,
    simulated: Duration,
    took: Duration,
    failed: Vec<(&'static Scenario, u64, String)>,
    /// Of each scenario, by its name: what one covers says nothing of another.
    coverage: BTreeMap<&'static str, Coverage>,
}

impl Run {
    fn scenarios(&self) -> Vec<&'static Scenario> {
        if self.scenario.is_empty() {
            ALL.iter().collect()
        } else {
            self.scenario.clone()
        }
    }

    /// What no single flag's parser can see.
    pub fn check(&self) -> Result<(), String> {
        if self.schedule.is_some() {
            let scripted = |scenario: &&Scenario| scenario.plan(self.seed).schedule.is_empty();
            if let Some(scenario) = self.scenarios().into_iter().find(scripted) {
                return Err(format!(
                    "--schedule: {} has faults of its own, in a script; only those that draw theirs take others",
                    scenario.name
                ));
            }
        }
        if let Some(path) = &self.trace {
            let made = std::fs::File::create(path);
            made.map_err(|error| format!("--trace: cannot write {}: {error}", path.display()))?;
        }
        Ok(())
    }
}

/// Runs what was asked for; whether all held.
pub fn run(run: &Run) -> Result<bool> {
    let scenarios = run.scenarios();
    let schedule = run.schedule.as_ref();
    let seeds = run.seed..run.seed.saturating_add(run.seeds);
    let jobs: Vec<Job<'_>> = scenarios
        .iter()
        .flat_map(|scenario| {
            seeds.clone().map(|seed| Job {
                scenario,
                seed,
                schedule,
                probed: false,
            })
        })
        .collect();
    let sum = play(run, &jobs)?;
    let mut held = sum.failed.is_empty();
    let last = jobs.last().map(|job| (job.scenario, job.seed));
    let first_failed = sum
        .failed
        .first()
        .map(|(scenario, seed, _)| (*scenario, *seed));
    if let Some((scenario, seed)) = first_failed {
        explain(run, scenario, seed)?;
    } else if let (Some(_), Some((scenario, seed))) = (&run.trace, last) {
        write_trace(run, &play_with(scenario, seed, schedule, true))?;
    }
    tell(run, &scenarios, &sum)?;
    // A schedule that was given need not cover anything.
    if run.schedule.is_none() && run.seeds >= COVERING_SEEDS {
        held &= told_what_is_missing(run, &scenarios, &sum);
    }
    Ok(held)
}

/// Says what scenarios cover that never happened in theirs; whether that is nothing.
fn told_what_is_missing(run: &Run, scenarios: &[&'static Scenario], sum: &Sum) -> bool {
    let mut none = true;
    for scenario in scenarios {
        let missing = sum
            .of(scenario)
            .missing(scenario.covers.iter().copied())
            .join(", ");
        if !missing.is_empty() {
            none = false;
            println!(
                "{}: in {} seeds never happened: {missing}",
                scenario.name, run.seeds
            );
        }
    }
    none
}

fn play(run: &Run, jobs: &[Job<'_>]) -> Result<Sum> {
    let bar = std::io::stderr().is_terminal().then(|| bar(jobs.len()));
    let began = wall();
    let mut sum = Sum::default();
    let mut failure = None;
    play_all(jobs, jobs_at_once(run.jobs), |job, played| {
        sum.add(job, &played);
        let result = report(run, job, &played, jobs.len(), &sum, bar.as_ref());
        failure = result.err();
        failure.is_none() && sum.failed.len() < FAILURES_MAX
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    sum.took = began.elapsed();
    failure.map_or(Ok(sum), Err)
}

impl Sum {
    fn add(&mut self, job: &Job<'_>, played: &Played) {
        self.runs += 1;
        self.simulated += played.simulated;
        let coverage = self.coverage.entry(job.scenario.name).or_default();
        coverage.merge(&played.coverage);
        if let Some(failure) = &played.failure {
            self.failed.push((job.scenario, job.seed, failure.clone()));
        }
    }

    /// What happened in a scenario's runs.
    fn of(&self, scenario: &Scenario) -> Coverage {
        let of = self.coverage.get(scenario.name);
        of.cloned().unwrap_or_default()
    }

    /// What happened in all runs.
    fn whole(&self) -> Coverage {
        let mut whole = Coverage::default();
        self.coverage.values().for_each(|of| whole.merge(of));
        whole
    }

    fn faults(&self) -> u64 {
        self.coverage.values().map(|of| of.sum("fault")).sum()
    }

    fn figures(&self) -> String {
        format!(
            "{:.2} h simulated, {} faults, {} failed",
            self.simulated.as_secs_f64() / 3_600.0,
            self.faults(),
            self.failed.len()
        )
    }
}

/// Tells of one run.
fn report(
    run: &Run,
    job: &Job<'_>,
    played: &Played,
    all: usize,
    sum: &Sum,
    bar: Option<&ProgressBar>,
) -> Result<()> {
    let (name, seed) = (job.scenario.name, job.seed);
    let (simulated, real) = (played.simulated.as_secs_f64(), played.took.as_secs_f64());
    let mut text = Vec::new();
    if run.verbose {
        let traced = play_with(job.scenario, seed, job.schedule, true);
        for line in &traced.lines {
            writeln!(text, "{line}")?;
        }
    }
    if let Some(failure) = &played.failure {
        writeln!(
            text,
            "{name} {seed}: FAILED after {simulated:.1} s: {failure}"
        )?;
        writeln!(
            text,
            "repeat it with: {}{}",
            command(job.scenario, seed),
            option(job.schedule)
        )?;
    } else if all <= TOLD_ONE_BY_ONE && bar.is_none() {
        writeln!(
            text,
            "{name} {seed}: held ({simulated:.1} s in {real:.2} s)"
        )?;
    }
    let text = String::from_utf8(text).context("was written as text")?;
    if let Some(bar) = bar {
        bar.suspend(|| print!("{text}"));
        bar.set_message(sum.figures());
        bar.inc(1);
    } else {
        print!("{text}");
        let step = |runs: usize| runs * 100 / STEP_PERCENT / all.max(1);
        if all > TOLD_ONE_BY_ONE && step(sum.runs) != step(sum.runs - 1) {
            eprintln!("{}/{all}: {}", sum.runs, sum.figures());
        }
    }
    Ok(())
}

fn option(schedule: Option<&Schedule>) -> String {
    schedule.map_or_else(String::new, |schedule| format!(" --schedule '{schedule}'"))
}

/// Runs a failed seed again with a trace, shows its end, and shrinks its schedule if that is wanted.
fn explain(run: &Run, scenario: &'static Scenario, seed: u64) -> Result<()> {
    let schedule = run.schedule.as_ref();
    let traced = play_with(scenario, seed, schedule, true);
    ensure!(
        traced.failure.is_some(),
        "{} {seed} failed, and does not when it is traced: the simulation is not deterministic",
        scenario.name
    );
    write_trace(run, &traced)?;
    if !run.verbose {
        for line in &traced.lines[traced.lines.len().saturating_sub(TAIL_LINES)..] {
            println!("{line}");
        }
    }
    if !run.minimise {
        return Ok(());
    }
    let drawn = schedule.map_or_else(|| scenario.plan(seed).schedule, Clone::clone);
    let mut tries = 0_u64;
    let smallest = minimise(&drawn, |smaller| {
        tries += 1;
        let fails = play_with(scenario, seed, Some(smaller), false)
            .failure
            .is_some();
        eprintln!(
            "try {tries}: {} faults, {}",
            smaller.len(),
            if fails { "fails" } else { "holds" }
        );
        fails
    });
    let failure = play_with(scenario, seed, Some(&smallest), false).failure;
    println!("{} of {} faults are needed:", smallest.len(), drawn.len());
    for planned in smallest.faults() {
        println!("  {planned}");
    }
    println!("with them: {}", failure.unwrap_or_default());
    println!(
        "repeat it with: {}{}",
        command(scenario, seed),
        option(Some(&smallest))
    );
    Ok(())
}

/// Says what happened in all runs together, which faults in each of several scenarios, and last, in a line that `tests/run`
/// reads, what came of them.
fn tell(run: &Run, scenarios: &[&'static Scenario], sum: &Sum) -> Result<()> {
    let mut out = std::io::stdout().lock();
    write!(out, "{}", sum.whole())?;
    if scenarios.len() > 1 {
        for scenario in scenarios {
            writeln!(out, "{}", faults_of(scenario, sum))?;
        }
    }
    for (scenario, seed, failure) in &sum.failed {
        let first = failure.lines().next().unwrap_or_default();
        writeln!(out, "failed: {} {seed}: {first}", scenario.name)?;
    }
    let name = match scenarios {
        [one] => one.name.to_owned(),
        several if several.len() == ALL.len() => "every scenario".to_owned(),
        several => format!("{} scenarios", several.len()),
    };
    let tally = Tally {
        first: run.seed,
        seeds: run.seeds,
        passed: (sum.runs - sum.failed.len()) as u64,
        failed: sum.failed.len() as u64,
        simulated: sum.simulated,
        took: sum.took,
    };
    writeln!(out, "{name}: {tally}, {} faults", sum.faults())?;
    Ok(())
}

/// A scenario's faults, in a line: `leader_lost: 20 faults: lose 20`.
fn faults_of(scenario: &Scenario, sum: &Sum) -> String {
    let coverage = sum.of(scenario);
    let named = coverage.iter();
    let faults: Vec<String> = named
        .filter_map(|(name, times)| Some(format!("{} {times}", name.strip_prefix("fault: ")?)))
        .collect();
    let (all, each) = (coverage.sum("fault"), faults.join(", "));
    format!("{}: {all} faults: {each}", scenario.name)
}

fn write_trace(run: &Run, played: &Played) -> Result<()> {
    let Some(path) = &run.trace else {
        return Ok(());
    };
    let mut text = played.lines.join("\n");
    text.push('\n');
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
