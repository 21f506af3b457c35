//! Who asks.
//!
//! There is no authentication yet: without TLS no credential may be sent, so every caller is the same anonymous
//! administrator, and nodes listen on loopback only unless told otherwise. Certificates and tokens will be checked
//! here, and nowhere else.

use actix_web::HttpRequest;

/// A caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Kubernetes' user name.
    pub(super) user: String,
}

impl Identity {
    /// Extracts the caller of a request. Today everybody is `system:anonymous`, and may do everything.
    pub(super) fn of(_request: &HttpRequest) -> Self {
        Self {
            user: "system:anonymous".to_owned(),
        }
    }
}
