//! A peer's part in a cluster: the core, the store, and those who wait for either.
//!
//! Everything that exists only once a process belongs to a cluster. Deliberately without messages and effects:
//! `raft_peer.rs` has those.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use actix::SpawnHandle;
use bytes::Bytes;
use rand::rngs::StdRng;
use tokio::sync::oneshot;

use super::founding_state::{Ending, remember};
use super::raft_peer::archived::Refound;
use super::raft_peer::{ProposeError, Standing};
use super::waiters::Waiters;
use crate::raft::{
    BOOTSTRAP_INDEX, BOOTSTRAP_TERM, ClusterId, Config, Configuration, Entry, Index, Payload,
    PeerId, Raft, Rejected, Snapshot, Start, Tag, Term,
};
use crate::store::{Command, Event, HistoryBounds, Operation, Outcome, Store, View};

/// What exists only inside a cluster.
pub(super) struct Member {
    pub(super) cluster: ClusterId,
    pub(super) raft: Raft,
    pub(super) store: Store,
    pub(super) contacts: Arc<BTreeMap<PeerId, Bytes>>,
    pub(super) configuration: Arc<Configuration>,
    pub(super) waiters: Waiters,
    pub(super) tags: BTreeMap<Tag, Pending>,
    pub(super) next_tag: Tag,
    pub(super) next_sequence: u64,
    /// The term this peer leads with a complete view.
    pub(super) leading: Option<Term>,
    /// What the store front was last told.
    pub(super) told: Option<Standing>,
    /// Reads that wait for an index to be applied.
    pub(super) reads: VecDeque<(Index, oneshot::Sender<Result<View, ProposeError>>)>,
    pub(super) applied: Index,
    /// The term of the entry at `applied`.
    pub(super) applied_term: Term,
    /// It began a generation, and nobody was told yet: whoever watches must begin anew.
    pub(super) begun: bool,
    /// A snapshot for another member is being encoded.
    pub(super) encoding: Option<SpawnHandle>,
    /// How much its store keeps for watches that begin in the past.
    history: HistoryBounds,
}

/// What a new generation begins with, beside the log that won.
pub(super) struct Beginning {
    pub(super) cluster: ClusterId,
    /// Its terms come after this one.
    pub(super) term: Term,
    pub(super) configuration: Configuration,
    /// The record of the recovery.
    pub(super) record: Vec<Operation>,
    /// What else is to be written, given what the log came to.
    pub(super) more: fn(&Ending<'_>) -> Vec<Operation>,
}

/// A request the core has not yet answered.
pub(super) enum Pending {
    Propose(Vec<oneshot::Sender<Result<Outcome, ProposeError>>>),
    Read(oneshot::Sender<Result<View, ProposeError>>),
    Reconfigure(oneshot::Sender<Result<(), Rejected>>),
}

impl Member {
    /// A founder's or a joiner's part.
    pub(super) fn new(
        id: PeerId,
        config: Config,
        cluster: ClusterId,
        founding: Option<Configuration>,
        now: Duration,
        entropy: StdRng,
    ) -> Self {
        // A founder begins as if it had restored the empty state; who joins is sent a snapshot before any entry.
        let founder = (BOOTSTRAP_INDEX, BOOTSTRAP_TERM);
        let (applied, applied_term) = if founding.is_some() { founder } else { (0, 0) };
        let start = founding.map_or(Start::Join, Start::Bootstrap);
        let raft = Raft::new(config, id, cluster, start, now, entropy);
        let configuration = raft.status(now).configuration;
        Self {
            applied,
            applied_term,
            ..Self::around(cluster, raft, configuration)
        }
    }

    /// A part with an empty store, that has applied nothing.
    fn around(cluster: ClusterId, raft: Raft, configuration: Configuration) -> Self {
        Self {
            cluster,
            contacts: Arc::new(configuration.contacts.clone()),
            configuration: Arc::new(configuration),
            raft,
            store: Store::new(),
            waiters: Waiters::default(),
            tags: BTreeMap::new(),
            next_tag: 0,
            next_sequence: 0,
            leading: None,
            told: None,
            reads: VecDeque::new(),
            applied: 0,
            applied_term: 0,
            begun: false,
            encoding: None,
            history: HistoryBounds::default(),
        }
    }

    /// The same part, whose store keeps so much for watches that begin in the past.
    #[must_use]
    pub(super) fn keeping(mut self, history: HistoryBounds) -> Self {
        self.store = self.store.with_history(history);
        self.history = history;
        self
    }

    /// The part of the one whose log wins, in the generation that begins with it: its whole log, what was not committed
    /// included, is the founding state. Those who proposed the rest here are answered: it is in force now.
    pub(super) fn begin(
        mut self,
        id: PeerId,
        config: Config,
        beginning: Beginning,
        now: Duration,
        entropy: StdRng,
    ) -> Self {
        let (committed, tail) = (self.store.revision(), self.raft.uncommitted());
        // Nobody is told of these changes one by one: whoever watches lists anew.
        let tail = self.apply(tail);
        let Beginning {
            cluster,
            term,
            configuration,
            record: mut operations,
            more,
        } = beginning;
        operations.extend(more(&Ending {
            generation: cluster.generation,
            committed,
            tail: &tail,
            state: &self.store.view(),
        }));
        self.store.begin_generation(cluster.generation, &operations);
        let contacts = Arc::new(configuration.contacts.clone());
        let known = Arc::new(configuration.clone());
        let (_, index) = self.raft.log_end();
        let start = Start::Recovered {
            index,
            term,
            configuration,
        };
        Self {
            cluster,
            raft: Raft::new(config, id, cluster, start, now, entropy),
            contacts,
            configuration: known,
            applied: index,
            applied_term: term,
            waiters: Waiters::default(),
            tags: BTreeMap::new(),
            reads: VecDeque::new(),
            leading: None,
            told: None,
            begun: true,
            encoding: None,
            // Proposals go on being numbered: the store remembers the last generation's.
            ..self
        }
    }

