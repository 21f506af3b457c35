//! A store under load, and how large the process is: shared by the memory tests.
//!
//! Measured is the resident memory of the whole process (`VmRSS`), because a counting allocator would need `unsafe` and
//! would not see fragmentation, which is what a long-lived store dies of. So each such test is alone in its process.

use std::fs;

use bytes::Bytes;
use kagero::store::{Command, Operation, ProposalId, Snapshot, Store, Transaction, View};

/// Objects that live through it all.
pub const POPULATION: u64 = 5_000;

/// Bytes of each of them.
const STAYING_BYTES: usize = 2_000;

/// Cycles until all that is bounded (watch history, remembered outcomes, the allocator's pools) is at its bound, so
/// that afterwards only what grows without bound shows: several times the 16,384 events and outcomes kept.
pub const WARM_UP: u64 = 100_000;

/// Cycles during which one view and one snapshot are held, as a slow reader and a slow encoder do.
const HELD_CYCLES: u64 = 10_000;

/// A store and its load.
pub struct Churn {
    pub store: Store,
    proposals: u64,
    held: Option<(View, Snapshot)>,
}

impl Churn {
    /// A populated store, warmed up.
    pub fn new() -> Self {
        let mut churn = Self {
            store: Store::new(),
            proposals: 0,
            held: None,
        };
        for n in 0..POPULATION {
            churn.put(format!("pods/default/stays-{n}"), STAYING_BYTES);
        }
        churn.cycles(WARM_UP);
        churn
    }

    /// Creates and deletes objects of 0.5 to 4.5 KB under ever new names, and now and then changes one that stays.
    pub fn cycles(&mut self, cycles: u64) {
        for n in 0..cycles {
            if n % HELD_CYCLES == 0 {
                self.held = Some((self.store.view(), self.store.snapshot()));
            }
            let name = self.proposals;
            let key = format!("pods/default/goes-{name}");
            self.put(key.clone(), 500 + (name * 37 % 4_000) as usize);
            self.delete(key);
            if n % 8 == 0 {
                let key = format!("pods/default/stays-{}", n / 8 % POPULATION);
                self.put(key, STAYING_BYTES);
            }
        }
        self.held = None;
    }

    pub fn put(&mut self, key: String, bytes: usize) {
        let value = Bytes::from(vec![b'x'; bytes]);
        self.apply(Operation::Put { key, value });
    }

    pub fn delete(&mut self, key: String) {
        self.apply(Operation::Delete { key });
    }

    fn apply(&mut self, operation: Operation) {
        self.proposals += 1;
        let command = Command {
            id: ProposalId {
                origin: 1,
                sequence: self.proposals,
            },
            time_ms: 0,
            transaction: Transaction {
                compare: Vec::new(),
                operations: vec![operation],
            },
        };
        self.store.apply(&command);
    }
}

/// The process's resident memory.
pub fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    let kib = kib.and_then(|kib| kib.parse::<u64>().ok());
    kib.expect("Linux says it as a number") << 10
}
