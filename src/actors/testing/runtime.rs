//! A container runtime that is there and runs nothing. How long it takes to say who it is, to list,
//! and to start a sandbox can be set.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

use crate::agent::{ContainerSpec, Inventory, PodRef, PodUsage, SandboxSpec, Volume};
use crate::env::runtime::{
    ContainerRuntime, ListError, LogError, LogPieces, LogQuery, PullError, RemoveError,
    RuntimeVersion, SandboxError, StartError, StartedContainer, StartedSandbox, StopError,
    VersionError, VolumeError,
};

/// The runtime.
pub(crate) struct IdleRuntime {
    changed: watch::Sender<u64>,
    delay: Rc<Cell<Duration>>,
    /// How long a sandbox takes to start; without it, it never does.
    pub(crate) sandbox_takes: Option<Duration>,
    /// The pods whose sandboxes began to start.
    pub(crate) begun: Rc<RefCell<Vec<String>>>,
}

impl IdleRuntime {
    /// One that answers after a delay.
    pub(crate) fn new(delay: Rc<Cell<Duration>>) -> Self {
        let changed = watch::Sender::new(0);
        Self {
            changed,
            delay,
            sandbox_takes: None,
            begun: Rc::default(),
        }
    }
}

#[async_trait(?Send)]
impl ContainerRuntime for IdleRuntime {
    fn name(&self) -> &'static str {
        "idle"
    }

    async fn version(&self) -> Result<RuntimeVersion, VersionError> {
        tokio::time::sleep(self.delay.get()).await;
        Ok(RuntimeVersion {
            runtime: "idle://1".into(),
            kernel: "none".into(),
            os_image: "none".into(),
        })
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    async fn list(&self) -> Result<Inventory, ListError> {
        tokio::time::sleep(self.delay.get()).await;
        Ok(Inventory::default())
    }

    async fn write_volumes(&self, _: &PodRef, _: &[Volume]) -> Result<(), VolumeError> {
        Ok(())
    }

    async fn remove_pod(&self, _: &str) -> Result<(), RemoveError> {
        Ok(())
    }

    async fn start_sandbox(&self, spec: &SandboxSpec) -> Result<StartedSandbox, SandboxError> {
        let uid = spec.pod.uid.clone();
        self.begun.borrow_mut().push(uid.clone());
        let Some(time) = self.sandbox_takes else {
            return std::future::pending().await;
        };
        tokio::time::sleep(time).await;
        let (id, ips) = (uid, Vec::new());
        Ok(StartedSandbox { id, ips })
    }

    async fn remove_sandbox(&self, _: &str) -> Result<(), RemoveError> {
        Ok(())
    }

    async fn start_container(&self, _: &ContainerSpec) -> Result<StartedContainer, StartError> {
        std::future::pending().await
    }

    async fn stop_container(&self, _: &str, _: Duration) -> Result<(), StopError> {
        Ok(())
    }

    async fn remove_container(&self, _: &str) -> Result<(), RemoveError> {
        Ok(())
    }

    async fn find_image(&self, _: &str) -> Result<Option<String>, ListError> {
        Ok(None)
    }

    async fn pull_image(&self, _: &str) -> Result<String, PullError> {
        std::future::pending().await
    }

    async fn open_log(&self, _: &str, _: &LogQuery) -> Result<LogPieces, LogError> {
        Ok(mpsc::channel(1).1)
    }

    async fn usage(&self) -> Result<Vec<PodUsage>, ListError> {
        Ok(Vec::new())
    }
}
