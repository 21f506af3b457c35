//! The simulated edges of a node.

mod clock;
mod network;
mod runtime;

pub use clock::SimClock;
pub use network::{Cuts, SimNetwork};
pub use runtime::FakeRuntime;
