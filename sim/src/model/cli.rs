//! `sim model`: explores the models and says how many states each has.

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;

use super::{Explored, MODELS, Named, explore};

/// Let a model checker explore every order of a few events in the consensus core.
#[derive(Args)]
pub struct ModelArgs {
    /// Only this model (see the table that it prints for their names).
    #[arg(long)]
    name: Option<String>,
    /// Stop after so many steps; the model is then not complete, and the exit code is 1.
    #[arg(long)]
    steps_max: Option<NonZeroUsize>,
    /// Threads; one a processor if not given.
    #[arg(long)]
    threads: Option<NonZeroUsize>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long it took is told to a human"
)]
fn wall() -> Instant {
    Instant::now()
}

/// Explores what was asked; true if everything held and nothing was left out.
pub fn run(args: &ModelArgs) -> Result<bool> {
    let wanted = |model: &&Named| args.name.as_ref().is_none_or(|name| name == model.name);
    let models: Vec<_> = MODELS.iter().filter(wanted).collect();
    if models.is_empty() {
        let names = MODELS.map(|model| model.name).join(", ");
        bail!("--name: no such model; there are {names}");
    }
    let threads = args.threads.or(std::thread::available_parallelism().ok());
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{:<12} {:>10} {:>11} {:>6} {:>8}  within",
        "model", "states", "steps", "depth", "seconds"
    )?;
    let (mut held, mut states, mut steps) = (0, 0, 0);
    let count = models.len();
    for model in models {
        let began = wall();
        let explored = explore(model, args.steps_max, threads.map_or(1, NonZeroUsize::get));
        writeln!(
            out,
            "{:<12} {:>10} {:>11} {:>6} {:>8.1}  {}{}",
            model.name,
            explored.states,
            explored.steps,
            explored.depth,
            began.elapsed().as_secs_f64(),
            within(model)?,
            if explored.complete {
                ""
            } else {
                "; NOT COMPLETE"
            },
        )?;
        held += usize::from(explored.holds() && explored.complete);
        (states, steps) = (states + explored.states, steps + explored.steps);
        tell(&mut out, &explored)?;
    }
    let failed = count - held;
    writeln!(
        out,
        "{held} passed, {failed} failed; {states} states, {steps} steps"
    )?;
    Ok(failed == 0)
}

/// The bounds that are not zero.
fn within(model: &Named) -> Result<String> {
    let bounds = serde_json::to_value(model.bounds)?;
    let bounds = bounds.as_object().into_iter().flatten();
    let bounds = bounds.filter(|(_, most)| **most != 0);
    let words = bounds.map(|(what, most)| format!("{most} {what}"));
    let words = std::iter::once(format!("{} voters", model.voters)).chain(words);
    Ok(words.collect::<Vec<_>>().join(", "))
}

fn tell(out: &mut impl std::io::Write, explored: &Explored) -> Result<()> {
    for goal in &explored.never {
        writeln!(out, "  never came to pass: {goal}")?;
    }
    for (property, steps) in &explored.broken {
        writeln!(out, "  broken: {property}, by these steps:")?;
        for step in steps {
            writeln!(out, "    {step}")?;
        }
    }
    Ok(())
}
