//! The node's side: the pod machine, a pure function from (desired pods, inventory, now) to actions and statuses.
//!
//! What the kubelet's sync loop decides, without doing it: `actors::node_agent` performs the actions against an
//! `env::runtime::ContainerRuntime` and feeds the outcomes back. Deliberately absent: probes and volumes beyond
//! ConfigMap, Secret, downward API, projected, emptyDir and hostPath.

mod node;
mod operation;
mod pod;
pub mod render;
mod status;
#[cfg(test)]
mod tests;
mod types;

pub use node::{Agent, Census, Leases};
pub use operation::*;
pub use render::NodeInfo;
pub use types::*;
