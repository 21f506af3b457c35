//! What a node's link and its agent say to each other, on one node and over the wire.
//!
//! Objects travel as JSON bytes inside typed envelopes: compact codecs cannot carry Kubernetes' types.

use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::messages::{LogOptions, LogStream};
use crate::agent::PodUsage;
use crate::resource::Status;

/// A leader's desired pods for this node: all of them, or what changed since.
#[derive(Message, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[rtype(result = "Result<(), AssignRefused>")]
pub struct AssignPods {
    /// The cluster's generation.
    pub generation: u64,
    /// The leader's term.
    pub term: u64,
    /// `upsert` is everything wanted; whatever it does not name is stopped and removed.
    pub full: bool,
    /// New and changed pods.
    pub upsert: Vec<WireAssignment>,
    /// UIDs of pods that no longer exist.
    pub remove: Vec<String>,
}

/// A pod with the objects it refers to, each as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireAssignment {
    /// The pod's UID.
    pub uid: String,
    /// The pod, with UID and status.
    pub pod: Bytes,
    /// The ConfigMaps it names that exist.
    pub config_maps: Vec<Bytes>,
    /// The Secrets it names that exist.
    pub secrets: Vec<Bytes>,
    /// Nobody else can ever have run it.
    #[serde(default)]
    pub fresh: bool,
}

/// The leader has confirmed that it heard this node: a lease for unique pods.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct LeasePods {
    /// The cluster's generation.
    pub generation: u64,
    /// The leader's term.
    pub term: u64,
    /// When the lease ends, since the machine's boot.
    pub until: Duration,
    /// Nobody else can run what is wanted here.
    pub start: bool,
}

/// Why an assignment was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum AssignRefused {
    /// A higher (generation, term) was heard already.
    #[error("a leader of generation {generation}, term {term} was heard already")]
    Superseded {
        /// Its generation.
        generation: u64,
        /// Its term.
        term: u64,
    },
    /// A delta came before this leader's full set.
    #[error("send the full set of pods first")]
    FullSetWanted,
    /// The agent is gone.
    #[error("the agent has stopped")]
    Stopped,
}

/// To the node's link: these pods' states have changed.
#[derive(Message, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[rtype(result = "()")]
pub struct PodReports(pub Vec<PodReport>);

/// One pod's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodReport {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// `PodStatus` as JSON.
    pub status: Bytes,
    /// Deleted, ended and removed from the node: the object may go.
    pub gone: bool,
}

/// A pod that a node was told to run by a leader of an earlier generation, and has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldPod {
    /// The pod's UID.
    pub uid: String,
    /// The pod as it was told last.
    pub pod: Bytes,
    /// `PodStatus` as it was reported last.
    pub status: Bytes,
}

/// Describe this node for its Node object and for metrics.
#[derive(Message, Clone, Copy, Debug, Serialize, Deserialize)]
#[rtype(result = "NodeDescription")]
pub struct DescribeNode;

/// A node as its agent sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDescription {
    /// `docker://20.10.24`, `process://0.1.0`; "" while no engine answers.
    pub container_runtime_version: String,
    /// Kernel's release.
    pub kernel_version: String,
    /// Operating system, for people.
    pub os_image: String,
    /// CPU that pods may use, millicores.
    pub cpu_millis: u64,
    /// Memory that pods may use, bytes.
    pub memory_bytes: u64,
    /// Most pods it takes.
    pub pods_max: u64,
    /// Its addresses, the preferred one first.
    pub addresses: Vec<std::net::IpAddr>,
    /// Why pods cannot run here now; absent if they can.
    pub problem: Option<String>,
    /// Pods that are wanted and have not ended.
    pub active_pods: usize,
    /// Of them, those with a running container.
    pub running_pods: usize,
    /// Pods found running that no leader has claimed.
    pub unclaimed_pods: usize,
    /// What each pod uses.
    pub usage: Vec<PodUsage>,
    /// Which of the node's words this is, from 1; 0 from a node that knows no leases.
    #[serde(default)]
    pub number: u64,
}

/// Stream the log of a container on this node.
#[derive(Message, Clone, Debug, Serialize, Deserialize)]
#[rtype(result = "Result<LogStream, Status>")]
pub struct ReadLog {
    /// Pod's name, for messages.
    pub pod: String,
    /// Pod's UID.
    pub uid: String,
    /// Container's name.
    pub container: String,
    /// Options of `kubectl logs`.
    pub options: LogOptions,
}
