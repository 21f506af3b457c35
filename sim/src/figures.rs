//! What runs measure: a few named times and counts, typed, and their distribution over many runs.
//!
//! Deliberately no text: who shows them (`commands/measure.rs`) decides how.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Figure {
    /// From the death of whoever led last until a client was acknowledged a write that the next leader took.
    Failover,
    /// From the death of a voter until all wanted voters live; more deaths meanwhile prolong it.
    FullRedundancy,
    /// The same, but not before the last process that it took was there: what is left without the machines' absence.
    Replacement,
    /// From the operator's word, or from when the last process came back that it took, until a client was acknowledged a
    /// write in the new generation.
    RecoveryTime,
    /// How old, when disaster struck, the oldest acknowledged write was that is lost; 0 if none is.
    RecoveryPoint,
    /// Acknowledged writes that are lost, after a disaster.
    LostWrites,
}

/// What a figure is a number of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds, simulated ones but for real processes.
    Milliseconds,
    /// Things.
    Count,
}

impl Figure {
    /// Its name in tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Failover => "leader failover",
            Self::FullRedundancy => "back to full redundancy",
            Self::Replacement => "replacement of a voter",
            Self::RecoveryTime => "recovery time",
            Self::RecoveryPoint => "recovery point",
            Self::LostWrites => "acknowledged writes lost",
        }
    }

    /// Its unit.
    pub fn unit(self) -> Unit {
        match self {
            Self::LostWrites => Unit::Count,
            _ => Unit::Milliseconds,
        }
    }
}

/// What was measured, in one run or in many.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures(BTreeMap<Figure, Vec<u64>>);

/// The distribution of one figure. Percentiles are samples (nearest rank), none is interpolated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// How many samples there are; at least one.
    pub samples: usize,
    /// Half of them are not greater.
    pub p50: u64,
    /// 99 of 100 are not greater.
    pub p99: u64,
    /// The greatest.
    pub max: u64,
}

impl Figures {
    /// A time was measured.
    pub fn time(&mut self, figure: Figure, took: Duration) {
        debug_assert_eq!(figure.unit(), Unit::Milliseconds);
        let millis = u64::try_from(took.as_millis()).expect("hours fit");
        self.0.entry(figure).or_default().push(millis);
    }

    /// A number was.
    pub fn count(&mut self, figure: Figure, number: usize) {
        debug_assert_eq!(figure.unit(), Unit::Count);
        self.0.entry(figure).or_default().push(number as u64);
    }

    /// What was measured in another run was measured too.
    pub fn merge(&mut self, other: &Self) {
        for (figure, samples) in &other.0 {
            self.0.entry(*figure).or_default().extend(samples);
        }
    }

    /// Of each figure that was measured at all.
    pub fn distributions(&self) -> impl Iterator<Item = (Figure, Distribution)> {
        let measured = self.0.iter();
        measured.filter_map(|(figure, samples)| Some((*figure, distribution(samples)?)))
    }
}

fn distribution(samples: &[u64]) -> Option<Distribution> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let percentile = |percent: usize| {
        let rank = (sorted.len() * percent).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied()
    };
    Some(Distribution {
        samples: sorted.len(),
        p50: percentile(50)?,
        p99: percentile(99)?,
        max: percentile(100)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_by_rank() {
        let samples: Vec<u64> = (1..=200).rev().collect();
        let of = distribution(&samples).unwrap();
        assert_eq!((of.p50, of.p99, of.max), (100, 198, 200));
        let one = distribution(&[7]).unwrap();
        assert_eq!((one.samples, one.p50, one.p99, one.max), (1, 7, 7, 7));
        assert_eq!(distribution(&[]), None);
    }

    #[test]
    fn figures_of_many_runs_are_samples_together() {
        let (mut one, mut other) = (Figures::default(), Figures::default());
        one.time(Figure::Failover, Duration::from_millis(300));
        other.time(Figure::Failover, Duration::from_millis(500));
        other.count(Figure::LostWrites, 3);
        one.merge(&other);
        let all: Vec<_> = one.distributions().collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].1.samples, all[0].1.max), (2, 500));
        assert_eq!((all[1].0, all[1].1.max), (Figure::LostWrites, 3));
    }
}
