//! Whole nodes in one process: each in a task set of its own, so that dropping a [`Host`] ends it as SIGKILL would.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::sleep;

use super::network::Wires;
use super::runtime::IdleRuntime;
use crate::actors::wire::Contact;
use crate::cli::client::Client;
use crate::env::Env;
use crate::env::clock::SystemClock;
use crate::env::cloud::NoCloud;
use crate::env::entropy::Entropy;
use crate::env::machine::NoMachine;
use crate::env::shelf::NoShelf;
use crate::node::{self, Node, Options};

/// How long a test waits for what must come; the time is not real.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// A running node.
pub(crate) struct Host {
    pub(crate) node: Node,
    pub(crate) api: String,
    tasks: JoinHandle<()>,
}

/// The peer address of the machine with a number.
pub(crate) fn peer_address(number: u16) -> String {
    format!("[fd00::{number:x}]:7443")
}

/// How it is reached.
pub(crate) fn contact(number: u16) -> Contact {
    let options = options(number);
    Contact {
        name: options.name,
        address: options.listen,
        api: options.api,
        machine_id: options.machine_id,
        boot_id: options.boot_id,
        may_vote: options.may_vote,
        labels: options.labels,
        takes_named: true,
    }
}

/// What an operator says of the machine with a number: one of three that found a cluster, or a later one.
pub(crate) fn options(number: u16) -> Options {
    Options {
        name: format!("n{number}"),
        listen: peer_address(number),
        advertise: None,
        api: format!("[fd00::{number:x}]:6443"),
        seeds: (1..=3).map(peer_address).collect(),
        voters: 3,
        may_vote: true,
        init: false,
        labels: BTreeMap::default(),
        machine_id: format!("machine-{number}"),
        boot_id: String::new(),
        cpu_millis: 1_000,
        memory_bytes: 1 << 30,
        pods_max: 110,
        auto_recover: false,
        snapshot_interval: Duration::from_secs(10),
        manifests: Vec::new(),
        consensus: crate::raft::Config::default(),
        history: crate::store::HistoryBounds::default(),
    }
}

/// A machine's edges.
pub(crate) fn env(wires: &Wires, seed: u64) -> Env {
    Env {
        network: wires.network(),
        clock: Rc::new(SystemClock::new()),
        entropy: Entropy::from_seed(seed),
        runtime: Rc::new(IdleRuntime::new(Rc::new(Cell::new(Duration::ZERO)))),
        machine: Rc::new(NoMachine),
        objects: None,
        shelf: Rc::new(NoShelf),
        cloud: Rc::new(NoCloud),
    }
}

impl Host {
    /// Starts a node; every start draws other numbers.
    pub(crate) async fn start(wires: &Wires, options: Options, seed: u64) -> Self {
        Self::start_in(env(wires, seed), options).await
    }

    /// The same, with these edges.
    pub(crate) async fn start_in(env: Env, options: Options) -> Self {
        let api = options.api.clone();
        let (started, starting) = oneshot::channel();
        let tasks = tokio::task::spawn_local(async move {
            let living = async {
                let node = node::start(env, options).await;
                let _ = started.send(node);
                std::future::pending::<()>().await;
            };
            LocalSet::new().run_until(living).await;
        });
        let node = starting.await.unwrap().unwrap();
        Self { node, api, tasks }
    }

    /// A client of its API.
    pub(crate) fn client(&self, wires: &Wires) -> Client {
        Client::new(wires.network(), self.api.clone())
    }

    /// Whether it leads.
    pub(crate) fn leads(&self) -> bool {
        let known = self.node.known.borrow();
        known.as_ref().is_some_and(|known| known.standing.leads)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

/// Waits until a condition holds; panics if it never does.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let mut waited = Duration::ZERO;
    while !condition() {
        assert!(waited < PATIENCE, "never: {what}");
        sleep(PAUSE).await;
        waited += PAUSE;
    }
}

/// Waits until something can be had; panics with the last error if it never can.
pub(crate) async fn obtain<T, E: std::fmt::Debug>(
    what: &str,
    attempt: impl AsyncFn() -> Result<T, E>,
) -> T {
    let mut waited = Duration::ZERO;
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(error) => assert!(waited < PATIENCE, "never: {what}: {error:?}"),
        }
        sleep(PAUSE).await;
        waited += PAUSE;
    }
}
