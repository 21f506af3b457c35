//! Which machines may fail now without taking a majority of the voters: the arithmetic behind every random schedule.
//!
//! Deliberately pessimistic: a fault is allowed only if every configuration that may yet count keeps a majority. A
//! configuration counts from the moment it stands in a leader's log, and an older one counts again if that leader is
//! lost before it could spread it; so all configurations that living replicas of the newest term hold are asked.

use std::collections::BTreeSet;

use kagero::actors::raft_peer::Standing;
use kagero::raft::{Configuration, PeerId, Term};

use crate::world::World;

/// Whether the voters keep their majority if neither these machines nor any that is `hampered` can do its part.
pub fn majority_survives(
    world: &World,
    machines: &[String],
    hampered: impl Fn(&str) -> bool,
) -> bool {
    let able: BTreeSet<PeerId> = world
        .incarnations()
        .iter()
        .filter(|(name, _)| !machines.contains(name) && !hampered(name))
        .map(|(_, id)| *id)
        .collect();
    let mut held = Vec::new();
    world.for_each_known(|name, known, _| {
        if !hampered(name) {
            let Standing {
                term,
                configuration,
                ..
            } = &known.standing;
            held.push((*term, configuration.clone()));
        }
    });
    let replicas = held.iter().map(|(term, configuration)| Replica {
        term: *term,
        configuration,
    });
    let replicas: Vec<Replica<'_>> = replicas.collect();
    keeps_majority(&replicas, &able)
}

/// The same where only lost machines fail to do their part.
pub fn majority_without(world: &World, machine: &str) -> bool {
    majority_survives(world, &[machine.to_owned()], |_| false)
}

/// A replica that nothing keeps from doing its part.
#[derive(Clone, Debug)]
pub struct Replica<'a> {
    /// Its term.
    pub term: Term,
    /// Who votes, as its log has it.
    pub configuration: &'a Configuration,
}

/// Whether a majority of voters stays if these incarnations are all that can do their part.
pub fn keeps_majority(replicas: &[Replica<'_>], able: &BTreeSet<PeerId>) -> bool {
    let Some(newest) = replicas.iter().map(|replica| replica.term).max() else {
        return false;
    };
    let half = |voters: &BTreeSet<PeerId>| {
        let left = voters.intersection(able).count();
        voters.is_empty() || left > voters.len() / 2
    };
    replicas
        .iter()
        .filter(|replica| replica.term == newest)
        .all(|Replica { configuration, .. }| {
            half(&configuration.voters) && half(&configuration.outgoing)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(ids: &[u64]) -> BTreeSet<PeerId> {
        ids.iter().copied().map(PeerId).collect()
    }

    fn configuration(voters: &[u64], outgoing: &[u64]) -> Configuration {
        Configuration {
            voters: peers(voters),
            outgoing: peers(outgoing),
            ..Configuration::default()
        }
    }

    fn keeps(configurations: &[(Term, &Configuration)], able: &[u64]) -> bool {
        let replicas: Vec<Replica<'_>> = configurations
            .iter()
            .map(|(term, configuration)| Replica {
                term: *term,
                configuration,
            })
            .collect();
        keeps_majority(&replicas, &peers(able))
    }

    #[test]
    fn two_of_three_are_a_majority_and_one_is_not() {
        let three = configuration(&[1, 2, 3], &[]);
        assert!(keeps(&[(1, &three)], &[1, 2, 9]));
        assert!(!keeps(&[(1, &three)], &[1, 8, 9]));
        assert!(!keeps(&[], &[1, 2, 3]), "nobody is there");
    }

    #[test]
    fn both_halves_of_a_joint_configuration_count() {
        let joint = configuration(&[1, 2, 4], &[1, 2, 3]);
        assert!(keeps(&[(1, &joint)], &[1, 2]));
        assert!(!keeps(&[(1, &joint)], &[2, 4]));
    }

    #[test]
    fn what_only_the_leader_has_may_be_lost_with_it() {
        let joint = configuration(&[1, 2, 4], &[1, 2, 3]);
        let new = configuration(&[1, 2, 4], &[]);
        assert!(!keeps(&[(5, &new), (5, &joint)], &[2, 4]));
        assert!(keeps(&[(5, &new), (4, &joint)], &[2, 4]), "of the past");
    }
}
