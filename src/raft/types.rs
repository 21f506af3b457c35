//! The words of the consensus core: identities, entries, configurations, messages' envelope, inputs and `Ready`.
//!
//! Deliberately without behaviour beyond small arithmetic; the rules live in `node.rs` and its neighbours.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A Raft term (dissertation 3.3). Starts at 1; 0 means "before any term".
pub type Term = u64;
/// A log index. The first entry has index 1; 0 means "before the log".
pub type Index = u64;

/// One incarnation of a process: 64 random bits drawn at process start and never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerId(pub u64);

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Which cluster, and which life of it: a generation is one recovery from the loss of a majority.
/// A message whose identity differs from the receiver's is dropped and counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Serialize, Deserialize)]
pub struct ClusterId {
    /// 64 random bits drawn when the cluster formed.
    pub id: u64,
    /// 0 at formation, one more at each recovery.
    pub generation: u64,
}

impl ClusterId {
    /// Whether `later` is a later life of this cluster.
    pub fn precedes(self, later: Self) -> bool {
        self.id == later.id && self.generation < later.generation
    }
}

/// Who votes, who merely follows, and how each is reached.
///
/// Invariants: `learners` is disjoint from `voters` and `outgoing`; `contacts` has exactly the members as keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// The voters (of the new half while joint).
    pub voters: BTreeSet<PeerId>,
    /// The voters of the old half while joint, else empty (dissertation 4.3).
    pub outgoing: BTreeSet<PeerId>,
    /// Members that receive the log but do not vote.
    pub learners: BTreeSet<PeerId>,
    /// How to reach each member, opaque to this room.
    pub contacts: BTreeMap<PeerId, Bytes>,
}

/// What a log entry carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// The entry a new leader commits first, so that the own-term rule lets it commit the rest.
    Empty,
    /// Bytes for the state machine.
    Command(Bytes),
    /// A configuration; in force from the moment it is in the log.
    Configuration(Configuration),
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its position.
    pub index: Index,
    /// The term of the leader that wrote it.
    pub term: Term,
    /// What it says.
    pub payload: Payload,
}

/// A state machine's state as of `index`, with the configuration in force there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The last entry it covers.
    pub index: Index,
    /// That entry's term.
    pub term: Term,
    /// The configuration in force at `index`.
    pub configuration: Configuration,
    /// The state machine's own encoding.
    pub data: Bytes,
}

/// Timing and bounds. All durations are of the caller's monotonic clock.
#[derive(Clone, Debug)]
pub struct Config {
    /// The leader sends at least this often (default 50 ms).
    pub heartbeat: Duration,
    /// Followers wait between one and two of these for a leader (default 500 ms; ≥ 5 heartbeats).
    pub election_timeout: Duration,
    /// Entries' bytes in one append message (default 256 KiB).
    pub append_bytes_max: usize,
    /// Append messages in flight to one follower (default 64).
    pub inflight_messages_max: usize,
    /// Entries' bytes in flight to one follower (default 4 MiB).
    pub inflight_bytes_max: usize,
    /// Proposed and not yet committed bytes the leader accepts (default 16 MiB).
    pub uncommitted_bytes_max: usize,
    /// Snapshot bytes in one message, at least 1 (default 256 KiB).
    pub snapshot_chunk_bytes: usize,
    /// Applied entries kept for followers that lag a little (default 4,096). A leader keeps more by bytes for members that
    /// listen but lag: up to four times [`Config::log_bytes_kept`] and the size of a snapshot under way.
    pub log_entries_kept: usize,
    /// Applied bytes kept for followers that lag a little (default 4 MiB).
    pub log_bytes_kept: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(50),
            election_timeout: Duration::from_millis(500),
            append_bytes_max: 256 << 10,
            inflight_messages_max: 64,
            inflight_bytes_max: 4 << 20,
            uncommitted_bytes_max: 16 << 20,
            snapshot_chunk_bytes: 256 << 10,
            log_entries_kept: 4_096,
            log_bytes_kept: 4 << 20,
        }
    }
}

