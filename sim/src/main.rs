//! `sim`: runs seeds of scenarios, and says for each failure how to repeat it.

mod commands;

use std::process::ExitCode;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use commands::{list, measure, repeat, run};
use sim::chaos::ChaosArgs;
use sim::core_bench::BenchArgs;
use sim::core_cli::CoreArgs;
use sim::model::cli::ModelArgs;
use sim::mutants::MutantsArgs;

/// A tenth of a run is allocation; this takes half the time for it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXAMPLES: &str = "\
Examples:
  sim list
  sim run                                              every scenario, seed 1
  sim run --scenario spot-storm --seeds 200            seeds 1 to 200, side by side, with a table of what happened
  sim run --scenario leader_lost --seed 301 --seeds 50 seeds 301 to 350
  sim run --scenario partition --seed 7 -v             one seed, its trace on stdout
  sim run --scenario partition --seed 7 --trace t.txt  the same into a file
  sim run --scenario spot_storm --seed 7 --minimise    if it fails: the faults that it needs to
  sim repeat --scenario spot_storm --seeds 20          each in two processes; shows where the traces part
  sim measure --scenario leader_lost --seeds 100       failover, redundancy, recovery: p50, p99, max (--json)
  sim core --runs 100000                               consensus core and store alone, many short runs
  sim core --seed 7 --runs 1 --trace                   one of them, its timeline on stdout
  sim model                                            consensus core in a model checker, every order of a few events
  sim chaos --seeds 5                                  real processes on a real network (as root), a minute of faults a seed

Exit codes: 0 all runs held, 1 a run failed, two runs differ or a fault never happened, 2 wrong usage.";

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
    Run(run::Run),
    /// Name the scenarios.
    List,
    /// Run seeds in two processes each and compare the traces byte for byte.
    Repeat(repeat::Repeat),
    /// Measure how long clusters take to come back: median, 99th percentile and maximum over many seeds.
    Measure(measure::Measure),
    Core(CoreArgs),
    BenchCore(BenchArgs),
    Mutants(MutantsArgs),
    Model(ModelArgs),
    Chaos(ChaosArgs),
}

fn main() -> Result<ExitCode> {
    let held = match Cli::parse().command {
        Command::List => list()?,
        Command::Run(run) => {
            if let Err(problem) = run.check() {
                Cli::command()
                    .error(ErrorKind::ValueValidation, problem)
                    .exit();
            }
            run::run(&run)?
        }
        Command::Repeat(repeat) => repeat::repeat(&repeat)?,
        Command::Measure(measure) => measure::measure(&measure)?,
        Command::Core(core) => sim::core_cli::run(&core)?,
        Command::Mutants(mutants) => sim::mutants::run(&mutants)?,
        Command::Model(model) => sim::model::cli::run(&model)?,
        Command::Chaos(chaos) => sim::chaos::run(&chaos)?,
        Command::BenchCore(bench) => sim::core_bench::run(&bench)?,
    };
    Ok(if held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
