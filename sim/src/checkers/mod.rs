//! Properties that a run must have, one a file: pure functions over what the world exposes.

pub mod replicas;
