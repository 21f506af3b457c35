//! What a node counts about itself, on a registry of its own (several nodes may share a process in a simulation).
//!
//! Deliberately only what actors know; the machine's and the API's figures register themselves on the same registry.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use prometheus::core::Collector;
use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::wire::Contact;
use crate::raft::{Counters, PeerId, Role, Status, Term};
use crate::store::{Usage, View};

/// Consensus and store figures of one node.
#[derive(Clone)]
pub struct RaftMetrics {
    term: IntGauge,
    commit: IntGauge,
    applied: IntGauge,
    leads: IntGauge,
    leader_changes: IntCounter,
    generation: IntGauge,
    voters: IntGauge,
    keys: IntGauge,
    revision: IntGauge,
    bytes: IntGauge,
    history: IntGauge,
    log: IntGauge,
    events: IntCounterVec,
    counted: Rc<RefCell<Counters>>,
    lag: IntGaugeVec,
    lines: RefCell<BTreeMap<PeerId, IntGauge>>,
    last_leader: Cell<Option<(Term, PeerId)>>,
}

/// Shows a figure on the registry; fails if that has one of its name.
pub(super) fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    made: prometheus::Result<C>,
) -> prometheus::Result<C> {
    let collector = made?;
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

impl RaftMetrics {
    /// Registers the figures; fails if the registry has them already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| registered(registry, IntGauge::new(name, help));
        let changes = IntCounter::new(
            "kagero_raft_leader_changes_total",
            "Times this node saw another leader take over",
        );
        let events = Opts::new(
            "kagero_raft_events_total",
            "What happened in this node's consensus",
        );
        let lag = Opts::new(
            "kagero_peer_lag_entries",
            "Log entries a member lags behind this leader; only on the leader",
        );
        Ok(Self {
            term: gauge("kagero_raft_term", "Raft term of this node")?,
            commit: gauge(
                "kagero_raft_commit_index",
                "Highest log index this node knows committed",
            )?,
            applied: gauge(
                "kagero_raft_applied_index",
                "Highest log index this node has applied",
            )?,
            leads: gauge("kagero_raft_is_leader", "1 while this node leads, else 0")?,
            leader_changes: registered(registry, changes)?,
            generation: gauge(
                "kagero_cluster_generation",
                "Recoveries from a lost majority that this node's cluster has had",
            )?,
            voters: gauge(
                "kagero_raft_voters",
                "Voters in this node's newest configuration",
            )?,
            keys: gauge("kagero_store_keys", "Objects in this node's store")?,
            revision: gauge("kagero_store_revision", "Revision of this node's store")?,
            bytes: gauge("kagero_store_bytes", "Bytes of values in this node's store")?,
            history: gauge(
                "kagero_store_history_bytes",
                "Bytes that this node keeps for watches that begin in the past",
            )?,
            log: gauge(
                "kagero_raft_log_bytes",
                "Bytes of log entries that this node keeps",
            )?,
            events: registered(registry, IntCounterVec::new(events, &["event"]))?,
            counted: Rc::default(),
            lag: registered(registry, IntGaugeVec::new(lag, &["peer"]))?,
            lines: RefCell::default(),
            last_leader: Cell::new(None),
        })
    }

    /// Takes over the state after a step.
    pub(super) fn observe(&self, generation: u64, status: &Status, view: &View) {
        self.generation.set(generation as i64);
        self.term.set(status.term as i64);
        self.commit.set(status.commit as i64);
        self.applied.set(status.applied as i64);
        self.leads.set(i64::from(status.role == Role::Leader));
        self.voters.set(status.configuration.voters.len() as i64);
        self.keys.set(view.len() as i64);
        self.revision.set(view.revision() as i64);
        self.bytes.set(view.value_bytes() as i64);
        self.observe_lag(status);
        self.observe_leader(status);
    }

    /// Takes over the core's counts. A node that takes part in another cluster counts from zero there, and goes on here.
    pub(super) fn count(&self, now: &Counters) {
        let mut before = self.counted.borrow_mut();
        if *before == *now {
            return;
        }
        for ((event, now), (_, before)) in named(now).into_iter().zip(named(&before)) {
            let more = now.checked_sub(before).unwrap_or(now);
            self.events.with_label_values(&[event]).inc_by(more);
        }
        before.clone_from(now);
    }

    /// Takes over what the node keeps beside the objects.
    pub(super) fn hold(&self, usage: &Usage, log_bytes: usize) {
        self.history.set(usage.history_bytes as i64);
        self.log.set(log_bytes as i64);
    }

    /// Highest committed and highest applied index that the node knows.
    pub fn indexes(&self) -> (u64, u64) {
        let read = |gauge: &IntGauge| u64::try_from(gauge.get()).unwrap_or_default();
        (read(&self.commit), read(&self.applied))
    }

    /// What the node's replica was when it was last looked at: its generation, the highest term known to it, the last entry
    /// it had applied, and the store's revision then.
    pub fn reached(&self) -> (u64, u64, u64, u64) {
        let read = |gauge: &IntGauge| u64::try_from(gauge.get()).unwrap_or_default();
        let (generation, term) = (read(&self.generation), read(&self.term));
        (generation, term, read(&self.applied), read(&self.revision))
    }

    /// Bytes of the watch history and of the log.
    pub fn held_bytes(&self) -> (u64, u64) {
        let read = |gauge: &IntGauge| u64::try_from(gauge.get()).unwrap_or_default();
        (read(&self.history), read(&self.log))
    }

    /// What happened in its consensus so far, by name.
    pub fn events(&self) -> Vec<(&'static str, u64)> {
        named(&self.counted.borrow()).to_vec()
    }

    /// A line a member, as long as this node leads and has it; its name is looked up once.
    fn observe_lag(&self, status: &Status) {
        let mut lines = self.lines.borrow_mut();
        if !lines.keys().eq(status.progress.keys()) {
            self.lag.reset();
            let contacts = &status.configuration.contacts;
            let name = |id: &PeerId| {
                let contact = contacts.get(id).map(|bytes| Contact::decode(bytes));
                contact
                    .and_then(Result::ok)
                    .map_or_else(|| id.to_string(), |c| c.name)
            };
            let ids = status.progress.keys();
            *lines = ids
                .map(|id| (*id, self.lag.with_label_values(&[name(id)])))
                .collect();
        }
        for (line, progress) in lines.values().zip(status.progress.values()) {
            line.set(status.last.saturating_sub(progress.matched) as i64);
        }
    }

    /// Counts each leader once, also one that was out of sight for a while.
    fn observe_leader(&self, status: &Status) {
        let Some(leader) = status.leader else { return };
        let now = Some((status.term, leader));
        if self.last_leader.replace(now) != now {
            self.leader_changes.inc();
        }
    }
}

