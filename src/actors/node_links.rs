//! The leader's links to all nodes: one [`NodeLink`] for each Node object, and what each must be told of a change.
//!
//! Deliberately without connections of its own and without opinions about placement: a pod's node is its
//! `spec.nodeName`, a node's address its registration.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use k8s_openapi::api::core::v1::{Node, Pod};

use super::adoption::{Adoption, adoptions, namespaces};
use super::assignments::needs;
use super::founding_state::FoundingState;
use super::informer::{CacheBegan, CacheChanged, CacheEnded};
use super::messages::Submit;
use super::metrics::ClusterMetrics;
use super::node_link::stored::Stored;
use super::node_link::{Hang, Neighbours, NodeLink, Target};
use super::node_messages::HeldPod;
use super::node_status::Machine;
use super::raft_peer::{GetStatus, Propose, ProposeError, RaftPeer};
use super::registration::registered;
use super::spoken::NodeSpoke;
use super::wire::Contact;
use crate::control::{EventSource, Level, event};
use crate::env::Env;
use crate::env::clock::Clock;
use crate::env::entropy::Entropy;
use crate::env::network::Network;
use crate::raft::{ClusterId, PeerId, Term};
use crate::resource::cache::Change;
use crate::resource::nodes::{eviction, is_ready};
use crate::resource::{Cache, ObjectKey, time};
use crate::store::{Outcome, Revision};

mod leases;
mod unique;

use leases::Leases;
pub(super) use unique::ReplyHeard;
use unique::bound_unique;

/// How often the cluster's figures are counted anew.
const COUNT_MS: u64 = 1_000;

/// Pause before pods that could not be written are tried again.
const ADOPT_AGAIN_MS: u64 = 500;

/// What the parent knows of one link.
struct Line {
    link: Addr<NodeLink>,
    id: PeerId,
    address: String,
    /// Whether the store calls the node ready, as the link was told last.
    ready: bool,
}

/// Where a pod was last seen bound.
#[derive(Clone, PartialEq, Eq)]
struct Place {
    node: String,
    uid: String,
}

/// What exists only while this node leads.
struct Reign {
    term: Term,
    cluster: Option<ClusterId>,
    /// The leader's own peer address, once the cluster is known.
    leader: String,
    cache: Cache,
    lines: BTreeMap<String, Line>,
    /// Every bound pod's place. Invariant: what the nodes were told, or will be when their link opens.
    placed: BTreeMap<ObjectKey, Place>,
    /// Nodes that are told everything as soon as the cache has reached a revision: what they hold was written there.
    awaited: BTreeMap<String, Awaited>,
    /// What the generation began with. Empty unless that was a recovery.
    founding: FoundingState,
    /// Who may run unique pods.
    leases: Leases,
    /// UIDs of the unique pods that were bound when this node began to lead.
    inherited: BTreeSet<String>,
    /// Replies to acknowledge, once a quorum has confirmed that this node leads; it is being asked for earlier ones.
    heard: Vec<ReplyHeard>,
    confirming: bool,
}

/// What a node holds, written or refused.
struct Awaited {
    id: PeerId,
    /// Where it stands in the store, or what took its place.
    revision: Revision,
    adoptions: Vec<Adoption>,
}

/// A link opened: its node must be told everything.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct LinkReady {
    /// The node.
    pub(super) name: String,
    /// Its incarnation.
    pub(super) id: PeerId,
    /// What it holds from an earlier generation.
    pub(super) held: Vec<HeldPod>,
}

/// What a node holds was tried to be written.
#[derive(Message)]
#[rtype(result = "()")]
struct AdoptionTried {
    term: Term,
    ready: LinkReady,
    adoptions: Vec<Adoption>,
    outcomes: Vec<Result<Outcome, ProposeError>>,
}

/// The actor.
pub struct NodeLinks {
    network: Rc<dyn Network>,
    clock: Rc<dyn Clock>,
    entropy: Entropy,
    submit: Recipient<Submit>,
    peer: Addr<RaftPeer>,
    /// Hears of every answer of a node.
    spoke: Recipient<NodeSpoke>,
    metrics: ClusterMetrics,
    reign: Option<Reign>,
}

/// The cluster's identity was read from the raft peer.
#[derive(Message)]
#[rtype(result = "()")]
struct ClusterKnown {
    term: Term,
    cluster: ClusterId,
    /// The leader's own peer address.
    leader: String,
}

impl NodeLinks {
    /// No links yet.
    pub fn new(
        env: &Env,
        submit: Recipient<Submit>,
        peer: Addr<RaftPeer>,
        spoke: Recipient<NodeSpoke>,
        metrics: ClusterMetrics,
    ) -> Self {
        let (network, clock, entropy) =
            (env.network.clone(), env.clock.clone(), env.entropy.clone());
        Self {
            network,
            clock,
            entropy,
            submit,
            peer,
            spoke,
            metrics,
            reign: None,
        }
    }

