//! A machine's clocks in the simulated world: they follow the world's time from a fixed date on, unless a fault makes
//! them run at another rate, jump, or stand still.
//!
//! Deliberately without timers: tokio's follow the world's time on every machine. What a skewed clock upsets is what the
//! program reads from [`Clock`], which is all of consensus and every time stamp.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kagero::env::clock::Clock;

/// 2026-01-01T00:00:00Z, where every simulation begins.
pub const EPOCH_SECONDS: i64 = 1_767_225_600;
/// A clock as fast as the world's.
pub const TRUE_PERCENT: u32 = 100;

/// The clocks of one machine. Clones are the same clocks.
///
/// Invariant: what it gives as monotonic time never decreases.
#[derive(Clone, Debug, Default)]
pub struct SimClock(Rc<RefCell<Setting>>);

#[derive(Debug)]
struct Setting {
    /// The world's time at which the rate last changed, and the clock's own then.
    since: Duration,
    then: Duration,
    percent: u32,
    /// How far the wall clock is ahead of the monotonic one beyond the epoch.
    ahead: SignedDuration,
    frozen: Option<Duration>,
    last: Duration,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            since: Duration::ZERO,
            then: Duration::ZERO,
            percent: TRUE_PERCENT,
            ahead: SignedDuration::ZERO,
            frozen: None,
            last: Duration::ZERO,
        }
    }
}

impl Setting {
    fn at(&self, world: Duration) -> Duration {
        self.then + world.saturating_sub(self.since) * self.percent / TRUE_PERCENT
    }
}

impl SimClock {
    /// From now on it runs at so many percent of the world's rate; its wall clock jumps by so many milliseconds.
    pub fn skew(&self, world: Duration, percent: u32, jump_ms: i64) {
        let mut setting = self.0.borrow_mut();
        setting.then = setting.at(world);
        setting.since = world;
        setting.percent = percent;
        setting.ahead += SignedDuration::from_millis(jump_ms);
    }

    /// It stands still for whoever reads it, as for a process that is not scheduled.
    pub fn freeze(&self, world: Duration) {
        let mut setting = self.0.borrow_mut();
        setting.frozen = Some(setting.at(world));
    }

    /// It shows the time again that has passed meanwhile.
    pub fn thaw(&self) {
        self.0.borrow_mut().frozen = None;
    }

    fn read(&self, world: Duration) -> Duration {
        let mut setting = self.0.borrow_mut();
        let now = setting.frozen.unwrap_or_else(|| setting.at(world));
        setting.last = setting.last.max(now);
        setting.last
    }

    fn wall_at(&self, world: Duration) -> Timestamp {
        let epoch = Timestamp::from_second(EPOCH_SECONDS).expect("a constant within jiff's range");
        let now = SignedDuration::try_from(self.read(world)).expect("simulated hours fit");
        epoch + now + self.0.borrow().ahead
    }
}

/// The world's time since the simulation began.
fn elapsed() -> Duration {
    turmoil::sim_elapsed().expect("the clock is read inside the simulated world only")
}

impl Clock for SimClock {
    fn now(&self) -> Duration {
        self.read(elapsed())
    }

    fn wall(&self) -> Timestamp {
        self.wall_at(elapsed())
    }

    fn since_boot(&self) -> Duration {
        self.read(elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_skewed_clock_goes_on_from_where_it_was() {
        let clock = SimClock::default();
        assert_eq!(clock.read(seconds(10)), seconds(10));
        clock.skew(seconds(10), 150, 0);
        assert_eq!(clock.read(seconds(20)), seconds(25));
        clock.skew(seconds(20), 50, -3_000);
        assert_eq!(clock.read(seconds(30)), seconds(30));
        let wall = clock.wall_at(seconds(30)).as_second() - EPOCH_SECONDS;
        assert_eq!(wall, 27);
    }

    #[test]
    fn a_frozen_clock_stands_still_and_then_shows_what_passed() {
        let clock = SimClock::default();
        clock.freeze(seconds(5));
        assert_eq!(clock.read(seconds(9)), seconds(5));
        clock.thaw();
        assert_eq!(clock.read(seconds(9)), seconds(9));
    }

    #[test]
    fn it_never_goes_back() {
        let clock = SimClock::default();
        assert_eq!(clock.read(seconds(9)), seconds(9));
        clock.freeze(seconds(5));
        assert_eq!(clock.read(seconds(10)), seconds(9));
    }
}
