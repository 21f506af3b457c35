//! The composition root: one node out of its parts, given its edges.
//!
//! The same function builds the node that ships and the node that is simulated; they differ in their [`Env`] alone.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use prometheus::Registry;
use rand::RngCore;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::actors::archive::Archive;
use crate::actors::caller::Caller;
use crate::actors::claimant::Claimant;
use crate::actors::controller_host::ControllerHost;
use crate::actors::dial;
use crate::actors::doors::Known;
use crate::actors::eviction_watcher::EvictionWatcher;
use crate::actors::gate::Gate;
use crate::actors::hand_over::{Leave, Leaving};
use crate::actors::informer::{CacheReader, Informer};
use crate::actors::joiner::restoring::Restoring;
use crate::actors::joiner::{Introduction, Joiner};
use crate::actors::leader_door::LeaderDoor;
use crate::actors::link_end::LinkEnd;
use crate::actors::logs::Logs;
use crate::actors::manifests::Manifest;
use crate::actors::membership::Membership;
use crate::actors::messages::{Submit, Watch};
use crate::actors::metrics::{ClusterMetrics, RaftMetrics};
use crate::actors::node_agent::{LeaseBook, NodeAgent};
use crate::actors::node_links::NodeLinks;
use crate::actors::peers::Peers;
use crate::actors::raft_peer::{LeaderMember, Neighbours, RaftPeer};
use crate::actors::recovery::{Around, Recoverer};
use crate::actors::scheduler::Scheduler;
use crate::actors::server::{self, Doorman};
use crate::actors::snapshots::{SaveNow, SnapshotMetrics};
use crate::actors::store_front::StoreFront;
use crate::actors::wire::Contact;
use crate::agent::NodeInfo;
use crate::control::controllers;
use crate::env::Env;
use crate::env::network::Listener;
use crate::http;
use crate::raft::{self, ClusterId, PeerId, Role};
use crate::store::HistoryBounds;

mod keepers;

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
    /// Recover from the loss of a majority without an operator, once everybody who is missing is proven dead.
    pub auto_recover: bool,
    /// From one snapshot to the next, where there is an object store to keep them in.
    pub snapshot_interval: Duration,
    /// Applied once the cluster has formed.
    pub manifests: Vec<Manifest>,
    /// Bounds and times of consensus; no operator is asked for them, and only the simulation gives others.
    pub consensus: raft::Config,
    /// How much the store keeps for watches that begin in the past; as above.
    pub history: HistoryBounds,
}

/// A running node. Its actors and listeners live as long as the system they were started in.
pub struct Node {
    /// Bound peer address.
    pub peer_address: SocketAddr,
    /// Bound API address.
    pub api_address: SocketAddr,
    /// This incarnation.
    pub id: PeerId,
    /// What it knows of its cluster, for whoever wants to look (readiness and the simulation's checkers do).
    pub known: watch::Receiver<Option<Known>>,
    /// Its consensus' figures, as `/metrics` has them.
    pub figures: RaftMetrics,
    /// What its API's watches are made of.
    pub watch: Recipient<Watch>,
    /// Why this process must end, once it must.
    pub ended: watch::Receiver<Option<String>>,
    leave: Recipient<Leave>,
    keep: Option<Recipient<SaveNow>>,
}

/// What became of a cluster's state at the end of the last process that led it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastState {
    /// The archive has all of it.
    Kept,
    /// There is no archive.
    NoArchive,
    /// It could not be kept, for this reason.
    Lost(String),
    /// This node does not lead.
    NotOurs,
}

impl Node {
    /// Hands leadership over before the process ends. Waits until another voter leads, for `patience` at most; returns
    /// whether this node does not lead then. One that never led returns at once, and so does a lone voter.
    pub async fn hand_over(&mut self, patience: Duration) -> bool {
        let leads = |known: &Option<Known>| {
            let standing = known.as_ref().map(|known| &known.standing);
            standing.is_some_and(|standing| standing.role == Role::Leader)
        };
        let voters = |known: &Known| known.standing.configuration.voters.len();
        let alone = self.known.borrow().as_ref().map(voters) == Some(1);
        if alone || !leads(&self.known.borrow()) {
            return !leads(&self.known.borrow());
        }
        self.leave.do_send(Leave(Leaving::Now));
        let deposed = self.known.wait_for(|known| !leads(known));
        timeout(patience, deposed).await.is_ok()
    }

