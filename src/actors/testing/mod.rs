//! What tests of actors run on: networks in memory, hosts that can be stopped, and a runtime that runs nothing.
//!
//! Deliberately without faults inside a stream: those are the simulation's. Here a host is there, silent or gone.

pub(crate) mod host;
pub(crate) mod network;
pub(crate) mod objects;
pub(crate) mod peer;
pub(crate) mod runtime;
pub(crate) mod seed;
