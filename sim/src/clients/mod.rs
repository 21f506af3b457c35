//! Clients that use the cluster over HTTP all the time, whatever happens to it, and note what they see.

pub mod contenders;
mod ground;
pub(crate) mod probe;
pub mod watchers;
pub mod writers;

use std::time::Duration;

use kagero::cli::client::Client;
use tokio::task::JoinHandle;

pub(crate) use ground::Ground;

/// A request without an answer in this time promises nothing; longer than an election.
const DEADLINE: Duration = Duration::from_millis(2_500);
/// Where the ConfigMaps are.
pub const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Starts those who write; they end when [`Ground::writing`] does.
pub(crate) fn start_writing(world: &impl Ground) -> Vec<JoinHandle<()>> {
    let mut all = writers::start(world);
    all.extend(contenders::start(world));
    all
}

/// A client of a machine drawn by chance, with the machine's name.
pub(crate) fn anybody(world: &impl Ground) -> (Client, String) {
    let machines = world.machines();
    let chosen = world.chance(0..=machines.len() as u64 - 1);
    let name = machines[usize::try_from(chosen).expect("a handful of machines")].clone();
    (world.client(&name).with_deadline(DEADLINE), name)
}
