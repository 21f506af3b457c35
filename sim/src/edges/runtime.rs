//! A container runtime made of bookkeeping: it takes simulated time, and its containers run until they are stopped.
//!
//! While its process is paused nothing is asked of it and nothing that was asked is done: what the process decided before a
//! pause may come to pass after it. Deliberately so for the engine too, as where a whole machine stands still; one that
//! goes on without its client would be done earlier, never later.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use kagero::agent::{
    ContainerRecord, ContainerSpec, ContainerState, Inventory, PodRef, PodUsage, SandboxRecord,
    SandboxSpec, Volume,
};
use kagero::env::clock::Clock;
use kagero::env::entropy::Entropy;
use kagero::env::runtime::{
    ContainerRuntime, ListError, LogError, LogPieces, LogQuery, PullError, RemoveError,
    RuntimeVersion, SandboxError, StartError, StartedContainer, StartedSandbox, StopError,
    VersionError, VolumeError,
};
use rand::Rng;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::edges::SimClock;
use crate::machine::Machine;

/// A sandbox takes at least this long; the upper end is three times it (FACTS.md: 200–225 ms on two cores).
const SANDBOX_MS: u64 = 80;
/// A container in a ready sandbox does (74–88 ms there).
const CONTAINER_MS: u64 = 40;
/// What a container does with SIGTERM: it ends after this.
const TERMINATE_MS: u64 = 20;
/// Exit code of a process that SIGTERM ended.
const TERMINATED: i32 = 143;
/// Exit code of one whose sandbox was taken away.
const KILLED: i32 = 137;

/// Runs nothing, but remembers it on its [`Machine`].
pub struct FakeRuntime {
    machine: Machine,
    clock: SimClock,
    entropy: Entropy,
    changed: watch::Sender<u64>,
}

impl FakeRuntime {
    /// The runtime of a machine, as one process on it sees it.
    pub fn new(machine: Machine, entropy: Entropy) -> Self {
        Self {
            clock: machine.clock().clone(),
            machine,
            entropy,
            changed: watch::Sender::new(0),
        }
    }

    /// Waits while the process is paused.
    async fn awake(&self) {
        self.machine.gate().open().await;
    }

    /// An operation takes so long at least; what it does, it does afterwards.
    async fn take(&self, millis: u64) {
        self.awake().await;
        let drawn = self.entropy.clone().random_range(millis..=3 * millis);
        sleep(Duration::from_millis(drawn)).await;
        self.awake().await;
    }

