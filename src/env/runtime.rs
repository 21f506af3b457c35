//! Containers: what a node's agent asks of Docker, of plain processes, or of a simulation's fake, in CRI's words.
//!
//! A runtime translates and remembers nothing that it cannot find again: after a restart of the agent
//! [`ContainerRuntime::list`] tells everything there is. Deliberately without policy: what to restart, pull or remove
//! is decided in `agent`. Not here yet: exec, attach and port forwarding.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use crate::agent::{ContainerSpec, Inventory, PodRef, PodUsage, SandboxSpec, Volume};

/// Runs containers. Every operation is idempotent: a thing to stop or remove that is not there is success.
///
/// One instance sees one node's things only, however many nodes share the engine behind it.
#[async_trait(?Send)]
pub trait ContainerRuntime {
    /// `docker`, `process`, …; also the scheme of `containerID` in a pod's status.
    fn name(&self) -> &'static str;

    /// Asks the engine who it is; an error means that no pod can run now.
    async fn version(&self) -> Result<RuntimeVersion, VersionError>;

    /// Creates nothing any more, and waits for what is being created: [`list`](Self::list) then tells all there will
    /// ever be. For a runtime that creates at once, as most do, there is nothing to wait for.
    async fn close(&self) {}

    /// Counts up whenever a container's state may have changed. May miss changes: the caller lists from time to time.
    fn changed(&self) -> watch::Receiver<u64>;

    /// Everything of this node's, dead containers included.
    async fn list(&self) -> Result<Inventory, ListError>;

    /// Makes a pod's volumes; files volumes that exist are replaced, each file at once.
    async fn write_volumes(&self, pod: &PodRef, volumes: &[Volume]) -> Result<(), VolumeError>;

    /// Removes a pod's volumes and whatever else was kept for it.
    async fn remove_pod(&self, uid: &str) -> Result<(), RemoveError>;

    /// Creates and starts a sandbox. On an error nothing is left of it.
    async fn start_sandbox(&self, spec: &SandboxSpec) -> Result<StartedSandbox, SandboxError>;

    /// Kills and removes a sandbox.
    async fn remove_sandbox(&self, id: &str) -> Result<(), RemoveError>;

    /// Creates and starts a container in its sandbox. On an error nothing is left of it.
    async fn start_container(&self, spec: &ContainerSpec) -> Result<StartedContainer, StartError>;

    /// SIGTERM, then SIGKILL after `grace`; returns once the container has ended.
    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), StopError>;

    /// Removes a container with its log; kills it if it runs.
    async fn remove_container(&self, id: &str) -> Result<(), RemoveError>;

    /// The digest or id of an image, if the node has it.
    async fn find_image(&self, image: &str) -> Result<Option<String>, ListError>;

    /// Pulls an image; its digest or id.
    async fn pull_image(&self, image: &str) -> Result<String, PullError>;

    /// Streams a container's log, dead or alive. Pieces end anywhere, not at lines.
    async fn open_log(&self, id: &str, query: &LogQuery) -> Result<LogPieces, LogError>;

    /// What each pod uses now. Pods of which nothing is known are absent.
    async fn usage(&self) -> Result<Vec<PodUsage>, ListError>;
}

/// Who a runtime is, for the Node's `nodeInfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeVersion {
    /// E.g. `docker://20.10.24`.
    pub runtime: String,
    /// The kernel's release, e.g. `6.1.0-18-amd64`.
    pub kernel: String,
    /// The operating system, for people.
    pub os_image: String,
}

/// A sandbox that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartedSandbox {
    /// The runtime's id.
    pub id: String,
    /// The pod's addresses; empty on the host's network.
    pub ips: Vec<std::net::IpAddr>,
}

/// A container that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartedContainer {
    /// The runtime's id.
    pub id: String,
    /// When it began.
    pub started_at: Timestamp,
}

/// Which part of a log is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Stay while the container runs and send what comes.
    pub follow: bool,
    /// Prefix each line with its RFC 3339 time.
    pub timestamps: bool,
    /// Only the last so many lines.
    pub tail_lines: Option<u64>,
    /// Only what was written after this.
    pub since: Option<Timestamp>,
}

/// Pieces of a log; the sender ends when the log does, an error comes last.
pub type LogPieces = mpsc::Receiver<Result<Bytes, LogError>>;

/// Pieces on their way in one log stream; the reader waits for its client beyond that.
pub const LOG_PIECES_MAX: usize = 16;

/// Why a runtime did not say who it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Nothing answers.
    #[error("no container engine answers: {0}")]
    Unavailable(String),
    /// It answers, but cannot be used.
    #[error("the container engine cannot be used: {0}")]
    Unsupported(String),
}

/// Why something could not be listed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// The engine does not answer.
    #[error("the container engine does not answer: {0}")]
    Unavailable(String),
}

/// Why a volume could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VolumeError {
    /// A file's path leads out of its volume.
    #[error("path {0:?} leads out of its volume")]
    Path(String),
    /// The node's file system refuses.
    #[error("cannot write volume {volume:?}: {reason}")]
    Write {
        /// The volume's name.
        volume: String,
        /// What the system said.
        reason: String,
    },
}

/// Why a sandbox did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SandboxError {
    /// A published port is in use on the host.
    #[error("host port in use: {0}")]
    PortInUse(String),
    /// The engine refuses or does not answer.
    #[error("cannot start the sandbox: {0}")]
    Engine(String),
}

/// Why a container did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The image is not there (any more).
    #[error("no such image: {0}")]
    NoImage(String),
    /// The sandbox is not there (any more).
    #[error("no such sandbox: {0}")]
    NoSandbox(String),
    /// What was asked for is not possible.
    #[error("{0}")]
    Config(String),
    /// The command could not be executed.
    #[error("{0}")]
    Command(String),
    /// The engine refuses or does not answer.
    #[error("cannot start the container: {0}")]
    Engine(String),
}

/// Why a container did not stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopError {
    /// The engine does not answer, or the container survived SIGKILL.
    #[error("cannot stop the container: {0}")]
    Engine(String),
}

/// Why something was not removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    /// The engine or the file system refuses.
    #[error("cannot remove: {0}")]
    Engine(String),
}

/// Why an image is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PullError {
    /// The name is malformed.
    #[error("invalid image name {0:?}")]
    Name(String),
    /// No registry has it, or not for us.
    #[error("{0}")]
    NotFound(String),
    /// Registry or engine do not answer.
    #[error("{0}")]
    Unavailable(String),
}

/// Why a log cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// No such container.
    #[error("no such container: {0}")]
    NotFound(String),
    /// The engine or the file system fails.
    #[error("cannot read the log: {0}")]
    Engine(String),
}
