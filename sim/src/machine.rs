//! A simulated machine: what outlives a process and dies with the machine, which is its containers; and its clocks.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use kagero::agent::{
    ContainerRecord, ContainerState, Exit, Inventory, PodRef, SandboxRecord, Volume,
};
use kagero::env::shelf::Shelf;

use crate::edges::{Gate, SimClock, SimCloud};

/// Sandboxes and containers of one machine, by id. Shared between the process on it and the driver of the world.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    contents: Rc<RefCell<Contents>>,
    clock: SimClock,
    gate: Gate,
    cloud: SimCloud,
}

/// One boot of a machine, by the ids that its node is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// The same over boots.
    pub machine_id: String,
    /// Of this one.
    pub boot_id: String,
}

/// A running container that the agent ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Its id.
    pub container: String,
    /// Its pod.
    pub pod: PodRef,
    /// When it was started, in simulated time.
    pub started: Duration,
}

/// What is on a machine.
#[derive(Debug, Default)]
pub struct Contents {
    /// Sandboxes by id.
    pub sandboxes: BTreeMap<String, SandboxRecord>,
    /// Containers by id.
    pub containers: BTreeMap<String, ContainerRecord>,
    /// When each container ever started was, in simulated time.
    pub started: BTreeMap<String, Duration>,
    /// Environment of each container ever started, by its id.
    pub environments: BTreeMap<String, Vec<(String, String)>>,
    /// Volumes as last written, by their pod's UID.
    pub volumes: BTreeMap<String, Vec<Volume>>,
    /// Running containers that the agent ended; a checker takes them.
    pub stops: Vec<Stop>,
    /// Unique pods that ran when the machine was lost; a checker takes them.
    pub lost_unique: Vec<(String, String)>,
    /// What a process leaves for the next one of the same boot.
    pub shelf: Option<Vec<u8>>,
    next_id: u64,
    /// Counts boots; a new one begins empty.
    boot: u64,
}

impl Shelf for Machine {
    fn put(&self, bytes: &[u8]) -> io::Result<()> {
        self.with(|contents| contents.shelf = Some(bytes.to_vec()));
        Ok(())
    }

    fn get(&self) -> Option<Vec<u8>> {
        self.with(|contents| contents.shelf.clone())
    }
}

impl Machine {
    /// A look inside, or a change.
    pub fn with<T>(&self, f: impl FnOnce(&mut Contents) -> T) -> T {
        f(&mut self.contents.borrow_mut())
    }

    /// Its clocks.
    pub fn clock(&self) -> &SimClock {
        &self.clock
    }

    /// What stands between its process and the network.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// What its cloud says of it.
    pub fn cloud(&self) -> &SimCloud {
        &self.cloud
    }

    /// The machine is lost: everything on it is gone.
    pub fn lose(&self) {
        self.cloud.forget();
        let lost = self.running_unique();
        self.with(|contents| {
            contents.lost_unique.extend(lost);
            contents.sandboxes.clear();
            contents.containers.clear();
            contents.environments.clear();
            contents.started.clear();
            contents.volumes.clear();
            contents.shelf = None;
            contents.boot += 1;
        });
    }

    /// Which boot this is; a lost machine has the next already.
    pub fn boot(&self, name: &str) -> Boot {
        let boot = self.with(|contents| contents.boot);
        Boot {
            machine_id: format!("machine-{name}"),
            boot_id: format!("boot-{name}-{boot}"),
        }
    }

    /// Ids of the running containers, in order.
    pub fn running_containers(&self) -> Vec<String> {
        self.with(|contents| {
            let running = contents
                .containers
                .values()
                .filter(|record| is_running(record));
            running.map(|record| record.id.clone()).collect()
        })
    }

    /// Unique pods that have a running container here, by namespace and name.
    pub fn running_unique(&self) -> Vec<(String, String)> {
        self.with(|contents| {
            let running = contents.containers.values();
            let unique = running.filter(|record| is_running(record) && record.pod.unique);
            let name =
                |record: &ContainerRecord| (record.pod.namespace.clone(), record.pod.name.clone());
            unique.map(name).collect()
        })
    }

    /// Names of the pods that have a running container here, in order.
    pub fn running_pods(&self) -> Vec<String> {
        let mut pods: Vec<String> = self.with(|contents| {
            contents
                .containers
                .values()
                .filter(|record| is_running(record))
                .map(|record| record.pod.name.clone())
                .collect()
        });
        pods.sort();
        pods.dedup();
        pods
    }
}

fn is_running(record: &ContainerRecord) -> bool {
    matches!(record.state, ContainerState::Running { .. })
}

impl Contents {
    /// A fresh id.
    pub fn id(&mut self, what: &str) -> String {
        self.next_id += 1;
        format!("{what}-{}-{}", self.boot, self.next_id)
    }

    /// All there is.
    pub fn inventory(&self) -> Inventory {
        Inventory {
            sandboxes: self.sandboxes.values().cloned().collect(),
            containers: self.containers.values().cloned().collect(),
        }
    }

    /// The agent is about to end a container by whatever means; remembered if it runs.
    pub fn note_stop(&mut self, id: &str) {
        let running = self.containers.get(id).filter(|record| is_running(record));
        self.stops.extend(running.map(|record| Stop {
            container: id.to_owned(),
            pod: record.pod.clone(),
            started: self.started.get(id).copied().unwrap_or_default(),
        }));
    }

    /// Ends a running container.
    pub fn end(&mut self, id: &str, code: i32, now: Timestamp) {
        let Some(record) = self.containers.get_mut(id) else {
            return;
        };
        if let ContainerState::Running { started_at } = record.state {
            record.state = ContainerState::Exited(Exit {
                code,
                started_at: Some(started_at),
                finished_at: now,
                reason: None,
                message: String::new(),
            });
        }
    }
}
