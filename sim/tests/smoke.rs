//! The sim smoke: the scenario comes true, and a seed gives the same trace twice.

use sim::scenarios::leader_lost;
use sim::trace::Trace;
use tracing::Level;

const SEED: u64 = 1;

fn traced(seed: u64) -> Vec<String> {
    let (result, lines) = Trace::record(Level::DEBUG, |trace| leader_lost::simulate(seed, trace));
    if let Err(error) = result {
        let tail = lines[lines.len().saturating_sub(60)..].join("\n");
        panic!("seed {seed}: {error}\n{tail}");
    }
    lines
}

#[test]
fn the_leaders_machine_vanishes_and_all_pods_run_again() {
    let lines = traced(SEED);
    assert!(
        lines.iter().any(|line| line.contains("fault LoseMachine")),
        "the fault happened"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.contains("seen: equal replicas")),
        "the run reached its end"
    );
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let (first, second) = (traced(SEED), traced(SEED));
    let differ = first.iter().zip(&second).position(|(a, b)| a != b);
    if let Some(line) = differ {
        panic!(
            "traces part at line {line}:\n{}\n{}",
            first[line], second[line]
        );
    }
    assert_eq!(
        first.len(),
        second.len(),
        "one trace goes on after the other's end"
    );
    assert_ne!(first, traced(SEED + 1), "another seed is another run");
}
