//! The simulated edges of a node.

mod clock;
mod gate;
mod network;
mod runtime;

pub use clock::SimClock;
pub use gate::Gate;
pub use network::{Cuts, SimNetwork};
pub use runtime::FakeRuntime;
