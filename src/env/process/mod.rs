//! Containers as plain supervised processes of the host: the embedded runtime, and what bulk computing often wants.
//!
//! A pod has the host: its network, its users, its files. The image is only a name, except [`WEB_IMAGE`]. Volumes hang
//! under a directory of the container's own, named in `CONTAINER_SANDBOX_MOUNT_POINT` as for Windows' HostProcess
//! containers, since nothing can be mounted at an absolute path without a namespace. Deliberately absent: published
//! ports (a process listens where it likes), capabilities, read-only roots, terminals. A container ends with its first
//! process; where there are no cgroups, what has left its process group by then is not found.

mod cgroup;
mod log;
mod proc;
mod state;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Component, Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rustix::process::Signal;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use self::cgroup::Cgroups;
use self::proc::{Process, STOP_POLL};
use self::state::{Place, SavedContainer, SavedExit, SavedSandbox, entries, load, save};
use super::clock::Clock;
use super::runtime::{
    ContainerRuntime, ListError, LogError, LogPieces, LogQuery, PullError, RemoveError,
    RuntimeVersion, SandboxError, StartError, StartedContainer, StartedSandbox, StopError,
    VersionError, VolumeError,
};
use super::volumes::{CLOSED_MODE, PASSABLE_MODE, VolumeStore, make_dirs};
use crate::agent::{
    ContainerRecord, ContainerSpec, ContainerState, EXIT_CODE_UNKNOWN, Exit, Inventory, PodRef,
    PodUsage, SandboxRecord, SandboxSpec, Usage, Volume,
};

/// The image (any tag) that stands for this program's own `web` command.
pub const WEB_IMAGE: &str = "kagero.dev/web";
/// How often an adopted process is looked at, which is nobody's child any more to be waited for.
const ADOPTED_POLL: Duration = Duration::from_millis(500);
/// How long a removal waits for a killed process to be gone.
const KILL_WAIT: Duration = Duration::from_secs(10);

/// Runs pods as processes.
///
/// Invariant: a container without an exit file either runs, or is in `children` and about to get one, or gets
/// `ContainerStatusUnknown` at the next listing.
pub struct ProcessRuntime {
    volumes: VolumeStore,
    pods: PathBuf,
    /// Of the directories on the way to a container's own.
    mode: u32,
    executable: PathBuf,
    cgroups: Cgroups,
    clock: Rc<dyn Clock>,
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Containers that this very process started and has not yet waited for.
    children: RefCell<BTreeSet<String>>,
    /// Adopted ones whose end is waited for.
    adopted: RefCell<BTreeSet<String>>,
    changed: watch::Sender<u64>,
}

impl Shared {
    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

impl ProcessRuntime {
    /// Keeps state and logs under `run_dir` (a tmpfs), disk-backed volumes under `data_dir`. One runtime a directory.
    pub fn new(run_dir: &Path, data_dir: &Path, clock: Rc<dyn Clock>) -> io::Result<Self> {
        let pods = run_dir.join("pods");
        // Only root can run a process as another user, who must then get to the files that are its own.
        let is_root = rustix::process::geteuid().is_root();
        let mode = if is_root { PASSABLE_MODE } else { CLOSED_MODE };
        make_dirs(&pods, mode)?;
        fs::set_permissions(&pods, fs::Permissions::from_mode(mode))?;
        Ok(Self {
            volumes: VolumeStore::new(run_dir, data_dir).with_parents(mode),
            mode,
            pods,
            executable: std::env::current_exe()?,
            cgroups: cgroup::detect(),
            clock,
            shared: Rc::new(Shared {
                children: RefCell::default(),
                adopted: RefCell::default(),
                changed: watch::Sender::new(0),
            }),
        })
    }

    fn place(&self, id: &str) -> Option<Place> {
        Place::parse(&self.pods, id)
    }