    /// Keeps the state in the archive before the process of a leader ends that could not hand over: what was written since
    /// the last snapshot may be nowhere else. Takes `patience` at most.
    pub async fn keep_state(&self, patience: Duration) -> LastState {
        let Some(keep) = &self.keep else {
            return LastState::NoArchive;
        };
        match timeout(patience, keep.send(SaveNow)).await {
            Ok(Ok(Ok(true))) => LastState::Kept,
            // No answer means that the node is stopping.
            Ok(Ok(Ok(false)) | Err(_)) => LastState::NotOurs,
            Ok(Ok(Err(error))) => LastState::Lost(error.to_string()),
            Err(_) => LastState::Lost(format!("it took more than {} s", patience.as_secs())),
        }
    }

    /// Whether this node leads and nobody else may: its cluster waits until another is made of what is left.
    pub fn is_last_voter(&self) -> bool {
        let known = self.known.borrow();
        known.as_ref().is_some_and(|Known { standing, .. }| {
            standing.role == Role::Leader && standing.configuration.voters.len() == 1
        })
    }
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
    /// Two parts of the program claim the same metric.
    #[error("cannot register a metric: {0}")]
    Metric(#[from] prometheus::Error),
}

/// Starts a node inside the current actix system (or simulated host). Returns once it listens; it looks for its
/// cluster in the background.
pub async fn start(env: Env, options: Options) -> Result<Node, StartError> {
    let peers = listen(&env, "--listen", &options.listen).await?;
    let api = listen(&env, "--api", &options.api).await?;
    let id = PeerId(env.entropy.clone().next_u64());
    let (peer_address, api_address) = (
        address(peers.as_ref(), "--listen")?,
        address(api.as_ref(), "--api")?,
    );
    let contact = contact(&options, peer_address, api_address);
    tracing::info!(name = options.name, %id, address = contact.address, "incarnation starts");

    let registry = Registry::new();
    env.machine.register(&registry)?;
    let parts = Parts::start(&env, &options, id, &contact, &registry)?;
    tokio::task::spawn_local(server::serve(peers, parts.doorman(id, contact)));
    let gate = Gate::new(
        api,
        env.network.clone(),
        parts.known.clone(),
        parts.cluster.clone(),
        parts.joiner.clone(),
    );
    tokio::task::spawn_local(http::serve(
        Box::new(gate),
        parts.http(&env, registry, api_address),
    ));
    Ok(Node {
        peer_address,
        api_address,
        id,
        known: parts.known,
        figures: parts.figures,
        watch: parts.front.recipient(),
        ended: parts.ended,
        leave: parts.membership.recipient(),
        keep: parts.keep,
    })
}

/// The actors of one node.
struct Parts {
    peer: Addr<RaftPeer>,
    front: Addr<StoreFront>,
    caller: Addr<Caller>,
    membership: Addr<Membership>,
    joiner: Addr<Joiner>,
    recoverer: Addr<Recoverer>,
    link: Addr<LinkEnd>,
    agent: Addr<NodeAgent>,
    logs: Addr<Logs>,
    figures: RaftMetrics,
    known: watch::Receiver<Option<Known>>,
    cluster: watch::Receiver<Option<ClusterId>>,
    ended: watch::Receiver<Option<String>>,
    keep: Option<Recipient<SaveNow>>,
}

/// Consensus and what stands around it.
struct Consensus {
    peer: Addr<RaftPeer>,
    front: Addr<StoreFront>,
    membership: Addr<Membership>,
    figures: RaftMetrics,
    known: watch::Receiver<Option<Known>>,
    claimant: Option<Claimant>,
    keep: Option<Recipient<SaveNow>>,
}

impl Consensus {
    /// Starts the peer; what the peer and its neighbours need of each other is made inside its context.
    fn start(
        env: &Env,
        options: &Options,
        (id, contact): (PeerId, &Contact),
        caller: Addr<Caller>,
        registry: &Registry,
    ) -> Result<Self, StartError> {
        let voters = options.voters;
        let own = dial::Introduction {
            id,
            contact: contact.encode(),
        };
        let kept = SnapshotMetrics::new(registry)?;
        let (figures, objects) = (RaftMetrics::new(registry)?, ClusterMetrics::new(registry)?);
        let metrics = figures.clone();
        let (tell, known) = watch::channel(None);
        let (network, clock, entropy) =
            (env.network.clone(), env.clock.clone(), env.entropy.clone());
        let mut made = None;
        let peer = RaftPeer::create(|ctx| {
            let peer = ctx.address();
            let introduced = (id, contact);
            let claimant = keepers::claimant(env, options, introduced, &caller, &peer);
            let (told, kept_status) = watch::channel(None);
            let front = StoreFront::new(id, tell, peer.clone(), caller.clone(), env, voters);
            let front = front.telling_of(kept_status).start();
            let submit = LeaderDoor::new(front.clone()).start().recipient();
            let cloud = env.cloud.clone();
            let (asked, write) = (caller.clone(), submit.clone());
            let membership = Membership::new(own.id, peer.clone(), write, asked, voters, cloud);
            let membership = membership.start();
            let informer = informer(env, submit.clone(), peer.clone(), &membership, objects);
            let mut leader_team = vec![LeaderMember::of(&membership), LeaderMember::of(&informer)];
            leader_team.push(keepers::manifests(env, options, &submit, &peer));
            let keepers = claimant
                .clone()
                .map(|claimant| keepers::snapshots(env, options, &submit, claimant, (kept, told)));
            let (keep, keepers) = keepers.unzip();
            leader_team.extend(keepers.into_iter().flatten());
            let neighbours = Neighbours {
                send: Peers::new(own, network, entropy.clone(), peer.recipient())
                    .start()
                    .recipient(),
                published: front.clone().recipient(),
                leader_team,
            };
            made = Some((front, membership, claimant, keep));
            RaftPeer::new(
                id,
                options.consensus.clone(),
                clock,
                entropy,
                neighbours,
                metrics,
            )
            .keeping(options.history)
        });
        let made = made.expect("the context runs its closure at once");
        let (front, membership, claimant, keep) = made;
        Ok(Self {
            peer,
            front,
            membership,
            figures,
            known,
            claimant,
            keep,
        })
    }
}

/// Starts the agent and the end of the leader's link, which need each other.
fn agent(
    env: &Env,
    info: NodeInfo,
    boot_id: String,
    id: PeerId,
    joiner: Addr<Joiner>,
) -> (Addr<LinkEnd>, Addr<NodeAgent>) {
    let (runtime, clock, entropy) = (env.runtime.clone(), env.clock.clone(), env.entropy.clone());
    let leases = LeaseBook::new(env.shelf.clone(), boot_id);
    let mut agent = None;
    let link = LinkEnd::create(|ctx| {
        let reports = ctx.address().recipient();
        let started = NodeAgent::new(info, runtime, clock.clone(), entropy, reports);
        let started = started.with_leases(leases).start();
        agent = Some(started.clone());
        LinkEnd::new(id, clock, started, joiner)
    });
    (link, agent.expect("the context runs its closure at once"))
}

/// Finds this node a cluster, and its state in the archive, if there is one.
fn joiner(
    env: &Env,
    introduction: Introduction,
    caller: Addr<Caller>,
    peer: &Addr<RaftPeer>,
    archive: Option<Archive>,
) -> Joiner {
    let (part, refound) = (peer.clone().recipient(), peer.clone().recipient());
    let joiner = Joiner::new(introduction, caller, part, env.entropy.clone());
    match archive {
        Some(archive) => joiner.with_archive(Restoring::new(archive, refound, env.clock.clone())),
        None => joiner,
    }
}

impl Parts {
    /// Starts all actors.
    fn start(
        env: &Env,
        options: &Options,
        id: PeerId,
        contact: &Contact,
        registry: &Registry,
    ) -> Result<Self, StartError> {
        let caller = Caller::new(env.network.clone()).start();
        let Consensus {
            peer,
            front,
            membership,
            figures,
            known,
            claimant,
            keep,
        } = Consensus::start(env, options, (id, contact), caller.clone(), registry)?;
        let introduction = Introduction {
            id,
            contact: contact.clone(),
            seeds: options.seeds.clone(),
            init: options.init,
            voters_wanted: options.voters,
        };
        let archive = claimant.as_ref().map(|claimant| claimant.archive.clone());
        let joiner = joiner(env, introduction, caller.clone(), &peer, archive);
        let (cluster, ended) = (joiner.subscribe(), joiner.ends());
        let joiner = joiner.start();
        let (info, boot) = (node_info(env, options, contact), options.boot_id.clone());
        let (link, agent) = agent(env, info, boot, id, joiner.clone());
        let recoverer = Recoverer::new(Around {
            id,
            contact: contact.clone(),
            seeds: options.seeds.clone(),
            peer: peer.clone(),
            link: link.clone(),
            joiner: joiner.clone(),
            caller: caller.clone(),
            claimant,
            known: known.clone(),
            clock: env.clock.clone(),
            entropy: env.entropy.clone(),
            cloud: env.cloud.clone(),
            unattended: options.auto_recover,
        })
        .start();
        let (cloud, leave) = (env.cloud.clone(), membership.clone().recipient());
        EvictionWatcher::new(cloud, link.clone().recipient(), leave).start();
        let logs = Logs::new(env.network.clone(), front.clone().recipient()).start();
        Ok(Self {
            peer,
            front,
            caller,
            membership,
            joiner,
            recoverer,
            link,
            agent,
            logs,
            figures,
            known,
            cluster,
            ended,
            keep,
        })
    }

