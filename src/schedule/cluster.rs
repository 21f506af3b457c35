//! The scheduler's picture of the cluster: each node with the sum of what its pods take.
//!
//! Kept up to date change by change, never rebuilt; cheap to clone, so that a plan works on a copy. Deliberately
//! without pending pods.

use std::sync::Arc;

use imbl::OrdMap;
use k8s_openapi::api::core::v1::{Node, Pod};

use super::demand::{Demand, HostPort};
use crate::resource::cache::{Cached, Change};
use crate::resource::nodes::{eviction, is_ready};
use crate::resource::pods::{is_terminated, node_name};
use crate::resource::quantity::Quantity;
use crate::resource::{Cache, ObjectKey};

/// Pods a node takes that does not say how many: Kubernetes' default.
const PODS_MAX_DEFAULT: u64 = 110;

/// One node, with what is taken of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeState {
    /// `None` while pods are bound to a name whose Node object does not exist (yet, or any more).
    pub(crate) node: Option<Arc<Node>>,
    pub(crate) ready: bool,
    /// The end of its machine is announced.
    pub(crate) evicting: bool,
    pub(crate) cpu_millis_max: u64,
    pub(crate) memory_bytes_max: u64,
    pub(crate) pods_max: u64,
    /// Sums over its pods, wider than what one pod can ask for: a client may bind any number of them by itself.
    pub(crate) cpu_millis: u128,
    pub(crate) memory_bytes: u128,
    pub(crate) likely_cpu_millis: u128,
    pub(crate) likely_memory_bytes: u128,
    pub(crate) pods: u64,
    /// Devices and huge pages taken, by resource.
    pub(crate) extended: OrdMap<String, u128>,
    pub(crate) ports: Vec<HostPort>,
    /// Pods here of each controller, by its UID.
    pub(crate) owners: OrdMap<String, u32>,
}

/// Where a pod is counted, and as what.
#[derive(Clone, Debug)]
struct Placed {
    node: Arc<str>,
    demand: Arc<Demand>,
    /// Its binding is under way, the cache does not show it yet.
    assumed: bool,
}

/// All nodes and what they carry.
///
/// Invariant: each node's sums are those of exactly the pods in `placed` that name it.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub(crate) nodes: OrdMap<Arc<str>, Arc<NodeState>>,
    placed: OrdMap<ObjectKey, Placed>,
}

impl Cluster {
    /// The picture of what a cache holds.
    pub fn of(cache: &Cache) -> Self {
        let mut cluster = Self::default();
        for (key, _) in cache.list::<Node>() {
            cluster.refresh_node(cache, &key.name);
        }
        for (key, _) in cache.list::<Pod>() {
            cluster.refresh_pod(cache, key);
        }
        cluster
    }

    /// Takes one change. Returns whether it may let a pod run that did not fit before: a node that came or changed
    /// (its mere heartbeat is not stored), a pod that left one.
    pub fn take(&mut self, change: &Change, cache: &Cache) -> bool {
        if change.prefix == Node::PREFIX {
            self.refresh_node(cache, &change.key.name);
            cache.get::<Node>(&change.key).is_some()
        } else if change.prefix == Pod::PREFIX {
            let before = self.placed.contains_key(&change.key);
            self.refresh_pod(cache, &change.key);
            before && !self.placed.contains_key(&change.key)
        } else {
            false
        }
    }

    /// Counts a pod on a node before the cache says so, because its binding is under way. Ends when the cache shows
    /// it bound, over or gone, or by [`withdraw`](Self::withdraw).
    pub fn assume(&mut self, key: ObjectKey, pod: &Pod, node: &str) {
        self.put(key, node, Arc::new(demand_of(pod)), true);
    }

    /// The binding came to nothing: counts the pod as the cache has it.
    pub fn withdraw(&mut self, cache: &Cache, key: &ObjectKey) {
        self.forget(key);
        self.refresh_pod(cache, key);
    }

    pub(crate) fn place(&mut self, key: ObjectKey, node: &str, demand: Arc<Demand>) {
        self.put(key, node, demand, false);
    }

