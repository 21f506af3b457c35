//! Kagero in turmoil: the shipped composition root under a simulated network, clock, chance and container runtime.
//!
//! A run is a function of its scenario and its seed; the trace of two runs is equal byte for byte (`main.rs repeat`
//! and a test check it). Deliberately without any Kagero code of its own: what is simulated is `kagero::node::start`.
//! Beside it, in `core`, the consensus core and the store alone, and in `chaos` the same clients and checkers with real
//! processes.

#[cfg(not(tokio_unstable))]
compile_error!(
    "the simulation needs `--cfg tokio_unstable` (see .cargo/config.toml): without it an actor's panic is swallowed \
     and select! differs from run to run. A RUSTFLAGS variable overrides the file; unset it."
);

pub mod batch;
pub mod beginnings;
mod calm;
pub mod chaos;
pub mod checkers;
pub mod clients;
pub mod cluster;
pub mod core;
pub mod core_bench;
pub mod core_cli;
pub mod coverage;
pub mod edges;
pub mod faults;
pub mod figures;
pub mod history;
pub mod machine;
mod meter;
pub mod minimise;
pub mod model;
pub mod mutants;
pub mod plan;
pub mod play;
pub mod scenarios;
mod settle;
pub mod tally;
pub mod trace;
pub mod truth;
pub mod world;
