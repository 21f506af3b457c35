//! `sim`: runs seeds of scenarios, and says for each failure how to repeat it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use sim::core_bench::BenchArgs;
use sim::core_cli::CoreArgs;
use sim::mutants::MutantsArgs;
use sim::play::{Played, command, parting, play};
use sim::scenarios::{ALL, Scenario, find};

/// Lines of a failed run's trace that are shown at once.
const TAIL_LINES: usize = 40;

const EXAMPLES: &str = "\
Examples:
  sim list
  sim run                                              every scenario, seed 1
  sim run --scenario leader_lost --seeds 300           seeds 1 to 300
  sim run --scenario leader_lost --seed 301 --seeds 50 seeds 301 to 350
  sim run --scenario partition --seed 7 -v             one seed, its trace on stdout
  sim run --scenario partition --seed 7 --trace t.txt  the same into a file
  sim repeat --scenario partition --seed 7             twice; shows where the traces part
  sim core --runs 100000                               consensus core and store alone, many short runs
  sim core --seed 7 --runs 1 --trace                   one of them, its timeline on stdout

Exit codes: 0 all runs held, 1 a run failed or two runs differ, 2 wrong usage.";

/// Kagero in a simulated world: the shipped program under faults, one seed a run.
#[derive(Parser)]
#[command(name = "sim", after_help = EXAMPLES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run seeds; a failure prints the one command that repeats it.
    #[command(after_help = EXAMPLES)]
    Run(Run),
    /// Name the scenarios.
    List,
    /// Run a seed twice and compare the traces byte for byte.
    Repeat(Repeat),
    Core(CoreArgs),
    BenchCore(BenchArgs),
    Mutants(MutantsArgs),
}

#[derive(Args)]
struct Run {
    /// Scenario; every one if not given.
    #[arg(long, value_parser = scenario)]
    scenario: Option<&'static Scenario>,
    /// First seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, counted from --seed.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Write the trace of the first failed run (or, if none fails, of the last) here.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Print every run's trace.
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Args)]
struct Repeat {
    /// Scenario.
    #[arg(long, value_parser = scenario)]
    scenario: &'static Scenario,
    /// Seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn scenario(name: &str) -> Result<&'static Scenario, String> {
    find(name).ok_or_else(|| {
        let names: Vec<&str> = ALL.iter().map(|scenario| scenario.name).collect();
        format!("there are {}", names.join(", "))
    })
}

fn main() -> Result<ExitCode> {
    let held = match Cli::parse().command {
        Command::List => list()?,
        Command::Run(run) => run_seeds(&run)?,
        Command::Repeat(repeat) => repeats(&repeat)?,
        Command::Core(core) => sim::core_cli::run(&core)?,
        Command::Mutants(mutants) => sim::mutants::run(&mutants)?,
        Command::BenchCore(bench) => sim::core_bench::run(&bench)?,
    };
    Ok(if held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn list() -> Result<bool> {
    let mut out = std::io::stdout().lock();
    for scenario in ALL {
        writeln!(out, "{:<17} {}", scenario.name, scenario.about)?;
    }
    Ok(true)
}

fn run_seeds(run: &Run) -> Result<bool> {
    let scenarios: Vec<&Scenario> = run
        .scenario
        .map_or_else(|| ALL.iter().collect(), |one| vec![one]);
    let (mut runs, mut failed, mut last) = (0_u64, Vec::new(), None);
    let (mut simulated, mut real) = (0.0, 0.0);
    for scenario in scenarios {
        for seed in run.seed..run.seed.saturating_add(run.seeds) {
            let played = play(scenario, seed);
            runs += 1;
            simulated += played.simulated_seconds();
            real += played.took.as_secs_f64();
            report(scenario, seed, &played, run.verbose)?;
            if played.failure.is_some() && failed.is_empty() {
                write_trace(run, &played)?;
            }
            if played.failure.is_some() {
                failed.push(format!("{} {seed}", scenario.name));
            }
            last = Some(played);
        }
    }
    if let (true, Some(last)) = (failed.is_empty(), &last) {
        write_trace(run, last)?;
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{runs} runs, {} failed; {simulated:.0} simulated seconds in {real:.1} s ({:.0} ×)",
        failed.len(),
        simulated / real
    )?;
    if !failed.is_empty() {
        writeln!(out, "failed: {}", failed.join(", "))?;
    }
    Ok(failed.is_empty())
}

fn report(scenario: &Scenario, seed: u64, played: &Played, verbose: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let name = scenario.name;
    if verbose {
        for line in &played.lines {
            writeln!(out, "{line}")?;
        }
    }
    let (simulated, real) = (played.simulated_seconds(), played.took.as_secs_f64());
    let Some(failure) = &played.failure else {
        writeln!(out, "{name} {seed}: held ({simulated:.1} s in {real:.2} s)")?;
        return Ok(());
    };
    if !verbose {
        for line in &played.lines[played.lines.len().saturating_sub(TAIL_LINES)..] {
            writeln!(out, "{line}")?;
        }
    }
    writeln!(
        out,
        "{name} {seed}: FAILED after {simulated:.1} s: {failure}"
    )?;
    writeln!(out, "repeat it with: {}", command(scenario, seed))?;
    Ok(())
}

fn write_trace(run: &Run, played: &Played) -> Result<()> {
    let Some(path) = &run.trace else {
        return Ok(());
    };
    let mut text = played.lines.join("\n");
    text.push('\n');
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn repeats(repeat: &Repeat) -> Result<bool> {
    let (scenario, seed) = (repeat.scenario, repeat.seed);
    let (first, second) = (play(scenario, seed), play(scenario, seed));
    let mut out = std::io::stdout().lock();
    let Some((line, one, other)) = parting(&first.lines, &second.lines) else {
        let lines = first.lines.len();
        writeln!(
            out,
            "{} {seed}: two runs gave the same {lines} lines",
            scenario.name
        )?;
        return Ok(first.failure.is_none());
    };
    for before in &first.lines[line.saturating_sub(TAIL_LINES)..line - 1] {
        writeln!(out, "  {before}")?;
    }
    let end = "(the trace has ended)".to_owned();
    writeln!(out, "- {}", one.unwrap_or_else(|| end.clone()))?;
    writeln!(out, "+ {}", other.unwrap_or(end))?;
    writeln!(
        out,
        "{} {seed}: two runs part at line {line}",
        scenario.name
    )?;
    Ok(false)
}