    fn refresh_pod(&mut self, cache: &Cache, key: &ObjectKey) {
        let pod = cache.get::<Pod>(key).filter(|pod| !is_terminated(pod));
        let node = pod.and_then(|pod| node_name(pod));
        match (pod, node) {
            (Some(pod), Some(node)) => {
                self.put(key.clone(), node, Arc::new(demand_of(pod)), false);
            }
            (Some(_), None) if self.placed.get(key).is_some_and(|p| p.assumed) => {}
            _ => self.forget(key),
        }
    }

    fn put(&mut self, key: ObjectKey, node: &str, demand: Arc<Demand>, assumed: bool) {
        self.forget(&key);
        let node: Arc<str> = node.into();
        self.change(&node, |state| state.add(&demand));
        let placed = Placed {
            node,
            demand,
            assumed,
        };
        self.placed.insert(key, placed);
    }

    fn forget(&mut self, key: &ObjectKey) {
        if let Some(Placed { node, demand, .. }) = self.placed.remove(key) {
            self.change(&node, |state| state.subtract(&demand));
        }
    }

    fn refresh_node(&mut self, cache: &Cache, name: &str) {
        let node = cache.get::<Node>(&ObjectKey::new("", name)).cloned();
        self.change(&name.into(), |state| state.describe(node));
    }

    fn change(&mut self, name: &Arc<str>, change: impl FnOnce(&mut NodeState)) {
        let mut state = self.nodes.remove(name).unwrap_or_default();
        change(Arc::make_mut(&mut state));
        if state.node.is_some() || state.pods > 0 {
            self.nodes.insert(name.clone(), state);
        }
    }
}

impl NodeState {
    fn describe(&mut self, node: Option<Arc<Node>>) {
        let amount = |name: &str| allocatable(node.as_deref(), name);
        self.cpu_millis_max = amount("cpu").map_or(0, Quantity::millis);
        self.memory_bytes_max = amount("memory").map_or(0, Quantity::value);
        self.pods_max = amount("pods").map_or(PODS_MAX_DEFAULT, Quantity::value);
        self.ready = node.as_deref().is_some_and(is_ready);
        self.evicting = node.as_deref().and_then(eviction).is_some();
        self.node = node;
    }

    fn add(&mut self, demand: &Demand) {
        self.cpu_millis += u128::from(demand.cpu_millis);
        self.memory_bytes += u128::from(demand.memory_bytes);
        self.likely_cpu_millis += u128::from(demand.likely_cpu_millis);
        self.likely_memory_bytes += u128::from(demand.likely_memory_bytes);
        self.pods += 1;
        for (name, amount) in &demand.extended {
            *self.extended.entry(name.clone()).or_default() += u128::from(*amount);
        }
        self.ports.extend(demand.ports.iter().cloned());
        if let Some(owner) = &demand.owner {
            *self.owners.entry(owner.clone()).or_default() += 1;
        }
    }

    fn subtract(&mut self, demand: &Demand) {
        assert!(self.pods > 0, "only what was added is subtracted");
        self.cpu_millis -= u128::from(demand.cpu_millis);
        self.memory_bytes -= u128::from(demand.memory_bytes);
        self.likely_cpu_millis -= u128::from(demand.likely_cpu_millis);
        self.likely_memory_bytes -= u128::from(demand.likely_memory_bytes);
        self.pods -= 1;
        for (name, amount) in &demand.extended {
            let taken = self.extended.remove(name).unwrap_or_default();
            let left = taken - u128::from(*amount);
            if left > 0 {
                self.extended.insert(name.clone(), left);
            }
        }
        for port in &demand.ports {
            if let Some(at) = self.ports.iter().position(|p| p == port) {
                self.ports.swap_remove(at);
            }
        }
        if let Some(owner) = &demand.owner {
            let left = self
                .owners
                .remove(owner)
                .unwrap_or_default()
                .saturating_sub(1);
            if left > 0 {
                self.owners.insert(owner.clone(), left);
            }
        }
    }
}

/// An unreadable request was refused when the pod was written; were it not, it would count as nothing.
fn demand_of(pod: &Pod) -> Demand {
    Demand::of(pod).unwrap_or_default()
}

pub(crate) fn allocatable(node: Option<&Node>, name: &str) -> Option<Quantity> {
    let status = node?.status.as_ref()?;
    let amounts = status.allocatable.as_ref().or(status.capacity.as_ref())?;
    Quantity::parse(&amounts.get(name)?.0).ok()
}
