//! A cluster in memory: peers, the state machines under them, and the messages between them.
//!
//! Decides nothing by itself: the scripts say what is delivered. Random faults and the invariants that hold under them
//! are the simulation's (`sim/src/core`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::raft::{
    ClusterId, Config, Configuration, Entry, Envelope, Index, Input, Payload, PeerId, Raft, Ready,
    Rejected, Start, Tag, Term,
};

/// The cluster under test.
pub const CLUSTER: ClusterId = ClusterId {
    id: 7,
    generation: 0,
};

/// A state machine that remembers every command.
#[derive(Debug, Default)]
pub struct Machine {
    pub applied: Index,
    pub commands: Vec<Bytes>,
}

impl Machine {
    fn apply(&mut self, entry: &Entry) {
        self.applied = entry.index;
        if let Payload::Command(command) = &entry.payload {
            self.commands.push(command.clone());
        }
    }

    fn encode(&self) -> Bytes {
        Bytes::from(self.commands.join(&b'\n'))
    }

    fn decode(index: Index, data: &Bytes) -> Self {
        let lines = data.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        Self {
            applied: index,
            commands: lines.map(|line| data.slice_ref(line)).collect(),
        }
    }
}

/// A peer and its state machine.
#[derive(Debug)]
pub struct Node {
    pub raft: Raft,
    pub machine: Machine,
}

/// What a step told its caller, beside messages.
#[derive(Debug)]
pub enum Event {
    Role(String),
    Restored(Index),
    Applied(Vec<Entry>),
    Proposed(Tag, Result<(Index, Term), Rejected>),
    Read(Tag, Result<Index, Rejected>),
    SnapshotWanted,
}

/// Peers, wires and time.
#[derive(Debug)]
pub struct Cluster {
    pub now: Duration,
    pub config: Config,
    pub nodes: BTreeMap<PeerId, Node>,
    /// Messages sent and not yet delivered, oldest first.
    pub wires: VecDeque<Envelope>,
    /// Ordered pairs between which nothing passes.
    pub cut: BTreeSet<(PeerId, PeerId)>,
    /// What happened since it was last taken.
    pub events: Vec<(PeerId, Event)>,
    seed: u64,
}

impl Cluster {
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            now: Duration::ZERO,
            config,
            nodes: BTreeMap::new(),
            wires: VecDeque::new(),
            cut: BTreeSet::new(),
            events: Vec::new(),
            seed,
        }
    }

    /// Founders with one configuration.
    pub fn bootstrap(&mut self, founders: &[PeerId]) {
        let configuration = Configuration {
            voters: founders.iter().copied().collect(),
            contacts: founders
                .iter()
                .map(|peer| (*peer, contact(*peer)))
                .collect(),
            ..Configuration::default()
        };
        for founder in founders {
            self.start(*founder, Start::Bootstrap(configuration.clone()));
        }
    }

    /// A new incarnation.
    pub fn start(&mut self, peer: PeerId, start: Start) {
        let entropy = StdRng::seed_from_u64(self.seed.wrapping_add(peer.0));
        let raft = Raft::new(self.config.clone(), peer, CLUSTER, start, self.now, entropy);
        let machine = Machine {
            applied: raft.log.commit(),
            commands: Vec::new(),
        };
        let known = self.nodes.insert(peer, Node { raft, machine });
        assert!(known.is_none(), "an incarnation is never used again");
    }

    /// The process stops; it never comes back as itself.
    pub fn crash(&mut self, peer: PeerId) {
        self.nodes.remove(&peer);
    }

    /// One step of one peer and all that the caller of a core must do after it.
    pub fn step(&mut self, peer: PeerId, input: Input) {
        let Some(node) = self.nodes.get_mut(&peer) else {
            return;
        };
        let ready = node.raft.step(input, self.now);
        let image = self.perform(peer, ready);
        if let Some((index, data)) = image {
            self.step(peer, Input::Snapshot { index, data });
        }
    }

    /// Delivers one message, unless its way is cut or its receiver is no more.
    pub fn deliver(&mut self, envelope: Envelope) {
        if !self.cut.contains(&(envelope.from, envelope.to)) {
            self.step(envelope.to, Input::Message(envelope));
        }
    }

    /// Ticks every peer whose deadline has come.
    pub fn tick(&mut self) {
        let due = |node: &Node| node.raft.deadline() <= self.now;
        let due = self.nodes.iter().filter(|(_, node)| due(node));
        for peer in due.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            self.step(peer, Input::Tick);
        }
    }

    /// The leader of the highest term, if any.
    pub fn leader(&self) -> Option<PeerId> {
        let leaders = self
            .nodes
            .iter()
            .filter(|(peer, node)| node.raft.leader == Some(**peer));
        leaders
            .max_by_key(|(_, node)| node.raft.term())
            .map(|(peer, _)| *peer)
    }

    fn perform(&mut self, peer: PeerId, ready: Ready) -> Option<(Index, Bytes)> {
        let node = self.nodes.get_mut(&peer)?;
        let mut told = Vec::new();
        if ready.role_changed {
            let (role, term) = (node.raft.role(), node.raft.term());
            told.push(Event::Role(match node.raft.leader {
                Some(leader) if leader != peer => format!("{role:?} t{term} of n{}", leader.0),
                _ => format!("{role:?} t{term}"),
            }));
        }
        if let Some(snapshot) = &ready.restore {
            node.machine = Machine::decode(snapshot.index, &snapshot.data);
            told.push(Event::Restored(snapshot.index));
        }
        for entry in &ready.committed {
            assert_eq!(entry.index, node.machine.applied + 1, "applied in order");
            node.machine.apply(entry);
        }
        if !ready.committed.is_empty() {
            told.push(Event::Applied(ready.committed));
        }
        let proposed = ready.proposed.into_iter();
        told.extend(proposed.map(|(tag, answer)| Event::Proposed(tag, answer)));
        let answered = ready.reads.into_iter();
        told.extend(answered.map(|(tag, answer)| Event::Read(tag, answer)));
        let image = ready
            .snapshot_wanted
            .then(|| (node.machine.applied, node.machine.encode()));
        if image.is_some() {
            told.push(Event::SnapshotWanted);
        }
        self.events
            .extend(told.into_iter().map(|event| (peer, event)));
        self.wires.extend(ready.messages);
        image
    }
}

/// A made-up way to reach a peer.
pub fn contact(peer: PeerId) -> Bytes {
    Bytes::from(format!("c{}", peer.0))
}