    /// Makes the links fit the Node objects: one for each registered incarnation, none for others.
    fn reconcile_links(&mut self, ctx: &mut Context<Self>) {
        let Some(reign) = &mut self.reign else { return };
        let Some(cluster) = reign.cluster else { return };
        let nodes = reign.cache.list::<Node>();
        let wanted: BTreeMap<String, (PeerId, Contact)> = nodes
            .filter_map(|(key, node)| Some((key.name.clone(), registered(node)?)))
            .collect();
        reign.lines.retain(|name, line| {
            let keep = wanted
                .get(name)
                .is_some_and(|(id, contact)| *id == line.id && contact.address == line.address);
            if !keep {
                line.link.do_send(Hang);
            }
            keep
        });
        for (name, line) in &mut reign.lines {
            let ready = calls_ready(&reign.cache, name);
            if std::mem::replace(&mut line.ready, ready) != ready {
                line.link.do_send(Stored(ready));
            }
        }
        let fresh: Vec<String> = wanted
            .keys()
            .filter(|name| !reign.lines.contains_key(*name))
            .cloned()
            .collect();
        for name in fresh {
            let (id, contact) = wanted[&name].clone();
            let address = contact.address;
            let ready = calls_ready(&reign.cache, &name);
            let node = reign.cache.get::<Node>(&ObjectKey::new("", &name));
            let notice = node.and_then(|node| eviction(node)).map(|e| e.deadline);
            let target = Target {
                name: name.clone(),
                id,
                address: address.clone(),
                machine: Machine {
                    id: contact.machine_id,
                    boot: contact.boot_id,
                },
                cluster,
                term: reign.term,
                leader: reign.leader.clone(),
                ready,
                notice,
            };
            let neighbours = Neighbours {
                network: self.network.clone(),
                clock: self.clock.clone(),
                entropy: self.entropy.clone(),
                submit: self.submit.clone(),
                ready: ctx.address().recipient(),
                heard: ctx.address().recipient(),
                spoke: self.spoke.clone(),
                metrics: self.metrics.clone(),
            };
            reign.lines.insert(
                name,
                Line {
                    link: NodeLink::new(target, neighbours).start(),
                    id,
                    address,
                    ready,
                },
            );
        }
    }

    /// Writes what a node holds and the store does not know; then the node is told everything.
    fn adopt(&mut self, ready: LinkReady, ctx: &mut Context<Self>) {
        let Some(reign) = &self.reign else { return };
        let generation = reign.cluster.map_or(0, |cluster| cluster.generation);
        let known = reign.founding.of_node(&ready.name);
        let adoptions = adoptions(&reign.cache, &ready.name, generation, &ready.held, &known);
        if adoptions.is_empty() {
            return reign.assign_all(&ready.name);
        }
        let (term, now) = (reign.term, self.clock.wall());
        let stamp = time::text(now);
        let mut transactions = namespaces(&reign.cache, &adoptions, &stamp, &mut self.entropy);
        let before = transactions.len();
        transactions.extend(adoptions.iter().map(|a| a.transaction.clone()));
        let proposed = self.peer.send(Propose {
            time_ms: now.as_millisecond(),
            term: None,
            transactions: transactions.into_iter().map(|t| (None, t)).collect(),
        });
        let me = ctx.address();
        let writing = async move {
            // No answer means that the node is stopping.
            if let Ok(mut outcomes) = proposed.await {
                outcomes.drain(..before);
                me.do_send(AdoptionTried {
                    term,
                    ready,
                    adoptions,
                    outcomes,
                });
            }
        };
        ctx.spawn(writing.into_actor(self));
    }

    /// Tells everything to the nodes whose pods have arrived in the cache.
    fn assign_awaited(&mut self) {
        let Some(reign) = &mut self.reign else { return };
        let reached = reign.cache.revision();
        let (ready, awaited) = std::mem::take(&mut reign.awaited)
            .into_iter()
            .partition(|(_, awaited)| awaited.revision <= reached);
        reign.awaited = awaited;
        for (name, awaited) in &ready {
            if reign
                .lines
                .get(name)
                .is_some_and(|line| line.id == awaited.id)
            {
                reign.assign_all(name);
            }
        }
        for (name, awaited) in ready {
            self.report_adoptions(&name, &awaited.adoptions);
        }
    }

