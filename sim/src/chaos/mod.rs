//! The same chaos with real processes: `kagero run` on five machines that are network namespaces, killed, stopped, paused,
//! slowed and cut off by a schedule drawn from a seed, while the simulation's clients use them over real TCP; what these
//! saw is judged by the simulation's checkers.
//!
//! Deliberately not repeatable: a seed repeats the schedule and what clients draw, not the run, because time is real. And
//! without what can only be seen from inside: of all checkers those judge that need no more than clients' histories.
//!
//! A run is a process of its own, the first in a namespace of processes (`unshare --pid --kill-child`), with a network and
//! mounts that nobody else sees. Whatever ends it, a signal or its own end, ends all of it with it, and the kernel takes
//! everything back: no clean-up can be forgotten.

mod field;
mod kills;
mod meter;
mod network;
mod process;
mod run;
mod schedule;
mod scout;
mod settle;
mod storm;
mod witness;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::coverage::Coverage;
use crate::figures::Figures;

/// Programs that a run takes, and Debian's packages of them.
const TOOLS: [(&str, &str); 5] = [
    ("unshare", "util-linux"),
    ("mount", "mount"),
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("nft", "nftables"),
];

/// What happens to the machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// All kinds of faults, each at least once
    Storm,
    /// Whoever leads is killed, again and again, once the cluster is whole
    LeaderKills,
}

/// Break real `kagero` processes on a real network, as root; the same clients and checkers as in the simulation.
#[derive(Args, Clone, Debug)]
pub struct ChaosArgs {
    /// First seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, counted from --seed, one after the other.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// What happens.
    #[arg(long, value_enum, default_value = "storm")]
    scenario: Scenario,
    /// How long faults come, of a storm.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(schedule::SECONDS_MIN..))]
    seconds: u64,
    /// How many leaders are killed, of leader-kills.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    times: u64,
    /// The program; `kagero` beside this one or in the debug build beside it, if not given.
    #[arg(long, env = "KAGERO", value_name = "FILE")]
    kagero: Option<PathBuf>,
    /// Where the logs of failed seeds go.
    #[arg(long, value_name = "DIR", default_value = "target/chaos")]
    logs: PathBuf,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// This is the process that a run is: started by `sim chaos` itself, which hears what came of it.
    #[arg(long, hide = true)]
    inside: bool,
}

/// What came of one run.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Ran {
    failure: Option<String>,
    /// How slow and lossy lines were made.
    means: String,
    coverage: Coverage,
    figures: Figures,
    took: Duration,
}

/// Runs what was asked for; whether all held.
pub fn run(args: &ChaosArgs) -> Result<bool> {
    let kagero = kagero(args.kagero.as_deref())?;
    if args.inside {
        let ran = run::run(args, &kagero)?;
        println!("{}", serde_json::to_string(&ran)?);
        return Ok(true);
    }
    ensure!(
        rustix::process::geteuid().is_root(),
        "`sim chaos` makes network namespaces, which only root may"
    );
    for (tool, package) in TOOLS {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {tool}")])
            .stdout(Stdio::null())
            .status()?;
        ensure!(
            found.success(),
            "missing: {tool}; on Debian: apt-get install {package}"
        );
    }
    let mut sum = Ran::default();
    let mut failed = 0_u64;
    for seed in args.seed..args.seed.saturating_add(args.seeds) {
        let ran = one(args, seed, &kagero)?;
        tell(args, seed, &kagero, &ran)?;
        failed += u64::from(ran.failure.is_some());
        sum.coverage.merge(&ran.coverage);
        sum.figures.merge(&ran.figures);
        sum.took += ran.took;
        sum.means = ran.means;
    }
    conclude(args, &kagero, &sum, failed)?;
    Ok(failed == 0)
}

/// The program to run, as an absolute path.
fn kagero(said: Option<&Path>) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let folder = here.parent().context("a program is in a folder")?;
    let candidates = match said {
        Some(said) => vec![said.to_owned()],
        None => vec![folder.join("kagero"), folder.join("../debug/kagero")],
    };
    let found = candidates.iter().find(|path| path.is_file());
    let Some(found) = found else {
        bail!("there is no {candidates:?}: build it with `cargo build`, or say --kagero FILE");
    };
    found.canonicalize().context("its path")
}

