//! The core tier: clusters of the pure consensus core and the real store, without async, thousands a minute.
//!
//! A run is a function of its seed: founders, clocks, network, faults and clients are all drawn from it (`weather.rs`).
//! First a storm, in which messages are lost, doubled, late and one way only, peers die, pause and join, clocks run
//! wrong and voters change; then calm, in which the cluster must work again within a bound. After every step of every
//! peer the checkers look, one property a file. Deliberately without recovery from the loss of a majority and without
//! anything between the core and a client: that is the whole-system tier's.

pub mod batch;
mod calm;
pub mod checkers;
mod clients;
pub mod coverage;
mod faults;
mod history;
mod membership;
mod network;
mod peer;
pub mod run;
pub mod trace;
mod weather;
mod world;

pub use run::{Failure, Outcome, command, play, play_on};
