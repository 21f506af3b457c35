//! A claim of a generation: who was the one to begin it, who may claim the next, and when nothing came of it.
//!
//! Pure. The object store promises that one alone creates the object of a name; what that is good for is decided here.
//!
//! **Why of all that would go on from one state one wins.** Whoever begins a generation (a formation, or a recovery) has
//! created the object of its number before, and begins it at once or never. Each claims the number after the latest
//! one that it saw, having seen that the cluster of every earlier claim that stands is gone (its seeds are empty, its
//! nodes hold nothing) or is its own. So two that know nothing of each other want the same number, and one gets it; one
//! that comes later sees the earlier claim and asks its seeds and its founder, who says so while it may begin yet
//! (`joiner/restoring.rs`). A claim of which nothing came stands in the way of everybody, until it is *void*:
//! [`Claim::never_begun`] says when, and an object beside the claim says so for good.
//!
//! **Why a void claim is never begun.** Only the founder's incarnation begins what it claimed, and only while it belongs
//! to no cluster. (1) It answers and belongs to another generation: it belongs to that cluster for ever, so it has not begun
//! the claimed one and never will. That is certain. (2) Its process is dead, which another one in its place proves; so
//! it begins nothing any more, and what it may have begun it had begun before it died. Then others may carry that on only
//! if they had joined it; against that stand that neither the founder's successor nor anybody at the claim's seeds
//! belongs to it, all of whom its leader would call within seconds, and that its leader left nothing in the store, where
//! it writes its roster as soon as it leads. What remains is a generation whose founder died within the first moments,
//! whose other voters are all cut off from all seeds, and from the store.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::raft::{ClusterId, PeerId, Testimony};

/// Where claims are kept.
pub(super) const FOLDER: &str = "generations/";
/// What a claim's object ends with.
const CLAIM: &str = ".json";
/// What the object ends with that makes it void. Sorted behind the claim's.
const VOID: &str = ".void.json";

/// How a generation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// A cluster is formed, of nothing or of a snapshot.
    Formation,
    /// Survivors of a lost majority go on.
    Recovery,
    /// It had begun already: the cluster was told of the archive only later.
    Keeping,
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
    /// Its peer address.
    #[serde(default)]
    pub address: String,
    /// Its machine.
    #[serde(default)]
    pub machine: String,
    /// The peer addresses by which its cluster is found.
    pub seeds: BTreeSet<String>,
    /// When it was claimed, RFC 3339.
    pub time: String,
}

/// Why a generation may not be claimed, or nothing be kept of it.
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
         cluster was formed of a snapshot. If nothing came of it, start a process on {node} again, which proves \
         that, or remove the object {object}; then ask again"
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
    /// The archive is another cluster's.
    #[error(
        "what is kept there is cluster {cluster:016x}'s (generation {generation} of it was claimed by {node} at {time}): one URL \
         keeps one cluster. Give this one another --snapshots, or, if that one is given up for good, move the folders {FOLDER} \
         and snapshots/ out of there"
    )]
    OtherCluster {
        /// Whose it is.
        cluster: u64,
        /// Its latest generation.
        generation: u64,
        /// By whom that was claimed.
        node: String,
        /// When.
        time: String,
    },
}

/// The name of a generation's claim.
pub(super) fn name(generation: u64) -> String {
    format!("{FOLDER}{generation:020}{CLAIM}")
}

/// The name of what makes a generation's claim void.
pub(super) fn void_name(generation: u64) -> String {
    format!("{FOLDER}{generation:020}{VOID}")
}

/// All generations that were ever claimed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// The latest one.
    pub latest: Option<u64>,
    /// Those whose claims are not void, in order.
    pub standing: Vec<u64>,
}

impl Lineage {
    /// From the names of all objects of the folder.
    pub(super) fn of(names: &[String]) -> Self {
        let numbers = |suffix: &str| -> BTreeSet<u64> {
            let stems = names.iter().filter_map(|name| name.strip_prefix(FOLDER));
            let stems = stems.filter_map(|stem| stem.strip_suffix(suffix));
            stems.filter_map(|stem| stem.parse().ok()).collect()
        };
        let (claimed, void) = (numbers(CLAIM), numbers(VOID));
        Self {
            latest: claimed.last().copied(),
            standing: claimed.difference(&void).copied().collect(),
        }
    }