    fn http(&self, env: &Env, registry: Registry, address: SocketAddr) -> http::State {
        let known = self.known.clone();
        http::State {
            submit: self.front.clone().recipient(),
            read: self.front.clone().recipient(),
            watch: self.front.clone().recipient(),
            logs: self.logs.clone().recipient(),
            cluster: self.front.clone().recipient(),
            recovery: self.recoverer.clone().recipient(),
            registry,
            clock: env.clock.clone(),
            entropy: env.entropy.clone(),
            readiness: Rc::new(move || match known.borrow().as_ref() {
                None => Err("not yet part of a cluster".to_owned()),
                Some(known) if known.standing.leader.is_none() => {
                    Err("the cluster has no leader".to_owned())
                }
                Some(_) => Ok(()),
            }),
            server_address: address.to_string(),
        }
    }

    fn doorman(&self, id: PeerId, contact: Contact) -> Doorman {
        Doorman {
            id,
            contact,
            peer: self.peer.clone(),
            front: self.front.clone(),
            membership: self.membership.clone(),
            joiner: self.joiner.clone(),
            recoverer: self.recoverer.clone(),
            caller: self.caller.clone(),
            link: self.link.clone(),
            agent: self.agent.clone(),
        }
    }
}

/// Starts the leader's own actors, behind the one that tells them of every object.
fn informer(
    env: &Env,
    submit: Recipient<Submit>,
    peer: Addr<RaftPeer>,
    membership: &Addr<Membership>,
    metrics: ClusterMetrics,
) -> Addr<Informer> {
    let (clock, entropy) = (env.clock.clone(), env.entropy.clone());
    let spoke = membership.clone().recipient();
    let links = NodeLinks::new(env, submit.clone(), peer, spoke, metrics).start();
    // What controllers write goes through the links, which know whose node may still run a unique pod.
    let guarded = links.clone().recipient();
    let controllers = ControllerHost::new(controllers(), guarded, clock.clone(), entropy.clone());
    let controllers = controllers.start();
    let scheduler = Scheduler::new(submit, clock, entropy).start();
    // The links first: they know every pod that a controller can want to delete.
    let readers = vec![
        CacheReader::of(&links),
        CacheReader::of(&controllers),
        CacheReader::of(&scheduler),
    ];
    Informer::new(readers).start()
}

/// What the agent is told of its node.
fn node_info(env: &Env, options: &Options, contact: &Contact) -> NodeInfo {
    let host = contact
        .address
        .rsplit_once(':')
        .map_or("", |(host, _)| host);
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    NodeInfo {
        name: options.name.clone(),
        // A name instead of an address is resolved by whoever dials; pods are told addresses only.
        addresses: address.into_iter().collect(),
        cpu_millis: options.cpu_millis,
        memory_bytes: options.memory_bytes,
        pods_max: options.pods_max,
        runtime: env.runtime.name(),
    }
}

async fn listen(
    env: &Env,
    flag: &'static str,
    address: &str,
) -> Result<Box<dyn Listener>, StartError> {
    let failed = |error| StartError::Listen {
        flag,
        address: address.to_owned(),
        error,
    };
    env.network.listen(address).await.map_err(failed)
}

fn address(listener: &dyn Listener, flag: &'static str) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|error| StartError::Listen {
        flag,
        address: "(bound)".to_owned(),
        error,
    })
}

/// How others reach this node: as it was told, with the ports it was really given.
fn contact(options: &Options, peer: SocketAddr, api: SocketAddr) -> Contact {
    let address = options
        .advertise
        .clone()
        .unwrap_or_else(|| with_port(&options.listen, peer.port()));
    let api_host = if is_unspecified(&options.api) {
        &address
    } else {
        &options.api
    };
    Contact {
        name: options.name.clone(),
        api: with_port(api_host, api.port()),
        address,
        machine_id: options.machine_id.clone(),
        boot_id: options.boot_id.clone(),
        may_vote: options.may_vote,
        labels: options.labels.clone(),
        takes_named: true,
    }
}

/// `host:port` with another port.
fn with_port(address: &str, port: u16) -> String {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    format!("{host}:{port}")
}

/// Whether an address means every interface, which nobody can dial.
fn is_unspecified(address: &str) -> bool {
    address
        .parse::<SocketAddr>()
        .is_ok_and(|address| address.ip().is_unspecified())
}
