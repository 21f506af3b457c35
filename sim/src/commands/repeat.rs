//! `sim repeat`: shows that a seed is the whole cause of a run, by running it in two processes.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;
use sim::play::{parting, play};
use sim::scenarios::Scenario;

use super::{TAIL_LINES, scenario};

/// What to repeat.
#[derive(Args)]
pub struct Repeat {
    /// Scenario.
    #[arg(long, value_parser = scenario)]
    scenario: &'static Scenario,
    /// First seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, counted from --seed.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Write the trace of --seed to standard output and do nothing else; what the two processes do.
    #[arg(long, hide = true)]
    once: bool,
}

/// Runs each seed in two processes at once and compares the traces byte for byte.
pub fn repeat(repeat: &Repeat) -> Result<bool> {
    if repeat.once {
        let played = play(repeat.scenario, repeat.seed);
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        for line in &played.lines {
            writeln!(out, "{line}")?;
        }
        return Ok(true);
    }
    let (mut same, mut parted) = (0, 0);
    for seed in repeat.seed..repeat.seed.saturating_add(repeat.seeds) {
        if seed_repeats(repeat.scenario, seed)? {
            same += 1;
        } else {
            parted += 1;
        }
    }
    let name = repeat.scenario.name;
    let last = repeat.seed.saturating_add(repeat.seeds) - 1;
    println!(
        "{name}: {same} passed, {parted} failed; seeds {} to {last}, each in two processes",
        repeat.seed
    );
    Ok(parted == 0)
}

fn seed_repeats(scenario: &Scenario, seed: u64) -> Result<bool> {
    let (first, second) = (trace_of(scenario, seed)?, trace_of(scenario, seed)?);
    let read = |child: std::process::Child| -> Result<Vec<String>> {
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success(),
            "a run's process failed: {}",
            output.status
        );
        let text = String::from_utf8(output.stdout).context("a trace is text")?;
        Ok(text.lines().map(str::to_owned).collect())
    };
    let (first, second) = (read(first)?, read(second)?);
    let mut out = std::io::stdout().lock();
    let name = scenario.name;
    let Some((line, one, other)) = parting(&first, &second) else {
        let lines = first.len();
        writeln!(
            out,
            "{name} {seed}: two processes gave the same {lines} lines"
        )?;
        return Ok(lines > 0);
    };
    for before in &first[line.saturating_sub(TAIL_LINES)..line - 1] {
        writeln!(out, "  {before}")?;
    }
    let end = "(the trace has ended)".to_owned();
    writeln!(out, "- {}", one.unwrap_or_else(|| end.clone()))?;
    writeln!(out, "+ {}", other.unwrap_or(end))?;
    writeln!(out, "{name} {seed}: two processes part at line {line}")?;
    Ok(false)
}

fn trace_of(scenario: &Scenario, seed: u64) -> Result<std::process::Child> {
    let own = std::env::current_exe().context("where this program is")?;
    let mut command = Command::new(own);
    command
        .args(["repeat", "--once", "--scenario", scenario.name, "--seed"])
        .arg(seed.to_string())
        .stdout(Stdio::piped());
    command.spawn().context("cannot start a second process")
}
