//! The program that a mutant is built into: runs seeds of the core tier until one fails, and says which.
//!
//! Built only in `target/mutants`, beside copies of the pure rooms; `gate.rs` reads its one line.

#![allow(dead_code, unused)]

#[path = "sim/src/core/mod.rs"]
mod core;

fn main() {
    let budget = std::env::args().nth(1).and_then(|budget| budget.parse().ok());
    let budget: u64 = budget.expect("the gate gives a budget");
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
