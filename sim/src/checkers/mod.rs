//! Properties that a run must have, one a file: pure functions over what the world exposes, or over what was recorded.
//!
//! The driver calls [`Checks::look`] after every step, so a run stops where a property broke and not where it ended. What
//! needs the whole history is judged when the cluster has settled (`settle.rs`).

pub mod acknowledged;
pub mod bounded;
pub mod clusters;
pub mod compacted;
pub mod containers;
pub mod ends;
pub mod foundings;
pub mod leaders;
pub mod linearizable;
pub mod liveness;
#[cfg(test)]
mod made;
pub mod membership;
pub mod replicas;
pub mod revisions;
pub mod second_opinion;
pub mod unique;
pub mod watches;

use self::bounded::Bounds;
use kagero::actors::doors::Known;

use crate::beginnings::Reach;
use crate::history::History;
use crate::truth::Truth;
use crate::world::{Process, World};

/// A digest reads a whole store, so replicas are compared every so many steps (and at the end). What they apply is
/// compared all the time (`truth.rs`).
const STEPS_PER_COMPARISON: u64 = 500;
/// How often it is asked how much nodes keep.
const STEPS_PER_WEIGHING: u64 = 100;

/// What the checkers remember of one run.
#[derive(Default)]
pub struct Checks {
    steps: u64,
    clusters: clusters::Clusters,
    leaders: leaders::Leaders,
    revisions: revisions::Revisions,
    membership: membership::Membership,
    ends: ends::Ends,
    unique: unique::Unique,
}

/// A property does not hold.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// Of [`replicas`].
    #[error(transparent)]
    Replicas(#[from] replicas::Diverged),
    /// Of [`clusters`].
    #[error(transparent)]
    Clusters(#[from] clusters::SecondCluster),
    /// Of [`ends`].
    #[error(transparent)]
    Ends(#[from] ends::GaveUp),
    /// Of [`leaders`].
    #[error(transparent)]
    Leaders(#[from] leaders::TwoLeaders),
    /// Of [`revisions`].
    #[error(transparent)]
    Revisions(#[from] revisions::WentBack),
    /// Of [`containers`].
    #[error(transparent)]
    Containers(#[from] containers::Killed),
    /// Of [`unique`].
    #[error(transparent)]
    Unique(#[from] unique::RunsTwice),
    /// Of [`bounded`].
    #[error(transparent)]
    Bounded(#[from] bounded::TooMuch),
    /// Of [`membership`].
    #[error(transparent)]
    Membership(#[from] membership::Unsafe),
}

/// Judges what clients saw, all of a run together, against what was applied; says how much that was.
pub(crate) fn judge_history(
    history: &History,
    truth: &Truth,
    count: impl Fn(&str, u64),
) -> Result<(), Box<dyn std::error::Error>> {
    linearizable::check(&history.operations, truth)?;
    let opinions = if truth.foundings().is_empty() {
        second_opinion::check(&history.operations, truth)?
    } else {
        // It knows of one register an object, that nothing turns back.
        count("judged: over a change of generations", 1);
        second_opinion::Opinions::default()
    };
    let lines = watches::check(&history.chains, truth)?;
    count("judged: requests", history.operations.len() as u64);
    count("judged: watch lines", lines as u64);
    count("judged: objects with a second opinion", opinions.given);
    count("judged: objects without a second opinion", opinions.none);
    Ok(())
}

impl Checks {
    /// Looks at the world between two steps.
    pub fn look(&mut self, world: &World) -> Result<(), Broken> {
        let mut looked: Result<(), Broken> = Ok(());
        self.steps += 1;
        let weigh = self.steps.is_multiple_of(STEPS_PER_WEIGHING);
        world.for_each_known(|node, known, process| {
            if looked.is_ok() {
                looked = self.look_at(world, node, known, process, weigh);
            }
        });
        looked?;
        self.look_at_ends(world, weigh)?;
        for seen in self.unique.look(world)? {
            world.count(seen, 1);
        }
        self.unique.on_loss(world.take_lost_unique());
        let stops = world.take_stops();
        let compare = self.steps.is_multiple_of(STEPS_PER_COMPARISON);
        if stops.is_empty() && !compare {
            return Ok(());
        }
        let known = world.known();
        for (machine, stop) in stops {
            // A unique pod ends with its lease, healthy as it may be; what a leader does not want is no sign of that.
            if stop.pod.unique {
                let led = known.values().any(|known| known.standing.leads);
                if !led || containers::is_wanted_by_leader(&stop, &known) {
                    self.unique.on_stop(&stop.pod);
                    world.count("unique: stopped for want of a lease", 1);
                }
                continue;
            }
            let may_stop = world.may_stop(&machine, stop.started);
            containers::check(&machine, &stop, may_stop, &known)?;
        }
        if compare {
            replicas::check(&known)?;
        }
        Ok(())
    }

    /// Looks at what one node knows.
    fn look_at(
        &mut self,
        world: &World,
        node: &str,
        known: &Known,
        process: &Process,
        weigh: bool,
    ) -> Result<(), Broken> {
        self.clusters.look(node, known)?;
        self.leaders.look(known)?;
        self.ends.look(known);
        self.revisions.look(node, known)?;
        let (generation, term, applied, revision) = process.figures.reached();
        let mut truth = world.truth();
        truth.reach(Reach {
            generation,
            term,
            applied,
            revision,
        });
        truth.hold(known.standing.id, known.view.revision());
        drop(truth);
        for step in self.membership.look(&known.standing)? {
            world.count(step, 1);
        }
        if weigh {
            let held = process.figures.held_bytes();
            bounded::check(node, held, &Bounds::of(world.plan(), known))?;
        }
        Ok(())
    }

    /// Judges processes that ended themselves.
    fn look_at_ends(&mut self, world: &World, weigh: bool) -> Result<(), Broken> {
        let ends = world.take_ends();
        if ends.is_empty() && !weigh {
            return Ok(());
        }
        let incarnations = world.incarnations();
        for id in incarnations.values() {
            self.ends.look_at_process(*id);
        }
        for (machine, said) in ends {
            let id = incarnations.get(&machine);
            let id = id.expect("it counts as running until the driver has started the next");
            let reason = self.ends.check(&machine, *id, &said)?;
            world.count(reason.name(), 1);
        }
        Ok(())
    }
}
