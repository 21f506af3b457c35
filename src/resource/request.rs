//! The one door for writes: what a client, a controller, the scheduler or a node link asks of the API.
//!
//! A [`Request`] is planned against a view (`plan`), which gives a store transaction and the reply to send once it
//! has committed. Deliberately without reads: those need no plan, only a view.

use bytes::Bytes;
use rand::RngCore;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::{Revision, Transaction};

/// A resource by its place in the URL: `apps/v1/deployments`; the core group is "".
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceName {
    /// API group, "" for core.
    pub group: String,
    /// API version, e.g. `v1`.
    pub version: String,
    /// Plural lower-case name, e.g. `pods`.
    pub plural: String,
}

impl ResourceName {
    /// A name from its parts.
    pub fn new(group: &str, version: &str, plural: &str) -> Self {
        Self {
            group: group.into(),
            version: version.into(),
            plural: plural.into(),
        }
    }
}

/// One write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Of which resource.
    pub resource: ResourceName,
    /// In which namespace; `None` for cluster-scoped resources.
    pub namespace: Option<String>,
    /// Of which name; `None` for create and delete-collection.
    pub name: Option<String>,
    /// `status`, `scale`, `binding`, `eviction`, `finalize`, …
    pub subresource: Option<String>,
    /// What to do.
    pub verb: Verb,
    /// Query options.
    pub options: Options,
    /// Who asks (for managedFields and events), e.g. `system:kagero:deployment-controller`.
    pub user: String,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Verb {
    /// POST of this object.
    Create(Value),
    /// PUT of this object.
    Update(Value),
    /// PATCH.
    Patch(PatchType, Value),
    /// DELETE of one object.
    Delete(Deletion),
    /// DELETE of all that match.
    DeleteCollection {
        /// As in the query, "" for all.
        label_selector: String,
        /// As in the query, "" for all.
        field_selector: String,
        /// Applied to each.
        deletion: Deletion,
    },
}

/// By the body's content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PatchType {
    /// `application/json-patch+json` (RFC 6902).
    Json,
    /// `application/merge-patch+json` (RFC 7386).
    Merge,
    /// `application/strategic-merge-patch+json` (Kubernetes' own).
    StrategicMerge,
    /// `application/apply-patch+yaml` (server-side apply).
    Apply,
}

/// `DeleteOptions`, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    /// Seconds; `None` takes the object's own.
    pub grace_period_seconds: Option<i64>,
    /// `Foreground`, `Background` or `Orphan`.
    pub propagation_policy: Option<String>,
    /// Conditions on the object to delete.
    pub precondition: Precondition,
}

/// `DeleteOptions.preconditions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Precondition {
    /// Only this incarnation of the name.
    pub uid: Option<String>,
    /// Only this state of it.
    pub resource_version: Option<String>,
}

/// Query options of a write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// `dryRun=All`: the whole pipeline, no write.
    pub dry_run: bool,
    /// `fieldValidation`: `Strict`, `Warn` or `Ignore` ("" is Warn, as in Kubernetes).
    pub field_validation: String,
    /// `fieldManager`.
    pub field_manager: String,
    /// `force` (server-side apply).
    pub force: bool,
}

/// What the proposer adds: time and chance, so that planning itself is deterministic.
pub struct Stamp<'a> {
    /// Wall clock.
    pub now: jiff::Timestamp,
    /// For UIDs and generated names.
    pub entropy: &'a mut dyn RngCore,
}

/// A request, planned.
#[derive(Clone, Debug)]
pub struct Plan {
    /// One for each object, since each change has a revision of its own; none if nothing is to be written (dry run or no
    /// change). Committed one by one, in order.
    pub transactions: Vec<Transaction>,
    /// The reply once all have committed.
    pub reply: PlannedReply,
    /// On a conflict at commit: plan again on a fresher view (true), or answer 409 (the client gave a resourceVersion).
    pub retry_on_conflict: bool,
}

/// A reply that may still lack its resourceVersion.
#[derive(Clone, Debug)]
pub struct PlannedReply {
    /// HTTP status code.
    pub code: u16,
    /// The object as stored (`codec::encode`d, without resourceVersion), or a finished body.
    pub object: Bytes,
    /// True if `object` is to be given the commit's resourceVersion; else it is the body as it is.
    pub splice: Option<Splice>,
    /// `Warning: 299` texts.
    pub warnings: Vec<String>,
}

/// Which resourceVersion an encoded object is to be served with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Splice {
    /// The revision of the commit.
    Committed,
    /// This revision (nothing was written).
    Known(Revision),
}

/// What the client gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// HTTP status code.
    pub code: u16,
    /// JSON body.
    pub body: Bytes,
    /// `Warning: 299` texts.
    pub warnings: Vec<String>,
    /// The store's revision after the write, so that a caller can wait until its cache has seen it.
    pub revision: Revision,
}

/// A failed request, as Kubernetes' `meta/v1 Status` says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// `NotFound`, `Conflict`, `Invalid`, …
    pub reason: String,
    /// For people.
    pub message: String,
    /// `details`, as JSON text; "" when absent.
    pub details: String,
}
