//! Kagero runs containers on machines that won't last.
//!
//! One room a module; a room imports only rooms above it in this list (`tests/tidy.rs` checks it). `raft` to `agent`
//! are pure: deterministic functions of (state, input, now). `env` holds the edges as traits, `actors` the actix
//! shells that join the two, `http` the Kubernetes API, `node` composes them. Deliberately absent: anything that
//! knows of the simulation, which is a crate of its own (`sim`) and swaps the edges of [`node`] only.

pub mod raft;

pub mod store;

pub mod resource;

pub mod agent;
pub mod control;
pub mod schedule;

pub mod env;

pub mod actors;

pub mod http;

pub mod cli;
pub mod node;