    /// The command line: the pod's own, or what an image is known to stand for. Any other image is taken for one
    /// without an entry point, so that its arguments are the command, as engines have it.
    fn command_line(&self, spec: &ContainerSpec) -> Result<Vec<String>, StartError> {
        let mut line = spec.command.clone();
        let name = spec.image.split([':', '@']).next().unwrap_or_default();
        if line.is_empty() && name == WEB_IMAGE {
            line = vec![self.executable.display().to_string(), "web".to_owned()];
        }
        line.extend(spec.args.iter().cloned());
        if line.is_empty() {
            let image = &spec.image;
            return Err(StartError::Config(format!(
                "the process runtime needs a command: it cannot look into image {image:?}"
            )));
        }
        Ok(line)
    }

    fn prepare(&self, place: &Place, spec: &ContainerSpec) -> io::Result<Command> {
        let root = place.root();
        let _ = fs::remove_dir_all(&place.dir);
        make_dirs(&root, self.mode)?;
        for mount in &spec.mounts {
            let source = self.volumes.resolve(&spec.pod.uid, mount)?;
            let target = inside(&root, &mount.target)?;
            if let Some(parent) = target.parent() {
                make_dirs(parent, self.mode)?;
            }
            symlink(source, target)?;
        }
        let line = self.command_line(spec).map_err(io::Error::other)?;
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(place.log())?;
        let mut command = Command::new(&line[0]);
        command
            .args(&line[1..])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOSTNAME", &spec.pod.name)
            .env("CONTAINER_SANDBOX_MOUNT_POINT", &root)
            .envs(spec.env.iter().map(|(name, value)| (name, value)))
            .current_dir(spec.working_dir.as_deref().map_or(&*root, Path::new))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(false);
        Ok(command)
    }

    /// Waits for a child and writes down how it ended.
    fn supervise(&self, place: Place, process: Process, mut child: Child) {
        let shared = Rc::clone(&self.shared);
        let clock = Rc::clone(&self.clock);
        let cgroups = self.cgroups;
        shared.children.borrow_mut().insert(place.id.clone());
        actix_rt::spawn(async move {
            let code = match log::keep_short(&place, child.wait()).await {
                Ok(status) => exit_code(status),
                Err(_) => EXIT_CODE_UNKNOWN,
            };
            // What it started ends with it, as everything of a container does with its first process.
            process.signal(Signal::KILL);
            cgroups.kill(&place.id);
            log::cut_last(&place).await;
            let starved = code != 0 && cgroups.was_out_of_memory(&place.id);
            let exit = SavedExit {
                code,
                finished_at: clock.wall(),
                reason: starved.then(|| "OOMKilled".to_owned()),
            };
            // A directory that is gone was removed with its container: nobody asks any more.
            let _ = save(&place.exit(), &exit);
            shared.children.borrow_mut().remove(&place.id);
            shared.tell();
        });
    }

    /// Waits for the end of a process that an earlier agent started, to notice it at once.
    fn watch_adopted(&self, place: &Place, process: Process) {
        if !self.shared.adopted.borrow_mut().insert(place.id.clone()) {
            return;
        }
        let shared = Rc::clone(&self.shared);
        let place = place.clone();
        actix_rt::spawn(async move {
            log::keep_short(&place, process.ended(ADOPTED_POLL)).await;
            log::cut_last(&place).await;
            shared.adopted.borrow_mut().remove(&place.id);
            shared.tell();
        });
    }