    /// Says of each pod whether it could be kept. The store tells, not what became of the write: one whose outcome nobody
    /// learned is tried again, and conflicts with itself.
    fn report_adoptions(&mut self, node: &str, adoptions: &[Adoption]) {
        let Some(reign) = &self.reign else { return };
        let now = self.clock.wall();
        let mut events = Vec::new();
        for adoption in adoptions {
            let lost = adoption.lost;
            let (level, reason, message) = if adoption.is_kept(&reign.cache) {
                let message =
                    format!("ran here, but its {lost} was lost with the majority: written again");
                (Level::Normal, "Adopted", message)
            } else {
                let message =
                    format!("ran here, but its {lost} was lost and another came first: stopped");
                (Level::Warning, "NotAdopted", message)
            };
            tracing::warn!(pod = %adoption.key.name, node, reason, "a pod of an earlier generation");
            let source = EventSource {
                component: "kagero-recovery",
                api_version: "v1",
                kind: "Pod",
                meta: &adoption.pod.metadata,
            };
            events.push(event(
                source,
                level,
                reason,
                &message,
                now,
                &mut self.entropy,
            ));
        }
        // Whoever misses them finds the pods' annotation.
        self.submit.do_send(Submit(events));
    }

    /// Counts pods and nodes for the dashboards.
    fn count(&mut self) {
        let Some(reign) = &self.reign else { return };
        let mut phases: BTreeMap<&str, i64> =
            ["pending", "running", "succeeded", "failed", "unknown"]
                .into_iter()
                .map(|phase| (phase, 0))
                .collect();
        for (_, pod) in reign.cache.list::<Pod>() {
            let phase = pod
                .status
                .as_ref()
                .and_then(|status| status.phase.as_deref())
                .unwrap_or("Pending");
            let silent = pod
                .spec
                .as_ref()
                .and_then(|s| s.node_name.as_ref())
                .is_some_and(|n| !calls_ready(&reign.cache, n));
            let phase = match phase {
                "Running" if silent => "unknown",
                "Running" => "running",
                "Succeeded" => "succeeded",
                "Failed" => "failed",
                "Pending" => "pending",
                _ => "unknown",
            };
            *phases.entry(phase).or_default() += 1;
        }
        for (phase, count) in phases {
            self.metrics.pods.with_label_values(&[phase]).set(count);
        }
        let ready = reign
            .cache
            .list::<Node>()
            .filter(|(_, node)| is_ready(node))
            .count() as i64;
        let all = reign.cache.list::<Node>().count() as i64;
        self.metrics.nodes.with_label_values(&["true"]).set(ready);
        self.metrics
            .nodes
            .with_label_values(&["false"])
            .set(all - ready);
    }
}

/// Whether the store calls a node ready.
fn calls_ready(cache: &Cache, node: &str) -> bool {
    let node = cache.get::<Node>(&ObjectKey::new("", node));
    node.is_some_and(|node| is_ready(node))
}

impl Reign {
    /// Tells a node everything it must run.
    fn assign_all(&self, node: &str) {
        let pods = self.cache.pods_on(node);
        let upsert = pods.map(|(key, pod)| self.assignment(key, pod)).collect();
        self.tell(node, true, upsert, Vec::new());
    }

    /// Notes where a pod is bound now; returns where it was, if that has changed.
    fn place(&mut self, key: &ObjectKey) -> Option<Place> {
        let now = self.cache.get::<Pod>(key).and_then(|pod| place(pod));
        let before = match now.clone() {
            Some(now) => self.placed.insert(key.clone(), now),
            None => self.placed.remove(key),
        };
        before.filter(|before| now.as_ref() != Some(before))
    }

    /// Tells every node what a batch of changes means for it.
    fn assign_changes(&mut self, changes: &[Change]) {
        let mut touched: BTreeSet<ObjectKey> = BTreeSet::new();
        for change in changes {
            match change.prefix.as_str() {
                "pods" => drop(touched.insert(change.key.clone())),
                "configmaps" | "secrets" => touched.extend(self.readers(change)),
                _ => {}
            }
        }
        let mut news: BTreeMap<String, (Vec<_>, Vec<String>)> = BTreeMap::new();
        for key in touched {
            if let Some(left) = self.place(&key) {
                news.entry(left.node).or_default().1.push(left.uid);
            }
            if let (Some(place), Some(pod)) = (self.placed.get(&key), self.cache.get::<Pod>(&key)) {
                news.entry(place.node.clone())
                    .or_default()
                    .0
                    .push(self.assignment(&key, pod));
            }
        }
        for (name, (upsert, remove)) in news {
            self.tell(&name, false, upsert, remove);
        }
    }

    /// The bound pods that read a ConfigMap or Secret.
    fn readers(&self, change: &Change) -> Vec<ObjectKey> {
        let reads = |pod: &Pod| {
            let needs = needs(pod);
            let names = if change.prefix == "secrets" {
                needs.secrets
            } else {
                needs.config_maps
            };
            names.contains(&change.key.name)
        };
        let pods = self.cache.in_namespace::<Pod>(&change.key.namespace);
        pods.filter(|(_, pod)| reads(pod))
            .map(|(key, _)| key.clone())
            .collect()
    }
}

