//! What actors say to each other across rooms' borders. Requests are imperative, events past tense.
//!
//! Deliberately only the shared ones: what one actor alone understands stands in that actor's file.

use std::collections::BTreeSet;
use std::sync::Arc;

use actix::prelude::*;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::raft::{PeerId, Role};
use crate::resource::{Reply, Request, Status};
use crate::store::{Event, Revision, View};

/// Plan and commit these writes, in order, each by itself. Any node takes it; followers forward to the leader.
/// The replies are in the order of the requests. Bound: [`SUBMIT_REQUESTS_MAX`].
#[derive(Message, Debug)]
#[rtype(result = "Vec<Result<Reply, Status>>")]
pub struct Submit(pub Vec<Request>);

/// Requests in one [`Submit`]; more is the caller's to split.
pub const SUBMIT_REQUESTS_MAX: usize = 1_024;

/// Give me a view to read from.
#[derive(Message, Debug)]
#[rtype(result = "Result<View, Status>")]
pub struct Read(pub Consistency);

/// How fresh a view must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Consistency {
    /// Reflects every write acknowledged before the request (ReadIndex).
    Linearizable,
    /// Whatever this node has, once it has reached this revision (0: at once).
    AtLeast(Revision),
}

/// Subscribe to the changes of every key that starts with `prefix`, after a revision.
#[derive(Message, Debug)]
#[rtype(result = "Result<Subscription, Status>")]
pub struct Watch {
    /// E.g. `pods/` or `pods/default/`.
    pub prefix: String,
    /// Changes later than this; 410 `Expired` if the history no longer reaches back so far.
    pub after: Revision,
}

/// An open watch. The receiver ends when the watcher was too slow ([`WATCH_BATCHES_MAX`]) or the node stops;
/// the client then lists and watches anew.
#[derive(Debug)]
pub struct Subscription {
    /// Changes between `after` and now, in order.
    pub backlog: Vec<Event>,
    /// The revision up to which `backlog` is complete.
    pub revision: Revision,
    /// Every later change, one batch per commit batch.
    pub events: mpsc::Receiver<Arc<Vec<Event>>>,
}

/// Batches that wait for one slow watcher before it is dropped.
pub const WATCH_BATCHES_MAX: usize = 1_024;

/// Stream a container's log from wherever it runs.
#[derive(Message, Clone, Debug, Serialize, Deserialize)]
#[rtype(result = "Result<LogStream, Status>")]
pub struct OpenLog {
    /// Node the pod is bound to.
    pub node: String,
    /// Pod's namespace.
    pub namespace: String,
    /// Pod's name.
    pub pod: String,
    /// Pod's UID.
    pub uid: String,
    /// Container's name.
    pub container: String,
    /// Options of `kubectl logs`.
    pub options: LogOptions,
}

/// `PodLogOptions`, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogOptions {
    /// Stay and send what comes.
    pub follow: bool,
    /// The previous, terminated container's log.
    pub previous: bool,
    /// Prefix each line with its RFC 3339 time.
    pub timestamps: bool,
    /// Only the last so many lines.
    pub tail_lines: Option<u64>,
    /// Only what was written in the last so many seconds.
    pub since_seconds: Option<u64>,
    /// End after so many bytes.
    pub limit_bytes: Option<u64>,
}

/// Pieces of a log; ends when the log ends, with the error last if there was one.
pub type LogStream = mpsc::Receiver<Result<Bytes, Status>>;

/// Describe the cluster (`kagero status`, metrics). Followers ask the leader.
#[derive(Message, Debug)]
#[rtype(result = "Result<ClusterStatus, Status>")]
pub struct DescribeCluster;

/// The cluster as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Cluster id, 16 hex digits.
    pub cluster_id: String,
    /// Recoveries from a lost majority so far.
    pub generation: u64,
    /// Current term.
    pub term: u64,
    /// Name of the leading node.
    pub leader: String,
    /// Voters wanted (`--voters`).
    pub voters_wanted: usize,
    /// Store revision on the leader.
    pub revision: u64,
    /// Keys in the leader's store.
    pub keys: u64,
    /// The newest recovery from a lost majority, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoveryRecord>,
    /// The restore that this generation began with, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<Box<RestoreRecord>>,
    /// What is kept in the object store, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<Box<SnapshotStatus>>,
    /// Every member, by name.
    pub members: Vec<MemberStatus>,
}

/// What the leader has kept of the cluster's state since it began to lead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotStatus {
    /// The store's URL.
    pub store: String,
    /// When it was last known to hold everything, RFC 3339; "" if never yet.
    pub time: String,
    /// The revision that it held then.
    pub revision: u64,
    /// Why nothing has been kept since; "" if all is well.
    pub problem: String,
}

