//! The production edges, chosen: the one place of this room that names them.

use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::RuntimeChoice;
use crate::env::Env;
use crate::env::clock::SystemClock;
use crate::env::entropy::Entropy;
use crate::env::network::Network;
use crate::env::process::{ProcessRuntime, WEB_IMAGE};
use crate::env::runtime::ContainerRuntime;
use crate::env::tcp::Tcp;

/// The image that stands for this program's own web server, with any tag; this one is never pulled.
const WEB_TAG: &str = "built-in";

/// A node's name and where it keeps things.
#[derive(Clone, Debug)]
pub struct Place {
    /// The node's name.
    pub name: String,
    /// What pods see as files; best on a tmpfs.
    pub run_dir: PathBuf,
    /// What of pods may be on a disk.
    pub data_dir: PathBuf,
}

impl Place {
    /// For asking an engine whether it answers.
    fn nowhere() -> Self {
        Self {
            name: "nobody".into(),
            run_dir: std::env::temp_dir(),
            data_dir: std::env::temp_dir(),
        }
    }
}

/// Real TCP.
pub fn network() -> Rc<dyn Network> {
    Rc::new(Tcp)
}

/// Everything a node of this machine needs from the world.
pub fn env(choice: RuntimeChoice, place: &Place) -> anyhow::Result<Env> {
    Ok(Env {
        network: network(),
        clock: Rc::new(SystemClock::new()),
        entropy: Entropy::from_system(),
        runtime: runtime(choice, place)?,
    })
}

/// What `auto` means for `dev` and `demo`: Docker if its engine answers, else plain processes.
pub async fn resolve(choice: RuntimeChoice) -> RuntimeChoice {
    if choice != RuntimeChoice::Auto {
        return choice;
    }
    let answers = match runtime(RuntimeChoice::Docker, &Place::nowhere()) {
        Ok(docker) => docker.version().await.is_ok(),
        Err(_) => false,
    };
    if answers {
        RuntimeChoice::Docker
    } else {
        RuntimeChoice::Process
    }
}

/// One node's containers. `auto` is Docker: a pod gets the host only when an operator says so.
pub fn runtime(choice: RuntimeChoice, place: &Place) -> anyhow::Result<Rc<dyn ContainerRuntime>> {
    let Place {
        name,
        run_dir,
        data_dir,
    } = place;
    match choice {
        RuntimeChoice::Process => {
            let runtime = ProcessRuntime::new(run_dir, data_dir, Rc::new(SystemClock::new()));
            let runtime = runtime
                .with_context(|| format!("keeping processes' state in {}", run_dir.display()))?;
            Ok(Rc::new(runtime))
        }
        RuntimeChoice::Docker | RuntimeChoice::Auto => {
            bail!("--runtime docker is not built in yet ({name})")
        }
    }
}

/// The demo's container: this program's own web server.
pub fn demo_container(runtime: RuntimeChoice) -> Value {
    let image = format!("{WEB_IMAGE}:{WEB_TAG}");
    match runtime {
        // Pods of this runtime share the host's network: each takes a free port.
        RuntimeChoice::Process => json!({"name": "web", "image": image, "args": ["--port", "0"]}),
        RuntimeChoice::Docker | RuntimeChoice::Auto => json!({
            "name": "web",
            "image": image,
            "args": ["--port", "8080"],
            "ports": [{"containerPort": 8080}],
        }),
    }
}
