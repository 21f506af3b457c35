//! A state of the model: the peers, the messages on the way, what may still happen, and what is true.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kagero::raft::{
    BOOTSTRAP_INDEX, Change, ClusterId, Config, Configuration, Envelope, Index, Input, Message,
    PeerId, Raft, Role, Start,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use stateright::{Model, Property};

use super::EXPIRY;
use super::bounds::{Bounds, Named};
use super::truth::{Truth, print_of};

const CLUSTER: ClusterId = ClusterId {
    id: 7,
    generation: 0,
};

/// A peer, and a short name for all that decides its next steps.
#[derive(Clone, Debug)]
pub struct Node {
    /// The core.
    pub raft: Raft,
    clock: Duration,
    applied: Index,
    print: u64,
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        (self.print, self.applied) == (other.print, other.applied)
    }
}

impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.print, self.applied).hash(state);
    }
}

/// A message on its way.
#[derive(Clone, PartialEq, Eq)]
pub struct Letter {
    print: u64,
    envelope: Arc<Envelope>,
}

impl Letter {
    fn new(envelope: Envelope) -> Self {
        Self {
            print: print_of(&envelope),
            envelope: Arc::new(envelope),
        }
    }

    /// False if one of an earlier term than the receiver's is only dropped.
    fn is_answered(&self) -> bool {
        matches!(
            self.envelope.message,
            Message::PreVote { .. }
                | Message::PreVoteReply { .. }
                | Message::Vote { .. }
                | Message::Append { .. }
                | Message::Chunk { .. }
        )
    }
}

impl Hash for Letter {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.print.hash(state);
    }
}

impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Envelope {
            from,
            to,
            term,
            message,
            ..
        } = &*self.envelope;
        write!(f, "{} to {} in term {term}: {message:?}", from.0, to.0)
    }
}

/// What may happen next.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A message arrives.
    Arrive(Letter),
    /// A message arrives, and comes again.
    Double(Letter),
    /// A message is lost.
    Lose(Letter),
    /// A peer's timeout comes due.
    Expire(PeerId),
    /// A leader's heartbeat comes due.
    Beat(PeerId),
    /// A client proposes a command to a leader.
    Propose(PeerId),
    /// A client reads at a peer.
    Read(PeerId),
    /// A leader is to hand over.
    Transfer(PeerId, PeerId),
    /// A peer vanishes.
    Crash(PeerId),
    /// A leader is to change the membership.
    Change(PeerId, Change),
}

/// All there is at one moment.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct State {
    /// The living.
    pub peers: BTreeMap<PeerId, Arc<Node>>,
    /// What is on the way, from whom to whom: in order, as on a connection. What is lost, is lost with a connection.
    pub letters: BTreeMap<(PeerId, PeerId), VecDeque<Letter>>,
    /// What may still happen.
    pub left: Bounds,
    /// What is true.
    pub truth: Arc<Truth>,
}

/// The model.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// What may happen.
    pub bounds: Bounds,
    /// Whether it starts with a leader.
    pub led: bool,
    /// Entries committed when it starts.
    pub committed_at_start: usize,
    voters: u64,
    start: State,
}

impl Cluster {
    /// The model of that name, at its start.
    pub fn new(model: &Named) -> Self {
        let mut cluster = Self {
            bounds: model.bounds,
            led: model.led,
            committed_at_start: 0,
            voters: model.voters,
            start: founders(model.voters),
        };
        if model.led {
            let mut state = cluster.start.clone();
            let first = PeerId(1);
            state.expire(first, EXPIRY);
            state.deliver_all();
            state.expire(first, heartbeat());
            state.deliver_all();
            assert_eq!(
                state.peers[&first].raft.role(),
                Role::Leader,
                "it stood alone"
            );
            cluster.committed_at_start = state.truth.committed.len();
            cluster.start = state;
        }
        cluster.start.left = model.bounds;
        cluster
    }

    /// Who may join.
    pub fn joiner(&self) -> PeerId {
        PeerId(self.voters + 1)
    }
}

fn heartbeat() -> Duration {
    Config::default().heartbeat
}

fn founders(count: u64) -> State {
    let ids: Vec<PeerId> = (1..=count).map(PeerId).collect();
    let founding = Configuration {
        voters: ids.iter().copied().collect(),
        contacts: ids.iter().map(|id| (*id, Bytes::new())).collect(),
        ..Configuration::default()
    };
    let mut state = State {
        peers: BTreeMap::new(),
        letters: BTreeMap::new(),
        left: Bounds::default(),
        truth: Arc::default(),
    };
    for id in ids {
        state.begin(id, Start::Bootstrap(founding.clone()), BOOTSTRAP_INDEX);
    }
    state
}

impl State {
    fn begin(&mut self, id: PeerId, start: Start, applied: Index) {
        let entropy = StdRng::seed_from_u64(id.0);
        let raft = Raft::new(
            Config::default(),
            id,
            CLUSTER,
            start,
            Duration::ZERO,
            entropy,
        );
        let print = print_of(&raft.essence());
        let node = Node {
            print,
            raft,
            clock: Duration::ZERO,
            applied,
        };
        self.peers.insert(id, Arc::new(node));
    }

    fn expire(&mut self, id: PeerId, by: Duration) {
        if let Some(node) = self.peers.get_mut(&id) {
            Arc::make_mut(node).clock += by;
        }
        self.step(id, Input::Tick);
    }

    fn deliver_all(&mut self) {
        while let Some(way) = self.letters.keys().next() {
            let (from, to) = *way;
            if let Some(letter) = self.take(from, to) {
                self.arrive(&letter);
            }
        }
    }

