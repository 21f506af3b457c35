//! The three clusters of three processes that are measured, their processor time, and their end.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kagero::env::network::Network;
use kagero::env::tcp::Tcp;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::api::Api;
use super::etcd::Etcd;
use super::frames::Frames;

/// All processes are up and one leads by then.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Members of a cluster.
const MEMBERS: usize = 3;
/// `_SC_CLK_TCK` of Linux on every architecture in use.
const TICKS_PER_SECOND: f64 = 100.0;

/// Running processes; dropped, they are killed.
pub struct Cluster {
    members: Vec<Child>,
    /// Where each member's clients connect.
    pub doors: Vec<String>,
    _files: TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            // One that has ended by itself needs no killing.
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

/// Loopback addresses that nobody listens at (the system gives no port twice in a short time).
async fn free(count: usize) -> Result<Vec<String>> {
    let mut listeners = Vec::new();
    for _ in 0..count {
        listeners.push(Tcp.listen("127.0.0.1:0").await?);
    }
    let addresses = listeners.iter().map(|l| Ok(l.local_addr()?.to_string()));
    addresses.collect()
}

fn spawn(command: &mut Command, log: &Path) -> Result<Child> {
    let log = fs::File::create(log)?;
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))
}

impl Cluster {
    /// Three measured members of the replicated store: this program again.
    pub async fn members() -> Result<Self> {
        let (contacts, doors, files) = (free(MEMBERS).await?, free(MEMBERS).await?, in_memory()?);
        let members = (0..MEMBERS).map(|at| {
            let mut command = Command::new(std::env::current_exe()?);
            command
                .args(["--member", &(at + 1).to_string(), "--door", &doors[at]])
                .args(["--contacts", &contacts.join(",")]);
            spawn(&mut command, &files.path().join(format!("m{at}.log")))
        });
        Ok(Self {
            members: members.collect::<Result<_>>()?,
            doors,
            _files: files,
        })
    }

    /// Three nodes of the shipped program, agents and all.
    pub async fn nodes() -> Result<Self> {
        let (peers, doors, files) = (free(MEMBERS).await?, free(MEMBERS).await?, in_memory()?);
        let members = (0..MEMBERS).map(|at| {
            let name = format!("n{}", at + 1);
            let mut command = Command::new(env!("CARGO_BIN_EXE_kagero"));
            command
                .args(["run", "--name", &name, "--runtime", "process"])
                .args(["--listen", &peers[at], "--api", &doors[at]])
                .args(["--seeds", &peers.join(",")])
                .env("XDG_RUNTIME_DIR", files.path());
            spawn(&mut command, &files.path().join(format!("{name}.log")))
        });
        Ok(Self {
            members: members.collect::<Result<_>>()?,
            doors,
            _files: files,
        })
    }

    /// Three members of etcd, their data in memory.
    pub async fn etcd() -> Result<Self> {
        let (peers, doors, files) = (free(MEMBERS).await?, free(MEMBERS).await?, in_memory()?);
        let initial: Vec<String> = (0..MEMBERS)
            .map(|at| format!("e{at}=http://{}", peers[at]))
            .collect();
        let members = (0..MEMBERS).map(|at| {
            let (peer, door) = (
                format!("http://{}", peers[at]),
                format!("http://{}", doors[at]),
            );
            let mut command = Command::new("etcd");
            command
                .args(["--name", &format!("e{at}"), "--data-dir"])
                .arg(files.path().join(format!("e{at}")))
                .args([
                    "--listen-peer-urls",
                    &peer,
                    "--initial-advertise-peer-urls",
                    &peer,
                ])
                .args([
                    "--listen-client-urls",
                    &door,
                    "--advertise-client-urls",
                    &door,
                ])
                .args([
                    "--initial-cluster",
                    &initial.join(","),
                    "--log-level",
                    "warn",
                ])
                .args(["--quota-backend-bytes", &(8_u64 << 30).to_string()]);
            spawn(&mut command, &files.path().join(format!("e{at}.log")))
        });
        Ok(Self {
            members: members.collect::<Result<_>>()?,
            doors,
            _files: files,
        })
    }

    /// Processor time of all members so far, user and system, seconds.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let mut ticks = 0;
        for member in &self.members {
            let stat = fs::read_to_string(format!("/proc/{}/stat", member.id()))
                .context("a member has ended; is it killed by another?")?;
            // After the command's name, which may hold anything: state is field 3, utime 14, stime 15.
            let rest = stat
                .rsplit_once(')')
                .context("/proc/PID/stat has a name")?
                .1;
            let fields: Vec<&str> = rest.split_whitespace().collect();
            ticks += fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        }
        Ok(ticks as f64 / TICKS_PER_SECOND)
    }

    /// Memory of all members together, resident, bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        for member in &self.members {
            let status = fs::read_to_string(format!("/proc/{}/status", member.id()))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kib = line
                .context("VmRSS is told")?
                .trim()
                .trim_end_matches(" kB");
            bytes += kib.parse::<u64>()? * 1_024;
        }
        Ok(bytes)
    }

    /// The door of the member that leads, as soon as one does.
    pub async fn leader(&self, kind: Kind) -> Result<String> {
        let until = Instant::now() + READY_WITHIN;
        while Instant::now() < until {
            for door in &self.doors {
                let leads = match kind {
                    Kind::Members => async { Frames::connect(door).await?.leads().await }.await,
                    Kind::Etcd => async { Etcd::connect(door).await?.leads().await }.await,
                    Kind::Nodes => Api::new(door).leads().await,
                };
                // Not up yet, or not yet sure.
                if leads.unwrap_or(false) {
                    return Ok(door.clone());
                }
            }
            sleep(LOOK).await;
        }
        bail!("no {kind:?} leads after {READY_WITHIN:?}")
    }
}

/// Which of the clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The replicated store alone.
    Members,
    /// The whole program.
    Nodes,
    /// etcd.
    Etcd,
}

/// A directory in memory.
fn in_memory() -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix("kagero-bench-")
        .tempdir_in("/dev/shm")
        .context("no directory in /dev/shm, which must be a tmpfs")
}
