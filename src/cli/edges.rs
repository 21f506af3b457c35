//! The production edges, chosen: the one place of this room that names them.

use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::bail;
use serde_json::Value;

use super::RuntimeChoice;
use crate::env::Env;
use crate::env::clock::SystemClock;
use crate::env::entropy::Entropy;
use crate::env::machine::ThisMachine;
use crate::env::network::Network;
use crate::env::runtime::ContainerRuntime;
use crate::env::tcp::Tcp;

/// Real TCP.
pub fn network() -> Rc<dyn Network> {
    Rc::new(Tcp)
}

/// Everything a node of this machine needs from the world.
pub fn env(choice: RuntimeChoice, name: &str, run_dir: &Path) -> anyhow::Result<Env> {
    Ok(Env {
        network: network(),
        clock: Rc::new(SystemClock::new()),
        entropy: Entropy::from_system(),
        runtime: runtime(choice, name, run_dir)?,
        machine: Rc::new(ThisMachine),
    })
}

/// What `auto` means for `dev` and `demo`.
pub fn resolve(choice: RuntimeChoice) -> RuntimeChoice {
    choice
}

/// One node's containers.
pub fn runtime(
    choice: RuntimeChoice,
    name: &str,
    run_dir: &Path,
) -> anyhow::Result<Rc<dyn ContainerRuntime>> {
    bail!("{choice:?} {name} {}: not there yet", run_dir.display())
}

/// The demo's container.
pub fn demo_container(choice: RuntimeChoice) -> anyhow::Result<Value> {
    bail!("{choice:?}: not there yet")
}

/// Never returns in a pod.
pub fn pause() -> ExitCode {
    ExitCode::FAILURE
}

/// Serves until it is stopped.
pub fn web(port: u16) -> anyhow::Result<()> {
    bail!("{port}: not there yet")
}
