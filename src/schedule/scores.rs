//! Which of the nodes that can take a pod is the best: a table of costs.
//!
//! Costs are compared one after the other, not summed with weights as in Kubernetes: spreading a controller's pods
//! over machines that won't last must not be outvoted by a few percent of load. Deliberately without chance; ties are
//! the plan's to break.

use super::affinity;
use super::cluster::NodeState;
use super::filters::Wanted;
use crate::resource::taints::{taints, tolerates};

/// Costs of one node for one pod, the most important first; lower is better.
pub(crate) type Cost = [i64; SCORES.len()];

type Score = fn(Wanted<'_>, &NodeState) -> i64;

const SCORES: [Score; 5] = [
    avoided_taints,
    missed_preferences,
    replicas_here,
    allocated_permille,
    pods_here,
];

/// What placing the pod on the node would cost.
pub(crate) fn cost(wanted: Wanted<'_>, state: &NodeState) -> Cost {
    SCORES.map(|score| score(wanted, state))
}

fn avoided_taints(wanted: Wanted<'_>, state: &NodeState) -> i64 {
    let taints = state.node.as_deref().map(taints).unwrap_or_default();
    let soft = taints.iter().filter(|t| t.effect == "PreferNoSchedule");
    soft.filter(|t| !tolerates(wanted.pod, t)).count() as i64
}

fn missed_preferences(wanted: Wanted<'_>, state: &NodeState) -> i64 {
    let node = state.node.as_deref();
    node.map_or(0, |node| affinity::preference_missed(wanted.pod, node))
}

fn replicas_here(wanted: Wanted<'_>, state: &NodeState) -> i64 {
    let owner = wanted.demand.owner.as_ref();
    let here = owner.and_then(|owner| state.owners.get(owner));
    here.copied().map_or(0, i64::from)
}

/// The mean of CPU and memory in use, in thousandths of what there is, with the pod placed.
fn allocated_permille(wanted: Wanted<'_>, state: &NodeState) -> i64 {
    let permille = |taken: u128, max: u64| {
        i64::try_from(taken * 1_000 / u128::from(max.max(1))).unwrap_or(i64::MAX)
    };
    let cpu = state.likely_cpu_millis + u128::from(wanted.demand.likely_cpu_millis);
    let memory = state.likely_memory_bytes + u128::from(wanted.demand.likely_memory_bytes);
    let cpu = permille(cpu, state.cpu_millis_max);
    i64::midpoint(cpu, permille(memory, state.memory_bytes_max))
}

fn pods_here(_: Wanted<'_>, state: &NodeState) -> i64 {
    state.pods as i64
}
