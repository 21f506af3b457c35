//! Placement: a pure function from (cluster, pending pods) to bindings and reasons why not.
//!
//! An immutable [`Cluster`] goes in, a [`Plan`] comes out; whoever carries it out has every binding verified again by
//! the write path. Deliberately without preemption and without topology constraints across pods.

mod affinity;
mod cluster;
mod demand;
mod filters;
mod plan;
mod queue;
mod requests;
mod scores;
#[cfg(test)]
mod tests;

pub use cluster::Cluster;
pub use plan::{Binding, Plan, plan};
pub use queue::{PODS_PER_PLAN_MAX, PendingPods, wants_node};
pub use requests::{bind, mark_unschedulable};
