//! What clients stand on: machines to ask, chance to draw from, and somebody who takes down what they saw.
//!
//! It is the simulated world, or real processes on a real network (`chaos`); clients do not know which. Deliberately
//! without any means to break something.

use std::cell::RefMut;
use std::ops::RangeInclusive;
use std::time::Duration;

use kagero::cli::client::Client;

use crate::checkers::acknowledged::Acknowledged;
use crate::history::History;
use crate::world::World;

/// A handle on it.
pub(crate) trait Ground: Clone + 'static {
    /// Names of all machines, in order.
    fn machines(&self) -> Vec<String>;
    /// Names of those whose process runs.
    fn running(&self) -> Vec<String>;
    /// A client of a machine's API.
    fn client(&self, node: &str) -> Client;
    /// Draws a number.
    fn chance(&self, range: RangeInclusive<u64>) -> u64;
    /// Whether those who write shall go on.
    fn writing(&self) -> bool;
    /// Whether watchers shall go on.
    fn watching(&self) -> bool;
    /// Where questions and answers are noted.
    fn history(&self) -> RefMut<'_, History>;
    /// Where acknowledged writes are noted.
    fn acknowledged(&self) -> RefMut<'_, Acknowledged>;
    /// Something noteworthy happened so many times.
    fn count(&self, what: &str, times: u64);
    /// A client saw a property broken.
    fn report_broken(&self, what: String);
    /// A client was acknowledged a write.
    fn measure_write(&self, revision: u64);
    /// The outage that is being measured, if there is one.
    fn outage(&self) -> Option<u64>;

    /// A client was acknowledged a write that it sent during this outage.
    fn measure_probe(&self, _outage: u64, revision: u64) {
        self.measure_write(revision);
    }

    /// Whether a machine's process has all it knows from changes, and nothing from a snapshot; no, if nobody can say.
    fn was_never_restored(&self, _node: &str) -> bool {
        false
    }

    /// Lets some time pass, drawn from a range of milliseconds.
    fn pass(&self, millis: RangeInclusive<u64>) -> impl Future<Output = ()> {
        tokio::time::sleep(Duration::from_millis(self.chance(millis)))
    }
}

impl Ground for World {
    fn machines(&self) -> Vec<String> {
        self.machines().map(str::to_owned).collect()
    }

    fn running(&self) -> Vec<String> {
        self.incarnations().into_keys().collect()
    }

    fn client(&self, node: &str) -> Client {
        self.client(node)
    }

    fn chance(&self, range: RangeInclusive<u64>) -> u64 {
        self.chance(range)
    }

    fn writing(&self) -> bool {
        self.writing()
    }

    fn watching(&self) -> bool {
        self.watching()
    }

    fn history(&self) -> RefMut<'_, History> {
        self.history()
    }

    fn acknowledged(&self) -> RefMut<'_, Acknowledged> {
        self.acknowledged()
    }

    fn count(&self, what: &str, times: u64) {
        self.count(what, times);
    }

    fn report_broken(&self, what: String) {
        self.report_broken(what);
    }

    fn measure_write(&self, revision: u64) {
        self.measure_write(revision);
    }

    fn outage(&self) -> Option<u64> {
        self.has_outage().then_some(0)
    }

    fn was_never_restored(&self, node: &str) -> bool {
        self.was_never_restored(node)
    }
}
