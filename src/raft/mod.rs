//! Consensus: a pure core, `step(input, now) → Ready`.
//!
//! Knows nothing of async, sockets, clocks or Kubernetes; payloads are opaque bytes. It never touches a disk either:
//! a peer is one *incarnation* of a process, made at its start and never reused, so "a server that restarts" does not
//! exist here, only servers that stop and others that join (DESIGN.md, Consensus without a disk).
//!
//! `node.rs` is the peer and its step function; the rules are `impl Raft` blocks in `election.rs`, `replication.rs`,
//! `read.rs`, `snapshot.rs`, `membership.rs` and `transfer.rs`; what they act on is in `log.rs`, `progress.rs` and
//! `leadership.rs`; `quorum.rs` counts. `roster.rs` plans membership and is called by the leader's shell, not by the
//! core; so is `recovery.rs`, which judges whether a lost majority may be done without: that makes a new generation and
//! so new peers. [`Raft::log`] and its neighbours are a window to read through, and `show.rs` the words for it: the
//! simulation's checkers and traces need both (`sim/src/core`). Deliberately absent: forwarding of proposals, and lease
//! reads.

mod election;
mod leadership;
mod log;
mod membership;
mod message;
mod node;
mod progress;
mod quorum;
mod read;
mod recovery;
mod replication;
mod roster;
pub mod show;
mod snapshot;
mod transfer;
mod types;

pub use log::Log;
pub use message::{Chunk, Message};
pub use node::Raft;
pub use recovery::{
    Account, Evidence, Fate, Fated, Place, Position, RecoveryPlan, RecoveryRefused, Testimony,
    plan_recovery,
};
pub use roster::{Candidate, Limits, plan_membership};
pub use types::*;

#[cfg(test)]
mod testing;