    fn container(&self, place: &Place) -> Option<ContainerRecord> {
        let saved: SavedContainer = load(&place.state())?;
        let exited = |exit: SavedExit| {
            ContainerState::Exited(Exit {
                code: exit.code,
                started_at: Some(saved.started_at),
                finished_at: exit.finished_at,
                reason: exit.reason,
                message: String::new(),
            })
        };
        let running = ContainerState::Running {
            started_at: saved.started_at,
        };
        let state = if let Some(exit) = load(&place.exit()) {
            exited(exit)
        } else if self.shared.children.borrow().contains(&place.id) {
            running
        } else if saved.process.is_alive() {
            self.watch_adopted(place, saved.process);
            running
        } else {
            saved.process.signal(Signal::KILL);
            self.cgroups.kill(&place.id);
            let exit = SavedExit {
                code: EXIT_CODE_UNKNOWN,
                finished_at: self.clock.wall(),
                reason: Some("ContainerStatusUnknown".to_owned()),
            };
            // Written down so that it is the same at the next listing; a failure to do so only moves the time.
            let _ = save(&place.exit(), &exit);
            exited(exit)
        };
        Some(ContainerRecord {
            id: place.id.clone(),
            pod: saved.pod,
            name: saved.name,
            attempt: saved.attempt,
            sandbox_id: saved.sandbox_id,
            spec_hash: saved.spec_hash,
            image_id: saved.image.clone(),
            image: saved.image,
            state,
        })
    }

    fn places(&self, pod: &Path) -> Vec<Place> {
        let uid = file_name(pod);
        let dirs = entries(&pod.join("containers"));
        let place = |dir: &PathBuf| self.place(&format!("{uid}.{}", file_name(dir)));
        dirs.iter().filter_map(place).collect()
    }
}

/// A container's process, unless its end was written down: then its group was ended too, and the pid may be anyone's.
fn unended(place: &Place) -> Option<Process> {
    let saved: SavedContainer = load(&place.state())?;
    (!place.exit().exists()).then_some(saved.process)
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The code, or 128 + the signal's number.
fn exit_code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    let by_signal = status.signal().map(|signal| 128 + signal);
    status.code().or(by_signal).unwrap_or(EXIT_CODE_UNKNOWN)
}

fn sandbox_id(pod: &PodRef, attempt: u32) -> String {
    format!("{}.{attempt}", pod.uid)
}

#[async_trait(?Send)]
impl ContainerRuntime for ProcessRuntime {
    fn name(&self) -> &'static str {
        "process"
    }