    /// The claims that stand of later generations than this one.
    pub fn after(&self, generation: u64) -> impl Iterator<Item = u64> {
        let standing = self.standing.iter().copied();
        standing.filter(move |claimed| *claimed > generation)
    }
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

    /// Whether a cluster may be formed after this claim, by someone whose seeds have all answered and are all empty, as is
    /// it itself, at `own` address. Then the cluster that was claimed here is gone if all its seeds are among them: whoever
    /// lives on elsewhere is found by its seeds.
    pub fn may_be_followed(&self, seeds: &[String], own: &str) -> Result<(), MayNot> {
        let asked = |seed: &String| seeds.contains(seed) || seed == own;
        if self.seeds.iter().all(asked) {
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

    /// Whether this is the claim of a recovery whose founder is among the survivors that are about to promise a later
    /// generation: then nothing came of it, since a survivor that had begun a generation would belong to it, and once it
    /// has promised a later one it does not begin an earlier one.
    pub fn is_broken_off(&self, survivors: &BTreeSet<PeerId>) -> bool {
        self.purpose == Purpose::Recovery && survivors.contains(&self.founder)
    }

    /// Who is to be asked what came of it.
    pub fn places(&self) -> BTreeSet<String> {
        let founder = [&self.address].into_iter();
        let places = founder.chain(&self.seeds).filter(|place| !place.is_empty());
        places.cloned().collect()
    }

    /// Whether nothing came of it and nothing ever will, by what was answered (by the address asked) at its
    /// [places](Self::places) at least; `left` says whether the store has anything of its generation or of a later one.
    pub fn never_begun(&self, said: &BTreeMap<String, Testimony>, left: bool) -> bool {
        let accounts = || {
            said.values()
                .filter_map(|said| Some((said, said.account.as_ref()?)))
        };
        let carries_on = |cluster: ClusterId| {
            cluster.id == self.cluster && cluster.generation >= self.generation
        };
        if self.purpose == Purpose::Keeping || accounts().any(|(_, a)| carries_on(a.cluster)) {
            return false;
        }
        // A recovery's founder belongs to the generation before until it begins the next.
        let forms = self.purpose == Purpose::Formation;
        let gave_up = forms && accounts().any(|(said, _)| said.id == self.founder);
        let is_successor = |said: &Testimony| {
            let place = &said.place;
            let same = place.name == self.node && place.machine == self.machine;
            same && place.address == self.address && said.id != self.founder
        };
        let alive = said.values().any(|said| said.id == self.founder);
        let dead = !alive && !self.address.is_empty() && said.values().any(is_successor);
        let all_answered = self.seeds.iter().all(|seed| said.contains_key(seed));
        gave_up || dead && all_answered && !left
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

    /// A refusal because it is another cluster's.
    pub fn other_cluster(&self) -> MayNot {
        MayNot::OtherCluster {
            cluster: self.cluster,
            generation: self.generation,
            node: self.node.clone(),
            time: self.time.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::{Account, Configuration, Place, Position};

    fn claim(generation: u64, purpose: Purpose) -> Claim {
        Claim {
            cluster: 7,
            generation,
            purpose,
            founder: PeerId(1),
            node: "n1".into(),
            address: "a:1".into(),
            machine: "m1".into(),
            seeds: ["a:1", "b:1"].map(Into::into).into(),
            time: "2026-11-22T00:00:00Z".into(),
        }
    }

    /// What this incarnation of the node at an address says: of which generation it is, if of any.
    fn says(address: &str, id: u64, generation: Option<u64>) -> (String, Testimony) {
        let node = if address == "a:1" { "n1" } else { "n2" };
        let account = generation.map(|generation| Account {
            cluster: ClusterId { id: 7, generation },
            promised: generation,
            frozen: false,
            hears_leader: true,
            term: 1,
            position: Position::default(),
            commit: 0,
            configuration: Configuration::default(),
        });
        let testimony = Testimony {
            id: PeerId(id),
            place: Place {
                name: node.into(),
                machine: node.replace('n', "m"),
                address: address.into(),
            },
            contact: Bytes::new(),
            recovers: false,
            account,
        };
        (address.into(), testimony)
    }

    #[test]
    fn a_claim_is_read_as_it_was_written_and_sorted_by_generation() {
        let written = claim(3, Purpose::Recovery);
        assert_eq!(Claim::decode(&written.encode()).unwrap(), written);
        assert!(name(9) < name(10));
    }

    #[test]
    fn what_is_void_does_not_stand() {
        let names = [
            name(1),
            name(2),
            void_name(2),
            name(10),
            "generations/x".into(),
        ];
        let lineage = Lineage::of(&names);
        assert_eq!(
            (lineage.latest, &lineage.standing),
            (Some(10), &vec![1, 10])
        );
        assert_eq!(lineage.after(1).collect::<Vec<_>>(), [10]);
        let lineage = Lineage::of(&[name(3), void_name(3)]);
        assert_eq!((lineage.latest, lineage.standing), (Some(3), Vec::new()));
        assert_eq!(Lineage::of(&[]), Lineage::default());
    }

    #[test]
    fn who_knows_all_its_seeds_may_follow_a_claim() {
        let seeds = |all: &[&str]| {
            all.iter()
                .map(|seed| (*seed).to_owned())
                .collect::<Vec<_>>()
        };
        let claim = claim(3, Purpose::Formation);
        let all = seeds(&["c:1", "b:1", "a:1"]);
        assert_eq!(claim.may_be_followed(&all, "c:1"), Ok(()));
        let some = seeds(&["a:1", "c:1"]);
        let refused = claim.may_be_followed(&some, "c:1").unwrap_err();
        assert!(refused.to_string().contains("a:1, b:1"), "{refused}");
        assert_eq!(claim.may_be_followed(&some, "b:1"), Ok(()), "it is itself");
    }

    #[test]
    fn a_recovery_goes_on_from_its_own_broken_attempt_alone() {
        let (alive, others) = ([PeerId(1)].into(), [PeerId(2)].into());
        assert!(claim(3, Purpose::Recovery).is_broken_off(&alive));
        assert!(!claim(3, Purpose::Recovery).is_broken_off(&others));
        assert!(!claim(3, Purpose::Formation).is_broken_off(&alive));
    }

    /// The claim's founder, the process after it on its machine, and the process at its other seed.
    const FOUNDER: u64 = 1;
    const SUCCESSOR: u64 = 11;
    const SEED: u64 = 2;

    /// Whether a claim of generation 3 is void by what was said at its first and at its second seed.
    fn void(
        purpose: Purpose,
        first: Option<(u64, Option<u64>)>,
        second: Option<(u64, Option<u64>)>,
        left: bool,
    ) -> bool {
        let first = first.map(|(id, of)| says("a:1", id, of));
        let second = second.map(|(id, of)| says("b:1", id, of));
        let said = first.into_iter().chain(second).collect();
        claim(3, purpose).never_begun(&said, left)
    }

    #[test]
    fn a_claim_is_void_once_its_founder_belongs_elsewhere() {
        use Purpose::{Formation, Recovery};
        let (free, joined, began) = (None, Some(2), Some(3));
        let founder = |of| Some((FOUNDER, of));
        assert!(void(Formation, founder(joined), None, false));
        assert!(
            void(Formation, founder(joined), None, true),
            "it left what another wrote"
        );
        assert!(!void(Formation, None, None, false), "nobody answers");
        assert!(!void(Formation, founder(free), Some((SEED, joined)), false));
        assert!(!void(Formation, founder(began), None, false));
        assert!(!void(
            Formation,
            founder(joined),
            Some((SEED, began)),
            false
        ));
        let may_begin_yet = void(Recovery, founder(joined), Some((SEED, joined)), false);
        assert!(!may_begin_yet);
    }

    #[test]
    fn a_claim_is_void_once_its_founder_is_dead_and_nobody_has_it() {
        use Purpose::{Formation, Keeping, Recovery};
        let (earlier, later) = (Some(2), Some(4));
        let died = Some((SUCCESSOR, None));
        let seed = |of| Some((SEED, of));
        assert!(void(Formation, died, seed(earlier), false));
        assert!(void(Recovery, died, seed(None), false));
        assert!(
            !void(Keeping, died, seed(earlier), false),
            "it had begun before"
        );
        assert!(
            !void(Formation, died, seed(earlier), true),
            "it left something"
        );
        assert!(!void(Formation, died, None, false), "its seed is silent");
        assert!(
            !void(Formation, died, seed(later), false),
            "its seed goes on"
        );
        assert!(
            !void(Formation, died, Some((FOUNDER, None)), false),
            "it moved"
        );
    }
}
