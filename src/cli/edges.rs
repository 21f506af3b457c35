//! The production edges, chosen: the one place of this room that names them.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use super::RuntimeChoice;
use crate::env::Env;
use crate::env::clock::SystemClock;
use crate::env::cloud::NoCloud;
use crate::env::docker::{DockerOptions, DockerRuntime, Program};
use crate::env::entropy::Entropy;
use crate::env::machine::ThisMachine;
use crate::env::network::Network;
use crate::env::process::{ProcessRuntime, WEB_IMAGE};
use crate::env::runtime::ContainerRuntime;
use crate::env::shelf::FileShelf;
use crate::env::tcp::Tcp;

/// The tag that manifests name the web server's image by; to the process runtime any tag will do.
const WEB_TAG: &str = "built-in";

/// The longest that a Docker engine may take to say who it is: one that is starting on a slow machine takes seconds.
const ENGINE_PATIENCE: Duration = Duration::from_secs(15);

/// Where a node keeps things.
#[derive(Clone, Debug)]
pub struct Place {
    /// What pods see as files; best on a tmpfs.
    pub run_dir: PathBuf,
    /// What of pods may be on a disk.
    pub data_dir: PathBuf,
}

impl Place {
    /// Of a node that has one directory for all.
    pub fn below(directory: &Path) -> Self {
        Self {
            run_dir: directory.to_owned(),
            data_dir: directory.join("data"),
        }
    }

    /// Keeps every other process out of the run directory, by which a node's containers are known, until what is returned
    /// is dropped or this process dies: two would each take the other's for its own, and end what it was not told of.
    pub fn hold(&self) -> anyhow::Result<File> {
        let shown = self.run_dir.display();
        let held = File::open(&self.run_dir).with_context(|| format!("--run-dir {shown}"))?;
        match held.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => anyhow::bail!(
                "--run-dir {shown}: another kagero process of this machine uses it; each node needs its own --name or --run-dir"
            ),
            Err(TryLockError::Error(error)) => {
                tracing::warn!(%error, "--run-dir {shown} cannot be locked: see to it that no other process uses it");
            }
        }
        Ok(held)
    }

    /// For asking an engine whether it answers.
    fn nowhere() -> Self {
        Self {
            run_dir: std::env::temp_dir(),
            data_dir: std::env::temp_dir(),
        }
    }
}

/// Real TCP.
pub fn network() -> Rc<dyn Network> {
    Rc::new(Tcp)
}

/// Whether anybody listens at `host:port`, on this machine or one as near.
pub async fn answers(address: &str) -> bool {
    const NEAR: Duration = Duration::from_millis(500);
    let connected = tokio::time::timeout(NEAR, network().connect(address)).await;
    matches!(connected, Ok(Ok(_)))
}

/// Everything a node of this machine needs from the world.
pub async fn env(choice: RuntimeChoice, place: &Place) -> anyhow::Result<Env> {
    Ok(Env {
        network: network(),
        clock: Rc::new(SystemClock::new()),
        entropy: Entropy::from_system(),
        runtime: runtime(choice, place).await?,
        machine: Rc::new(ThisMachine),
        objects: None,
        shelf: Rc::new(FileShelf::new(place.run_dir.join("leases"))),
        cloud: Rc::new(NoCloud),
    })
}

/// What `auto` means for `dev` and `demo`: Docker if its engine answers, else plain processes.
pub async fn resolve(choice: RuntimeChoice) -> RuntimeChoice {
    if choice != RuntimeChoice::Auto {
        return choice;
    }
    let answers = docker(&Place::nowhere()).await.is_ok();
    if answers {
        RuntimeChoice::Docker
    } else {
        RuntimeChoice::Process
    }
}

/// One node's containers. `auto` is Docker: a pod gets the host only when an operator says so.
pub async fn runtime(
    choice: RuntimeChoice,
    place: &Place,
) -> anyhow::Result<Rc<dyn ContainerRuntime>> {
    match choice {
        RuntimeChoice::Process => {
            let clock = Rc::new(SystemClock::new());
            let runtime = ProcessRuntime::new(&place.run_dir, &place.data_dir, clock);
            let shown = place.run_dir.display();
            Ok(Rc::new(
                runtime.with_context(|| format!("--run-dir {shown}"))?,
            ))
        }
        RuntimeChoice::Docker | RuntimeChoice::Auto => Ok(Rc::new(docker(place).await?)),
    }
}

/// The engine, seen as one node sees it. What belongs to the node is told by its run directory: the only thing that
/// no two nodes of a machine share and that survives the agent's restart.
async fn docker(place: &Place) -> anyhow::Result<DockerRuntime> {
    let scope = place.run_dir.display().to_string();
    let options = DockerOptions::new(&scope, &place.run_dir, &place.data_dir)?;
    let answered = async {
        let runtime = DockerRuntime::connect(options).await;
        let runtime = runtime.context("no Docker engine answers; start one, or say --runtime process to run pods as plain processes of this host")?;
        let version = runtime.version().await;
        version.context("asking the Docker engine for its version")?;
        Ok(runtime)
    };
    let seconds = ENGINE_PATIENCE.as_secs();
    let answered = tokio::time::timeout(ENGINE_PATIENCE, answered).await;
    answered.with_context(|| format!("the Docker engine hangs: no answer in {seconds} s"))?
}

/// The demo's container: this program's own web server.
pub async fn demo_container(runtime: RuntimeChoice) -> anyhow::Result<Value> {
    if runtime == RuntimeChoice::Process {
        let image = format!("{WEB_IMAGE}:{WEB_TAG}");
        // Pods of this runtime share the host's network: each takes a free port.
        return Ok(json!({"name": "web", "image": image, "args": ["--port", "0"]}));
    }
    let docker = docker(&Place::nowhere()).await?;
    let image = web_image(&docker).await?;
    pause_image(&docker).await?;
    Ok(json!({
        "name": "web",
        "image": image,
        "args": ["--port", "8080"],
        "ports": [{"containerPort": 8080}],
    }))
}

/// Makes `kagero.dev/web:built-in` known to Docker too, so that one manifest runs on either runtime, without a registry.
pub async fn offer_web_image(runtime: RuntimeChoice) -> anyhow::Result<()> {
    if runtime == RuntimeChoice::Process {
        return Ok(());
    }
    let docker = docker(&Place::nowhere()).await?;
    pause_image(&docker).await?;
    let image = web_image(&docker).await?;
    let named = docker.name_image(&image, WEB_IMAGE, WEB_TAG).await;
    named.context("naming the web server's image")
}

async fn web_image(docker: &DockerRuntime) -> anyhow::Result<String> {
    let entry = [Program::current()?.path_inside(), "web".to_owned()];
    let image = docker.ensure_self_image(WEB_IMAGE, &entry).await;
    image.context("making the web server's image")
}

/// Made before the nodes start, or each would make it at once, and all but one of them for nothing.
async fn pause_image(docker: &DockerRuntime) -> anyhow::Result<()> {
    let made = docker.ensure_pause_image().await;
    made.context("making the pause container's image")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_directory_is_one_living_processs() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::below(directory.path());
        let first = place.hold().unwrap();
        let refused = place.hold().unwrap_err().to_string();
        let shown = directory.path().display().to_string();
        assert!(
            refused.contains(&shown) && refused.contains("--run-dir"),
            "{refused}"
        );
        drop(first);
        place.hold().unwrap();
    }
}
