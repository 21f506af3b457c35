//! A cluster of `kagero run` processes on this machine's loopback, for `dev` and `demo`.
//!
//! Owns what it makes: the processes, their pods, one directory on a tmpfs; [`Cluster::stop`] takes all of it away.
//! Deliberately no second way to run a node: each is a process of this very program with its ordinary flags.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use rand::{Rng, RngCore};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::client::{Client, ClientError};
use super::leftovers::{self, Directory};
use super::machine::{Capacity, Usage};
use super::run::CLOSE_PATIENCE;
use super::status::{condition, items};
use super::{RuntimeChoice, edges};
use crate::actors::messages::ClusterStatus;
use crate::env::entropy::Entropy;
use crate::env::network::Network;
use crate::env::runtime::ContainerRuntime;

/// Most nodes on one machine; a bound against a slip of the finger, each takes a process and two ports.
pub const NODES_MAX: usize = 100;
/// How often anything is looked at again; an election takes about ten times as long.
pub const POLL: Duration = Duration::from_millis(20);
/// What a node gets to end by itself before it is killed: its engine's patience, and as much again as all else takes.
const STOP_PATIENCE: Duration = CLOSE_PATIENCE.saturating_add(Duration::from_secs(3));
/// What one node may need to answer a question that it need not think about.
const QUESTION_PATIENCE: Duration = Duration::from_millis(500);
/// Ports tried: above the well-known and below the ephemeral ones (Linux: 32,768 on), so that no outgoing connection
/// takes a dead node's port before it is back.
const PORTS: std::ops::Range<u16> = 10_000..30_000;
/// Ports tried for one that is free.
const PORT_TRIES_MAX: usize = 1_000;
/// Last bytes of a dead node's log that are shown: a panic's message and the stack under it.
const LOG_SHOWN_BYTES: usize = 8_000;

/// What a cluster is to be.
#[derive(Clone, Debug)]
pub struct Layout {
    /// How many nodes.
    pub nodes: usize,
    /// What runs their containers; `Auto` was resolved before.
    pub runtime: RuntimeChoice,
    /// `--log` of each.
    pub log: String,
}

impl Layout {
    /// Voters wanted of so many nodes: an odd number, at most 3.
    pub fn voters(&self) -> usize {
        if self.nodes < 3 { 1 } else { 3 }
    }
}

/// A running cluster.
pub struct Cluster {
    /// The nodes, in order of their names.
    pub nodes: Vec<LocalNode>,
    layout: Layout,
    program: PathBuf,
    capacity: Capacity,
    network: Rc<dyn Network>,
    directory: Directory,
}

/// One node of it.
pub struct LocalNode {
    /// Its name, `n1`, …
    pub name: String,
    /// `host:port` of the peer protocol.
    pub listen: String,
    /// `host:port` of the API.
    pub api: String,
    place: edges::Place,
    boot_id: String,
    child: Option<Child>,
    /// When a process of its was last seen dead that had not ended by itself.
    died: Option<Instant>,
    runtime: Rc<dyn ContainerRuntime>,
}

impl LocalNode {
    /// Its process, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// What its process uses, if it runs.
    pub fn usage(&self) -> Option<Usage> {
        self.pid().and_then(Usage::of)
    }

    /// How its process ended, if it did. Asked once: then the process counts as gone.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        self.died = Some(Instant::now());
        Some(status)
    }

    /// SIGKILL, and waits until it is gone.
    async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            let killed = child.kill().await;
            self.died = Some(Instant::now());
            killed.with_context(|| format!("killing {}", self.name))?;
        }
        Ok(())
    }

    /// SIGTERM, then SIGKILL.
    async fn stop(&mut self) -> anyhow::Result<()> {
        let pid = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        if let (Some(pid), Some(child)) = (pid, &mut self.child) {
            // It may have ended a moment ago; waiting tells.
            let _ = kill_process(pid, Signal::TERM);
            if let Ok(Ok(status)) = timeout(STOP_PATIENCE, child.wait()).await
                && status.success()
            {
                self.child = None;
                return Ok(());
            }
        }
        self.kill().await
    }
}

