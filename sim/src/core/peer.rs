//! A peer in the simulation: the core, its own clock, the store under it, and whether it is being stepped at all.
//!
//! Deliberately without a way to come back: a crashed peer is dropped, and its id is never used again.

use std::time::Duration;

use kagero::raft::{Envelope, Index, Raft};
use kagero::store::{Revision, Store};

/// A clock that may run at a wrong rate and jump.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    since: Duration,
    read: Duration,
    per_mille: u32,
}

impl Clock {
    /// One that shows `read` now and goes on at `per_mille` thousandths of true time.
    pub fn new(now: Duration, read: Duration, per_mille: u32) -> Self {
        Self {
            since: now,
            read,
            per_mille,
        }
    }

    /// What it shows at a true time.
    pub fn local(&self, now: Duration) -> Duration {
        let passed = nanos(now.saturating_sub(self.since));
        self.read + Duration::from_nanos(passed * u64::from(self.per_mille) / 1_000)
    }

    /// The true time at which it has reached what it is to show.
    pub fn reaches(&self, local: Duration) -> Duration {
        let missing = nanos(local.saturating_sub(self.read));
        self.since + Duration::from_nanos((missing * 1_000).div_ceil(u64::from(self.per_mille)))
    }

    /// Goes on from another reading, at another rate.
    pub fn set(&mut self, now: Duration, read: Duration, per_mille: u32) {
        *self = Self::new(now, read, per_mille);
    }

    /// How fast it runs, 1,000 being right.
    pub fn per_mille(&self) -> u32 {
        self.per_mille
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("no run lasts 500 years")
}

/// The state machine of one peer.
#[derive(Debug)]
pub struct Machine {
    /// The real store.
    pub store: Store,
    /// The last index applied.
    pub applied: Index,
    /// The revision at which its history begins: that of the snapshot it came by, or none.
    pub begins: Revision,
}

/// A living peer.
#[derive(Debug)]
pub struct Peer {
    /// The core.
    pub raft: Raft,
    /// Its clock.
    pub clock: Clock,
    /// The latest time that it showed: the core never goes back.
    pub seen: Duration,
    /// Its state machine.
    pub machine: Machine,
    /// The true time of its next tick.
    pub wake_at: Duration,
    /// It is not stepped.
    pub paused: bool,
    /// What arrived while it was paused.
    pub inbox: Vec<Envelope>,
}
