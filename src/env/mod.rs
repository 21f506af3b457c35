//! The edges of the program as traits, with their production versions; a simulation brings its own.
//!
//! Knows nothing of actors or HTTP. Nothing outside this room opens a socket, reads a clock or draws a random number.

pub mod bucket;
mod cgroup_usage;
pub mod clock;
pub mod cloud;
pub mod docker;
pub mod entropy;
pub mod frames;
pub mod machine;
pub mod network;
pub mod objects;
pub mod process;
pub mod runtime;
pub mod shelf;
pub mod tcp;
pub mod volumes;

use std::rc::Rc;

/// Everything a node needs from the world. Cheap to clone; one per node.
#[derive(Clone)]
pub struct Env {
    /// Listens and connects.
    pub network: Rc<dyn network::Network>,
    /// Tells the time.
    pub clock: Rc<dyn clock::Clock>,
    /// Draws random numbers.
    pub entropy: entropy::Entropy,
    /// Runs containers.
    pub runtime: Rc<dyn runtime::ContainerRuntime>,
    /// Tells the machine's figures.
    pub machine: Rc<dyn machine::Machine>,
    /// Keeps what outlives all machines, if there is such a place.
    pub objects: Option<Rc<dyn objects::Objects>>,
    /// Keeps what the next process on this boot of the machine is to know.
    pub shelf: Rc<dyn shelf::Shelf>,
    /// Tells what becomes of machines.
    pub cloud: Rc<dyn cloud::Cloud>,
}
