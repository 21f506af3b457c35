//! The composition root: one node out of its parts, given its edges.
//!
//! The same function builds the node that ships and the node that is simulated; they differ in their [`Env`] alone.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::env::Env;

/// What an operator says of a node (`kagero run`).
#[derive(Clone, Debug)]
pub struct Options {
    /// The node's name, a DNS-1123 label; unique in the cluster.
    pub name: String,
    /// Where peers reach it, `host:port`; port 0 picks a free one.
    pub listen: String,
    /// What peers dial instead of `listen`, `host:port`, where the two differ.
    pub advertise: Option<String>,
    /// Where the Kubernetes API listens, `host:port`; port 0 picks a free one.
    pub api: String,
    /// `host:port` of every seed's peer address, itself included if it is one.
    pub seeds: Vec<String>,
    /// Voters wanted: 1, 3 or 5.
    pub voters: usize,
    /// Whether this node may vote.
    pub may_vote: bool,
    /// Form a new cluster of this node alone if no seed is in one.
    pub init: bool,
    /// Labels of its Node object, beside the standard ones.
    pub labels: BTreeMap<String, String>,
    /// Identifies the machine over restarts of the process (`/etc/machine-id` or the name).
    pub machine_id: String,
    /// Identifies one boot of it.
    pub boot_id: String,
    /// CPU that pods may use, millicores.
    pub cpu_millis: u64,
    /// Memory that pods may use, bytes.
    pub memory_bytes: u64,
    /// Most pods it takes (Kubernetes' default is 110).
    pub pods_max: u64,
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    /// Bound peer address.
    pub peer_address: SocketAddr,
    /// Bound API address.
    pub api_address: SocketAddr,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address could not be listened at.
    #[error("cannot listen at {address} ({flag}): {error}")]
    Listen {
        /// Which flag gave it.
        flag: &'static str,
        /// The address.
        address: String,
        /// The reason.
        error: std::io::Error,
    },
}

/// Starts a node inside the current actix system (or simulated host). Returns once it listens; it looks for its
/// cluster in the background.
pub async fn start(_env: Env, _options: Options) -> Result<Node, StartError> {
    unimplemented!("replaced by the integration of the rooms")
}