impl Cluster {
    /// Starts the processes. They find each other by themselves; [`Cluster::ready`] waits for that.
    pub async fn start(layout: Layout, entropy: &mut Entropy) -> anyhow::Result<Self> {
        let network = edges::network();
        let directory = Directory::create(entropy, layout.runtime)?;
        let addresses = free_addresses(&*network, entropy, layout.nodes * 2).await?;
        let mut nodes = Vec::new();
        for (index, pair) in addresses.chunks_exact(2).enumerate() {
            let name = format!("n{}", index + 1);
            let place = edges::Place::below(&directory.path().join(&name));
            nodes.push(LocalNode {
                runtime: edges::runtime(layout.runtime, &place).await?,
                place,
                listen: pair[0].clone(),
                api: pair[1].clone(),
                boot_id: new_id(entropy),
                child: None,
                died: None,
                name,
            });
        }
        let mut cluster = Self {
            nodes,
            layout,
            program: std::env::current_exe().context("finding this program's own file")?,
            capacity: Capacity::read()?,
            network,
            directory,
        };
        for index in 0..cluster.nodes.len() {
            cluster.start_process(index)?;
        }
        Ok(cluster)
    }

    /// Starts a node's process again, on a machine that never stopped.
    pub fn start_process(&mut self, index: usize) -> anyhow::Result<()> {
        let node = &self.nodes[index];
        let log = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(self.log_path(&node.name))
            .context("opening a node's log")?;
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            let ours = name.to_string_lossy().starts_with("KAGERO_");
            if ours || name == "NOTIFY_SOCKET" {
                command.env_remove(name);
            }
        }
        command
            .args(self.arguments(node))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0) // the terminal's Ctrl-C is for the parent alone, who stops nodes in order
            .kill_on_drop(true);
        let child = command.spawn();
        let child = child.with_context(|| format!("starting {}", self.program.display()))?;
        self.nodes[index].child = Some(child);
        Ok(())
    }

    /// The same after the machine was lost: to its node it looks like a new boot.
    pub fn start_machine(&mut self, index: usize, entropy: &mut Entropy) -> anyhow::Result<()> {
        self.nodes[index].boot_id = new_id(entropy);
        self.start_process(index)
    }

    /// Loses a machine: its process dies by SIGKILL, and its pods with it.
    pub async fn kill_process(&mut self, index: usize) -> anyhow::Result<()> {
        self.nodes[index].kill().await
    }

    /// The second half of a machine's loss.
    pub async fn wipe(&self, index: usize) -> anyhow::Result<()> {
        let node = &self.nodes[index];
        let wiped = leftovers::wipe(&*node.runtime).await;
        wiped.with_context(|| removing(node))?;
        Ok(())
    }

    fn arguments(&self, node: &LocalNode) -> Vec<String> {
        let seeds: Vec<_> = self.nodes.iter().map(|node| node.listen.as_str()).collect();
        // The nodes share one machine: each offers its part of it.
        let others = (self.nodes.len() - 1) as u64;
        let reserved = |total: u64| (total / self.nodes.len() as u64) * others;
        let (run_dir, data_dir) = (&node.place.run_dir, &node.place.data_dir);
        let machine_id = format!("{}-{}", self.directory.id(), node.name);
        let options = [
            ("name", node.name.clone()),
            ("listen", node.listen.clone()),
            ("api", node.api.clone()),
            ("seeds", seeds.join(",")),
            ("voters", self.layout.voters().to_string()),
            ("runtime", super::flag(self.layout.runtime)),
            ("run-dir", run_dir.display().to_string()),
            ("data-dir", data_dir.display().to_string()),
            ("machine-id", machine_id),
            ("boot-id", node.boot_id.clone()),
            (
                "reserved-cpu",
                format!("{}m", reserved(self.capacity.cpu_millis)),
            ),
            (
                "reserved-memory",
                reserved(self.capacity.memory_bytes).to_string(),
            ),
            ("log", self.layout.log.clone()),
        ];
        let options = options.map(|(flag, value)| format!("--{flag}={value}"));
        let fixed = ["run".to_owned(), "--die-with-parent".to_owned()];
        fixed.into_iter().chain(options).collect()
    }

    /// A client of one node's API.
    pub fn client(&self, index: usize) -> Client {
        Client::new(self.network.clone(), &*self.nodes[index].api)
    }

    /// A node other than this one, whose process runs.
    pub fn other_than(&self, index: usize) -> anyhow::Result<usize> {
        let alive = |other: &usize| *other != index && self.nodes[*other].pid().is_some();
        let other = (0..self.nodes.len()).find(alive);
        other.context("no other node is left")
    }

    /// The node of a name.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// What a node says of the cluster.
    pub async fn status(&self, index: usize) -> Result<ClusterStatus, ClientError> {
        let client = self.client(index).with_deadline(QUESTION_PATIENCE);
        let status = client.get(super::status::PATH).await?;
        Ok(serde_json::from_value(status)?)
    }

    /// What all nodes that answer say of the cluster.
    pub async fn statuses(&self) -> Vec<ClusterStatus> {
        let asked = (0..self.nodes.len()).map(|index| self.status(index));
        let answers = futures::future::join_all(asked).await;
        answers.into_iter().flatten().collect()
    }

    /// Waits until every node is ready and the voters are complete. An early death of a node is an error.
    pub async fn ready(&mut self, until: Instant) -> anyhow::Result<ClusterStatus> {
        // At least one look: what is missing must be told.
        let waits_for = loop {
            for index in 0..self.nodes.len() {
                if let Some(status) = self.nodes[index].ended() {
                    let name = &self.nodes[index].name;
                    bail!("{name} ended ({status}):\n{}", self.log_tail(name));
                }
            }
            match self.whole().await {
                Ok(status) => return Ok(status),
                Err(reason) if Instant::now() >= until => break reason,
                Err(_) => sleep(POLL).await,
            }
        };
        bail!(
            "the cluster is not ready: {waits_for}\n{}",
            self.log_tail("n1")
        )
    }

    /// Whether every node is ready and the voters are complete; what is missing if not.
    pub async fn whole(&self) -> Result<ClusterStatus, String> {
        for (index, node) in self.nodes.iter().enumerate() {
            let client = self.client(index).with_deadline(QUESTION_PATIENCE);
            let ready = client.text("/readyz").await;
            ready.map_err(|error| format!("{} is not ready: {error}", node.name))?;
        }
        let status = self.status(0).await.map_err(|error| error.to_string())?;
        complete(&status)?;
        let nodes = self
            .client(0)
            .get("/api/v1/nodes")
            .await
            .map_err(|error| error.to_string())?;
        let ready = items(&nodes)
            .iter()
            .filter(|node| condition(node, "Ready"))
            .count();
        if ready < self.nodes.len() {
            return Err(format!(
                "{ready} of {} nodes can run pods",
                self.nodes.len()
            ));
        }
        Ok(status)
    }

    /// The end of a node's log.
    pub fn log_tail(&self, name: &str) -> String {
        let log = fs::read(self.log_path(name)).unwrap_or_default();
        let from = log.len().saturating_sub(LOG_SHOWN_BYTES);
        String::from_utf8_lossy(&log[from..]).into_owned()
    }

    /// Where everything of this cluster's is.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.log"))
    }

    /// Takes everything away: the processes, their pods, the directory. Goes on after an error and tells the first;
    /// then, or if it is ended before, the directory stays, by which the next start finds what is left.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.directory.keep();
        let stopping = self.nodes.iter_mut().map(LocalNode::stop);
        let stopped = futures::future::join_all(stopping).await;
        let clearing = self.nodes.iter().map(async |node: &LocalNode| {
            let cleared = leftovers::clear(&*node.runtime, node.died).await;
            cleared.map(drop).with_context(|| removing(node))
        });
        let wiped = futures::future::join_all(clearing).await;
        stopped
            .into_iter()
            .chain(wiped)
            .collect::<anyhow::Result<()>>()?;
        self.directory.remove()
    }
}