/// How a peer comes into being.
#[derive(Clone, Debug)]
pub enum Start {
    /// As a founder. Every founder starts with the same configuration, as if it had restored a snapshot at
    /// [`BOOTSTRAP_INDEX`]; their state machines must be equal too (empty, or the same restored state).
    Bootstrap(Configuration),
    /// As the one who begins a new generation (`recovery.rs`), whose state machine holds all that its log had. It is as
    /// if it had restored a snapshot at this index and term; they go on where the last generation's ended, so that
    /// whoever watches them never sees them fall.
    Recovered {
        /// The last index of the log that won.
        index: Index,
        /// A term that no survivor has passed; the first election is for the term after it.
        term: Term,
        /// The winner alone votes; the other survivors learn.
        configuration: Configuration,
    },
    /// Knowing nothing. It waits for a leader's messages and never stands for election until a configuration in its
    /// log or snapshot makes it a voter.
    Join,
}

/// Where a founder's log begins. Not 0, so that a peer that joins later is always sent a snapshot first and
/// the founders' initial state, which is in no entry, reaches it.
pub const BOOTSTRAP_INDEX: Index = 1;
/// The term of that beginning; the first election is for the term after it.
pub const BOOTSTRAP_TERM: Term = 1;

/// The caller's mark on a request, given back with its answer.
pub type Tag = u64;

/// A change of membership. One is in flight at a time, none before the leader committed an entry of its own term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Adds a learner with its contact.
    AddLearner(PeerId, Bytes),
    /// Drops members that do not vote.
    RemoveLearners(BTreeSet<PeerId>),
    /// One joint change to exactly these voters (each already a member); voters left out leave the configuration.
    SetVoters(BTreeSet<PeerId>),
}

/// What happened, from the core's point of view.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time passed. Call at least every half heartbeat.
    Tick,
    /// A message arrived. One of another cluster or generation, or for another peer, is dropped and counted.
    Message(Envelope),
    /// Append these payloads, in order (leader only). At least one.
    Propose(Tag, Vec<Bytes>),
    /// Ask for an index that is safe for linearizable reads (leader or follower; a follower asks its leader).
    Read(Tag),
    /// Change the membership (leader only).
    Reconfigure(Tag, Change),
    /// Hand leadership to this voter (leader only; else ignored). Given up after an election timeout.
    Transfer(PeerId),
    /// The transport saw the peer's process gone (connection refused or reset), not mere silence. A follower of that
    /// peer forsakes it and asks for pre-votes within a heartbeat; should the peer live, a later message wins it back.
    /// May be repeated.
    Unreachable(PeerId),
    /// The state machine's snapshot at `index`, which `Ready::snapshot_wanted` asked for.
    Snapshot {
        /// The applied index it reflects.
        index: Index,
        /// The encoded state.
        data: Bytes,
    },
}

/// A request the core could not serve now; nothing was appended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejected {
    /// This peer does not lead.
    #[error("not the leader (leader: {leader:?})")]
    NotLeader {
        /// The leader it knows of.
        leader: Option<PeerId>,
    },
    /// The cap on uncommitted bytes is reached.
    #[error("too many uncommitted bytes; try again")]
    Overloaded,
    /// Leadership is being handed over.
    #[error("leadership is being transferred")]
    Transferring,
    /// A membership change is in flight, or the leader has not yet committed an entry of its own term.
    #[error("a membership change is in flight, or the leader is too new")]
    ChangeInFlight,
    /// The change itself makes no sense.
    #[error("invalid membership change: {0}")]
    InvalidChange(String),
}

/// What came of a request, by its tag.
pub type Answer<T> = (Tag, Result<T, Rejected>);

/// What a peer is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Follows, whether or not it votes.
    Follower,
    /// Asks whether it could win (pre-vote).
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads its term.
    Leader,
}

/// What a follower looks like from the leader, for the membership plan, `kagero status` and metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerProgress {
    /// The highest index known to be in its log.
    pub matched: Index,
    /// Time since it was last heard from.
    pub silent: Duration,
    /// Its process was seen gone, and it was not heard later than a heartbeat after that.
    pub gone: bool,
    /// True while its catch-up rounds have each taken less than an election timeout, for at least 1 s.
    pub caught_up: bool,
    /// Bytes of snapshot sent, of how many, while one is under way.
    pub snapshot: Option<(u64, u64)>,
}

