//! The replicated state machine: an ordered multi-version map with compare-and-set transactions and a watch history.
//!
//! Knows nothing of Raft or Kubernetes: keys are strings, values opaque bytes. `apply` reads neither clock nor chance;
//! the proposer stamps both into the command. Deliberately without secondary indexes: readers build their own.
//!
//! The replicated state is the [`View`] and the remembered [`Outcome`]s: two stores that applied the same commands hold
//! the same of both, and a [`Snapshot`] carries both. The watch history is each replica's own and starts empty.

mod apply;
mod command;
mod hash;
mod history;
mod outcomes;
mod recall;
mod snapshot;
#[cfg(test)]
mod tests;
mod types;
mod view;

pub use apply::{Applied, Store, Usage};
pub use command::{COMMAND_VERSION, CommandError};
pub use history::{Compacted, HISTORY_BYTES_MAX, HISTORY_EVENTS_MAX, HistoryBounds};
pub use outcomes::OUTCOMES_REMEMBERED_MAX;
pub use recall::{Past, Recalled};
pub use snapshot::{Encoder, RestoreError, SNAPSHOT_VERSION, Snapshot, checksum};
pub use types::*;
pub use view::View;
