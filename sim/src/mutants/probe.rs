//! The program that a mutant is built into: runs seeds of the core tier until one fails, and says which. Or it goes on
//! in each, with the assertions of core and store off, and says after how many seeds each property alone found it.
//!
//! Built only in `target/mutants`, beside copies of the pure rooms; `gate.rs` reads its lines.

#![allow(dead_code, unused)]

#[path = "sim/src/core/mod.rs"]
mod core;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = || arguments.next().and_then(|budget| budget.parse().ok());
    let budget: u64 = number().expect("the gate gives a budget");
    match arguments.next().as_deref() {
        None => first(budget),
        Some("--only") => {
            let property = arguments.next().expect("the gate names a property");
            only(budget, &property);
        }
        Some("--alone") => {
            let least = arguments.next().and_then(|least| least.parse().ok());
            let meant: Vec<String> = arguments.collect();
            alone(budget, least.expect("the gate says how many at least"), &meant);
        }
        Some(other) => panic!("the gate does not say {other}"),
    }
}

fn first(budget: u64) {
    for seed in 1..=budget {
        if let Some(failure) = core::play(seed, None).failure {
            let violation = failure.violation;
            let text = violation.text.replace('\n', " ");
            println!("caught {seed} {} {text}", violation.property);
            return;
        }
    }
    println!("held");
}

fn only(budget: u64, property: &str) {
    kagero::ASSERTING.store(false, Ordering::Relaxed);
    for seed in 1..=budget {
        let broken = core::play_on(seed);
        if let Some(violation) = broken.iter().find(|broken| broken.property == property) {
            let text = violation.text.replace('\n', " ");
            println!("caught {seed} {property} {text}");
            return;
        }
    }
    println!("held");
}

/// At least so many seeds, and then until those that should have found it have.
fn alone(budget: u64, least: u64, meant: &[String]) {
    kagero::ASSERTING.store(false, Ordering::Relaxed);
    let mut found = BTreeMap::new();
    for seed in 1..=budget {
        for violation in core::play_on(seed) {
            found.entry(violation.property).or_insert(seed);
        }
        if seed >= least && meant.iter().all(|meant| found.contains_key(meant.as_str())) {
            break;
        }
    }
    for (property, seed) in found {
        println!("{property} {seed}");
    }
    println!("ended");
}