/// Recover from the loss of a majority, coordinated by this node; without `confirm` only say what would be done.
#[derive(Message, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[rtype(result = "Result<Recovery, Status>")]
pub struct Recover {
    /// Names of members that the operator vouches are gone for good.
    #[serde(default)]
    pub dead: BTreeSet<String>,
    /// The token of the plan that was agreed to.
    #[serde(default)]
    pub confirm: Option<String>,
    /// No operator asks: so much more must be certain (`recovery/unattended.rs`).
    #[serde(skip)]
    pub unattended: bool,
}

/// A recovery, planned or done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recovery {
    /// What will be, or was, done.
    pub record: RecoveryRecord,
    /// What [`Recover::confirm`] must say for this plan.
    pub confirm: String,
    /// The new generation's first revision, once it is done.
    pub revision: Option<u64>,
}

/// What stays known of a recovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryRecord {
    /// The generation that begins.
    pub generation: u64,
    /// The generation that ended.
    pub from_generation: u64,
    /// When it was confirmed, RFC 3339; "" of a plan.
    pub time: String,
    /// The node that an operator asked.
    pub coordinator: String,
    /// The node whose log won.
    pub winner: String,
    /// That log's last term.
    pub last_term: u64,
    /// That log's last index.
    pub last_index: u64,
    /// The highest index that a survivor knew to be committed. What the winner's log has beyond it is kept.
    pub commit_index: u64,
    /// What may have been lost, in a sentence.
    pub may_be_lost: String,
    /// Every member of the last configuration.
    pub members: Vec<RecoveryMember>,
}

/// What stays known of a formation from the archive, after everything was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreRecord {
    /// The generation that begins.
    pub generation: u64,
    /// When it was claimed, RFC 3339.
    pub time: String,
    /// The node that began it.
    pub founder: String,
    /// URL of the snapshot; "" if there was none.
    pub source: String,
    /// When it was taken, RFC 3339, by its leader's clock.
    pub snapshot_time: String,
    /// How old it was.
    pub age_seconds: u64,
    /// Its generation.
    pub from_generation: u64,
    /// The term of the last entry that is in it.
    pub last_term: u64,
    /// That entry's index.
    pub last_index: u64,
    /// The store's revision in it.
    pub revision: u64,
    /// Later snapshots that could not be used, each with the reason.
    pub skipped: Vec<String>,
    /// What may have been lost, in a sentence.
    pub may_be_lost: String,
}

/// A member at the time of a recovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryMember {
    /// Node name.
    pub name: String,
    /// Incarnation, 16 hex digits.
    pub incarnation: String,
    /// `voter` or `standby`.
    pub role: String,
    /// Why it counts as dead; "" of a survivor.
    pub dead: String,
    /// Last term of a survivor's log.
    pub last_term: u64,
    /// Last index of a survivor's log.
    pub last_index: u64,
}

/// Announce that a node's machine will be taken away (`POST /kagero/v1/evictions`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Evict {
    /// Node name.
    pub node: String,
    /// In so many milliseconds; at most [`EVICT_MS_MAX`].
    pub in_ms: u64,
}

/// A notice given longer ahead is no notice: a day.
pub const EVICT_MS_MAX: u64 = 24 * 60 * 60 * 1_000;

/// What was announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evicted {
    /// Node name.
    pub node: String,
    /// The incarnation that it was announced to, 16 hex digits. The next is not meant.
    pub incarnation: String,
    /// When it was announced, RFC 3339.
    pub since: String,
    /// When the machine may be taken away, RFC 3339.
    pub deadline: String,
}

/// One Raft member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Node name.
    pub name: String,
    /// Incarnation, 16 hex digits.
    pub incarnation: String,
    /// `host:port` of the peer protocol.
    pub address: String,
    /// `host:port` of the API.
    pub api: String,
    /// `leader`, `voter`, `learner`.
    pub role: String,
    /// Highest log index known to be on it.
    pub matched: u64,
    /// Entries it lags behind the leader's last index.
    pub lag: u64,
    /// Milliseconds since the leader heard from it; 0 for the leader.
    pub silent_ms: u64,
}

/// To the leader's own actors (the informer, which tells the rest, and membership): this node leads from now on.
/// `view` reflects every entry of earlier terms.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct BecameLeader {
    /// The term won.
    pub term: u64,
    /// The state at that point; [`Applied`] continues from it without a gap.
    pub view: View,
}

/// To the same: this node no longer leads; forget everything.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct LostLeadership;

/// To the same, while leading: these changes were committed and applied.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct Applied {
    /// The state after them.
    pub view: View,
    /// The changes, in order.
    pub events: Arc<Vec<Event>>,
}

/// This node's part in consensus, for readiness and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalRole {
    /// This incarnation.
    pub id: PeerId,
    /// Its Raft role.
    pub role: Role,
}
