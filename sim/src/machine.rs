//! A simulated machine: what outlives a process and dies with the machine, which is its containers.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use jiff::Timestamp;
use kagero::agent::{ContainerRecord, ContainerState, Exit, Inventory, SandboxRecord};

/// Sandboxes and containers of one machine, by id. Shared between the process on it and the driver of the world.
#[derive(Clone, Debug, Default)]
pub struct Machine(Rc<RefCell<Contents>>);

/// What is on a machine.
#[derive(Debug, Default)]
pub struct Contents {
    /// Sandboxes by id.
    pub sandboxes: BTreeMap<String, SandboxRecord>,
    /// Containers by id.
    pub containers: BTreeMap<String, ContainerRecord>,
    next_id: u64,
    /// Counts boots; a new one begins empty.
    boot: u64,
}

impl Machine {
    /// A look inside, or a change.
    pub fn with<T>(&self, f: impl FnOnce(&mut Contents) -> T) -> T {
        f(&mut self.0.borrow_mut())
    }

    /// The machine is lost: everything on it is gone.
    pub fn lose(&self) {
        self.with(|contents| {
            contents.sandboxes.clear();
            contents.containers.clear();
            contents.boot += 1;
        });
    }

    /// Which boot this is.
    pub fn boot(&self) -> u64 {
        self.with(|contents| contents.boot)
    }

    /// Names of the pods that have a running container here, in order.
    pub fn running_pods(&self) -> Vec<String> {
        let running =
            |record: &&ContainerRecord| matches!(record.state, ContainerState::Running { .. });
        let mut pods: Vec<String> = self.with(|contents| {
            contents
                .containers
                .values()
                .filter(running)
                .map(|record| record.pod.name.clone())
                .collect()
        });
        pods.sort();
        pods.dedup();
        pods
    }
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
