//! What goes into the agent and what comes out: inputs, operations on the runtime, their outcomes, reports.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodStatus;

use super::types::{
    Assignment, ContainerSpec, Inventory, PodRef, PullPolicy, SandboxSpec, Uid, Volume,
};

/// Who leads: the higher one is obeyed, the lower one refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seat {
    /// The cluster's generation.
    pub generation: u64,
    /// The leader's term.
    pub term: u64,
}

/// Desired pods from a leader.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// Who says so.
    pub seat: Seat,
    /// `upsert` is everything wanted; what it does not name is unwanted. Otherwise a delta to the last full set.
    pub full: bool,
    /// New or changed pods.
    pub upsert: Vec<Assignment>,
    /// UIDs of pods that no longer exist.
    pub remove: Vec<Uid>,
    /// UIDs of wanted pods that cannot be read as they are wanted: what runs of them goes on, nothing of them is started.
    pub unreadable: Vec<Uid>,
}

/// A lease for unique pods: none of them starts elsewhere before it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leased {
    /// Whose leader gave it. It means nothing before that one's full set.
    pub seat: Seat,
    /// When it ends, on the clock that the agent is stepped with.
    pub until: Duration,
    /// Nobody else can run the unique pods that are wanted here, whatever was before: they may start.
    pub start: bool,
}

/// Why a leader's word was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Somebody with a higher seat was heard already.
    #[error("a leader of generation {0}, term {1} was heard already", .seen.generation, .seen.term)]
    Superseded {
        /// The highest seat heard.
        seen: Seat,
    },
    /// A delta came before this leader's first full set.
    #[error("send the full set of pods first")]
    FullSetWanted,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A leader spoke.
    Desired(Desired),
    /// The leader of a seat has confirmed that it heard this node.
    Leased(Leased),
    /// The runtime listed what exists.
    Listed {
        /// [`super::Agent::performed`] when the question was put: an answer older than an operation's end says
        /// nothing of that operation's pod.
        performed: u64,
        /// The answer.
        inventory: Inventory,
    },
    /// An operation ended.
    Performed {
        /// From [`Action::Perform`].
        ticket: u64,
        /// Which pod's.
        uid: Uid,
        /// How.
        outcome: Outcome,
    },
    /// Time passed. At least once a second, or back-offs and deadlines come late by as much.
    Tick,
}

/// What the shell must do, in order of the vector; operations run side by side.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Do this, then feed [`Input::Performed`] back, whatever came of it. If it had to wait for its turn, ask
    /// [`super::Agent::may_begin`] first.
    Perform {
        /// Unique in this agent's life.
        ticket: u64,
        /// Which pod's.
        uid: Uid,
        /// What.
        operation: Operation,
    },
    /// Tell the leader.
    Report(Box<Report>),
    /// List the runtime soon: what is known is too old.
    Relist,
}

/// One thing to ask of a runtime. All are idempotent: "already so" and "no such thing" to remove are success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Make the pod's volumes so; existing files volumes are replaced.
    WriteVolumes {
        /// Whose.
        pod: PodRef,
        /// All of them.
        volumes: Vec<Volume>,
    },
    /// Start a sandbox: [`Outcome::SandboxStarted`].
    StartSandbox(SandboxSpec),
    /// Stop and remove a sandbox.
    RemoveSandbox {
        /// Its id.
        id: String,
    },
    /// See to it that an image is there: [`Outcome::ImageReady`].
    EnsureImage {
        /// The container it is for.
        container: String,
        /// The image.
        image: String,
        /// Whether to pull.
        policy: PullPolicy,
    },
    /// Create and start a container: [`Outcome::ContainerStarted`].
    StartContainer(Box<ContainerSpec>),
    /// SIGTERM, then SIGKILL after the grace.
    StopContainer {
        /// Its id.
        id: String,
        /// Time between the two; zero kills at once.
        grace: Duration,
    },
    /// Remove a container, its log included; kills it if it runs.
    RemoveContainer {
        /// Its id.
        id: String,
    },
    /// Remove the pod's volumes and whatever else the runtime keeps for it.
    RemovePod {
        /// Whose.
        uid: Uid,
    },
}

impl Operation {
    /// Whether something of the pod may run because of it.
    pub(super) fn starts(&self) -> bool {
        matches!(self, Self::StartSandbox(_) | Self::StartContainer(_))
    }

    /// A short name for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::WriteVolumes { .. } => "write-volumes",
            Self::StartSandbox(_) => "start-sandbox",
            Self::RemoveSandbox { .. } => "remove-sandbox",
            Self::EnsureImage { .. } => "ensure-image",
            Self::StartContainer(_) => "start-container",
            Self::StopContainer { .. } => "stop-container",
            Self::RemoveContainer { .. } => "remove-container",
            Self::RemovePod { .. } => "remove-pod",
        }
    }
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is so.
    Done,
    /// The sandbox holds.
    SandboxStarted {
        /// Its id.
        id: String,
        /// The pod's addresses; empty on the host's network.
        ips: Vec<IpAddr>,
    },
    /// The image is there.
    ImageReady {
        /// Its digest or id.
        image_id: String,
    },
    /// The container runs (or ran: a short one may have ended since).
    ContainerStarted {
        /// Its id.
        id: String,
        /// When.
        started_at: Timestamp,
    },
    /// It was not tried: [`super::Agent::may_begin`] was false when its turn came.
    Withheld,
    /// It did not come true.
    Failed {
        /// The kind of failure.
        failure: Failure,
        /// For people.
        message: String,
    },
}

/// Why an operation failed, as far as the pod's status tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The image could not be pulled.
    Pull,
    /// The image is not here and must not be pulled.
    NeverPull,
    /// The image's name is malformed.
    ImageName,
    /// The container's configuration is not possible.
    Config,
    /// The command could not be executed; counts as an exit with code 128.
    Start,
    /// Anything else (an engine that does not answer, a conflict): tried again.
    Other,
}

/// A pod's state for the leader.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Whose.
    pub pod: PodRef,
    /// Its status as this node sees it.
    pub status: PodStatus,
    /// Deleted, ended and removed: the leader may remove the object.
    pub gone: bool,
}
