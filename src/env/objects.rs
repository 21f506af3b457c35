//! Where objects are kept that outlive every machine of a cluster: a bucket, or a folder that all of them see.
//!
//! The few operations that snapshots and claims need, each bounded in time by its caller. Deliberately without streaming
//! (an object is in memory whole) and without overwriting: every object is written once, so that nobody who writes late
//! can replace what somebody else wrote.

use async_trait::async_trait;
use bytes::Bytes;

/// An operation failed. Whether a write or a deletion was carried out all the same is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {operation} {name} in {store}: {reason}")]
pub struct ObjectsError {
    /// `read`, `write`, `list` or `delete`.
    pub operation: &'static str,
    /// The object, or the prefix that was listed.
    pub name: String,
    /// The store's URL.
    pub store: String,
    /// In the store's words.
    pub reason: String,
}

/// A store of named objects. What was written is listed and read by everybody at once (S3, Azure Blob Storage, Google
/// Cloud Storage and a local folder all promise that).
#[async_trait(?Send)]
pub trait Objects {
    /// Its URL, for people.
    fn url(&self) -> &str;

    /// Writes an object, given in pieces, unless there is one of that name; whether it did. Of several who try at the
    /// same time one does.
    async fn create(&self, name: &str, pieces: Vec<Bytes>) -> Result<bool, ObjectsError>;

    /// Reads an object; `None` if there is none of that name.
    async fn read(&self, name: &str) -> Result<Option<Bytes>, ObjectsError>;

    /// Names of all objects below a folder (`a/` has `a/b` and `a/b/c`), in order.
    async fn list(&self, folder: &str) -> Result<Vec<String>, ObjectsError>;

    /// Removes an object; one that is not there is no error.
    async fn delete(&self, name: &str) -> Result<(), ObjectsError>;
}
