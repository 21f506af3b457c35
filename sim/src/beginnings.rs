//! The whole store as fingerprints, and what each later generation began with: that, and the product's own record of how.
//!
//! Plain data read from a replica's view; deliberately without any opinion of what is right (`checkers/foundings.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;

use kagero::actors::messages::{RecoveryRecord, RestoreRecord};
use kagero::raft::{Index, Term};
use kagero::store::{Record, Revision, View};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::truth::{Founding, WATCHED, state};

/// Bits of a revision below its generation, as the store documents them.
const GENERATION_BITS: u32 = 40;
/// Before a generation: the last revision that is certain to be in its founding state.
const BEGAN: &str = "kagero-generation-began/";
/// Before a node's name: pods that were bound to it when a generation began.
const KNOWN_PODS: &str = "kagero-known-pods/";
/// Before a kind of record and a generation.
const RECORD: &str = "configmaps/kube-system/kagero-";

/// The first revision of a generation.
pub fn first_revision(generation: u64) -> Revision {
    generation << GENERATION_BITS
}

/// The generation of a revision.
pub fn generation_of(revision: Revision) -> u64 {
    revision >> GENERATION_BITS
}

/// A key's record, told from every other that this key ever had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The revision of its last change.
    pub changed: Revision,
    /// Over all of it.
    pub digest: u64,
}

impl Stamp {
    /// Of a record.
    pub fn of(record: &Record) -> Self {
        let mut hash = Fnv::default();
        for number in [record.create_revision, record.mod_revision, record.version] {
            hash.feed(&number.to_le_bytes());
        }
        hash.feed(&record.value);
        Self {
            changed: record.mod_revision,
            digest: hash.0,
        }
    }
}

/// All that a store holds, by key.
pub type Whole = BTreeMap<Arc<str>, Stamp>;

/// How a generation began, in the product's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// With a snapshot, or with nothing.
    Restore(RestoreRecord),
    /// With a survivor's log.
    Recovery(RecoveryRecord),
}

/// What a later generation began with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// Everything.
    pub whole: Whole,
    /// What clients see of it.
    pub watched: Founding,
    /// Its records; one there must be.
    pub origins: Vec<Origin>,
    /// The last revision that it says to be certainly committed.
    pub committed: Option<Revision>,
}

impl Beginning {
    /// As a replica shows it at the generation's first revision.
    pub fn of(view: &View, generation: u64) -> Self {
        let restore = record(view, "restore", generation).map(Origin::Restore);
        let recovery = record(view, "recovery", generation).map(Origin::Recovery);
        let began = view.get(&format!("{BEGAN}{generation}"));
        let watched = view.range(WATCHED);
        let name = |key: &str| key.strip_prefix(WATCHED).map(str::to_owned);
        Self {
            whole: view
                .range("")
                .map(|(key, record)| (Arc::from(key), Stamp::of(record)))
                .collect(),
            watched: watched
                .filter_map(|(key, record)| Some((name(key)?, state(record))))
                .collect(),
            origins: restore.into_iter().chain(recovery).collect(),
            committed: began.and_then(|began| std::str::from_utf8(&began.value).ok()?.parse().ok()),
        }
    }
}

fn record<R: DeserializeOwned>(view: &View, kind: &str, generation: u64) -> Option<R> {
    let key = format!("{RECORD}{kind}-{generation}");
    let object: Value = serde_json::from_slice(&view.get(&key)?.value).ok()?;
    serde_json::from_str(object["data"]["record.json"].as_str()?).ok()
}

/// Whether a generation may write this key at its first revision: its record, and what it remembers for its nodes.
pub fn is_own(key: &str, generation: u64) -> bool {
    let record = |kind| key == format!("{RECORD}{kind}-{generation}");
    key.starts_with(KNOWN_PODS)
        || key == format!("{BEGAN}{generation}")
        || record("restore")
        || record("recovery")
}

/// How far a replica was at some moment: what it had applied, and to what that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Of which generation.
    pub generation: u64,
    /// In a term no later than this.
    pub term: Term,
    /// The last entry it had applied.
    pub applied: Index,
    /// Its store's revision then.
    pub revision: Revision,
}

/// FNV-1a.
pub(crate) struct Fnv(pub(crate) u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    const PRIME: u64 = 0x0100_0000_01b3;

    /// Takes bytes, and sets them apart from what follows.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(Self::PRIME);
        }
        self.0 = self.0.wrapping_mul(Self::PRIME);
    }
}
