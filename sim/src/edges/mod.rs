//! The simulated edges of a node.

mod clock;
mod cloud;
mod gate;
mod network;
mod objects;
mod runtime;

pub use clock::{EPOCH_SECONDS, SimClock, TRUE_PERCENT};
pub use cloud::{CloudView, SimCloud};
pub use gate::Gate;
pub use network::{Cuts, SimNetwork};
pub use objects::{Bucket, SimObjects};
pub use runtime::FakeRuntime;
