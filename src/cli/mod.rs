//! The commands: `run`, `dev`, `demo`, `status`.

pub mod pause;
pub mod web;
