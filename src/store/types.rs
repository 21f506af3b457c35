//! Commands, transactions, records and events: what goes into the store and what comes out of it.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The global revision: one more for each transaction that changed something. 0 is "before the first".
pub type Revision = u64;

/// Names one proposal for ever, so that a retry of it is answered and not executed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProposalId {
    /// The proposing incarnation.
    pub origin: u64,
    /// Counts up within it.
    pub sequence: u64,
}

/// What one log entry asks of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// For de-duplication and for finding the waiter.
    pub id: ProposalId,
    /// The proposer's wall clock, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// What to do.
    pub transaction: Transaction,
}

/// Applied whole or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transaction {
    /// Every one must hold.
    pub compare: Vec<Compare>,
    /// Then all of these happen, at one revision. A key appears at most once.
    pub operations: Vec<Operation>,
}

/// A condition: the key's modification revision is exactly this (0: the key is absent).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compare {
    /// The key.
    pub key: String,
    /// Its expected modification revision.
    pub mod_revision: Revision,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Operation {
    /// Sets a key.
    Put {
        /// The key.
        key: String,
        /// Its new value.
        value: Bytes,
    },
    /// Removes a key; removing an absent key is no change.
    Delete {
        /// The key.
        key: String,
    },
}

/// What a transaction came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Applied; the store's revision after it.
    Committed {
        /// The new global revision.
        revision: Revision,
    },
    /// A comparison failed; nothing changed.
    Conflict {
        /// The first key whose comparison failed.
        key: String,
        /// Its actual modification revision, 0 when absent.
        actual: Revision,
    },
}

/// A key's current state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Revision at which the key came into being.
    pub create_revision: Revision,
    /// Revision of its last change.
    pub mod_revision: Revision,
    /// Changes since it came into being, from 1.
    pub version: u64,
    /// The value.
    pub value: Bytes,
}

/// One change of one key, for watchers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The revision of the change (events of one transaction share it).
    pub revision: Revision,
    /// The key.
    pub key: Arc<str>,
    /// What it was before, `None` if it was absent.
    pub previous: Option<Record>,
    /// What it is now, `None` if deleted.
    pub current: Option<Record>,
}
