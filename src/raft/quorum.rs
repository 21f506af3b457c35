//! Quorum arithmetic over simple and joint configurations.
//!
//! Knows who votes and nothing else: no terms, no log, no time. While joint, every decision needs a majority of both
//! halves (dissertation 4.3).

use std::collections::{BTreeMap, BTreeSet};

use super::types::{Configuration, Index, PeerId};

/// How an election stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// A quorum said yes.
    Won,
    /// A quorum can no longer say yes.
    Lost,
    /// Neither yet.
    Open,
}

/// Votes that decide among `voters` voters.
pub fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

impl Configuration {
    /// True if the peer votes, in either half.
    pub fn is_voter(&self, peer: PeerId) -> bool {
        self.voters.contains(&peer) || self.outgoing.contains(&peer)
    }

    /// True if the peer is of the configuration, voting or not.
    pub fn is_member(&self, peer: PeerId) -> bool {
        self.contacts.contains_key(&peer)
    }

    /// True while two sets of voters decide together.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Every member, in order.
    pub fn members(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.contacts.keys().copied()
    }

    /// True if the peers that satisfy `said_yes` form a quorum. False without voters.
    pub fn is_quorum(&self, said_yes: impl Fn(PeerId) -> bool) -> bool {
        has_majority(&self.voters, &said_yes)
            && (self.outgoing.is_empty() || has_majority(&self.outgoing, &said_yes))
    }

    /// The highest index that a quorum has reached, given what each voter has.
    pub fn reached(&self, matched: impl Fn(PeerId) -> Index) -> Index {
        let reached = reached(&self.voters, &matched);
        if self.outgoing.is_empty() {
            reached
        } else {
            reached.min(self::reached(&self.outgoing, &matched))
        }
    }

    /// How the election stands, given the answers so far.
    pub fn tally(&self, answers: &BTreeMap<PeerId, bool>) -> Tally {
        if self.is_quorum(|peer| answers.get(&peer) == Some(&true)) {
            Tally::Won
        } else if self.is_quorum(|peer| answers.get(&peer) != Some(&false)) {
            Tally::Open
        } else {
            Tally::Lost
        }
    }
}

fn has_majority(voters: &BTreeSet<PeerId>, said_yes: impl Fn(PeerId) -> bool) -> bool {
    voters.iter().filter(|peer| said_yes(**peer)).count() >= majority(voters.len())
}

/// Quadratic, but allocates nothing; there are 3 or 5 voters.
fn reached(voters: &BTreeSet<PeerId>, matched: impl Fn(PeerId) -> Index) -> Index {
    voters
        .iter()
        .map(|peer| matched(*peer))
        .filter(|index| has_majority(voters, |peer| matched(peer) >= *index))
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(peers: &[u64]) -> BTreeSet<PeerId> {
        peers.iter().map(|peer| PeerId(*peer)).collect()
    }

    fn configuration(voters: &[u64], outgoing: &[u64]) -> Configuration {
        Configuration {
            voters: set(voters),
            outgoing: set(outgoing),
            ..Configuration::default()
        }
    }

    #[test]
    fn reached_is_the_lower_median_in_every_order() {
        for (matched, expected) in [
            (vec![5], 5),
            (vec![5, 9], 5),
            (vec![9, 5, 7], 7),
            (vec![1, 2, 3, 4], 2),
            (vec![4, 4, 4, 1, 9], 4),
            (vec![0, 0, 9], 0),
        ] {
            let voters: Vec<u64> = (0..matched.len() as u64).collect();
            let simple = configuration(&voters, &[]);
            assert_eq!(
                simple.reached(|peer| matched[peer.0 as usize]),
                expected,
                "{matched:?}"
            );
        }
    }

    #[test]
    fn joint_needs_both_halves() {
        let joint = configuration(&[1, 2, 3], &[3, 4, 5]);
        assert!(!joint.is_quorum(|peer| peer.0 <= 3));
        assert!(joint.is_quorum(|peer| [2, 3, 4].contains(&peer.0)));
        assert_eq!(joint.reached(|peer| if peer.0 <= 3 { 10 } else { 4 }), 4);
    }

    #[test]
    fn nobody_is_no_quorum() {
        assert!(!Configuration::default().is_quorum(|_| true));
        assert_eq!(Configuration::default().reached(|_| 7), 0);
    }

    #[test]
    fn tally_is_open_until_decided() {
        let simple = configuration(&[1, 2, 3], &[]);
        let answers = |answers: &[(u64, bool)]| {
            simple.tally(&answers.iter().map(|(p, a)| (PeerId(*p), *a)).collect())
        };
        assert_eq!(answers(&[(1, true)]), Tally::Open);
        assert_eq!(answers(&[(1, true), (2, false)]), Tally::Open);
        assert_eq!(answers(&[(1, true), (2, false), (3, true)]), Tally::Won);
        assert_eq!(answers(&[(1, true), (2, false), (3, false)]), Tally::Lost);
        assert_eq!(answers(&[(1, true), (9, true)]), Tally::Open);
    }
}
