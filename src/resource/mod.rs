//! Kubernetes objects: the registry, the schema table, and the one write path (validate, default, admit, plan).
//!
//! Pure: a request and a view go in, a transaction and a reply come out. Knows nothing of HTTP or actors.

pub mod cache;
pub mod codec;
mod default;
mod default_pod;
pub mod discovery;
mod json;
mod kinds;
pub mod names;
pub mod nodes;
pub mod openapi;
pub mod patch;
pub mod plan;
pub mod pods;
pub mod protobuf;
pub mod prune;
pub mod quantity;
pub mod registry;
pub mod request;
pub mod schema;
pub mod selector;
pub mod status;
pub mod strict;
pub mod table;
pub mod taints;
pub mod time;
mod unserved;
pub mod validate;
mod validate_config;
mod validate_container;
mod validate_node;
mod validate_pod;
mod validate_pod_update;
mod validate_workload;
mod writer;

pub use cache::{Cache, ObjectKey};
pub use plan::{plan, scale_of};
pub use request::{
    Deletion, Options, PatchType, Plan, PlannedReply, Precondition, Reply, Request, ResourceName,
    Splice, Stamp, Status, Verb,
};
pub use writer::Writer;