    /// The part of the one that begins a generation with a state from the archive: as [`Self::begin`], with no log before.
    pub(super) fn refounded(
        id: PeerId,
        config: Config,
        refound: Refound,
        now: Duration,
        entropy: StdRng,
    ) -> Self {
        let Refound {
            cluster,
            configuration,
            mut store,
            index,
            term,
            record: mut operations,
        } = refound;
        operations.extend(remember(&Ending {
            generation: cluster.generation,
            committed: store.revision(),
            tail: &[],
            state: &store.view(),
        }));
        store.begin_generation(cluster.generation, &operations);
        let start = Start::Recovered {
            index,
            term,
            configuration: configuration.clone(),
        };
        let raft = Raft::new(config, id, cluster, start, now, entropy);
        Self {
            store,
            applied: index,
            applied_term: term,
            begun: true,
            ..Self::around(cluster, raft, configuration)
        }
    }

    /// Whether it holds a state at all; one who joins does not until the first snapshot.
    pub(super) fn has_state(&self) -> bool {
        self.applied > 0
    }

    /// A fresh tag for a request.
    pub(super) fn tag(&mut self, pending: Pending) -> Tag {
        self.next_tag += 1;
        self.tags.insert(self.next_tag, pending);
        self.next_tag
    }

    /// Replaces the state by a snapshot's. A snapshot that cannot be read stops the process: its sender's state and
    /// this program's understanding of it differ, and going on would diverge.
    ///
    /// In one go, unlike its encoding: what the core hands out next is applied to it, and would have to wait. It holds up
    /// one that learns, or a voter that was away for long; if a leader needs its voice meanwhile, an election goes by, once.
    pub(super) fn restore(&mut self, snapshot: &Snapshot) {
        self.store = match Store::restore(&snapshot.data) {
            Ok(store) => store.with_history(self.history),
            Err(error) => panic!(
                "the leader's snapshot at index {} cannot be restored: {error}",
                snapshot.index
            ),
        };
        self.applied = snapshot.index;
        self.applied_term = snapshot.term;
        self.waiters.skip_to(snapshot.index);
    }

    /// Applies committed entries and answers those who proposed them.
    pub(super) fn apply(&mut self, entries: Vec<Entry>) -> Vec<Event> {
        let mut events = Vec::new();
        for entry in entries {
            assert_eq!(
                entry.index,
                self.applied + 1,
                "entries are applied in order, each once"
            );
            self.applied = entry.index;
            self.applied_term = entry.term;
            let outcome = match &entry.payload {
                Payload::Empty | Payload::Configuration(_) => None,
                Payload::Command(bytes) => Some(self.execute(entry.index, bytes, &mut events)),
            };
            self.waiters.applied(entry.index, entry.term, outcome);
        }
        events
    }

    /// Executes one command. One that this version does not know halts the replica rather than let it diverge.
    fn execute(&mut self, index: Index, bytes: &[u8], events: &mut Vec<Event>) -> Outcome {
        let command = match Command::decode(bytes) {
            Ok(command) => command,
            Err(error) => {
                panic!("the command at index {index} cannot be read by this version: {error}")
            }
        };
        let applied = self.store.apply(&command);
        events.extend(applied.events);
        applied.outcome
    }

    /// Registers who waits for accepted proposals, and refuses the rest.
    pub(super) fn await_proposed(&mut self, tag: Tag, accepted: Result<(Index, Term), Rejected>) {
        match (self.tags.remove(&tag), accepted) {
            (Some(Pending::Propose(answers)), Ok((first, term))) => {
                for (index, answer) in (first..).zip(answers) {
                    self.waiters.wait(index, term, answer);
                }
            }
            (Some(Pending::Propose(answers)), Err(rejected)) => {
                for answer in answers {
                    // The asker may have gone; then nobody misses the answer.
                    let _ = answer.send(Err(rejected.clone().into()));
                }
            }
            (Some(Pending::Reconfigure(answer)), accepted) => {
                let _ = answer.send(accepted.map(|_| ()));
            }
            (Some(Pending::Read(_)) | None, _) => {
                unreachable!("the core answers a tag by its own kind, once")
            }
        }
    }

    pub(super) fn answer_read(&mut self, tag: Tag, index: Result<Index, Rejected>) {
        let Some(Pending::Read(answer)) = self.tags.remove(&tag) else {
            unreachable!("the core answers a read's tag once")
        };
        match index {
            Ok(index) => self.reads.push_back((index, answer)),
            Err(rejected) => drop(answer.send(Err(rejected.into()))),
        }
    }

    /// Serves the reads whose index has been applied.
    pub(super) fn serve_reads(&mut self) {
        if self.reads.is_empty() {
            return;
        }
        let view = self.store.view();
        let applied = self.applied;
        let (ready, waiting) = self
            .reads
            .drain(..)
            .partition(|(index, _)| *index <= applied);
        self.reads = waiting;
        for (_, answer) in ready {
            let _ = answer.send(Ok(view.clone()));
        }
    }
}
