//! The cluster's archive in an object store: snapshots of its state, rosters of its nodes, and claims of its generations.
//!
//! One URL is one lineage: the clusters that are kept there follow each other, each with the same id and a later
//! generation. A generation is *claimed* before it begins, or before anything of it is kept, by creating an object of its
//! name, which one alone can do; claims are never removed, but one of which nothing came is made void by another object.
//! Deliberately without opinions of when to save, form or recover: those are `snapshots.rs`', the joiner's and the
//! recoverer's. Every operation ends within a named time.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use crate::env::objects::{Objects, ObjectsError};
use crate::raft::ClusterId;
use crate::store::Store;

mod claim;
mod form;
pub(super) mod record;
mod roster;

pub use claim::{Claim, Lineage, MayNot, Purpose};
pub use form::{Header, Name, Unreadable, decode, encode};
pub use roster::{Listed, Roster, RosterName, listed};

/// Listing, claiming and deleting move a few KB.
const SMALL_MS_MAX: u64 = 20_000;
/// A snapshot of some 100 MB over 10 Mbit/s.
const LARGE_MS_MAX: u64 = 200_000;
/// Snapshots of the present generation, and of the one before it, that are kept: the newest, and some to fall back to if
/// that one is damaged, as it may have been when this generation began.
const KEPT: usize = 3;
/// Earlier generations of which the newest snapshot is kept at least, in case a restore was a mistake.
const GENERATIONS_KEPT: usize = 3;

/// Why the archive did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// The object store did not.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    /// It did not in time.
    #[error("{store} did not {operation} {name} within {} s", .within.as_secs())]
    Late {
        /// The store's URL.
        store: String,
        /// What it was to do.
        operation: &'static str,
        /// With what.
        name: String,
        /// The time it had.
        within: Duration,
    },
    /// A claim or a roster cannot be read, so nobody knows who has made it, or whom it names.
    #[error("{name} in {store} cannot be read: {reason}; remove it if that is known otherwise")]
    Damaged {
        /// Its name.
        name: String,
        /// The store's URL.
        store: String,
        /// Why.
        reason: String,
    },
    /// More than one cluster was kept there.
    #[error(
        "{store} holds what was kept of several clusters: {}; a cluster is formed of one. Choose it by moving what is of the \
         others out of there: their claims in generations/, their folders in snapshots/ and rosters/",
        .clusters.join(", ")
    )]
    Several {
        /// The store's URL.
        store: String,
        /// Their ids.
        clusters: Vec<String>,
    },
    /// Snapshots are there, and none can be read.
    #[error(
        "none of the snapshots in {store} can be read ({}); to begin without them, remove them or use another URL",
        .skipped.join("; ")
    )]
    Unreadable {
        /// The store's URL.
        store: String,
        /// Each with what is wrong with it.
        skipped: Vec<String>,
    },
}

/// A snapshot that was read.
#[derive(Debug)]
pub struct Found {
    /// Its object's name.
    pub name: String,
    /// What it says of itself.
    pub header: Header,
    /// The state.
    pub store: Store,
    /// Later ones that could not be read, each with what is wrong with it.
    pub skipped: Vec<String>,
}

/// The archive. Cheap to clone.
#[derive(Clone)]
pub struct Archive {
    objects: Rc<dyn Objects>,
}

impl Archive {
    /// In this store.
    pub fn new(objects: Rc<dyn Objects>) -> Self {
        Self { objects }
    }

    /// The store's URL, for people.
    pub fn url(&self) -> &str {
        self.objects.url()
    }

    /// All generations that were ever claimed.
    pub async fn lineage(&self) -> Result<Lineage, ArchiveError> {
        Ok(Lineage::of(&self.list(claim::FOLDER).await?))
    }

    /// The claim of a generation that was claimed.
    pub async fn claim_of(&self, generation: u64) -> Result<Claim, ArchiveError> {
        let name = claim::name(generation);
        let found = self.read_claim(&name).await?;
        found.ok_or_else(|| self.damaged(&name, "it was just listed, and is gone"))
    }

    /// Claims a generation; gives whose it is: this claim, or the one that was there before. Where none was ever made, the
    /// first generation of all is claimed, too, so that of several clusters one alone begins a lineage.
    pub async fn claim(&self, wanted: &Claim) -> Result<Claim, ArchiveError> {
        if wanted.generation > 0 && self.lineage().await?.latest.is_none() {
            let generation = 0;
            let first = Claim {
                generation,
                ..wanted.clone()
            };
            let holder = self.create_claim(&first).await?;
            if holder.cluster != wanted.cluster {
                return Ok(holder);
            }
        }
        self.create_claim(wanted).await
    }