/// The core's counts by the name they have in `/metrics`.
fn named(counters: &Counters) -> [(&'static str, u64); 13] {
    [
        ("dropped_other_cluster", counters.dropped_cluster),
        ("dropped_other_incarnation", counters.dropped_recipient),
        ("dropped_earlier_term", counters.dropped_term),
        ("pre_vote", counters.pre_votes),
        ("election", counters.elections),
        ("election_won", counters.elections_won),
        ("quorum_lost", counters.quorums_lost),
        ("append_refused", counters.appends_refused),
        ("read_round", counters.read_rounds),
        ("snapshot_sent", counters.snapshots_sent),
        ("snapshot_installed", counters.snapshots_installed),
        ("laggard_restored", counters.laggards_restored),
        ("compacted", counters.compactions),
    ]
}

/// Figures that only the leader has: of the whole cluster's pods and nodes.
#[derive(Clone)]
pub struct ClusterMetrics {
    /// Pods by phase.
    pub(super) pods: IntGaugeVec,
    /// Nodes by readiness.
    pub(super) nodes: IntGaugeVec,
    /// CPU that a node's pods use, in cores.
    pub(super) cpu: GaugeVec,
    /// Memory that a node's pods use, in bytes.
    pub(super) memory: IntGaugeVec,
}

impl ClusterMetrics {
    /// Registers the figures; fails if the registry has them already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let pods = Opts::new("kagero_pods", "Pods by phase; only on the leader");
        let nodes = Opts::new("kagero_nodes", "Nodes by readiness; only on the leader");
        let cpu = Opts::new(
            "kagero_pods_cpu_cores",
            "CPU that a node's pods use, in cores; only on the leader",
        );
        let memory = Opts::new(
            "kagero_pods_memory_bytes",
            "Memory that a node's pods use; only on the leader",
        );
        Ok(Self {
            pods: registered(registry, IntGaugeVec::new(pods, &["phase"]))?,
            nodes: registered(registry, IntGaugeVec::new(nodes, &["ready"]))?,
            cpu: registered(registry, GaugeVec::new(cpu, &["node"]))?,
            memory: registered(registry, IntGaugeVec::new(memory, &["node"]))?,
        })
    }

    /// Forgets everything: this node no longer leads.
    pub(super) fn reset(&self) {
        self.pods.reset();
        self.nodes.reset();
        self.cpu.reset();
        self.memory.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::{Configuration, PeerProgress};
    use std::time::Duration;

    fn status(term: Term, leader: Option<u64>, followers: &[u64]) -> Status {
        let progress = PeerProgress {
            matched: 4,
            silent: Duration::ZERO,
            gone: false,
            caught_up: true,
            snapshot: None,
        };
        let progress = followers.iter().map(|id| (PeerId(*id), progress.clone()));
        Status {
            id: PeerId(1),
            role: Role::Leader,
            term,
            leader: leader.map(PeerId),
            last: 9,
            commit: 9,
            applied: 9,
            configuration: Configuration::default(),
            progress: progress.collect(),
        }
    }

    #[test]
    fn a_leader_counts_once_and_who_left_has_no_lag() {
        let registry = Registry::new();
        let metrics = RaftMetrics::new(&registry).unwrap();
        let view = crate::store::Store::new().view();
        let lags = || {
            let families = registry.gather();
            let lag = families
                .iter()
                .find(|f| f.name() == "kagero_peer_lag_entries");
            lag.map_or(0, |lag| lag.get_metric().len())
        };
        metrics.observe(0, &status(1, Some(1), &[2, 3]), &view);
        metrics.observe(0, &status(1, None, &[]), &view);
        metrics.observe(0, &status(1, Some(1), &[2, 3]), &view);
        assert_eq!((metrics.leader_changes.get(), lags()), (1, 2));
        metrics.observe(0, &status(2, Some(1), &[3]), &view);
        assert_eq!((metrics.leader_changes.get(), lags()), (2, 1));
    }

    #[test]
    fn what_the_core_counts_is_taken_over_once() {
        let registry = Registry::new();
        let metrics = RaftMetrics::new(&registry).unwrap();
        let mut counters = Counters {
            elections: 2,
            ..Counters::default()
        };
        let elections = || metrics.events.with_label_values(&["election"]).get();
        metrics.count(&counters);
        metrics.count(&counters);
        assert_eq!(elections(), 2);
        counters.elections = 3;
        metrics.count(&counters);
        assert_eq!(elections(), 3);
        metrics.count(&Counters::default());
        assert_eq!(elections(), 3, "another cluster begins at zero");
    }
}
