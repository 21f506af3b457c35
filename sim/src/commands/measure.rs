//! `sim measure`: how long clusters take to come back, over many seeds of each scenario, as a table or as JSON.
//!
//! A run that fails measures nothing; it is named with the command that repeats it, and the command fails.

use std::io::{IsTerminal as _, Write as _};

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use sim::batch::{Job, play_all};
use sim::figures::{Distribution, Figure, Figures, Unit};
use sim::scenarios::{ALL, Scenario};

use super::{bar, jobs_at_once, scenario};

/// What to measure.
#[derive(Args)]
pub struct Measure {
    /// Scenario, more than once for several; every one if not given.
    #[arg(long, value_parser = scenario)]
    scenario: Vec<&'static Scenario>,
    /// First seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, counted from --seed.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Runs at once; as many as there are processors if not given. They change nothing but the time it takes.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// What was measured of one scenario.
struct Measured {
    scenario: &'static Scenario,
    figures: Figures,
    failed: Vec<u64>,
}

/// Measures what was asked for; whether all runs held.
pub fn measure(measure: &Measure) -> Result<bool> {
    let scenarios: Vec<&'static Scenario> = if measure.scenario.is_empty() {
        ALL.iter().collect()
    } else {
        measure.scenario.clone()
    };
    let bar = std::io::stderr()
        .is_terminal()
        .then(|| bar(scenarios.len() * usize::try_from(measure.seeds).unwrap_or(usize::MAX)));
    let mut all = Vec::new();
    for scenario in scenarios {
        all.push(of(measure, scenario, bar.as_ref()));
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let mut out = std::io::stdout().lock();
    if measure.json {
        let all: Vec<Value> = all.iter().map(|one| in_json(measure, one)).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
    } else {
        write!(out, "{}", table(&all))?;
    }
    Ok(all.iter().all(|one| one.failed.is_empty()))
}

fn of(
    measure: &Measure,
    scenario: &'static Scenario,
    bar: Option<&indicatif::ProgressBar>,
) -> Measured {
    let seeds = measure.seed..measure.seed.saturating_add(measure.seeds);
    let job = |seed| Job {
        scenario,
        seed,
        schedule: None,
        probed: true,
    };
    let jobs: Vec<Job<'_>> = seeds.map(job).collect();
    let mut measured = Measured {
        scenario,
        figures: Figures::default(),
        failed: Vec::new(),
    };
    play_all(&jobs, jobs_at_once(measure.jobs), |job, played| {
        if let Some(bar) = bar {
            bar.set_message(scenario.name);
            bar.inc(1);
        }
        if let Some(failure) = &played.failure {
            let (name, seed) = (scenario.name, job.seed);
            eprintln!("{name} {seed} FAILED: {failure}");
            eprintln!(
                "repeat it with: cargo run --profile sim -p sim -- measure --scenario {name} --seed {seed} --seeds 1"
            );
            measured.failed.push(seed);
        } else {
            measured.figures.merge(&played.figures);
        }
        true
    });
    measured
}

fn shown(figure: Figure, value: u64) -> String {
    match figure.unit() {
        Unit::Milliseconds => format!("{:.2} s", value as f64 / 1_000.0),
        Unit::Count => value.to_string(),
    }
}

/// As Markdown.
fn table(all: &[Measured]) -> String {
    let mut text = String::from("| scenario | figure | samples | p50 | p99 | max |\n");
    text.push_str("|---|---|---:|---:|---:|---:|\n");
    for Measured {
        scenario, figures, ..
    } in all
    {
        for (figure, of) in figures.distributions() {
            let Distribution { samples, .. } = of;
            let [p50, p99, max] = [of.p50, of.p99, of.max].map(|value| shown(figure, value));
            let (name, figure) = (scenario.name, figure.name());
            let row = [name, figure, &samples.to_string(), &p50, &p99, &max];
            text.extend(["| ", &row.join(" | "), " |\n"]);
        }
    }
    text
}

fn in_json(measure: &Measure, one: &Measured) -> Value {
    let figure = |(figure, of): (Figure, Distribution)| {
        let unit = match figure.unit() {
            Unit::Milliseconds => "ms",
            Unit::Count => "1",
        };
        json!({
            "figure": figure.name(),
            "unit": unit,
            "samples": of.samples,
            "p50": of.p50,
            "p99": of.p99,
            "max": of.max,
        })
    };
    json!({
        "scenario": one.scenario.name,
        "firstSeed": measure.seed,
        "seeds": measure.seeds,
        "failed": one.failed,
        "figures": one.figures.distributions().map(figure).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_table_has_a_row_for_each_figure_that_was_measured() {
        let mut figures = Figures::default();
        figures.time(Figure::Failover, Duration::from_millis(640));
        figures.count(Figure::LostWrites, 2);
        let measured = Measured {
            scenario: &ALL[0],
            figures,
            failed: Vec::new(),
        };
        let table = table(&[measured]);
        let rows: Vec<&str> = table.lines().skip(2).collect();
        let name = ALL[0].name;
        assert_eq!(
            rows,
            [
                format!("| {name} | leader failover | 1 | 0.64 s | 0.64 s | 0.64 s |"),
                format!("| {name} | acknowledged writes lost | 1 | 2 | 2 | 2 |"),
            ]
        );
    }
}
