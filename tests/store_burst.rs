//! Deletes give memory back to the machine: many objects that come at once and go again leave little behind.
//!
//! With the allocator that the program ships with; the system's keeps it all for itself, as its heap ends in objects
//! that stay. The bound is loose, because when mimalloc returns what is free depends on the clock.
#![cfg(target_os = "linux")]

mod churn;

use churn::{Churn, WARM_UP, resident_bytes};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Objects of the burst, ten times the population.
const BURST: u64 = 50_000;

/// Bytes of each of them.
const BURST_BYTES: usize = 2_000;

#[test]
fn a_burst_gives_its_memory_back() {
    let mut churn = Churn::new();
    let key = |n| format!("pods/default/burst-{n}");
    let before = resident_bytes();
    for n in 0..BURST {
        churn.put(key(n), BURST_BYTES);
    }
    let height = resident_bytes();
    for n in 0..BURST {
        churn.delete(key(n));
    }
    churn.cycles(WARM_UP);
    let after = resident_bytes();
    println!("a burst of {BURST} objects: {before} → {height} → {after} bytes resident");
    assert!(height > before + BURST * BURST_BYTES as u64 / 2, "no burst");
    assert!(
        after < before + (height - before) / 2,
        "{height} → {after} bytes"
    );
}