fn removing(node: &LocalNode) -> String {
    format!("removing the pods of {}", node.name)
}

/// Whether a status shows every voter wanted, all members heard from, and no node twice: a dead incarnation stays a
/// member until the configuration without it commits.
fn complete(status: &ClusterStatus) -> Result<(), String> {
    /// Twenty heartbeats at the slowest: silent for longer is gone.
    const SILENT_MS_MAX: u64 = 2_000;
    let mut names = BTreeSet::new();
    for member in &status.members {
        if member.silent_ms > SILENT_MS_MAX {
            return Err(format!("{} is silent", member.name));
        }
        if !names.insert(&member.name) {
            return Err(format!("{} is a member twice", member.name));
        }
    }
    let voters = status
        .members
        .iter()
        .filter(|member| member.role != "learner");
    let (voters, wanted) = (voters.count(), status.voters_wanted);
    if voters == wanted {
        Ok(())
    } else {
        Err(format!("{voters} of {wanted} voters"))
    }
}

/// A random id in the shape of the kernel's boot id.
fn new_id(entropy: &mut Entropy) -> String {
    let mut bytes = [0; 16];
    entropy.fill_bytes(&mut bytes);
    uuid::Builder::from_random_bytes(bytes)
        .into_uuid()
        .to_string()
}