/// A peer's state, for metrics, `kagero status` and the simulation's checkers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// This peer.
    pub id: PeerId,
    /// Its role.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// The leader it follows, or itself.
    pub leader: Option<PeerId>,
    /// Last index of the log.
    pub last: Index,
    /// Highest committed index it knows of.
    pub commit: Index,
    /// Highest index handed out through [`Ready::committed`] or [`Ready::restore`].
    pub applied: Index,
    /// The newest configuration in the log.
    pub configuration: Configuration,
    /// On the leader: every other member's progress.
    pub progress: BTreeMap<PeerId, PeerProgress>,
}

/// What a peer keeps beside its log, for the checkers of its bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Append messages in flight to the member that has most.
    pub inflight_messages: usize,
    /// Entries' bytes in flight to the member that has most.
    pub inflight_bytes: usize,
    /// Bytes of the snapshot that is being sent.
    pub snapshot_bytes: usize,
    /// Reads and batches of reads that wait for an answer.
    pub reads_waiting: usize,
}

/// What happened since the start, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Messages dropped: of another cluster or generation.
    pub dropped_cluster: u64,
    /// Messages dropped: for another incarnation than this.
    pub dropped_recipient: u64,
    /// Messages dropped: of an earlier term.
    pub dropped_term: u64,
    /// Pre-votes started.
    pub pre_votes: u64,
    /// Elections stood for.
    pub elections: u64,
    /// Elections won.
    pub elections_won: u64,
    /// Times this leader stepped down because a quorum was silent.
    pub quorums_lost: u64,
    /// Appends refused by followers of this leader.
    pub appends_refused: u64,
    /// Quorum rounds made for reads.
    pub read_rounds: u64,
    /// Snapshots whose last piece a follower acknowledged.
    pub snapshots_sent: u64,
    /// Snapshots installed here.
    pub snapshots_installed: u64,
    /// Of them, over a log: what this peer lacked was compacted meanwhile.
    pub laggards_restored: u64,
    /// Steps that compacted this log.
    pub compactions: u64,
}

/// A message with its addressing. `cluster` lets a receiver drop what is not of its cluster and generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Sender's cluster and generation.
    pub cluster: ClusterId,
    /// Sender.
    pub from: PeerId,
    /// Receiver.
    pub to: PeerId,
    /// Sender's term.
    pub term: Term,
    /// What it says.
    pub message: super::Message,
}

/// Everything the caller must do after a step, in this order: restore, apply `committed`, answer, send.
///
/// There is no "persist first": memory is the only storage, so what a message promises is already recorded when
/// it is handed out. Answer only what stands here; never answer a proposal at [`Input::Propose`].
#[derive(Clone, Debug, Default)]
pub struct Ready {
    /// Replace the state machine by this snapshot before anything else.
    pub restore: Option<Snapshot>,
    /// Newly committed entries in order, each handed out exactly once.
    pub committed: Vec<Entry>,
    /// Proposals accepted (tag, the index of its first payload, the term) or refused. Accepted is not committed:
    /// the proposal is done when an entry of that index *and term* is applied, and lost if another term's is.
    pub proposed: Vec<Answer<(Index, Term)>>,
    /// Reads that may be served once the state machine has applied this index, or that found no leader.
    pub reads: Vec<Answer<Index>>,
    /// Messages to send, in order per receiver. Loss is allowed, reordering too.
    pub messages: Vec<Envelope>,
    /// The role or the known leader changed.
    pub role_changed: bool,
    /// A follower needs a snapshot: answer with [`Input::Snapshot`] at the applied index, now or when it is encoded.
    /// Asked again only after 10 s, or if what was given is no longer in the log.
    pub snapshot_wanted: bool,
}

impl Ready {
    /// Takes the next step's output behind this one's, to be performed as one. Give back what must come first, because
    /// the next step restores a snapshot.
    pub fn append(&mut self, next: Self) -> Option<Self> {
        if next.restore.is_some() {
            return Some(std::mem::replace(self, next));
        }
        self.committed.extend(next.committed);
        self.proposed.extend(next.proposed);
        self.reads.extend(next.reads);
        self.messages.extend(next.messages);
        self.role_changed |= next.role_changed;
        self.snapshot_wanted |= next.snapshot_wanted;
        None
    }
}