    async fn version(&self) -> Result<RuntimeVersion, VersionError> {
        let system = rustix::system::uname();
        Ok(RuntimeVersion {
            runtime: format!("process://{}", env!("CARGO_PKG_VERSION")),
            kernel: system.release().to_string_lossy().into_owned(),
            os_image: os_image(),
        })
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    async fn list(&self) -> Result<Inventory, ListError> {
        let mut inventory = Inventory::default();
        for pod in entries(&self.pods) {
            if let Some(saved) = load::<SavedSandbox>(&pod.join("sandbox.json")) {
                inventory.sandboxes.push(SandboxRecord {
                    id: sandbox_id(&saved.pod, saved.attempt),
                    pod: saved.pod,
                    attempt: saved.attempt,
                    running: true,
                    ips: Vec::new(),
                    created_at: saved.created_at,
                    grace_seconds: saved.grace_seconds,
                });
            }
            for place in self.places(&pod) {
                inventory.containers.extend(self.container(&place));
            }
        }
        Ok(inventory)
    }

    async fn write_volumes(&self, pod: &PodRef, volumes: &[Volume]) -> Result<(), VolumeError> {
        self.volumes.write(&pod.uid, volumes)
    }

    async fn remove_pod(&self, uid: &str) -> Result<(), RemoveError> {
        for place in self.places(&self.pods.join(uid)) {
            self.remove_container(&place.id).await?;
        }
        self.volumes.remove(uid)
    }

    async fn start_sandbox(&self, spec: &SandboxSpec) -> Result<StartedSandbox, SandboxError> {
        let dir = self.pods.join(&spec.pod.uid);
        let saved = SavedSandbox {
            pod: spec.pod.clone(),
            attempt: spec.attempt,
            created_at: self.clock.wall(),
            grace_seconds: spec.grace_seconds,
        };
        make_dirs(&dir, self.mode)
            .and_then(|()| save(&dir.join("sandbox.json"), &saved))
            .map_err(|error| SandboxError::Engine(error.to_string()))?;
        Ok(StartedSandbox {
            id: sandbox_id(&spec.pod, spec.attempt),
            ips: Vec::new(),
        })
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), RemoveError> {
        let Some((uid, _)) = id.rsplit_once('.') else {
            return Ok(());
        };
        let path = self.pods.join(uid).join("sandbox.json");
        let saved: Option<SavedSandbox> = load(&path);
        if saved.is_some_and(|saved| sandbox_id(&saved.pod, saved.attempt) == id) {
            fs::remove_file(path).map_err(|error| RemoveError::Engine(error.to_string()))?;
        }
        Ok(())
    }

    async fn start_container(&self, spec: &ContainerSpec) -> Result<StartedContainer, StartError> {
        let line = self.command_line(spec)?;
        let place = Place::of(&self.pods, spec);
        let config = |error: io::Error| StartError::Config(error.to_string());
        let mut command = self.prepare(&place, spec).map_err(config)?;
        if let Some(user) = &spec.user {
            let (uid, gid) = parse_user(user)?;
            command.uid(uid);
            if let Some(gid) = gid {
                command.gid(gid);
            }
            // What the container has of its own: where it starts, and where it writes.
            for own in [place.root(), place.log()] {
                chown(own, Some(uid), gid).map_err(config)?;
            }
        }
        self.cgroups
            .create(&place.id, &spec.limits)
            .map_err(config)?;
        let child = command.spawn();
        let started = child.and_then(|child| self.began(&place, spec, child));
        match started {
            Ok(started_at) => Ok(StartedContainer {
                id: place.id,
                started_at,
            }),
            Err(error) => {
                self.end_group(&place.id).await.map_err(config)?;
                let _ = fs::remove_dir_all(&place.dir);
                Err(StartError::Command(format!("exec {:?}: {error}", line[0])))
            }
        }
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), StopError> {
        if let Some(process) = self.place(id).as_ref().and_then(unended) {
            process.stop(grace).await;
            self.cgroups.kill(id);
        }
        // Its exit code is known once it was waited for.
        let mut changed = self.shared.changed.subscribe();
        while self.shared.children.borrow().contains(id) && changed.changed().await.is_ok() {}
        Ok(())
    }

    async fn remove_container(&self, id: &str) -> Result<(), RemoveError> {
        let Some(place) = self.place(id) else {
            return Ok(());
        };
        let failed = |error: &dyn std::fmt::Display| RemoveError::Engine(error.to_string());
        if let Some(process) = unended(&place) {
            let killed = tokio::time::timeout(KILL_WAIT, process.stop(Duration::ZERO)).await;
            killed.map_err(|_| failed(&"the process survived SIGKILL"))?;
        }
        self.end_group(id).await.map_err(|error| failed(&error))?;
        match fs::remove_dir_all(&place.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&error)),
            _ => Ok(()),
        }
    }

    async fn find_image(&self, image: &str) -> Result<Option<String>, ListError> {
        Ok(Some(image.to_owned()))
    }

    async fn pull_image(&self, image: &str) -> Result<String, PullError> {
        if image.is_empty() || image.contains(char::is_whitespace) {
            return Err(PullError::Name(image.to_owned()));
        }
        Ok(image.to_owned())
    }

    async fn open_log(&self, id: &str, query: &LogQuery) -> Result<LogPieces, LogError> {
        let missing = || LogError::NotFound(id.to_owned());
        let place = self.place(id).ok_or_else(missing)?;
        let saved: SavedContainer = load(&place.state()).ok_or_else(missing)?;
        let exit = place.exit();
        let alive = move || !exit.exists() && saved.process.is_alive();
        Ok(log::open(&place, query.clone(), alive))
    }

    async fn usage(&self) -> Result<Vec<PodUsage>, ListError> {
        let mut all = Vec::new();
        for pod in entries(&self.pods) {
            let mut containers = BTreeMap::new();
            for place in self.places(&pod) {
                let Some(saved) = load::<SavedContainer>(&place.state()) else {
                    continue;
                };
                let Some(own) = saved.process.usage() else {
                    continue;
                };
                // What a process touched before it entered its group is charged to no group: never below its own.
                let group = self.cgroups.usage(&place.id).unwrap_or_default();
                let usage = Usage {
                    cpu_nanos: group.cpu_nanos.max(own.cpu_nanos),
                    memory_bytes: group.memory_bytes.max(own.memory_bytes),
                };
                containers.insert(saved.name, usage);
            }
            if !containers.is_empty() {
                let uid = file_name(&pod);
                all.push(PodUsage { uid, containers });
            }
        }
        Ok(all)
    }
}