    /// Creates a claim, and reads what is there then: an attempt whose answer was lost may have been carried out, and a
    /// store that only says that it creates conditionally is found out, mostly.
    async fn create_claim(&self, wanted: &Claim) -> Result<Claim, ArchiveError> {
        let name = claim::name(wanted.generation);
        let created = self.objects.create(&name, vec![wanted.encode()]);
        let created = self.within(SMALL_MS_MAX, "write", &name, created).await;
        match (self.read_claim(&name).await, created) {
            (Ok(Some(found)), _) => Ok(found),
            // By its own word it is there, and was not before.
            (Err(_), Ok(true)) => Ok(wanted.clone()),
            (Ok(None), Ok(_)) => Err(self.damaged(&name, "it was just written, and is gone")),
            (Ok(None) | Err(_), Err(error)) | (Err(error), Ok(false)) => Err(error),
        }
    }

    /// Makes a claim void, for good: its generation was never begun and never will be.
    pub async fn make_void(&self, claim: &Claim) -> Result<(), ArchiveError> {
        let name = claim::void_name(claim.generation);
        let created = self.objects.create(&name, vec![claim.encode()]);
        self.within(SMALL_MS_MAX, "write", &name, created).await?;
        Ok(())
    }

    /// Whether anything is kept of a generation, or of a later one.
    pub async fn is_kept(&self, generation: u64) -> Result<bool, ArchiveError> {
        let snapshots = self.snapshots().await?;
        let rosters = self.rosters(roster::FOLDER).await?;
        let kept = snapshots.iter().map(|name| name.generation);
        let mut kept = kept.chain(rosters.iter().map(|name| name.0.generation));
        Ok(kept.any(|kept| kept >= generation))
    }

    /// The newest snapshot's name, whether it can be read or not.
    pub async fn newest_name(&self) -> Result<Option<Name>, ArchiveError> {
        Ok(self.snapshots().await?.pop())
    }

    /// The newest roster of a cluster, if there is any.
    pub async fn newest_roster(&self, cluster: u64) -> Result<Option<Roster>, ArchiveError> {
        let Some(name) = self.rosters(&roster::folder(cluster)).await?.pop() else {
            return Ok(None);
        };
        let path = name.path();
        let read = self.objects.read(&path);
        let bytes = self.within(SMALL_MS_MAX, "read", &path, read).await?;
        // Its leader may have just written the next one, so it is asked again.
        let bytes = bytes.ok_or_else(|| self.damaged(&path, "it was just listed, and is gone"))?;
        let roster = Roster::decode(&bytes);
        roster
            .map(Some)
            .map_err(|error| self.damaged(&path, &error.to_string()))
    }

    /// Keeps a roster, and removes its cluster's earlier ones.
    pub async fn save_roster(&self, roster: &Roster) -> Result<(), ArchiveError> {
        let name = roster.name();
        let path = name.path();
        let created = self.objects.create(&path, vec![roster.encode()]);
        self.within(SMALL_MS_MAX, "write", &path, created).await?;
        let all = self.rosters(&roster::folder(roster.cluster)).await?;
        for earlier in all.into_iter().filter(|other| *other < name) {
            self.delete(&earlier.path()).await?;
        }
        Ok(())
    }

    /// The newest snapshot that can be read, if there is any; an error if there are some and none can be read, or if
    /// they are of several clusters, the one of whom generations are `claimed` among them.
    pub async fn newest_snapshot(
        &self,
        claimed: Option<u64>,
    ) -> Result<Option<Found>, ArchiveError> {
        let mut skipped = Vec::new();
        let names = self.snapshots().await?;
        self.one_cluster(claimed, &names)?;
        for name in names.into_iter().rev() {
            let path = name.path();
            let read = self.objects.read(&path);
            let problem = match self.within(LARGE_MS_MAX, "read", &path, read).await? {
                // Its leader may have just removed it.
                None => "it is gone".to_owned(),
                Some(bytes) => match open(&name, &bytes) {
                    Ok((header, store)) => {
                        let name = path;
                        return Ok(Some(Found {
                            name,
                            header,
                            store,
                            skipped,
                        }));
                    }
                    Err(unreadable) => unreadable.to_string(),
                },
            };
            tracing::error!(snapshot = path, problem, "a snapshot cannot be used");
            skipped.push(format!("{path}: {problem}"));
        }
        if skipped.is_empty() {
            return Ok(None);
        }
        let store = self.url().to_owned();
        Err(ArchiveError::Unreadable { store, skipped })
    }