    fn take(&mut self, from: PeerId, to: PeerId) -> Option<Letter> {
        let way = self.letters.get_mut(&(from, to))?;
        let letter = way.pop_front();
        if way.is_empty() {
            self.letters.remove(&(from, to));
        }
        letter
    }

    fn arrive(&mut self, letter: &Letter) {
        let envelope = Envelope::clone(&letter.envelope);
        self.step(envelope.to, Input::Message(envelope));
    }

    /// Lets a peer take an input, as its shell would; what a shell does at once is done at once.
    fn step(&mut self, id: PeerId, input: Input) {
        let Some(node) = self.peers.get_mut(&id) else {
            return;
        };
        let node = Arc::make_mut(node);
        let truth = Arc::make_mut(&mut self.truth);
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let step = AssertUnwindSafe(|| node.raft.step(input, node.clock));
            let ready = match catch_unwind(step) {
                Ok(ready) => ready,
                // What is left of the peer is not looked at again: from a broken state no way leads on.
                Err(panic) => return truth.panicked(id, panic.as_ref()),
            };
            node.applied = truth.observe(&node.raft, &ready, node.applied);
            if ready.snapshot_wanted {
                inputs.push(Input::Snapshot {
                    index: node.applied,
                    data: Bytes::new(),
                });
            }
            for envelope in ready.messages {
                let way = self.letters.entry((envelope.from, envelope.to));
                way.or_default().push_back(Letter::new(envelope));
            }
        }
        node.print = print_of(&node.raft.essence());
        let changed = Arc::clone(&self.peers[&id]);
        for (other, node) in &self.peers {
            if *other != id {
                truth.compare(&changed.raft, &node.raft);
            }
        }
        self.forget_what_changes_nothing();
    }

    /// Messages to the dead, and those of an earlier term that only would be dropped.
    fn forget_what_changes_nothing(&mut self) {
        let peers = &self.peers;
        self.letters.retain(|(_, to), way| {
            let Some(node) = peers.get(to) else {
                return false;
            };
            let term = node.raft.term();
            way.retain(|letter| letter.envelope.term >= term || letter.is_answered());
            !way.is_empty()
        });
    }

    /// What clients, clocks and machines may do to a peer.
    fn happenings(&self, id: PeerId, node: &Node, actions: &mut Vec<Action>) {
        let left = &self.left;
        let leads = node.raft.role() == Role::Leader;
        let mut may = |left: u8, action: Action| {
            if left > 0 {
                actions.push(action);
            }
        };
        may(left.expiries, Action::Expire(id));
        may(left.reads, Action::Read(id));
        may(left.crashes, Action::Crash(id));
        if leads {
            may(left.beats, Action::Beat(id));
            may(left.proposals, Action::Propose(id));
            for to in &node.raft.log().configuration().voters {
                if *to != id {
                    may(left.transfers, Action::Transfer(id, *to));
                }
            }
        }
    }

    fn changes(&self, id: PeerId, joiner: PeerId, node: &Node, actions: &mut Vec<Action>) {
        if self.left.changes == 0 || node.raft.role() != Role::Leader {
            return;
        }
        let configuration = node.raft.log().configuration();
        if !configuration.is_member(joiner) {
            let change = Change::AddLearner(joiner, Bytes::new());
            return actions.push(Action::Change(id, change));
        }
        for leaves in configuration
            .voters
            .iter()
            .filter(|voter| **voter != joiner)
        {
            let mut voters = configuration.voters.clone();
            voters.remove(leaves);
            voters.insert(joiner);
            actions.push(Action::Change(id, Change::SetVoters(voters)));
        }
    }

    fn act(&mut self, action: Action) {
        let left = &mut self.left;
        match action {
            Action::Arrive(letter) => {
                self.take(letter.envelope.from, letter.envelope.to);
                self.arrive(&letter);
            }
            Action::Lose(letter) => {
                left.losses -= 1;
                self.take(letter.envelope.from, letter.envelope.to);
            }
            Action::Double(letter) => {
                left.doubles -= 1;
                self.arrive(&letter);
            }
            Action::Expire(id) => {
                left.expiries -= 1;
                self.expire(id, EXPIRY);
            }
            Action::Beat(id) => {
                left.beats -= 1;
                self.expire(id, heartbeat());
            }
            Action::Propose(id) => {
                left.proposals -= 1;
                let command = Bytes::copy_from_slice(&[left.proposals]);
                self.step(id, Input::Propose(0, vec![command]));
            }
            Action::Read(id) => {
                left.reads -= 1;
                let tag = left.reads.into();
                let truth = Arc::make_mut(&mut self.truth);
                truth.reads.insert(tag, truth.committed_up_to());
                self.step(id, Input::Read(tag));
            }
            Action::Transfer(id, to) => {
                left.transfers -= 1;
                self.step(id, Input::Transfer(to));
            }
            Action::Crash(id) => {
                left.crashes -= 1;
                self.peers.remove(&id);
                self.forget_what_changes_nothing();
            }
            Action::Change(id, change) => {
                left.changes -= 1;
                if let Change::AddLearner(joiner, _) = &change {
                    self.begin(*joiner, Start::Join, 0);
                }
                self.step(id, Input::Reconfigure(0, change));
            }
        }
    }
}

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.start.clone()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // Where a property is broken, nothing after it is worth a look.
        if state.truth.broken.is_some() {
            return;
        }
        for letter in state.letters.values().filter_map(VecDeque::front) {
            actions.push(Action::Arrive(letter.clone()));
            if state.left.losses > 0 {
                actions.push(Action::Lose(letter.clone()));
            }
            if state.left.doubles > 0 {
                actions.push(Action::Double(letter.clone()));
            }
        }
        for (id, node) in &state.peers {
            state.happenings(*id, node, actions);
            state.changes(*id, self.joiner(), node, actions);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        next.act(action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        self.all_properties()
    }
}
