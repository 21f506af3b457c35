//! Quorum configuration overlap, from outside: any configuration that a leader puts in force shares a majority with the
//! one before it, so that no two disjoint quorums can ever decide.
//!
//! It also names each change, for the coverage table.

use std::collections::BTreeSet;
use std::sync::Arc;

use kagero::actors::raft_peer::Standing;
use kagero::raft::{Configuration, PeerId, Role, Term};

/// What the newest leader's log said last.
#[derive(Debug, Default)]
pub struct Membership {
    last: Option<(u64, Term, Arc<Configuration>)>,
}

/// Two configurations that follow each other have quorums without a common voter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "in term {term} voters {before:?} were followed by {after:?}, of which quorums need not overlap"
)]
pub struct Unsafe {
    /// The leader's term.
    pub term: Term,
    /// Both halves before.
    pub before: [BTreeSet<PeerId>; 2],
    /// Both halves after.
    pub after: [BTreeSet<PeerId>; 2],
}

impl Membership {
    /// Looks where one node's peer stands; gives the names of the changes that its leader made since the last look.
    pub fn look(&mut self, standing: &Standing) -> Result<Vec<&'static str>, Unsafe> {
        if standing.role != Role::Leader {
            return Ok(Vec::new());
        }
        let (generation, term) = (standing.cluster.generation, standing.term);
        let now = &standing.configuration;
        let Some((last_generation, last_term, last)) = &self.last else {
            self.last = Some((generation, term, now.clone()));
            return Ok(Vec::new());
        };
        if (generation, term) < (*last_generation, *last_term) || Arc::ptr_eq(last, now) {
            return Ok(Vec::new());
        }
        // What a leader of a later term finds in its log may lie further back than what its predecessor alone had.
        let same_reign = (generation, term) == (*last_generation, *last_term);
        let named = if same_reign {
            changes(term, last, now)?
        } else {
            Vec::new()
        };
        self.last = Some((generation, term, now.clone()));
        Ok(named)
    }
}

/// Names what changed from one configuration of a leader's to the next that was seen. Between two looks there may lie
/// more than one change, but never more than one joint one: leaving it needs a round trip, which is longer.
fn changes(
    term: Term,
    before: &Configuration,
    after: &Configuration,
) -> Result<Vec<&'static str>, Unsafe> {
    let mut named = Vec::new();
    if before.outgoing.is_empty() && !after.outgoing.is_empty() {
        named.push("membership: joint change");
    }
    if after.voters.difference(&before.voters).next().is_some() {
        named.push("membership: promotion");
    }
    if after.learners.difference(&before.learners).next().is_some() {
        named.push("membership: learner added");
    }
    let listens = |id: &PeerId| !after.learners.contains(id) && !after.voters.contains(id);
    if before.learners.iter().any(listens) {
        named.push("membership: learner removed");
    }
    if overlap(before, after) {
        return Ok(named);
    }
    let halves = |of: &Configuration| [of.voters.clone(), of.outgoing.clone()];
    Err(Unsafe {
        term,
        before: halves(before),
        after: halves(after),
    })
}

/// Whether every quorum of one has a voter in common with every quorum of the other. It is so if some half is shared:
/// then each of both quorums holds a majority of it.
fn overlap(before: &Configuration, after: &Configuration) -> bool {
    let halves = |of: &Configuration| {
        let both = [of.voters.clone(), of.outgoing.clone()];
        both.into_iter().filter(|half| !half.is_empty())
    };
    let mut mine = halves(before);
    mine.any(|half| halves(after).any(|other| half == other || one_apart(&half, &other)))
}

/// Majorities of sets that differ by one added or one removed voter always meet (dissertation 4.1).
fn one_apart(one: &BTreeSet<PeerId>, other: &BTreeSet<PeerId>) -> bool {
    let apart = one.symmetric_difference(other).count();
    apart <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(voters: &[u64], outgoing: &[u64], learners: &[u64]) -> Configuration {
        let peers = |ids: &[u64]| ids.iter().copied().map(PeerId).collect();
        Configuration {
            voters: peers(voters),
            outgoing: peers(outgoing),
            learners: peers(learners),
            ..Configuration::default()
        }
    }

    #[test]
    fn a_swap_without_a_joint_configuration_is_found() {
        let three = configuration(&[1, 2, 3], &[], &[4]);
        let swapped = configuration(&[1, 2, 4], &[], &[]);
        let joint = configuration(&[1, 2, 4], &[1, 2, 3], &[]);
        assert!(changes(1, &three, &swapped).is_err());
        let named = ["membership: joint change", "membership: promotion"];
        assert_eq!(changes(1, &three, &joint).unwrap(), named);
        assert_eq!(changes(1, &joint, &swapped).unwrap(), [""; 0]);
    }

    #[test]
    fn learners_come_and_go() {
        let without = configuration(&[1], &[], &[]);
        let with = configuration(&[1], &[], &[2]);
        assert_eq!(
            changes(1, &without, &with).unwrap(),
            ["membership: learner added"]
        );
        assert_eq!(
            changes(1, &with, &without).unwrap(),
            ["membership: learner removed"]
        );
    }
}