/// Loopback addresses that nobody listens at.
async fn free_addresses(
    network: &dyn Network,
    entropy: &mut Entropy,
    count: usize,
) -> anyhow::Result<Vec<String>> {
    let mut held = Vec::new();
    let mut addresses = Vec::new();
    for _ in 0..PORT_TRIES_MAX + count {
        if addresses.len() == count {
            return Ok(addresses);
        }
        let address = format!("127.0.0.1:{}", entropy.random_range(PORTS));
        if let Ok(listener) = network.listen(&address).await {
            held.push(listener);
            addresses.push(address);
        }
    }
    bail!(
        "no {count} free ports between {} and {} on loopback",
        PORTS.start,
        PORTS.end
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::messages::MemberStatus;

    fn status(members: &[(&str, &str, u64)]) -> ClusterStatus {
        let member = |(name, role, silent_ms): &(&str, &str, u64)| MemberStatus {
            name: (*name).into(),
            incarnation: "1".into(),
            address: "a:1".into(),
            api: "a:2".into(),
            role: (*role).into(),
            matched: 1,
            lag: 0,
            silent_ms: *silent_ms,
        };
        ClusterStatus {
            cluster_id: "c".into(),
            generation: 1,
            term: 1,
            leader: "n1".into(),
            voters_wanted: 3,
            revision: 1,
            keys: 1,
            recovery: None,
            restore: None,
            snapshots: None,
            members: members.iter().map(member).collect(),
        }
    }

    #[test]
    fn a_cluster_is_complete_with_all_voters_alive_and_no_ghost() {
        let (leader, second) = (("n1", "leader", 0), ("n2", "voter", 100));
        let whole = status(&[leader, second, ("n3", "voter", 90), ("n4", "learner", 80)]);
        assert_eq!(complete(&whole), Ok(()));
        let cases = [
            (("n3", "learner", 9), "2 of 3 voters"),
            (("n3", "voter", 9_000), "n3 is silent"),
            (("n2", "voter", 9), "n2 is a member twice"),
        ];
        for (third, missing) in cases {
            assert_eq!(
                complete(&status(&[leader, second, third])),
                Err(missing.to_owned())
            );
        }
    }

    #[tokio::test]
    async fn free_addresses_are_different_and_below_the_ephemeral_ports() {
        let network = edges::network();
        let mut entropy = Entropy::from_system();
        let addresses = free_addresses(&*network, &mut entropy, 20).await.unwrap();
        let different: BTreeSet<_> = addresses.iter().collect();
        assert_eq!(different.len(), 20);
        for address in &addresses {
            let port: u16 = address.rsplit(':').next().unwrap().parse().unwrap();
            assert!(PORTS.contains(&port), "{address}");
        }
    }
}
