//! Which nodes can take a pod: a table of filters, in Kubernetes' order and words.
//!
//! The first filter that refuses a node gives its reasons. Deliberately without any preference; `scores.rs` has those.

use std::fmt;

use k8s_openapi::api::core::v1::{Node, Pod, Taint};

use super::affinity;
use super::cluster::{NodeState, allocatable};
use super::demand::Demand;
use crate::resource::quantity::Quantity;
use crate::resource::taints::{taints, tolerates};

/// A pod to place, with what it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) demand: &'a Demand,
}

/// Why a node cannot take a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    Unschedulable,
    Untolerated { key: String, value: String },
    Evicting,
    Affinity,
    Ports,
    TooManyPods,
    Insufficient(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unschedulable => f.write_str("node(s) were unschedulable"),
            Self::Untolerated { key, value } => {
                write!(f, "node(s) had untolerated taint {{{key}: {value}}}")
            }
            Self::Evicting => f.write_str("node(s) were about to be taken away"),
            Self::Affinity => f.write_str("node(s) didn't match Pod's node affinity/selector"),
            Self::Ports => {
                f.write_str("node(s) didn't have free ports for the requested pod ports")
            }
            Self::TooManyPods => f.write_str("Too many pods"),
            Self::Insufficient(resource) => write!(f, "Insufficient {resource}"),
        }
    }
}

type Filter = fn(Wanted<'_>, &Node, &NodeState) -> Vec<Reason>;

/// In the order in which Kubernetes asks; it does not know of evictions.
const FILTERS: [Filter; 7] = [
    cordon, readiness, taint, eviction, selection, ports, resources,
];

/// Why the node cannot take the pod; empty if it can. `None` if there is no such node at all.
pub(crate) fn refusals(wanted: Wanted<'_>, state: &NodeState) -> Option<Vec<Reason>> {
    let node = state.node.as_deref()?;
    let refused = FILTERS.iter().map(|filter| filter(wanted, node, state));
    Some(
        refused
            .into_iter()
            .find(|r| !r.is_empty())
            .unwrap_or_default(),
    )
}

fn cordon(wanted: Wanted<'_>, node: &Node, _: &NodeState) -> Vec<Reason> {
    let cordoned = node.spec.as_ref().and_then(|s| s.unschedulable) == Some(true);
    let taint = no_schedule("node.kubernetes.io/unschedulable");
    if cordoned && !tolerates(wanted.pod, &taint) {
        return vec![Reason::Unschedulable];
    }
    Vec::new()
}

/// A node that is not ready counts as tainted already: its life-cycle controller is about to.
fn readiness(wanted: Wanted<'_>, _: &Node, state: &NodeState) -> Vec<Reason> {
    if state.ready {
        return Vec::new();
    }
    let taint = no_schedule("node.kubernetes.io/not-ready");
    untolerated(wanted.pod, &taint).into_iter().collect()
}

fn taint(wanted: Wanted<'_>, node: &Node, _: &NodeState) -> Vec<Reason> {
    let hard = taints(node)
        .iter()
        .filter(|t| matches!(t.effect.as_str(), "NoSchedule" | "NoExecute"));
    let mut refused = hard.filter_map(|t| untolerated(wanted.pod, t));
    refused.next().into_iter().collect()
}

/// A pod that somebody replaces is replaced as soon as the end of its node's machine is announced: on such a node it would
/// be again and again, whatever it tolerates.
fn eviction(wanted: Wanted<'_>, _: &Node, state: &NodeState) -> Vec<Reason> {
    if state.evicting && wanted.demand.owner.is_some() {
        return vec![Reason::Evicting];
    }
    Vec::new()
}

fn selection(wanted: Wanted<'_>, node: &Node, _: &NodeState) -> Vec<Reason> {
    if affinity::required(wanted.pod, node) {
        return Vec::new();
    }
    vec![Reason::Affinity]
}

fn ports(wanted: Wanted<'_>, _: &Node, state: &NodeState) -> Vec<Reason> {
    let mut wanted = wanted.demand.ports.iter();
    if wanted.any(|w| state.ports.iter().any(|taken| taken.meets(w))) {
        return vec![Reason::Ports];
    }
    Vec::new()
}

/// All that is lacking, as people want to know it at once. What is not asked for is never lacking.
fn resources(wanted: Wanted<'_>, node: &Node, state: &NodeState) -> Vec<Reason> {
    let Demand {
        cpu_millis,
        memory_bytes,
        ref extended,
        ..
    } = *wanted.demand;
    let lacks = |asked: u64, taken: u128, max: u64| {
        asked > 0 && taken + u128::from(asked) > u128::from(max)
    };
    let mut reasons = Vec::new();
    if state.pods + 1 > state.pods_max {
        reasons.push(Reason::TooManyPods);
    }
    if lacks(cpu_millis, state.cpu_millis, state.cpu_millis_max) {
        reasons.push(Reason::Insufficient("cpu".into()));
    }
    if lacks(memory_bytes, state.memory_bytes, state.memory_bytes_max) {
        reasons.push(Reason::Insufficient("memory".into()));
    }
    for (name, &asked) in extended {
        let taken = state.extended.get(name).copied().unwrap_or_default();
        let max = allocatable(Some(node), name).map_or(0, Quantity::value);
        if lacks(asked, taken, max) {
            reasons.push(Reason::Insufficient(name.clone()));
        }
    }
    reasons
}

fn no_schedule(key: &str) -> Taint {
    Taint {
        key: key.into(),
        effect: "NoSchedule".into(),
        ..Taint::default()
    }
}

fn untolerated(pod: &Pod, taint: &Taint) -> Option<Reason> {
    (!tolerates(pod, taint)).then(|| Reason::Untolerated {
        key: taint.key.clone(),
        value: taint.value.clone().unwrap_or_default(),
    })
}
