//! How the store front refuses, in Kubernetes' `Status`.
//!
//! Only what consensus adds to the resource room's refusals.

use std::time::Duration;

use crate::resource::Status;
use crate::store::{Compacted, Revision};

/// Between nodes only: the node asked does not lead, and nothing was done.
const NOT_LEADER: &str = "NotLeader";
/// Between nodes only, too.
const SUPERSEDED: &str = "Superseded";

/// The node asked does not lead; ask another.
pub(super) fn not_leader() -> Status {
    Status::new(503, NOT_LEADER, "this node does not lead the cluster")
}

/// Whether a refusal means that nothing was done and another node may.
pub(super) fn is_not_leader(status: &Status) -> bool {
    status.reason == NOT_LEADER
}

/// The process that asks has to end: a later one has its node's name.
pub(super) fn superseded(reason: String) -> Status {
    Status::new(410, SUPERSEDED, reason)
}

/// Whether a refusal means that.
pub(super) fn is_superseded(status: &Status) -> bool {
    status.reason == SUPERSEDED
}

/// No leader was found in time; nothing was done.
pub(super) fn no_leader() -> Status {
    Status::unavailable("the cluster has no leader at the moment; try again")
}

/// A unique pod's node may still run it for so long. Between the leader's own actors only.
pub(super) fn too_early(node: &str, left: Duration) -> Status {
    let seconds = u32::try_from(left.as_secs()).unwrap_or(u32::MAX);
    let message = format!("{node} may still run this pod, of which there must be only one");
    Status::too_many_requests(message, seconds.saturating_add(1))
}

/// The node is on its way out.
pub(super) fn stopping() -> Status {
    Status::unavailable("the node is stopping")
}

/// The write was sent and may or may not have happened, as etcd's "request timed out, possibly due to …".
pub(super) fn outcome_unknown() -> Status {
    Status::timeout(
        "the write was sent, but whether it was committed is not known; look before you repeat it",
    )
}

/// Whether a refusal means that: a later leader may know. One that another version words differently is passed on.
pub(super) fn is_outcome_unknown(status: &Status) -> bool {
    *status == outcome_unknown()
}

/// The write was sent, and nobody remembers what became of it.
pub(super) fn outcome_forgotten() -> Status {
    Status::timeout(
        "the write was sent and its leader is gone; what became of it is not remembered; look before you repeat it",
    )
}

/// The client has seen a later state than this node could reach in time.
pub(super) fn too_large_resource_version(revision: Revision) -> Status {
    Status::timeout(format!(
        "Too large resource version: {revision}; this node has not reached it yet"
    ))
}

/// The watch history no longer reaches back so far.
pub(super) fn expired(after: Revision, compacted: Compacted) -> Status {
    Status::expired(format!(
        "too old resource version: {after} ({})",
        compacted.oldest
    ))
}
