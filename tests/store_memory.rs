//! Deletes free memory: a million put-and-delete cycles leave the process as large as they found it.
//!
//! With the system's allocator, whose figures repeat to 1 %: mimalloc, which the program ships with, keeps or returns
//! some 8 MB now and then by the clock. That a burst's memory goes back to the machine is `store_burst.rs`'s to show.
#![cfg(target_os = "linux")]

mod churn;

use churn::{Churn, POPULATION, resident_bytes};
use kagero::store::{HISTORY_BYTES_MAX, HISTORY_EVENTS_MAX, OUTCOMES_REMEMBERED_MAX};

/// Put-and-delete cycles between the measurements.
const CYCLES: u64 = 1_000_000;

#[test]
fn a_million_cycles_end_with_the_memory_they_began_with() {
    let mut churn = Churn::new();
    let values = churn.store.view().value_bytes();
    let before = resident_bytes();
    churn.cycles(CYCLES);
    let after = resident_bytes();
    println!("{CYCLES} cycles: {before} → {after} bytes resident");
    assert!(after < before + before / 10, "{before} → {after} bytes");

    let view = churn.store.view();
    assert_eq!(
        (view.len() as u64, view.value_bytes()),
        (POPULATION, values)
    );
    let usage = churn.store.usage();
    assert!(usage.history_events <= HISTORY_EVENTS_MAX);
    assert!(usage.history_bytes <= HISTORY_BYTES_MAX);
    assert_eq!(usage.outcomes, OUTCOMES_REMEMBERED_MAX);
}