    fn change(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

#[async_trait(?Send)]
impl ContainerRuntime for FakeRuntime {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn version(&self) -> Result<RuntimeVersion, VersionError> {
        self.awake().await;
        let said = |text: &str| text.to_owned();
        Ok(RuntimeVersion {
            runtime: said("fake://1"),
            kernel: said("simulated"),
            os_image: said("turmoil"),
        })
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    async fn list(&self) -> Result<Inventory, ListError> {
        self.awake().await;
        Ok(self.machine.with(|contents| contents.inventory()))
    }

    async fn write_volumes(&self, pod: &PodRef, volumes: &[Volume]) -> Result<(), VolumeError> {
        self.awake().await;
        self.machine.with(|contents| {
            let uid = pod.uid.clone();
            contents.volumes.insert(uid, volumes.to_vec());
        });
        Ok(())
    }

    async fn remove_pod(&self, uid: &str) -> Result<(), RemoveError> {
        self.awake().await;
        self.machine.with(|contents| contents.volumes.remove(uid));
        Ok(())
    }

    async fn start_sandbox(&self, spec: &SandboxSpec) -> Result<StartedSandbox, SandboxError> {
        self.take(SANDBOX_MS).await;
        let id = self.machine.with(|contents| {
            let id = contents.id("sandbox");
            let record = SandboxRecord {
                id: id.clone(),
                pod: spec.pod.clone(),
                attempt: spec.attempt,
                running: true,
                ips: Vec::new(),
                created_at: self.clock.wall(),
                grace_seconds: spec.grace_seconds,
            };
            contents.sandboxes.insert(id.clone(), record);
            id
        });
        Ok(StartedSandbox {
            id,
            ips: Vec::new(),
        })
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), RemoveError> {
        self.awake().await;
        self.machine.with(|contents| {
            let members = contents.containers.values();
            let members = members.filter(|record| record.sandbox_id == id);
            let members: Vec<String> = members.map(|record| record.id.clone()).collect();
            for member in members {
                contents.note_stop(&member);
                contents.end(&member, KILLED, self.clock.wall());
            }
            contents.sandboxes.remove(id);
        });
        Ok(())
    }

    async fn start_container(&self, spec: &ContainerSpec) -> Result<StartedContainer, StartError> {
        self.take(CONTAINER_MS).await;
        let started_at = self.clock.wall();
        let id = self.machine.with(|contents| {
            if !contents.sandboxes.contains_key(&spec.sandbox_id) {
                return Err(StartError::NoSandbox(spec.sandbox_id.clone()));
            }
            let id = contents.id("container");
            let record = ContainerRecord {
                id: id.clone(),
                pod: spec.pod.clone(),
                name: spec.name.clone(),
                attempt: spec.attempt,
                sandbox_id: spec.sandbox_id.clone(),
                spec_hash: spec.spec_hash.clone(),
                image: spec.image.clone(),
                image_id: format!("fake:{}", spec.image),
                state: ContainerState::Running { started_at },
            };
            contents.containers.insert(id.clone(), record);
            let now = turmoil::sim_elapsed().unwrap_or_default();
            contents.started.insert(id.clone(), now);
            contents.environments.insert(id.clone(), spec.env.clone());
            Ok(id)
        })?;
        self.change();
        Ok(StartedContainer { id, started_at })
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), StopError> {
        self.awake().await;
        self.machine.with(|contents| contents.note_stop(id));
        sleep(Duration::from_millis(TERMINATE_MS).min(grace)).await;
        self.awake().await;
        self.machine
            .with(|contents| contents.end(id, TERMINATED, self.clock.wall()));
        self.change();
        Ok(())
    }

    async fn remove_container(&self, id: &str) -> Result<(), RemoveError> {
        self.awake().await;
        self.machine.with(|contents| {
            contents.note_stop(id);
            contents.containers.remove(id)
        });
        self.change();
        Ok(())
    }

    async fn find_image(&self, image: &str) -> Result<Option<String>, ListError> {
        self.awake().await;
        Ok(Some(format!("fake:{image}")))
    }

    async fn pull_image(&self, image: &str) -> Result<String, PullError> {
        self.awake().await;
        Ok(format!("fake:{image}"))
    }

    async fn open_log(&self, id: &str, _: &LogQuery) -> Result<LogPieces, LogError> {
        self.awake().await;
        let known = self
            .machine
            .with(|contents| contents.containers.contains_key(id));
        if !known {
            return Err(LogError::NotFound(id.to_owned()));
        }
        let (pieces, log) = mpsc::channel(1);
        pieces
            .try_send(Ok(Bytes::from(format!("{id} speaks\n"))))
            .expect("the channel is new");
        Ok(log)
    }

    async fn usage(&self) -> Result<Vec<PodUsage>, ListError> {
        self.awake().await;
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::task::spawn_local;

    use super::*;

    fn sandbox() -> SandboxSpec {
        SandboxSpec {
            pod: PodRef {
                namespace: "default".to_owned(),
                name: "db-0".to_owned(),
                uid: "u".to_owned(),
                unique: true,
            },
            attempt: 0,
            hostname: "db-0".to_owned(),
            host_network: false,
            host_pid: false,
            ports: Vec::new(),
            host_aliases: Vec::new(),
            grace_seconds: 30,
        }
    }

    #[test]
    fn what_was_decided_before_a_pause_is_done_after_it() {
        let mut sim = turmoil::Builder::new().build();
        sim.client("client", async {
            let machine = Machine::default();
            let runtime = Rc::new(FakeRuntime::new(machine.clone(), Entropy::from_seed(1)));
            let sandboxes = || machine.with(|contents| contents.sandboxes.len());
            let starting = spawn_local(async move { runtime.start_sandbox(&sandbox()).await });
            sleep(Duration::from_millis(SANDBOX_MS / 2)).await;
            machine.gate().shut();
            sleep(Duration::from_millis(10 * SANDBOX_MS)).await;
            assert_eq!(sandboxes(), 0, "the process is not scheduled");
            machine.gate().reopen();
            starting.await??;
            assert_eq!(sandboxes(), 1);
            Ok(())
        });
        sim.run().unwrap();
    }
}
