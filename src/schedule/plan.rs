//! Where each of a batch of pending pods goes.
//!
//! Pods of one controller with one spec form a class: every node is filtered and scored once for the class, and after
//! each placement only the chosen node again. So n identical pods cost one pass over the nodes and n logarithms.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt::Write as _;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use rand::RngCore;

use super::cluster::{Cluster, NodeState};
use super::demand::{Demand, controller_uid};
use super::filters::{Reason, Wanted, refusals};
use super::scores::{Cost, cost};
use crate::resource::ObjectKey;

/// One pod's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The pod.
    pub pod: ObjectKey,
    /// The node's name.
    pub node: String,
}

/// What to do about a batch of pending pods; each of them is in one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Pods that have a place, in the order in which they were given it.
    pub bindings: Vec<Binding>,
    /// Pods that have none, and why, in Kubernetes' words.
    pub unschedulable: Vec<(ObjectKey, String)>,
}

/// Places pods in order of priority, then of `pending`; a class is placed whole at its first pod's turn. Equal nodes
/// are told apart by chance, so that several clusters' first nodes do not always fill first.
pub fn plan(
    cluster: &Cluster,
    pending: &[(ObjectKey, Arc<Pod>)],
    entropy: &mut dyn RngCore,
) -> Plan {
    let mut cluster = cluster.clone();
    let mut plan = Plan::default();
    for class in classes(pending) {
        place(&mut cluster, &class, entropy, &mut plan);
    }
    plan
}

type Class<'a> = Vec<&'a (ObjectKey, Arc<Pod>)>;

fn classes(pending: &[(ObjectKey, Arc<Pod>)]) -> Vec<Class<'_>> {
    let priority = |pod: &Pod| pod.spec.as_ref().and_then(|s| s.priority).unwrap_or(0);
    let mut ordered: Class<'_> = pending.iter().collect();
    ordered.sort_by_key(|(_, pod)| Reverse(priority(pod)));
    let mut classes: Vec<Class<'_>> = Vec::new();
    let mut of_controller = BTreeMap::<(&str, &str), Vec<usize>>::new();
    for item in ordered {
        let Some(uid) = controller_uid(&item.1) else {
            classes.push(vec![item]);
            continue;
        };
        let known = of_controller.entry((&item.0.namespace, uid)).or_default();
        let like = |at: &&usize| classes[**at][0].1.spec == item.1.spec;
        if let Some(&at) = known.iter().find(like) {
            classes[at].push(item);
        } else {
            known.push(classes.len());
            classes.push(vec![item]);
        }
    }
    classes
}

/// A node that can take the class's next pod.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    cost: Cost,
    tie: u32,
    node: Arc<str>,
}

fn place(cluster: &mut Cluster, class: &Class<'_>, entropy: &mut dyn RngCore, plan: &mut Plan) {
    let pod = &*class[0].1;
    let demand = match Demand::of(pod) {
        Ok(demand) => Arc::new(demand),
        Err(error) => {
            let refused = class
                .iter()
                .map(|(key, _)| (key.clone(), error.to_string()));
            return plan.unschedulable.extend(refused);
        }
    };
    let wanted = Wanted {
        pod,
        demand: &demand,
    };
    let candidates = cluster.nodes.iter();
    let mut candidates: BinaryHeap<_> = candidates
        .filter_map(|(name, state)| candidate(wanted, name, state, entropy.next_u32()))
        .map(Reverse)
        .collect();
    let mut pods = class.iter();
    for (key, _) in pods.by_ref() {
        let Some(Reverse(best)) = candidates.pop() else {
            let why = explain(wanted, cluster);
            plan.unschedulable.push((key.clone(), why.clone()));
            let rest = pods.map(|(key, _)| (key.clone(), why.clone()));
            return plan.unschedulable.extend(rest);
        };
        cluster.place(key.clone(), &best.node, demand.clone());
        plan.bindings.push(Binding {
            pod: key.clone(),
            node: best.node.to_string(),
        });
        let state = &cluster.nodes[&best.node];
        candidates.extend(candidate(wanted, &best.node, state, best.tie).map(Reverse));
    }
}

fn candidate(
    wanted: Wanted<'_>,
    name: &Arc<str>,
    state: &NodeState,
    tie: u32,
) -> Option<Candidate> {
    refusals(wanted, state)?.is_empty().then(|| Candidate {
        cost: cost(wanted, state),
        tie,
        node: name.clone(),
    })
}

/// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {a: b}.`
fn explain(wanted: Wanted<'_>, cluster: &Cluster) -> String {
    let refused = cluster.nodes.values();
    let refused: Vec<_> = refused.filter_map(|s| refusals(wanted, s)).collect();
    if refused.is_empty() {
        return "no nodes available to schedule pods".into();
    }
    let mut counts = BTreeMap::<&Reason, usize>::new();
    for reason in refused.iter().flatten() {
        *counts.entry(reason).or_default() += 1;
    }
    let mut reasons: Vec<_> = counts.iter().map(|(r, n)| format!("{n} {r}")).collect();
    reasons.sort();
    let mut text = format!("0/{} nodes are available:", refused.len());
    for (position, reason) in reasons.iter().enumerate() {
        let separator = if position == 0 { "" } else { "," };
        write!(text, "{separator} {reason}").expect("writing into a String cannot fail");
    }
    text + "."
}
