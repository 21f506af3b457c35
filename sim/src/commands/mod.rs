//! The commands of `sim` that simulate the whole system.

pub mod measure;
pub mod repeat;
pub mod run;

use std::io::Write as _;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use sim::scenarios::{ALL, Scenario, find};

/// Lines of a failed run's trace that are shown at once.
const TAIL_LINES: usize = 40;

/// A scenario, as an argument.
pub fn scenario(name: &str) -> Result<&'static Scenario, String> {
    find(name).ok_or_else(|| {
        let names: Vec<&str> = ALL.iter().map(|scenario| scenario.name).collect();
        format!("there are {}", names.join(", "))
    })
}

/// Runs at once: as many as were asked for, or one a processor.
fn jobs_at_once(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

/// The bar of a batch of runs.
fn bar(length: usize) -> ProgressBar {
    let bar = ProgressBar::new(length as u64);
    let template = "{bar:30.cyan} {pos}/{len} {msg} {elapsed} (left: {eta})";
    let style = ProgressStyle::with_template(template);
    bar.set_style(style.expect("the template names known fields"));
    bar
}

/// Names the scenarios.
pub fn list() -> Result<bool> {
    let mut out = std::io::stdout().lock();
    for scenario in ALL {
        writeln!(out, "{:<17} {}", scenario.name, scenario.about)?;
    }
    Ok(true)
}
