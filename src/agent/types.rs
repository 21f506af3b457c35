//! What the agent says of pods on a node, in CRI's words: sandboxes, containers, volumes, and what a runtime lists.
//!
//! Deliberately free of any runtime's types (Docker's, a simulation's): a runtime translates, the agent decides.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use serde::{Deserialize, Serialize};

/// A pod's UID, the key of everything on a node.
pub type Uid = String;

/// Which pod something belongs to. Runtimes keep it in labels, so that a restarted agent knows its own again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PodRef {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: Uid,
    /// At most one of its name may run: without a lease it is stopped.
    #[serde(default)]
    pub unique: bool,
}

/// A pod that a leader wants here, with what it refers to. Objects that do not exist are absent from the maps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assignment {
    /// The pod, bound to this node.
    pub pod: Pod,
    /// ConfigMaps of its namespace that it names, by name.
    pub config_maps: BTreeMap<String, ConfigMap>,
    /// Secrets of its namespace that it names, by name.
    pub secrets: BTreeMap<String, Secret>,
    /// Nobody else can ever have run it: where it is unique, it may start with the first lease.
    pub fresh: bool,
}

/// A pod's shared part to create: its network namespace, held by a pause container or by nothing at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// Whose.
    pub pod: PodRef,
    /// 0 for the first, one more each time the sandbox died.
    pub attempt: u32,
    /// Host name seen inside.
    pub hostname: String,
    /// Use the host's network.
    pub host_network: bool,
    /// Use the host's process ids.
    pub host_pid: bool,
    /// Ports to publish on the host; empty under `host_network`.
    pub ports: Vec<PortMapping>,
    /// Lines for the hosts file: address and names.
    pub host_aliases: Vec<(String, Vec<String>)>,
    /// Seconds that its containers get to end when nobody can be asked (an orphan's grace).
    pub grace_seconds: u64,
}

/// A container's port on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// Port inside the sandbox.
    pub container_port: u16,
    /// Port on the host.
    pub host_port: u16,
    /// Host's address to listen on; all if absent.
    pub host_ip: Option<IpAddr>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// A container to create and start inside a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "Kubernetes' own switches")]
pub struct ContainerSpec {
    /// Whose.
    pub pod: PodRef,
    /// The sandbox it joins.
    pub sandbox_id: String,
    /// Its name in the pod.
    pub name: String,
    /// 0 for the first, one more each restart.
    pub attempt: u32,
    /// Fingerprint of the pod's container definition ([`super::render::spec_hash`]).
    pub spec_hash: String,
    /// Image as the pod names it.
    pub image: String,
    /// Entrypoint; the image's if empty.
    pub command: Vec<String>,
    /// Arguments; the image's if both this and `command` are empty.
    pub args: Vec<String>,
    /// Working directory; the image's if absent.
    pub working_dir: Option<String>,
    /// Environment, in order; later ones win.
    pub env: Vec<(String, String)>,
    /// What is mounted where.
    pub mounts: Vec<Mount>,
    /// CPU and memory.
    pub limits: Limits,
    /// User to run as, `uid[:gid]`; the image's if absent.
    pub user: Option<String>,
    /// Extra groups.
    pub groups: Vec<i64>,
    /// All privileges of the host.
    pub privileged: bool,
    /// The root file system is read-only.
    pub read_only_root: bool,
    /// Capabilities added, without `CAP_`.
    pub capabilities_add: Vec<String>,
    /// Capabilities dropped.
    pub capabilities_drop: Vec<String>,
    /// Use the host's process ids, as its sandbox does.
    pub host_pid: bool,
    /// Standard input stays open.
    pub stdin: bool,
    /// A terminal is allocated.
    pub tty: bool,
    /// Seconds that it gets to end when nobody can be asked.
    pub grace_seconds: u64,
}

/// What a container may use of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Weight against others, 2–262,144 (cgroup v1's `cpu.shares`; 1,024 a CPU).
    pub cpu_shares: u64,
    /// Microseconds of CPU in each [`CPU_PERIOD_US`]; unlimited if absent.
    pub cpu_quota_us: Option<u64>,
    /// Bytes of memory; unlimited if absent.
    pub memory_bytes: Option<u64>,
}

