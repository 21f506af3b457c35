//! Containers by a Docker engine, through bollard: a pod is a pause container and others in its network namespace.
//!
//! The pause container is made of this very program ([`image`]), so no registry is needed for it. Containers outlive
//! the agent; labels tell whose they are. Deliberately without the engine's restart policies, health checks and
//! statistics, and never asking for sizes, which is very slow.

mod create;
mod creations;
mod errors;
mod events;
mod image;
mod labels;
mod pieces;
mod self_image;

pub use image::Program;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::models::{ContainerCreateBody, ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::{
    CreateContainerOptions, CreateImageOptions, ListContainersOptions, LogsOptions,
    RemoveContainerOptions, StopContainerOptions,
};
use futures::StreamExt;
use jiff::Timestamp;
use tokio::sync::{OnceCell, mpsc, watch};

use self::labels::{Identity, Role};
use super::cgroup_usage;
use super::runtime::{
    ContainerRuntime, LOG_PIECES_MAX, ListError, LogError, LogPieces, LogQuery, PullError,
    RemoveError, RuntimeVersion, SandboxError, StartError, StartedContainer, StartedSandbox,
    StopError, VersionError, VolumeError,
};
use super::volumes::VolumeStore;
use crate::agent::{
    ContainerRecord, ContainerSpec, ContainerState, Exit, Inventory, PodRef, PodUsage,
    SandboxRecord, SandboxSpec, Usage, Volume,
};

/// The image of pause containers, without its tag.
const PAUSE_IMAGE: &str = "kagero.dev/pause";
/// The longest that one answer may take to begin. Callers have their own deadlines; a stop waits for its grace.
const ANSWER_SECONDS_MAX: u64 = 3_600;

/// Where and for whom the runtime works.
#[derive(Clone, Debug)]
pub struct DockerOptions {
    /// Whose containers these are, unique among all agents at this engine, and the same after a restart of this one.
    pub scope: String,
    /// Rendered volumes; should be a tmpfs.
    pub run_dir: PathBuf,
    /// Disk-backed volumes.
    pub data_dir: PathBuf,
    /// What pause containers are made of.
    pub program: Program,
    /// Its arguments that make it pause.
    pub pause_args: Vec<String>,
}

impl DockerOptions {
    /// The usual ones of a node: this program's own `pause`.
    pub fn new(scope: &str, run_dir: &Path, data_dir: &Path) -> std::io::Result<Self> {
        Ok(Self {
            scope: scope.to_owned(),
            run_dir: run_dir.to_path_buf(),
            data_dir: data_dir.to_path_buf(),
            program: Program::current()?,
            pause_args: vec!["pause".to_owned()],
        })
    }
}

/// Runs pods on a Docker engine.
pub struct DockerRuntime {
    docker: Docker,
    options: DockerOptions,
    volumes: VolumeStore,
    /// Its cell is replaced when the image has gone.
    pause_image: RefCell<Rc<OnceCell<String>>>,
    /// What was asked of containers whose state cannot change unnoticed, by id: a list does not tell times and codes.
    inspected: RefCell<BTreeMap<String, Inspected>>,
    creations: creations::Creations,
    changed: Rc<watch::Sender<u64>>,
    events: actix_rt::task::JoinHandle<()>,
}

#[derive(Clone, Debug, PartialEq)]
struct Inspected {
    listed_as: ContainerSummaryStateEnum,
    state: ContainerState,
}

impl Drop for DockerRuntime {
    fn drop(&mut self) {
        self.events.abort();
    }
}

impl DockerRuntime {
    /// Connects to the engine of `DOCKER_HOST` or `/var/run/docker.sock`. Must be called inside an actix system.
    pub async fn connect(options: DockerOptions) -> Result<Self, VersionError> {
        let docker = Docker::connect_with_local_defaults()
            .map_err(|error| VersionError::Unavailable(error.to_string()))?
            .with_timeout(Duration::from_secs(ANSWER_SECONDS_MAX));
        let docker = docker.negotiate_version().await;
        let docker = docker.map_err(|error| VersionError::Unavailable(error.to_string()))?;
        let info = docker.info().await;
        let info = info.map_err(|error| VersionError::Unavailable(errors::text(&error)))?;
        let changed = Rc::new(watch::Sender::new(0));
        let events = actix_rt::spawn(events::watch_events(
            docker.clone(),
            options.scope.clone(),
            events::engine_time(info.system_time.as_deref()),
            Rc::clone(&changed),
        ));
        Ok(Self {
            docker,
            volumes: VolumeStore::new(&options.run_dir, &options.data_dir),
            options,
            pause_image: RefCell::default(),
            inspected: RefCell::default(),
            creations: creations::Creations::default(),
            changed,
            events,
        })
    }

    fn pause_command(&self) -> Vec<String> {
        let mut command = vec![self.options.program.path_inside()];
        command.extend(self.options.pause_args.iter().cloned());
        command
    }

    /// Makes the image of pause containers, unless the engine has it: so that nodes that share an engine need not.
    pub async fn ensure_pause_image(&self) -> Result<String, PullError> {
        self.ensure_self_image(PAUSE_IMAGE, &self.pause_command())
            .await
    }

    /// The same, asked of the engine once.
    async fn pause_image(&self) -> Result<String, SandboxError> {
        let known = Rc::clone(&self.pause_image.borrow());
        let made = known
            .get_or_try_init(|| self.ensure_pause_image())
            .await
            .cloned();
        made.map_err(|error| SandboxError::Engine(error.to_string()))
    }

    async fn create_sandbox(&self, spec: &SandboxSpec) -> Result<String, SandboxError> {
        let scope = &self.options.scope;
        let name = Identity::of_sandbox(spec).name(scope);
        for is_last in [false, true] {
            let image = self.pause_image().await?;
            let body = create::sandbox(spec, scope, &image, self.pause_command());
            match self.create(&name, body).await {
                // Another build that shares the engine has replaced it.
                Err(error) if errors::is_missing(&error) && !is_last => {
                    self.pause_image.replace(Rc::default());
                }
                created => return created.map_err(|error| errors::of_sandbox(&error)),
            }
        }
        unreachable!("the last try returns")
    }

    /// Creates a container; one of that name that an interrupted start left behind is removed first. Goes on at the
    /// engine when its caller gives up, and so it does here: [`ContainerRuntime::close`] waits for it.
    async fn create(
        &self,
        name: &str,
        body: ContainerCreateBody,
    ) -> Result<String, bollard::errors::Error> {
        let Some(under_way) = self.creations.begin() else {
            return Err(errors::closed());
        };
        let (docker, name) = (self.docker.clone(), name.to_owned());
        let creation = actix_rt::spawn(async move {
            let created = create_container(&docker, &name, body).await;
            drop(under_way);
            created
        });
        // It ends otherwise than by itself only with the arbiter, and this future with it.
        creation.await.unwrap_or_else(|_| Err(errors::closed()))
    }

    async fn remove(&self, id: &str) -> Result<(), RemoveError> {
        let removed = force_remove(&self.docker, id).await;
        removed.map_err(|error| RemoveError::Engine(errors::text(&error)))
    }

    async fn summaries(&self) -> Result<Vec<ContainerSummary>, ListError> {
        let label = format!("{}={}", labels::SCOPE, self.options.scope);
        let filters = [("label".to_owned(), vec![label])];
        let options = ListContainersOptions {
            all: true,
            filters: Some(filters.into_iter().collect()),
            ..ListContainersOptions::default()
        };
        let list = self.docker.list_containers(Some(options)).await;
        list.map_err(|error| ListError::Unavailable(errors::text(&error)))
    }

    /// The state of a listed container; none if it has gone since.
    async fn state(
        &self,
        id: &str,
        listed_as: ContainerSummaryStateEnum,
    ) -> Result<Option<ContainerState>, ListError> {
        let known = self.inspected.borrow().get(id).cloned();
        if let Some(known) = known.filter(|known| known.listed_as == listed_as) {
            return Ok(Some(known.state));
        }
        let inspected = match self.docker.inspect_container(id, None).await {
            Ok(inspected) => inspected,
            Err(error) if errors::is_missing(&error) => return Ok(None),
            Err(error) => return Err(ListError::Unavailable(errors::text(&error))),
        };
        let state = state_of(&inspected.state.unwrap_or_default());
        // A container that ended between list and inspect is listed otherwise next time.
        let inspected = Inspected {
            listed_as,
            state: state.clone(),
        };
        self.inspected.borrow_mut().insert(id.to_owned(), inspected);
        Ok(Some(state))
    }
}

async fn create_container(
    docker: &Docker,
    name: &str,
    body: ContainerCreateBody,
) -> Result<String, bollard::errors::Error> {
    let options = || CreateContainerOptions {
        name: Some(name.to_owned()),
        ..CreateContainerOptions::default()
    };
    let mut created = docker.create_container(Some(options()), body.clone()).await;
    if let Err(error) = &created
        && errors::is_already(error)
        && errors::text(error).contains("name")
    {
        force_remove(docker, name).await?;
        created = docker.create_container(Some(options()), body).await;
    }
    created.map(|created| created.id)
}

async fn force_remove(docker: &Docker, id: &str) -> Result<(), bollard::errors::Error> {
    let options = RemoveContainerOptions {
        force: true,
        v: true,
        ..RemoveContainerOptions::default()
    };
    match docker.remove_container(id, Some(options)).await {
        Err(error) if errors::is_missing(&error) || errors::is_already(&error) => Ok(()),
        done => done,
    }
}

fn state_of(state: &bollard::models::ContainerState) -> ContainerState {
    // The engine's zero time means "not yet".
    let time = |text: &Option<String>| {
        let time: Option<Timestamp> = text.as_deref().and_then(|text| text.parse().ok());
        time.filter(|time| time.as_second() > 0)
    };
    let started_at = time(&state.started_at);
    if state.running == Some(true) {
        let started_at = started_at.unwrap_or(Timestamp::UNIX_EPOCH);
        return ContainerState::Running { started_at };
    }
    let Some(finished_at) = time(&state.finished_at) else {
        return ContainerState::Created;
    };
    ContainerState::Exited(Exit {
        code: state.exit_code.map_or(0, |code| code as i32),
        started_at,
        finished_at,
        reason: (state.oom_killed == Some(true)).then(|| "OOMKilled".to_owned()),
        message: state.error.clone().unwrap_or_default(),
    })
}

/// A time as the engine takes it: seconds of this epoch. What was before that is from the beginning, which is 0.
fn engine_seconds(time: Timestamp) -> i32 {
    let seconds = time.as_second().clamp(0, i32::MAX.into());
    i32::try_from(seconds).expect("it was clamped")
}

/// The addresses that a container has on its networks.
fn addresses(summary: &ContainerSummary) -> Vec<IpAddr> {
    let settings = summary.network_settings.as_ref();
    let networks = settings.and_then(|settings| settings.networks.as_ref());
    let endpoints = networks.into_iter().flatten().map(|(_, endpoint)| endpoint);
    let texts = endpoints.flat_map(|e| [e.ip_address.clone(), e.global_ipv6_address.clone()]);
    let mut ips: Vec<IpAddr> = texts.flatten().filter_map(|ip| ip.parse().ok()).collect();
    ips.sort();
    ips
}

/// `name` with the tag that is meant when none is given: without one the engine would pull them all.
fn split_tag(image: &str) -> (&str, Option<&str>) {
    let last = image.rsplit('/').next().unwrap_or_default();
    if image.contains('@') || last.contains(':') {
        (image, None)
    } else {
        (image, Some("latest"))
    }
}

#[async_trait(?Send)]
impl ContainerRuntime for DockerRuntime {
    fn name(&self) -> &'static str {
        "docker"
    }

    async fn close(&self) {
        self.creations.close().await;
    }

    async fn version(&self) -> Result<RuntimeVersion, VersionError> {
        let info = self.docker.info().await;
        let info = info.map_err(|error| VersionError::Unavailable(errors::text(&error)))?;
        let version = info.server_version.unwrap_or_default();
        Ok(RuntimeVersion {
            runtime: format!("docker://{version}"),
            kernel: info.kernel_version.unwrap_or_default(),
            os_image: info.operating_system.unwrap_or_default(),
        })
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    async fn list(&self) -> Result<Inventory, ListError> {
        let mut inventory = Inventory::default();
        let summaries = self.summaries().await?;
        let ids: Vec<_> = summaries.iter().filter_map(|s| s.id.as_ref()).collect();
        let gone = |id: &String| !ids.contains(&id);
        self.inspected.borrow_mut().retain(|id, _| !gone(id));
        for summary in &summaries {
            let labels = summary.labels.as_ref();
            let identity = Identity::parse(|key| labels.and_then(|labels| labels.get(key)));
            let (Some(identity), Some(id), Some(listed_as)) =
                (identity, summary.id.clone(), summary.state)
            else {
                continue;
            };
            match identity.role {
                Role::Sandbox => inventory.sandboxes.push(SandboxRecord {
                    id,
                    pod: identity.pod,
                    attempt: identity.attempt,
                    running: listed_as == ContainerSummaryStateEnum::RUNNING,
                    ips: addresses(summary),
                    created_at: Timestamp::from_second(summary.created.unwrap_or_default())
                        .unwrap_or(Timestamp::UNIX_EPOCH),
                    grace_seconds: identity.grace_seconds,
                }),
                Role::Container {
                    name,
                    sandbox_id,
                    spec_hash,
                    image,
                } => {
                    let Some(state) = self.state(&id, listed_as).await? else {
                        continue;
                    };
                    inventory.containers.push(ContainerRecord {
                        id,
                        pod: identity.pod,
                        name,
                        attempt: identity.attempt,
                        sandbox_id,
                        spec_hash,
                        image,
                        image_id: summary.image_id.clone().unwrap_or_default(),
                        state,
                    });
                }
            }
        }
        Ok(inventory)
    }

    async fn write_volumes(&self, pod: &PodRef, volumes: &[Volume]) -> Result<(), VolumeError> {
        self.volumes.write(&pod.uid, volumes)
    }

    async fn remove_pod(&self, uid: &str) -> Result<(), RemoveError> {
        self.volumes.remove(uid)
    }

    async fn start_sandbox(&self, spec: &SandboxSpec) -> Result<StartedSandbox, SandboxError> {
        let id = self.create_sandbox(spec).await?;
        if let Err(error) = self.docker.start_container(&id, None).await {
            // If this fails too, the agent finds the dead sandbox at its next listing.
            let _ = force_remove(&self.docker, &id).await;
            return Err(errors::of_sandbox(&error));
        }
        let summaries = self.summaries().await;
        let summaries = summaries.map_err(|error| SandboxError::Engine(error.to_string()))?;
        let own = summaries.iter().find(|s| s.id.as_ref() == Some(&id));
        let ips = own.map(addresses).unwrap_or_default();
        Ok(StartedSandbox { id, ips })
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), RemoveError> {
        self.remove(id).await
    }

    async fn start_container(&self, spec: &ContainerSpec) -> Result<StartedContainer, StartError> {
        let mut sources = Vec::new();
        for mount in &spec.mounts {
            let source = self.volumes.resolve(&spec.pod.uid, mount);
            let source = source.map_err(|error| StartError::Config(error.to_string()))?;
            sources.push(source.display().to_string());
        }
        let scope = &self.options.scope;
        let refused = |error| errors::of_start(&error, &spec.sandbox_id);
        let body = create::container(spec, scope, spec.host_pid, &sources);
        let name = Identity::of_container(spec).name(scope);
        let id = self.create(&name, body).await.map_err(refused)?;
        let started = self.docker.start_container(&id, None).await;
        let inspected = match started {
            Ok(()) => self.docker.inspect_container(&id, None).await,
            Err(error) => Err(error),
        };
        match inspected {
            Ok(inspected) => {
                let state = inspected.state.unwrap_or_default();
                let text = state.started_at.unwrap_or_default();
                let started_at = text.parse().unwrap_or(Timestamp::UNIX_EPOCH);
                Ok(StartedContainer { id, started_at })
            }
            Err(error) => {
                // If this fails too, the agent finds what is left at its next listing.
                let _ = force_remove(&self.docker, &id).await;
                Err(refused(error))
            }
        }
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), StopError> {
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptions {
            t: Some(seconds),
            ..StopContainerOptions::default()
        };
        match self.docker.stop_container(id, Some(options)).await {
            Err(error) if errors::is_missing(&error) || errors::is_already(&error) => Ok(()),
            done => done.map_err(|error| StopError::Engine(errors::text(&error))),
        }
    }

    async fn remove_container(&self, id: &str) -> Result<(), RemoveError> {
        self.remove(id).await
    }

    async fn find_image(&self, image: &str) -> Result<Option<String>, ListError> {
        match self.docker.inspect_image(image).await {
            Ok(found) => Ok(found.id),
            Err(error) if errors::is_missing(&error) => Ok(None),
            Err(bollard::errors::Error::DockerResponseServerError {
                status_code: 400, ..
            }) => Ok(None),
            Err(error) => Err(ListError::Unavailable(errors::text(&error))),
        }
    }

    async fn pull_image(&self, image: &str) -> Result<String, PullError> {
        if image.is_empty() || image.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(PullError::Name(image.to_owned()));
        }
        let (name, tag) = split_tag(image);
        let options = CreateImageOptions {
            from_image: Some(name.to_owned()),
            tag: tag.map(ToOwned::to_owned),
            ..CreateImageOptions::default()
        };
        let mut progress = self.docker.create_image(Some(options), None, None);
        while let Some(step) = progress.next().await {
            step.map_err(|error| errors::of_pull(&error))?;
        }
        let found = self.find_image(image).await;
        let found = found.map_err(|error| PullError::Unavailable(error.to_string()))?;
        found.ok_or_else(|| PullError::NotFound(format!("{image} was pulled and is not there")))
    }

    async fn open_log(&self, id: &str, query: &LogQuery) -> Result<LogPieces, LogError> {
        let inspected = self.docker.inspect_container(id, None).await;
        inspected.map_err(|error| {
            if errors::is_missing(&error) {
                LogError::NotFound(id.to_owned())
            } else {
                LogError::Engine(errors::text(&error))
            }
        })?;
        let options = LogsOptions {
            follow: query.follow,
            stdout: true,
            stderr: true,
            since: query.since.map_or(0, engine_seconds),
            timestamps: query.timestamps,
            tail: query
                .tail_lines
                .map_or_else(|| "all".to_owned(), |n| n.to_string()),
            ..LogsOptions::default()
        };
        let mut log = self.docker.logs(id, Some(options));
        let (sender, receiver) = mpsc::channel(LOG_PIECES_MAX);
        actix_rt::spawn(async move {
            loop {
                let piece = tokio::select! {
                    biased;
                    () = sender.closed() => return,
                    piece = log.next() => piece,
                };
                let Some(piece) = piece else { return };
                let piece = piece.map(bollard::container::LogOutput::into_bytes);
                let piece = piece.map_err(|error| LogError::Engine(errors::text(&error)));
                if sender.send(piece).await.is_err() {
                    return;
                }
            }
        });
        Ok(receiver)
    }

    async fn usage(&self) -> Result<Vec<PodUsage>, ListError> {
        let mut pods: BTreeMap<String, BTreeMap<String, Usage>> = BTreeMap::new();
        for container in self.list().await?.containers {
            let running = matches!(container.state, ContainerState::Running { .. });
            if let Some(usage) = running.then(|| usage_of(&container.id)).flatten() {
                let pod = pods.entry(container.pod.uid).or_default();
                pod.insert(container.name, usage);
            }
        }
        let all = pods.into_iter();
        Ok(all
            .map(|(uid, containers)| PodUsage { uid, containers })
            .collect())
    }
}

/// The kernel's figures of a container, wherever the engine's cgroup driver put it.
fn usage_of(id: &str) -> Option<Usage> {
    let root = Path::new("/sys/fs/cgroup");
    let groups = [
        format!("docker/{id}"),
        format!("system.slice/docker-{id}.scope"),
    ];
    groups.iter().find_map(|group| {
        let v1 = |controller: &str| root.join(controller).join(group);
        cgroup_usage::of_v2(&root.join(group))
            .or_else(|| cgroup_usage::of_v1(&v1("cpuacct"), &v1("memory")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_since_before_all_time_is_whole() {
        assert_eq!(engine_seconds(Timestamp::MIN), 0);
        assert_eq!(engine_seconds(Timestamp::from_second(-5).unwrap()), 0);
        assert_eq!(engine_seconds(Timestamp::from_second(7).unwrap()), 7);
        assert_eq!(engine_seconds(Timestamp::MAX), i32::MAX);
    }
}
