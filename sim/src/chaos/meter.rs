//! Measures how long a cluster of real processes takes to come back, in real time.
//!
//! The simulation's meter (`meter.rs` of the crate) sees into the processes; this one knows only what was done to them and
//! what a leader says. So a failover ends with a write that was sent after the leader's death, and was acknowledged.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::figures::{Figure, Figures};

/// What is measured of one run.
///
/// Invariant: at most one outage and one loss of a voter are under way.
#[derive(Debug, Default)]
pub(super) struct Meter {
    figures: Figures,
    outages: u64,
    /// Since when nobody leads.
    outage: Option<Duration>,
    /// The voter that died, and when.
    lost: Option<(String, Duration)>,
    /// When the lost voter's machine had a process again: its death is proven.
    proof: Option<Duration>,
    /// Who votes and who leads, as last told.
    voters: BTreeSet<String>,
    leader: String,
}

impl Meter {
    /// What was measured so far.
    pub(super) fn figures(&self) -> &Figures {
        &self.figures
    }

    /// The number of the outage under way.
    pub(super) fn outage(&self) -> Option<u64> {
        self.outage.map(|_| self.outages)
    }

    /// Whether a voter is lost and not replaced yet.
    pub(super) fn is_degraded(&self) -> bool {
        self.lost.is_some()
    }

    /// A leader told who leads and who votes, all of whom run.
    pub(super) fn on_whole(&mut self, leader: &str, voters: BTreeSet<String>, now: Duration) {
        leader.clone_into(&mut self.leader);
        self.voters = voters;
        if let Some((_, since)) = self.lost.take() {
            let took = |from: Duration| now.saturating_sub(from);
            self.figures.time(Figure::FullRedundancy, took(since));
            // Replaced before its machine came back, a voter was replaced for its silence alone.
            if let Some(proof) = self.proof.take() {
                self.figures.time(Figure::Replacement, took(proof));
            }
        }
    }

    /// The same while not all voters run.
    pub(super) fn on_told(&mut self, leader: &str, voters: BTreeSet<String>) {
        leader.clone_into(&mut self.leader);
        self.voters = voters;
    }

    /// A machine's process was killed.
    pub(super) fn on_death(&mut self, name: &str, now: Duration) {
        self.on_end(name, now);
        if self.leader == name {
            self.outages += 1;
            self.outage = Some(now);
            // Nobody else is known to lead until somebody says so.
            self.leader.clear();
        }
    }

    /// A machine's process has ended, killed or not. One that stops of itself hands over what it leads before.
    pub(super) fn on_end(&mut self, name: &str, now: Duration) {
        if self.voters.contains(name) && self.lost.is_none() {
            self.lost = Some((name.to_owned(), now));
            self.proof = None;
        }
    }

    /// A machine's process starts.
    pub(super) fn on_start(&mut self, name: &str, now: Duration) {
        if self.lost.as_ref().is_some_and(|(lost, _)| lost == name) {
            self.proof = Some(now);
        }
    }

    /// A write that was sent in this outage was acknowledged: how long it had lasted, if it was still under way.
    pub(super) fn on_served(&mut self, outage: u64, now: Duration) -> Option<Duration> {
        if outage != self.outages {
            return None;
        }
        let took = now.saturating_sub(self.outage.take()?);
        self.figures.time(Figure::Failover, took);
        Some(took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[&str]) -> BTreeSet<String> {
        all.iter().map(|name| (*name).to_owned()).collect()
    }

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn measured(meter: &Meter) -> Vec<(Figure, u64)> {
        let all = meter.figures().distributions();
        all.map(|(figure, of)| (figure, of.max)).collect()
    }

    #[test]
    fn a_failover_ends_with_a_write_of_its_own_outage() {
        let mut meter = Meter::default();
        meter.on_whole("n1", names(&["n1", "n2", "n3"]), at(0));
        meter.on_death("n4", at(50));
        assert_eq!(meter.outage(), None, "it did not lead");
        meter.on_death("n1", at(100));
        assert_eq!(meter.on_served(0, at(150)), None, "sent before");
        assert_eq!(meter.on_served(1, at(400)), Some(at(300)));
        assert_eq!(meter.on_served(1, at(410)), None);
        assert_eq!(measured(&meter), [(Figure::Failover, 300)]);
    }

    #[test]
    fn a_replacement_counts_from_the_proof_of_death_and_not_without_one() {
        let mut meter = Meter::default();
        meter.on_whole("n1", names(&["n1", "n2", "n3"]), at(0));
        meter.on_death("n3", at(100));
        meter.on_start("n5", at(200));
        meter.on_start("n3", at(1_100));
        meter.on_told("n1", names(&["n1", "n2", "n3"]));
        meter.on_whole("n1", names(&["n1", "n2", "n4"]), at(2_500));
        let both = [
            (Figure::FullRedundancy, 2_400),
            (Figure::Replacement, 1_400),
        ];
        assert_eq!(measured(&meter), both);
        meter.on_death("n4", at(3_000));
        meter.on_whole("n1", names(&["n1", "n2", "n3"]), at(14_000));
        let redundancy = (Figure::FullRedundancy, 11_000);
        assert_eq!(measured(&meter), [redundancy, both[1]]);
    }
}
