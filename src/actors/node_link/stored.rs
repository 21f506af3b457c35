//! Whether the store calls the node what its link wrote last, and the node's next word if it does not.
//!
//! Somebody else may write last: the link to the node's earlier process, whose word of its silence was on the way, or
//! anybody who may write Nodes. A node that goes on saying the same would then be called silent for ever.

use actix::prelude::*;

use super::NodeLink;

/// Whether the store calls the node ready.
pub(super) struct Readiness {
    /// As far as this link wrote it.
    pub(super) written: bool,
    /// As far as this leader has seen.
    pub(super) stored: bool,
}

/// The store calls the node ready, or does so no more.
#[derive(Message)]
#[rtype(result = "()")]
pub(in super::super) struct Stored(pub(in super::super) bool);

impl NodeLink {
    /// Takes the store's word for what was written, unless there is more to write; the node's own is then news again.
    pub(super) fn compare_with_store(&mut self) {
        let written = !self.writing && self.status.is_none();
        if written && self.ready.written != self.ready.stored {
            self.ready.written = self.ready.stored;
            self.told = None;
        }
    }
}

impl Handler<Stored> for NodeLink {
    type Result = ();

    fn handle(&mut self, Stored(ready): Stored, _: &mut Self::Context) {
        self.ready.stored = ready;
        self.compare_with_store();
    }
}