    /// Keeps a snapshot. One of that name is the same one: what was applied up to an index is the same everywhere.
    pub async fn save(&self, header: &Header, body: Bytes) -> Result<(), ArchiveError> {
        let path = header.name().path();
        let created = self.objects.create(&path, encode(header, body));
        self.within(LARGE_MS_MAX, "write", &path, created).await?;
        Ok(())
    }

    /// Removes snapshots that are not needed any more, of this cluster's generations up to the present one; how many.
    pub async fn prune(&self, cluster: ClusterId) -> Result<usize, ArchiveError> {
        let mut names = self.snapshots().await?;
        names.retain(|name| name.cluster == cluster.id && name.generation <= cluster.generation);
        let superfluous = superfluous(&names);
        for name in &superfluous {
            self.delete(&name.path()).await?;
        }
        Ok(superfluous.len())
    }

    async fn delete(&self, path: &str) -> Result<(), ArchiveError> {
        let deleted = self.objects.delete(path);
        self.within(SMALL_MS_MAX, "delete", path, deleted).await
    }

    /// Whether all of this is one cluster's.
    fn one_cluster(&self, claimed: Option<u64>, names: &[Name]) -> Result<(), ArchiveError> {
        let kept = names.iter().map(|name| name.cluster);
        let clusters: BTreeSet<u64> = kept.chain(claimed).collect();
        if clusters.len() <= 1 {
            return Ok(());
        }
        let store = self.url().to_owned();
        let clusters = clusters.iter().map(|id| format!("{id:016x}")).collect();
        Err(ArchiveError::Several { store, clusters })
    }

    /// Names of all snapshots, the newest last.
    async fn snapshots(&self) -> Result<Vec<Name>, ArchiveError> {
        let paths = self.list(form::FOLDER).await?;
        let mut names: Vec<Name> = paths.iter().filter_map(|path| Name::parse(path)).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Names of all rosters below a folder, the newest last.
    async fn rosters(&self, folder: &str) -> Result<Vec<RosterName>, ArchiveError> {
        let paths = self.list(folder).await?;
        let names = paths.iter().filter_map(|path| RosterName::parse(path));
        let mut names: Vec<RosterName> = names.collect();
        names.sort_unstable();
        Ok(names)
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, ArchiveError> {
        let listed = self.objects.list(folder);
        self.within(SMALL_MS_MAX, "list", folder, listed).await
    }

    async fn read_claim(&self, name: &str) -> Result<Option<Claim>, ArchiveError> {
        let read = self.objects.read(name);
        let Some(bytes) = self.within(SMALL_MS_MAX, "read", name, read).await? else {
            return Ok(None);
        };
        Claim::decode(&bytes)
            .map(Some)
            .map_err(|error| self.damaged(name, &error.to_string()))
    }

    fn damaged(&self, name: &str, reason: &str) -> ArchiveError {
        ArchiveError::Damaged {
            name: name.to_owned(),
            store: self.url().to_owned(),
            reason: reason.to_owned(),
        }
    }

    async fn within<T>(
        &self,
        millis: u64,
        operation: &'static str,
        name: &str,
        done: impl Future<Output = Result<T, ObjectsError>>,
    ) -> Result<T, ArchiveError> {
        let within = Duration::from_millis(millis);
        let late = |_| ArchiveError::Late {
            store: self.url().to_owned(),
            operation,
            name: name.to_owned(),
            within,
        };
        Ok(timeout(within, done).await.map_err(late)??)
    }
}

/// Reads a snapshot, which must be the one that its name says.
fn open(name: &Name, bytes: &Bytes) -> Result<(Header, Store), Unreadable> {
    let (header, body) = decode(bytes)?;
    if header.name() != *name {
        return Err(Unreadable::Misnamed);
    }
    let store = Store::restore(&body)?;
    if store.revision() != header.revision {
        return Err(Unreadable::Misnamed);
    }
    Ok((header, store))
}

/// Which of these snapshots, in order, are not needed.
fn superfluous(names: &[Name]) -> Vec<Name> {
    let mut generations: Vec<&[Name]> = names
        .chunk_by(|a, b| a.generation == b.generation)
        .collect();
    let Some(present) = generations.pop() else {
        return Vec::new();
    };
    let mut superfluous = Vec::new();
    let rest = |names: &[Name], kept| names[..names.len().saturating_sub(kept)].to_vec();
    for (age, earlier) in generations.iter().rev().enumerate() {
        let kept = match age {
            0 => KEPT,
            _ => usize::from(age < GENERATIONS_KEPT),
        };
        superfluous.extend(rest(earlier, kept));
    }
    superfluous.extend(rest(present, KEPT));
    superfluous
}

#[cfg(test)]
mod tests;
