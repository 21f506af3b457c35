//! Time: a monotonic clock for timeouts and a wall clock for what people read.
//!
//! Deliberately without timers: `tokio::time` serves both production and simulation.

use std::time::Duration;

/// Tells the time. Implementations may skew or pause it.
pub trait Clock {
    /// Monotonic time since an arbitrary origin.
    fn now(&self) -> Duration;
    /// Wall clock.
    fn wall(&self) -> jiff::Timestamp;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    origin: tokio::time::Instant,
}

impl SystemClock {
    /// Starts at zero.
    pub fn new() -> Self {
        Self {
            origin: tokio::time::Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the wall clock is real"
    )]
    fn wall(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }
}
