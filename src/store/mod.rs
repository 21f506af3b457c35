//! The replicated state machine: an ordered multi-version map with compare-and-set transactions and a watch history.
//!
//! Knows nothing of Raft or Kubernetes: keys are strings, values opaque bytes. `apply` reads neither clock nor chance;
//! the proposer stamps both into the command. Deliberately without secondary indexes: readers build their own.

mod map;
mod types;

pub use map::{Applied, Store, View};
pub use types::*;
