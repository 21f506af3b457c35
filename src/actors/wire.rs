//! What nodes say to each other: one enum each way, so that any frame says by itself what it is.
//!
//! Deliberately without connection handling: `server.rs` answers, `caller.rs` and `peers.rs` dial.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::doors::named::Named;
use super::messages::{ClusterStatus, OpenLog};
use super::node_messages::{HeldPod, NodeDescription, PodReport, WireAssignment};
use super::raft_peer::survivor::{BeginGeneration, MakePromise};
use crate::raft::{ClusterId, Configuration, Envelope, PeerId, Position, Testimony};
use crate::resource::{Reply, Request, Status};
use crate::store::Revision;

/// How a node is reached and what it is; stands beside its id in the Raft configuration and in its Node object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contact {
    /// Node name.
    pub name: String,
    /// `host:port` of the peer protocol.
    pub address: String,
    /// `host:port` of the API.
    pub api: String,
    /// Same machine over restarts of its process.
    pub machine_id: String,
    /// One boot of it.
    pub boot_id: String,
    /// Whether it may vote.
    pub may_vote: bool,
    /// Labels its operator gave it.
    pub labels: BTreeMap<String, String>,
    /// It understands [`Call::SubmitNamed`]; programs before that call say nothing of it.
    #[serde(default)]
    pub takes_named: bool,
}

impl Contact {
    /// As stored in the Raft configuration.
    pub fn encode(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(self).expect("a contact has only string keys"))
    }

    /// From the Raft configuration.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

/// From the side that dialled.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromDialler {
    /// Raft messages; no answer.
    Raft(Vec<Envelope>),
    /// A question; answered by [`FromListener::Answer`] with the same id.
    Call {
        /// Unique on the connection.
        id: u64,
        /// The question.
        call: Call,
    },
    /// The leader's orders to a node, on a connection of their own.
    Link(LinkDown),
    /// Stream a log, on a connection of its own.
    ReadLog(OpenLog),
    /// So many of the log's pieces were taken by its reader; as many more may come.
    LogTaken(usize),
}

/// From the side that listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromListener {
    /// The answer to a call.
    Answer {
        /// The call's id.
        id: u64,
        /// What came of it.
        answer: Result<Answer, Status>,
    },
    /// A node's word to its leader.
    Link(LinkUp),
    /// A piece of a log; an empty one says that the log is open. The log's end is the connection's end after
    /// [`FromListener::LogEnded`].
    Log(Bytes),
    /// The log is over, with the reason if it is not simply its end.
    LogEnded(Option<Status>),
}

/// A question to another node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Call {
    /// Who are you, and do you belong to a cluster?
    Who,
    /// Belong to this new cluster (its founder asks, after every seed said it was empty).
    Form {
        /// The new cluster.
        cluster: ClusterId,
        /// Its first configuration.
        configuration: Configuration,
    },
    /// Let this incarnation in. Forwarded once to the leader.
    Join {
        /// The incarnation.
        id: PeerId,
        /// How it is reached.
        contact: Contact,
        /// It was admitted before, so it must not take its name from whoever has it now.
        #[serde(default)]
        again: bool,
        /// False once forwarded, so that two confused nodes cannot bounce it.
        forward: bool,
    },
    /// Plan and commit these writes (leader only).
    Submit(Vec<Request>),
    /// The same for one write that may be asked for again; answered by [`Answer::Submitted`], too.
    SubmitNamed(Box<Named>),
    /// Describe the cluster (leader only).
    Describe,
    /// Say who you are and what part you have in consensus: a recovery is considered.
    Testify,
    /// Take no further part in the present generation.
    Promise(MakePromise),
    /// Begin the generation that was promised you.
    Begin(BeginGeneration),
}

/// The answer to a [`Call`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// To `Who`.
    Who(Identity),
    /// To `Form`: it belongs to that cluster now.
    Formed,
    /// To `Join`: the cluster it joins.
    Joined(ClusterId),
    /// To `Submit`.
    Submitted(Vec<Result<Reply, Status>>),
    /// To `Describe`.
    Described(ClusterStatus),
    /// To `Testify`.
    Testified(Testimony),
    /// To `Promise`: how far its log reaches, for good.
    Promised(Position),
    /// To `Begin`: the generation's first revision.
    Begun(Revision),
}

/// Who a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its incarnation.
    pub id: PeerId,
    /// How it is reached.
    pub contact: Contact,
    /// The cluster it belongs to, if any.
    pub cluster: Option<ClusterId>,
    /// The leader's peer address, if it knows one.
    pub leader: Option<String>,
    /// The cluster's members, if it leads: who is none of them is none. Others may lag behind.
    #[serde(default)]
    pub members: Vec<PeerId>,
    /// It belongs to none, and a leader called for an earlier process of it: that one's cluster lives.
    #[serde(default)]
    pub called: bool,
    /// It belongs to none, and is about to begin one: what it has claimed or proposed it may begin at any moment.
    #[serde(default)]
    pub founds: bool,
    /// API addresses of the cluster's members, for nodes that hold no replica.
    pub apis: Vec<String>,
}

/// Leader to node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum LinkDown {
    /// Opens the link. A node obeys the highest (generation, term) it has seen.
    Open {
        /// The cluster and generation.
        cluster: ClusterId,
        /// The leader's term.
        term: u64,
        /// The incarnation the leader means to talk to.
        to: PeerId,
        /// The leader's peer address, for another incarnation that does not know its cluster; "" if it is not said.
        #[serde(default)]
        leader: String,
    },
    /// Belongs to the next `Assign`'s `upsert`, which would be too large in one frame.
    Part(Vec<WireAssignment>),
    /// Pods this node must run.
    Assign {
        /// True if what is not in `upsert` is not wanted.
        full: bool,
        /// New or changed pods.
        upsert: Vec<WireAssignment>,
        /// UIDs of pods that are not wanted any more.
        remove: Vec<String>,
    },
    /// Are you there, and how busy?
    Poll,
    /// The description of this number was heard, and a quorum says that the leader leads: a lease for unique pods, from
    /// the moment at which it was sent. Only to nodes that number their descriptions.
    Lease {
        /// As the node counts.
        number: u64,
        /// Nobody else can run the unique pods that are wanted on this node.
        start: bool,
    },
}

/// Node to leader.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum LinkUp {
    /// Said before `Opened` to a leader of a later generation than the one that told this node its pods: what it was told
    /// and has. The leader may know nothing of it, and must before it says what is wanted.
    Holds(Vec<HeldPod>),
    /// The link is open; what the node has.
    Opened(NodeDescription),
    /// The link is refused.
    Refused(String),
    /// Pods changed state.
    Reports(Vec<PodReport>),
    /// Answer to `Poll`.
    Alive(NodeDescription),
    /// The node's machine will be taken away in so many milliseconds; `None`: it will not be, after all.
    Evicting(Option<u64>),
}
