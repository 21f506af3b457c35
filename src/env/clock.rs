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
    /// Monotonic time since the machine's boot, time asleep included: the same to all processes of one boot.
    fn since_boot(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    origin: tokio::time::Instant,
    /// Since the machine's boot, at the origin.
    booted: Duration,
}

impl SystemClock {
    /// Starts at zero.
    pub fn new() -> Self {
        Self {
            origin: tokio::time::Instant::now(),
            booted: boot_time(),
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

    /// Never less than what passed on the other clock, which a test may move.
    fn since_boot(&self) -> Duration {
        boot_time().max(self.booted + self.now())
    }
}

/// `CLOCK_BOOTTIME`: time asleep counts (clock_gettime(2)).
fn boot_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // The kernel counts it from zero, with less than 10^9 nanoseconds beside.
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}
