//! Properties that a run must have, one a file: pure functions over what the world exposes.
//!
//! The driver calls [`Checks::look`] after every step, so a run stops where a property broke and not where it ended.

pub mod acknowledged;
pub mod containers;
pub mod leaders;
pub mod replicas;
pub mod revisions;

use crate::world::World;

/// A digest reads a whole store, so replicas are compared every so many steps (and at the end).
const STEPS_PER_COMPARISON: u64 = 50;

/// What the checkers remember of one run.
#[derive(Default)]
pub struct Checks {
    steps: u64,
    leaders: leaders::Leaders,
    revisions: revisions::Revisions,
}

/// A property does not hold.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// Of [`replicas`].
    #[error(transparent)]
    Replicas(#[from] replicas::Diverged),
    /// Of [`leaders`].
    #[error(transparent)]
    Leaders(#[from] leaders::TwoLeaders),
    /// Of [`revisions`].
    #[error(transparent)]
    Revisions(#[from] revisions::WentBack),
    /// Of [`containers`].
    #[error(transparent)]
    Containers(#[from] containers::Killed),
}

impl Checks {
    /// Looks at the world between two steps.
    pub fn look(&mut self, world: &World) -> Result<(), Broken> {
        let known = world.known();
        self.leaders.look(&known)?;
        self.revisions.look(&known)?;
        for (machine, stop) in world.take_stops() {
            containers::check(&machine, &stop, world.may_stop(&machine), &known)?;
        }
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS_PER_COMPARISON) {
            replicas::check(&known)?;
        }
        Ok(())
    }
}