/// One run, in namespaces of its own.
fn one(args: &ChaosArgs, seed: u64, kagero: &Path) -> Result<Ran> {
    let scenario = args.scenario.to_possible_value();
    let scenario = scenario.context("a scenario has a name")?;
    let mut child = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child"])
        .arg("--mount-proc")
        .arg(std::env::current_exe()?)
        .args(["chaos", "--inside", "--seed", &seed.to_string()])
        .args(["--scenario", scenario.get_name()])
        .args(["--seconds", &args.seconds.to_string()])
        .args(["--times", &args.times.to_string()])
        .arg("--kagero")
        .arg(kagero)
        .arg("--logs")
        .arg(logs(args, seed))
        // It ends when this pipe does, so also when this process is killed.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run unshare")?;
    let held_open = child.stdin.take();
    let output = child.wait_with_output()?;
    drop(held_open);
    if !output.status.success() {
        return Ok(Ran {
            failure: Some(format!("the run itself ended with {}", output.status)),
            ..Ran::default()
        });
    }
    serde_json::from_slice(&output.stdout).context("a run says what came of it")
}

fn logs(args: &ChaosArgs, seed: u64) -> PathBuf {
    args.logs.join(format!("seed-{seed}"))
}

/// Says what came of a seed.
fn tell(args: &ChaosArgs, seed: u64, kagero: &Path, ran: &Ran) -> Result<()> {
    let mut out = std::io::stderr().lock();
    let seconds = ran.took.as_secs();
    let faults = ran.coverage.sum("fault");
    let Some(failure) = &ran.failure else {
        writeln!(out, "chaos {seed}: held ({faults} faults, {seconds} s)")?;
        return Ok(());
    };
    writeln!(out, "chaos {seed}: FAILED after {seconds} s: {failure}")?;
    writeln!(out, "logs and timeline: {}", logs(args, seed).display())?;
    let how = match args.scenario {
        Scenario::Storm => format!("storm --seconds {}", args.seconds),
        Scenario::LeaderKills => format!("leader-kills --times {}", args.times),
    };
    let kagero = kagero.display();
    writeln!(
        out,
        "the same schedule, not the same run, because time is real: \
         target/sim/sim chaos --seed {seed} --scenario {how} --kagero {kagero}"
    )?;
    Ok(())
}

/// Says what came of all seeds; `tests/run` reads the last line.
fn conclude(args: &ChaosArgs, kagero: &Path, sum: &Ran, failed: u64) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let distributions = sum.figures.distributions();
    if args.json {
        let figures = distributions.map(|(figure, of)| {
            json!({
                "figure": figure.name(),
                "unit": "ms",
                "samples": of.samples,
                "p50": of.p50,
                "p99": of.p99,
                "max": of.max,
            })
        });
        let all = json!({
            "firstSeed": args.seed,
            "seeds": args.seeds,
            "failed": failed,
            "kagero": kagero,
            "lines": sum.means,
            "coverage": sum.coverage,
            "figures": figures.collect::<Vec<_>>(),
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
        return Ok(());
    }
    write!(out, "{}", sum.coverage)?;
    let mut shown = Vec::new();
    for (figure, of) in distributions {
        let (name, samples) = (figure.name(), of.samples);
        writeln!(
            out,
            "  {name}: {samples} samples, p50 {} ms, p99 {} ms, max {} ms",
            of.p50, of.p99, of.max
        )?;
        shown.push(format!("{name} p50 {} ms, max {} ms", of.p50, of.max));
    }
    writeln!(out, "  slow and lossy lines by {}", sum.means)?;
    let last = args.seed.saturating_add(args.seeds).saturating_sub(1);
    writeln!(
        out,
        "chaos: {} passed, {failed} failed; seeds {} to {last}, {} faults in {} s; {}",
        args.seeds - failed,
        args.seed,
        sum.coverage.sum("fault"),
        sum.took.as_secs(),
        shown.join("; ")
    )?;
    Ok(())
}
