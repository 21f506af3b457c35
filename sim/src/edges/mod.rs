//! The simulated edges of a node.

mod clock;
mod cloud;
mod gate;
mod network;
mod runtime;

pub use clock::SimClock;
pub use cloud::SimCloud;
pub use gate::Gate;
pub use network::{Cuts, SimNetwork};
pub use runtime::FakeRuntime;
