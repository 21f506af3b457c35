//! The cluster's archive in an object store: snapshots of its state, and claims of its generations.
//!
//! One URL is one lineage: the clusters that are kept there follow each other, each with the same id and a later
//! generation. A generation is *claimed* before it begins by creating an object of its name, which one alone can do;
//! claims are never removed. Deliberately without opinions of when to save, form or recover: those are `snapshots.rs`',
//! the joiner's and the recoverer's. Every operation ends within a named time.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use crate::env::objects::{Objects, ObjectsError};
use crate::store::Store;

mod claim;
mod form;
pub(super) mod record;

pub use claim::{Claim, MayNot, Purpose};
pub use form::{Header, Name, Unreadable, decode, encode};

/// Listing, claiming and deleting move a few KB.
const SMALL_MS_MAX: u64 = 20_000;
/// A snapshot of some 100 MB over 10 Mbit/s.
const LARGE_MS_MAX: u64 = 200_000;
/// Snapshots of the present generation that are kept: the newest, and some to fall back to.
const KEPT: usize = 3;
/// Earlier generations of which the newest snapshot is kept, in case a restore was a mistake.
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
    /// A claim cannot be read, so nobody knows who has made it.
    #[error("the claim {name} in {store} cannot be read: {reason}")]
    Claim {
        /// Its name.
        name: String,
        /// The store's URL.
        store: String,
        /// Why.
        reason: String,
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

    /// The latest generation's claim, if any was ever made.
    pub async fn newest_claim(&self) -> Result<Option<Claim>, ArchiveError> {
        match self.list(claim::FOLDER).await?.pop() {
            Some(name) => self.read_claim(&name).await,
            None => Ok(None),
        }
    }

    /// Claims a generation; gives whose it is: this claim, or the one that was there before.
    pub async fn claim(&self, wanted: &Claim) -> Result<Claim, ArchiveError> {
        let name = claim::name(wanted.generation);
        let content = vec![wanted.encode()];
        let created = self.objects.create(&name, content);
        if self.within(SMALL_MS_MAX, "write", &name, created).await? {
            return Ok(wanted.clone());
        }
        // An attempt whose answer was lost may be this very claim.
        let unreadable = |reason: &str| ArchiveError::Claim {
            name: name.clone(),
            store: self.url().to_owned(),
            reason: reason.to_owned(),
        };
        let found = self.read_claim(&name).await?;
        found.ok_or_else(|| unreadable("it is there and is not"))
    }

    /// The newest snapshot that can be read, if there is any; an error if there are some and none can be read.
    pub async fn newest_snapshot(&self) -> Result<Option<Found>, ArchiveError> {
        let mut skipped = Vec::new();
        for name in self.snapshots().await?.into_iter().rev() {
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

    /// Removes snapshots that are not needed any more; how many.
    pub async fn prune(&self) -> Result<usize, ArchiveError> {
        let superfluous = superfluous(&self.snapshots().await?);
        for name in &superfluous {
            let path = name.path();
            let deleted = self.objects.delete(&path);
            self.within(SMALL_MS_MAX, "delete", &path, deleted).await?;
        }
        Ok(superfluous.len())
    }

    /// Names of all snapshots, the newest last.
    async fn snapshots(&self) -> Result<Vec<Name>, ArchiveError> {
        let paths = self.list(form::FOLDER).await?;
        let mut names: Vec<Name> = paths.iter().filter_map(|path| Name::parse(path)).collect();
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
        let unreadable = |error: serde_json::Error| ArchiveError::Claim {
            name: name.to_owned(),
            store: self.url().to_owned(),
            reason: error.to_string(),
        };
        Claim::decode(&bytes).map(Some).map_err(unreadable)
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
    let old = generations.len().saturating_sub(GENERATIONS_KEPT);
    for (at, earlier) in generations.iter().enumerate() {
        let kept = usize::from(at >= old);
        superfluous.extend(&earlier[..earlier.len() - kept]);
    }
    superfluous.extend(&present[..present.len().saturating_sub(KEPT)]);
    superfluous
}

#[cfg(test)]
mod tests;
