//! The core tier within the normal suite: some seeds hold, and a seed gives the same timeline twice.
//!
//! Few, for a slow build; `sim core --runs 100000` makes many. That the checkers can fail, `sim mutants` shows.

use std::cell::RefCell;
use std::rc::Rc;

use sim::core::coverage::Kind;
use sim::core::{batch, play};
use sim::core_cli::told;

/// What an unoptimised build makes in some twenty seconds of one core.
const SEEDS: u64 = 1_000;
/// Seeds whose timelines are compared.
const COMPARED: u64 = 20;

#[test]
fn seeds_hold_and_every_fault_fires() {
    let batch = batch::run(0..SEEDS, 1, &|_| {});
    if let Some(failure) = &batch.failure {
        panic!("{}", told(failure));
    }
    let faults = batch.coverage.rows().filter(|row| row.1 == Kind::Fault);
    let never: Vec<_> = faults.filter(|row| row.3 == 0).map(|row| row.2).collect();
    assert_eq!(never, Vec::<&str>::new(), "faults that never fired");
}

fn timeline(seed: u64) -> Vec<String> {
    let lines = Rc::new(RefCell::new(Vec::new()));
    let written = Rc::clone(&lines);
    let sink = move |line: &str| written.borrow_mut().push(line.to_owned());
    let outcome = play(seed, Some(Box::new(sink)));
    if let Some(failure) = &outcome.failure {
        panic!("{}", told(failure));
    }
    lines.take()
}

#[test]
fn a_seed_gives_the_same_timeline_twice() {
    for seed in 1..=COMPARED {
        let first = timeline(seed);
        assert!(first.len() > 20, "seed {seed} has {} lines", first.len());
        assert_eq!(first, timeline(seed), "seed {seed}");
    }
    assert_ne!(timeline(1), timeline(2));
}
