//! Kubernetes objects: the registry, the schema table, and the one write path (validate, default, admit, plan).
//!
//! Pure: a request and a view go in, a transaction and a reply come out. Knows nothing of HTTP or actors.

pub mod cache;
pub mod openapi;
pub mod patch;
pub mod protobuf;
pub mod prune;
pub mod request;
pub mod schema;
pub mod strict;

pub use cache::{Cache, ObjectKey};
pub use request::{
    Deletion, Options, PatchType, Plan, PlannedReply, Precondition, Reply, Request, ResourceName,
    Splice, Stamp, Status, Verb,
};
