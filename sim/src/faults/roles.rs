//! Who has which part in the cluster now, as whoever leads sees it.

use std::sync::Arc;

use kagero::raft::{Configuration, PeerId};

use super::Target;
use crate::scenarios::steps::leader;
use crate::world::World;

/// What part a machine has, in the order in which a cluster is upgraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// It holds no replica.
    Worker,
    /// It holds one and does not vote.
    Standby,
    /// It votes.
    Voter,
    /// It leads.
    Leader,
}

impl Part {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Standby => "standby",
            Self::Voter => "voter",
            Self::Leader => "leader",
        }
    }
}

/// What part a machine has now; `None` if nobody leads.
pub fn part(machine: &str, world: &World) -> Option<Part> {
    let (leader, all) = led(world)?;
    if leader == machine {
        return Some(Part::Leader);
    }
    let id = world.incarnations().get(machine).copied();
    Some(match id {
        Some(id) if all.is_voter(id) => Part::Voter,
        Some(id) if all.learners.contains(&id) => Part::Standby,
        _ => Part::Worker,
    })
}

/// The same in a word.
pub fn role(machine: &str, world: &World) -> &'static str {
    part(machine, world).map_or("anybody", Part::name)
}

/// Who leads, and whom.
fn led(world: &World) -> Option<(String, Arc<Configuration>)> {
    let leader = leader(world)?;
    let mut configuration = None;
    world.for_each_known(|name, known, _| {
        if name == leader {
            configuration = Some(known.standing.configuration.clone());
        }
    });
    Some((leader, configuration?))
}

/// Whom a target means now; nobody it may be.
pub fn find(target: Target, world: &World) -> Vec<String> {
    let named = |number: u8| {
        let mut machines = world.machines();
        let found = machines.find(|name| *name == format!("n{number}"));
        found.map(str::to_owned)
    };
    match target {
        Target::Machine(number) => named(number).into_iter().collect(),
        Target::Machines(group) => group.numbers().filter_map(named).collect(),
        _ => in_part(target, world).into_iter().collect(),
    }
}

/// Who has a part now.
fn in_part(target: Target, world: &World) -> Option<String> {
    let (leader, configuration) = led(world)?;
    let incarnations = world.incarnations();
    let those = |wanted: &dyn Fn(&PeerId) -> bool| -> Vec<String> {
        let others = incarnations.iter().filter(|(name, _)| **name != leader);
        let wanted = others.filter(|(_, id)| wanted(id));
        wanted.map(|(name, _)| name.clone()).collect()
    };
    let is_voter = |id: &PeerId| configuration.voters.contains(id);
    let is_learner = |id: &PeerId| configuration.learners.contains(id);
    let (all, number) = match target {
        Target::Leader => return Some(leader),
        Target::Follower(number) => (those(&is_voter), number),
        Target::Learner(number) => (those(&is_learner), number),
        Target::Worker(number) => (those(&|id| !is_voter(id) && !is_learner(id)), number),
        Target::Machine(_) | Target::Machines(_) => unreachable!("was found by its name"),
    };
    let at = usize::from(number).checked_rem(all.len())?;
    Some(all[at].clone())
}
