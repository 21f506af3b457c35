//! A claim of a generation: who was the one to begin it, and who may claim the next.
//!
//! Pure. The object store promises that one alone creates the object of a name; what that is good for is decided here.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::raft::{ClusterId, PeerId};

/// Where claims are kept.
pub(super) const FOLDER: &str = "generations/";

/// How a generation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// A cluster is formed, of nothing or of a snapshot.
    Formation,
    /// Survivors of a lost majority go on.
    Recovery,
}

/// A claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// The cluster's id.
    pub cluster: u64,
    /// The generation claimed.
    pub generation: u64,
    /// How it begins.
    pub purpose: Purpose,
    /// The incarnation that may begin it.
    pub founder: PeerId,
    /// Its node's name.
    pub node: String,
    /// The peer addresses by which its cluster is found.
    pub seeds: BTreeSet<String>,
    /// When it was claimed, RFC 3339.
    pub time: String,
}

/// Why a generation may not be claimed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MayNot {
    /// Another cluster may live.
    #[error(
        "generation {generation} was claimed by {node} at {time} for a cluster of other seeds ({seeds}), which may live; \
         if it is gone for good, say --init, or use another URL for another cluster"
    )]
    OthersMayLive {
        /// The generation.
        generation: u64,
        /// By whom.
        node: String,
        /// When.
        time: String,
        /// Its seeds.
        seeds: String,
    },
    /// Another cluster has gone on from the archive, or another recovery was first.
    #[error(
        "generation {generation} of this cluster was claimed by {node} at {time}: another recovery was first, or a \
         cluster was formed of a snapshot. If nothing came of it, remove the object {object} and ask again"
    )]
    GoneOn {
        /// The generation.
        generation: u64,
        /// By whom.
        node: String,
        /// When.
        time: String,
        /// The claim's object.
        object: String,
    },
}

/// The name of a generation's claim.
pub(super) fn name(generation: u64) -> String {
    format!("{FOLDER}{generation:020}.json")
}

impl Claim {
    /// The generation, with the cluster it is one of.
    pub fn cluster(&self) -> ClusterId {
        ClusterId {
            id: self.cluster,
            generation: self.generation,
        }
    }

    /// As it is kept.
    pub(super) fn encode(&self) -> Bytes {
        Bytes::from(serde_json::to_vec_pretty(self).expect("a claim has only string keys"))
    }

    /// From an object.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// Whether a cluster may be formed after this claim, by someone whose seeds have all answered and are all empty.
    /// Then the cluster that was claimed here is gone if all its seeds are among them: whoever lives on elsewhere is
    /// found by its seeds.
    pub fn may_be_followed(&self, seeds: &[String]) -> Result<(), MayNot> {
        if self.seeds.iter().all(|seed| seeds.contains(seed)) {
            return Ok(());
        }
        let all: Vec<&str> = self.seeds.iter().map(String::as_str).collect();
        Err(MayNot::OthersMayLive {
            generation: self.generation,
            node: self.node.clone(),
            time: self.time.clone(),
            seeds: all.join(", "),
        })
    }

    /// Which generation a recovery from `ended` may claim, where it wants `planned` and these survive. A claim of a later
    /// generation than the one that ended is another's, unless its founder survives: then nothing came of it, since a
    /// survivor that had begun a generation would belong to it.
    pub fn next_recovery(
        &self,
        ended: ClusterId,
        planned: u64,
        survivors: &BTreeSet<PeerId>,
    ) -> Result<u64, MayNot> {
        if self.generation <= ended.generation {
            return Ok(planned);
        }
        let broken_off = self.purpose == Purpose::Recovery && survivors.contains(&self.founder);
        if broken_off {
            return Ok(planned.max(self.generation + 1));
        }
        Err(self.gone_on())
    }

    /// A refusal because of this claim.
    pub fn gone_on(&self) -> MayNot {
        MayNot::GoneOn {
            generation: self.generation,
            node: self.node.clone(),
            time: self.time.clone(),
            object: name(self.generation),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(generation: u64, purpose: Purpose) -> Claim {
        Claim {
            cluster: 7,
            generation,
            purpose,
            founder: PeerId(1),
            node: "n1".into(),
            seeds: ["a:1", "b:1"].map(Into::into).into(),
            time: "2026-11-22T00:00:00Z".into(),
        }
    }

    #[test]
    fn a_claim_is_read_as_it_was_written_and_sorted_by_generation() {
        let written = claim(3, Purpose::Recovery);
        assert_eq!(Claim::decode(&written.encode()).unwrap(), written);
        assert!(name(9) < name(10));
    }

    #[test]
    fn who_knows_all_its_seeds_may_follow_a_claim() {
        let seeds = |all: &[&str]| {
            all.iter()
                .map(|seed| (*seed).to_owned())
                .collect::<Vec<_>>()
        };
        let claim = claim(3, Purpose::Formation);
        assert_eq!(
            claim.may_be_followed(&seeds(&["c:1", "b:1", "a:1"])),
            Ok(())
        );
        let refused = claim.may_be_followed(&seeds(&["a:1", "c:1"])).unwrap_err();
        assert!(refused.to_string().contains("a:1, b:1"), "{refused}");
    }

    #[test]
    fn a_recovery_goes_on_from_its_own_broken_attempt_alone() {
        let ended = ClusterId {
            id: 7,
            generation: 2,
        };
        let (alive, others) = ([PeerId(1)].into(), [PeerId(2)].into());
        let next = |generation, purpose, survivors| {
            claim(generation, purpose).next_recovery(ended, 3, survivors)
        };
        assert_eq!(next(2, Purpose::Formation, &others), Ok(3));
        assert_eq!(next(3, Purpose::Recovery, &alive), Ok(4));
        assert!(next(3, Purpose::Recovery, &others).is_err());
        assert!(next(3, Purpose::Formation, &alive).is_err());
    }
}
