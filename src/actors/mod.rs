//! actix shells around the pure cores; they carry messages and perform effects, nothing more.
//!
//! Knows nothing of HTTP. Neighbours come in by constructor as `Recipient`s or `Addr`s, never by registry.

mod admission;
mod adoption;
pub mod archive;
mod assignments;
pub mod caller;
pub mod claimant;
mod cloud_word;
pub mod controller_host;
mod describe;
pub mod dial;
pub mod doors;
pub mod eviction_watcher;
mod formation;
mod founding_state;
pub mod gate;
mod generation_record;
pub mod hand_over;
pub mod informer;
pub mod joiner;
pub mod leader_door;
mod lease;
pub mod link_end;
pub mod logs;
pub mod manifests;
mod member;
pub mod membership;
pub mod messages;
pub mod metrics;
pub mod node_agent;
pub mod node_link;
pub mod node_links;
pub mod node_messages;
mod node_operations;
mod node_status;
pub mod peers;
pub mod raft_peer;
pub mod recovery;
mod refusals;
pub mod registration;
mod removal;
pub mod rosters;
pub mod scheduler;
pub mod server;
pub mod snapshots;
pub mod spoken;
pub mod store_front;
#[cfg(test)]
mod test_leader;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod waiters;
pub mod wire;
