//! The consensus core, the same code that ships, explored by a model checker: every order in which a few things can
//! happen, not some of them as in `core`.
//!
//! What may happen is bounded (`bounds.rs`), and within the bounds a model is explored to its end or says that it was
//! not. Deliberately without time as a continuum: a peer's clock moves only when the model lets a timeout or a heartbeat
//! come due, which may be at any moment, so every order of timeouts is in it and their lengths are not.

mod bounds;
pub mod cli;
mod properties;
mod state;
mod truth;

use std::num::NonZeroUsize;
use std::time::Duration;

use stateright::{Checker as _, Model as _};

pub use bounds::{MODELS, Named};
use state::Cluster;

/// What came of exploring a model.
#[derive(Debug)]
pub struct Explored {
    /// Different states seen.
    pub states: usize,
    /// Steps taken, also those that led to a state already seen.
    pub steps: usize,
    /// The longest way from the start.
    pub depth: usize,
    /// True if nothing that the bounds allow was left out.
    pub complete: bool,
    /// What was broken: the property and the steps that lead there.
    pub broken: Vec<(&'static str, Vec<String>)>,
    /// What the model is about and never came to pass.
    pub never: Vec<&'static str>,
}

impl Explored {
    /// True if every property held and everything that the model is about came to pass.
    pub fn holds(&self) -> bool {
        self.broken.is_empty() && self.never.is_empty()
    }
}

/// Explores a model, breadth first, until nothing is left or so many states were seen.
pub fn explore(model: &Named, states_max: Option<NonZeroUsize>, threads: usize) -> Explored {
    let cluster = Cluster::new(model);
    let sometimes: Vec<_> = cluster.goals().collect();
    let mut builder = cluster.checker().threads(threads);
    if let Some(max) = states_max {
        builder = builder.target_state_count(max.get());
    }
    let checker = builder.spawn_bfs().join();
    let mut explored = Explored {
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        complete: states_max.is_none_or(|max| checker.state_count() < max.get()),
        broken: Vec::new(),
        never: Vec::new(),
    };
    let mut found = checker.discoveries();
    explored.never = sometimes;
    explored.never.retain(|goal| found.remove(goal).is_none());
    explored.broken = found
        .into_iter()
        .map(|(property, path)| {
            let steps = path.into_actions();
            let steps = steps.iter().map(|action| format!("{action:?}"));
            (property, steps.collect())
        })
        .collect();
    explored.broken.sort();
    explored
}

/// Each timeout that comes due is past for certain: twice the longest that chance can make it.
const EXPIRY: Duration = Duration::from_secs(2);