impl ProcessRuntime {
    /// Kills what is left in a container's cgroup until it can be removed.
    async fn end_group(&self, id: &str) -> io::Result<()> {
        let removed = async {
            loop {
                match self.cgroups.remove(id) {
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                        self.cgroups.kill(id);
                        tokio::time::sleep(STOP_POLL).await;
                    }
                    other => return other,
                }
            }
        };
        let survived = |_| io::Error::other("a process of the cgroup survived SIGKILL");
        tokio::time::timeout(KILL_WAIT, removed)
            .await
            .map_err(survived)?
    }

    /// Records a process that was just started, so that it is found again.
    fn began(&self, place: &Place, spec: &ContainerSpec, child: Child) -> io::Result<Timestamp> {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let process = pid.and_then(Process::of);
        // Not yet waited for, a child that has ended is still in /proc.
        let process = process.ok_or_else(|| io::Error::other("the process is not in /proc"))?;
        let started_at = self.clock.wall();
        let saved = SavedContainer {
            pod: spec.pod.clone(),
            name: spec.name.clone(),
            attempt: spec.attempt,
            sandbox_id: spec.sandbox_id.clone(),
            spec_hash: spec.spec_hash.clone(),
            image: spec.image.clone(),
            process,
            started_at,
        };
        let entered = self.cgroups.enter(&place.id, process.pid);
        // A process that has ended already cannot enter; one that lives outside its limits must not go on.
        let entered = entered.or_else(|error| {
            if process.is_alive() {
                Err(error)
            } else {
                Ok(())
            }
        });
        if let Err(error) = entered.and_then(|()| save(&place.state(), &saved)) {
            process.signal(Signal::KILL);
            return Err(error);
        }
        self.supervise(place.clone(), process, child);
        Ok(started_at)
    }
}

/// Where a mount hangs under the container's directory. A path that leads out of it is refused: it would put a link
/// among the host's own files.
fn inside(root: &Path, mount_path: &str) -> io::Result<PathBuf> {
    let relative = Path::new(mount_path.trim_start_matches('/'));
    let stays = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if relative.components().all(stays) {
        return Ok(root.join(relative));
    }
    let message = format!("mount path {mount_path:?} leads out of its container");
    Err(io::Error::other(message))
}

/// `uid[:gid]`, numbers only: image users do not exist here.
fn parse_user(user: &str) -> Result<(u32, Option<u32>), StartError> {
    let (uid, gid) = user.split_once(':').unwrap_or((user, ""));
    let number = |text: &str| {
        let refused = |_| StartError::Config(format!("user {user:?} is not numeric"));
        text.parse::<u32>().map_err(refused)
    };
    let gid = (!gid.is_empty()).then(|| number(gid)).transpose()?;
    Ok((number(uid)?, gid))
}

/// `PRETTY_NAME` of os-release(5).
pub(super) fn os_image() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("Linux").trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_mount_leaves_its_container() {
        let root = Path::new("/r");
        let found = inside(root, "/etc/./app").unwrap();
        assert_eq!(found, Path::new("/r/etc/app"));
        assert!(inside(root, "/../etc").is_err());
        assert!(inside(root, "/a/../../etc").is_err());
    }
}