fn place(pod: &Pod) -> Option<Place> {
    let node = pod.spec.as_ref()?.node_name.clone()?;
    Some(Place {
        node,
        uid: pod.metadata.uid.clone()?,
    })
}

impl Actor for NodeLinks {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(Duration::from_millis(COUNT_MS), |links, _| links.count());
    }
}

impl Handler<CacheBegan> for NodeLinks {
    type Result = ();

    fn handle(&mut self, CacheBegan { term, cache, view }: CacheBegan, ctx: &mut Self::Context) {
        let bound = cache
            .list::<Pod>()
            .filter_map(|(key, pod)| Some((key.clone(), place(pod)?)));
        let placed = bound.collect();
        let inherited = bound_unique(&cache);
        self.reign = Some(Reign {
            term,
            cluster: None,
            leader: String::new(),
            cache,
            lines: BTreeMap::new(),
            placed,
            awaited: BTreeMap::new(),
            founding: FoundingState::of(&view),
            leases: Leases::new(self.clock.now()),
            inherited,
            heard: Vec::new(),
            confirming: false,
        });
        let asked = self
            .peer
            .send(GetStatus)
            .into_actor(self)
            .map(move |status, _, ctx| {
                // No answer means that the node is stopping.
                if let Ok(Some((cluster, status))) = status {
                    let own = status.configuration.contacts.get(&status.id);
                    let own = own.and_then(|bytes| Contact::decode(bytes).ok());
                    let leader = own.map(|own| own.address).unwrap_or_default();
                    ctx.notify(ClusterKnown {
                        term,
                        cluster,
                        leader,
                    });
                }
            });
        ctx.spawn(asked);
    }
}

impl Handler<ClusterKnown> for NodeLinks {
    type Result = ();

    fn handle(
        &mut self,
        ClusterKnown {
            term,
            cluster,
            leader,
        }: ClusterKnown,
        ctx: &mut Self::Context,
    ) {
        if let Some(reign) = self.reign.as_mut().filter(|reign| reign.term == term) {
            reign.cluster = Some(cluster);
            reign.leader = leader;
            self.reconcile_links(ctx);
        }
    }
}

impl Handler<CacheChanged> for NodeLinks {
    type Result = ();

    fn handle(&mut self, message: CacheChanged, ctx: &mut Self::Context) {
        let Some(reign) = &mut self.reign else { return };
        let CacheChanged { cache, changes, .. } = message;
        reign.cache = cache;
        reign.assign_changes(&changes);
        self.assign_awaited();
        if changes.iter().any(|change| change.prefix == "nodes") {
            self.reconcile_links(ctx);
        }
    }
}

impl Handler<LinkReady> for NodeLinks {
    type Result = ();

    fn handle(&mut self, ready: LinkReady, ctx: &mut Self::Context) {
        let same = |line: &Line| line.id == ready.id;
        let reign = self.reign.as_ref();
        if reign.is_some_and(|reign| reign.lines.get(&ready.name).is_some_and(same)) {
            self.adopt(ready, ctx);
        }
    }
}

impl Handler<AdoptionTried> for NodeLinks {
    type Result = ();

    fn handle(&mut self, tried: AdoptionTried, ctx: &mut Self::Context) {
        if self
            .reign
            .as_ref()
            .is_none_or(|reign| reign.term != tried.term)
        {
            return;
        }
        if tried.outcomes.iter().any(Result::is_err) {
            // What this attempt may have written is known by the next.
            ctx.notify_later(tried.ready, Duration::from_millis(ADOPT_AGAIN_MS));
            return;
        }
        let revision = |outcome: &Result<Outcome, ProposeError>| match outcome {
            Ok(Outcome::Committed { revision }) => *revision,
            Ok(Outcome::Conflict { actual, .. }) => *actual,
            Err(_) => 0,
        };
        let reached = tried.outcomes.iter().map(revision).max();
        let Some(reign) = &mut self.reign else { return };
        let LinkReady { name, id, .. } = tried.ready;
        let awaited = Awaited {
            id,
            revision: reached.unwrap_or_default(),
            adoptions: tried.adoptions,
        };
        reign.awaited.insert(name, awaited);
        self.assign_awaited();
    }
}

impl Handler<CacheEnded> for NodeLinks {
    type Result = ();

    fn handle(&mut self, _: CacheEnded, _: &mut Self::Context) {
        if let Some(reign) = self.reign.take() {
            for line in reign.lines.values() {
                line.link.do_send(Hang);
            }
        }
        self.metrics.reset();
    }
}
