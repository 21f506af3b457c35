//! Failures that HTTP itself gives, of negotiation, bodies and deadlines, where `resource::Status` has no words yet.

use crate::resource::Status;

/// 406: nothing that the client accepts is served here.
pub(super) fn not_acceptable() -> Status {
    let message = "only the following media types are accepted: application/json";
    Status::new(406, "NotAcceptable", message)
}

/// 413: the body is longer than `limit` bytes.
pub(super) fn too_large(limit: usize) -> Status {
    Status::too_large(format!("Request entity too large: limit is {limit}"))
}

/// 415: the body's content type is none of `accepted`.
pub(super) fn unsupported_media_type(accepted: &str) -> Status {
    Status::unsupported_media_type(format!(
        "the body of the request was in an unknown format - accepted media types include: {accepted}"
    ))
}

/// 503: an actor of this node is gone, so the node is stopping. A write may still have happened, so clients are not
/// told to repeat it.
pub(super) fn stopping() -> Status {
    Status::unavailable("this node is stopping")
}

/// 504: no answer in time. A write may still have happened.
pub(super) fn timeout(seconds: u64) -> Status {
    Status::timeout(format!(
        "request did not complete within {seconds} s; it may still take effect"
    ))
}