/// The period that [`Limits::cpu_quota_us`] counts in, microseconds (the kernel's and Kubernetes' default).
pub const CPU_PERIOD_US: u64 = 100_000;

/// One mount of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path inside the container.
    pub target: String,
    /// Where it comes from.
    pub source: MountSource,
    /// Path below the source; "" is the source itself.
    pub sub_path: String,
    /// The container may not write.
    pub read_only: bool,
}

/// Where a mount comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A [`Volume`] of the pod, by name.
    Volume(String),
    /// A path of the host.
    HostPath {
        /// Absolute.
        path: String,
        /// Make the directory if nothing is there (`DirectoryOrCreate` or no type given).
        create: bool,
    },
}

/// A volume that the runtime keeps for a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name in the pod.
    pub name: String,
    /// What is in it.
    pub content: VolumeContent,
}

/// What a pod's volume holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeContent {
    /// Rendered files (ConfigMap, Secret, downward API, projected), never on a disk. Writing again replaces them.
    Files(Vec<File>),
    /// An empty directory that lives as long as the pod.
    Empty {
        /// In memory (`medium: Memory`) instead of on the node's disk.
        memory: bool,
    },
}

/// A rendered file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Relative path, without `..`.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Content.
    pub content: Bytes,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PullPolicy {
    /// Before each start.
    Always,
    /// If the node does not have it.
    IfNotPresent,
    /// Never; a missing image is an error.
    Never,
}

/// Everything of this node's that a runtime knows, dead containers included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Sandboxes, in any order.
    pub sandboxes: Vec<SandboxRecord>,
    /// Containers, in any order.
    pub containers: Vec<ContainerRecord>,
}

/// A sandbox that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxRecord {
    /// The runtime's id.
    pub id: String,
    /// Whose.
    pub pod: PodRef,
    /// Its attempt.
    pub attempt: u32,
    /// Whether it still holds the pod's namespaces.
    pub running: bool,
    /// The pod's addresses; empty on the host's network.
    pub ips: Vec<IpAddr>,
    /// When it was created.
    pub created_at: Timestamp,
    /// From [`SandboxSpec::grace_seconds`].
    pub grace_seconds: u64,
}

/// A container that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerRecord {
    /// The runtime's id.
    pub id: String,
    /// Whose.
    pub pod: PodRef,
    /// Its name in the pod.
    pub name: String,
    /// Its attempt.
    pub attempt: u32,
    /// The sandbox it joined.
    pub sandbox_id: String,
    /// From [`ContainerSpec::spec_hash`].
    pub spec_hash: String,
    /// Image as the pod named it.
    pub image: String,
    /// The image's digest or id.
    pub image_id: String,
    /// Dead or alive.
    pub state: ContainerState,
}

/// Dead or alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, not started; a start that was interrupted.
    Created,
    /// Runs.
    Running {
        /// Since.
        started_at: Timestamp,
    },
    /// Ended.
    Exited(Exit),
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit code; 128 + signal number if a signal ended it.
    pub code: i32,
    /// When it had started; absent if it never ran.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
    /// `OOMKilled`, `ContainerStatusUnknown`, `StartError`; absent: `Completed` for 0, else `Error`.
    pub reason: Option<String>,
    /// What the runtime said of it, "" if nothing.
    pub message: String,
}

/// The exit code of a container whose end nobody saw (Kubernetes' `ContainerStatusUnknown`).
pub const EXIT_CODE_UNKNOWN: i32 = 137;

/// What a pod has used since its sandbox began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodUsage {
    /// Whose.
    pub uid: Uid,
    /// By container's name.
    pub containers: BTreeMap<String, Usage>,
}

/// What a container uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time used so far, nanoseconds.
    pub cpu_nanos: u64,
    /// Memory in use without reclaimable file cache (the working set), bytes.
    pub memory_bytes: u64,
}

/// The time a container gets when its own says nothing (`terminationGracePeriodSeconds`' default).
pub const GRACE_DEFAULT: Duration = Duration::from_secs(30);
