//! The commands of `sim` that simulate the whole system.

pub mod repeat;
pub mod run;

use std::io::Write as _;

use anyhow::Result;
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

/// Names the scenarios.
pub fn list() -> Result<bool> {
    let mut out = std::io::stdout().lock();
    for scenario in ALL {
        writeln!(out, "{:<17} {}", scenario.name, scenario.about)?;
    }
    Ok(true)
}
