//! What happens to real processes, when and to whom, drawn from a seed.
//!
//! Each kind of fault comes once before any comes again, so a run that gets through its first round has seen them all.
//! Deliberately not `faults::Schedule`: there a fault is left out that is not safe in time, here none of the first round
//! is; and kernels lose packets, which turmoil does not.

use std::fmt;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::faults::Target;

/// Sets the schedule's chance apart from the clients', which comes from the same seed.
const STREAM: u64 = 0xfa17_5c4e_d01e_0003;
/// Between two faults; they overlap often.
const PAUSE_MS: (u64, u64) = (500, 3_500);
/// From less than an election to more than the 10 s after which a silent voter is replaced.
const LAST_MS: (u64, u64) = (200, 12_000);
/// What each packet waits on a slow line, each way: as far as the other side of the earth, and up to half an election.
const SLOW_MS: (u32, u32) = (20, 200);
/// Packets lost of a hundred, each way. TCP makes delays of it.
const LOSS_PERCENT: (u32, u32) = (5, 30);

/// What happens to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Its line goes dead, then its process is killed (SIGKILL); it comes back empty, as another boot.
    Lose,
    /// Its process is killed (SIGKILL) and started again at once: the kernel closes its connections.
    Restart,
    /// Its process is asked to stop (SIGTERM), and is started again later.
    Stop,
    /// Its process is stopped (SIGSTOP) and continued.
    Pause,
    /// Each packet from or to it is late by so many milliseconds, or its line is thin (`network.rs`).
    Slow(u32),
    /// So many packets of a hundred from or to it are lost.
    Lossy(u32),
    /// No packet passes between it and other machines; clients still reach it.
    CutOff,
    /// No packet of its reaches other machines.
    Mute,
    /// No packet of other machines reaches it.
    Deaf,
}

impl Kind {
    /// Its name in coverage tables and in text.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lose => "lose",
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Slow(_) => "slow",
            Self::Lossy(_) => "lossy",
            Self::CutOff => "cut-off",
            Self::Mute => "mute",
            Self::Deaf => "deaf",
        }
    }
}

/// Every kind by name: what a run must have seen.
pub(super) const KINDS: [&str; 9] = [
    "lose", "restart", "stop", "pause", "slow", "lossy", "cut-off", "mute", "deaf",
];

/// The shortest time in which a first round fits for certain.
pub(super) const SECONDS_MIN: u64 = (KINDS.len() as u64 * PAUSE_MS.1).div_ceil(1_000);

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    /// Milliseconds from the storm's beginning.
    pub(super) at_ms: u64,
    /// What happens.
    pub(super) kind: Kind,
    /// To whom; looked up when its time has come.
    pub(super) target: Target,
    /// For how long; 0 for what has no duration.
    pub(super) for_ms: u64,
    /// Whether it is the first of its kind, which is never left out.
    pub(super) first: bool,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            at_ms,
            kind,
            target,
            for_ms,
            ..
        } = self;
        write!(f, "{at_ms} {}", kind.name())?;
        match kind {
            Kind::Slow(number) | Kind::Lossy(number) => write!(f, ":{number}")?,
            _ => {}
        }
        write!(f, " {target} {for_ms}")
    }
}

/// The schedule of a seed, in order of time.
pub(super) fn draw(seed: u64, machines: u8, seconds: u64) -> Vec<Planned> {
    let mut chance = StdRng::seed_from_u64(seed ^ STREAM);
    let mut faults = Vec::new();
    let mut at_ms = 0;
    loop {
        let first = faults.is_empty();
        for kind in round(&mut chance) {
            at_ms += chance.random_range(PAUSE_MS.0..=PAUSE_MS.1);
            if at_ms > seconds * 1_000 {
                return faults;
            }
            // Short ones as often as long ones: the cube favours what is over before anybody has noticed.
            let part: f64 = chance.random();
            let lasting = LAST_MS.0 + (part.powi(3) * (LAST_MS.1 - LAST_MS.0) as f64) as u64;
            faults.push(Planned {
                at_ms,
                kind,
                target: target(&mut chance, machines),
                for_ms: if kind == Kind::Restart { 0 } else { lasting },
                first,
            });
        }
    }
}

/// Each kind once, in random order.
fn round(chance: &mut StdRng) -> [Kind; KINDS.len()] {
    let mut kinds = [
        Kind::Lose,
        Kind::Restart,
        Kind::Stop,
        Kind::Pause,
        Kind::Slow(chance.random_range(SLOW_MS.0..=SLOW_MS.1)),
        Kind::Lossy(chance.random_range(LOSS_PERCENT.0..=LOSS_PERCENT.1)),
        Kind::CutOff,
        Kind::Mute,
        Kind::Deaf,
    ];
    kinds.shuffle(chance);
    kinds
}

fn target(chance: &mut StdRng, machines: u8) -> Target {
    let number = chance.random_range(0..machines);
    match chance.random_range(0..100_u32) {
        0..40 => Target::Leader,
        40..70 => Target::Follower(number),
        70..85 => Target::Learner(number),
        _ => Target::Machine(number + 1),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_shortest_storm_of_any_seed_has_every_kind() {
        for seed in 0..200 {
            let faults = draw(seed, 5, SECONDS_MIN);
            let first = faults.iter().filter(|planned| planned.first);
            let kinds: BTreeSet<&str> = first.map(|planned| planned.kind.name()).collect();
            assert_eq!(kinds, BTreeSet::from(KINDS), "seed {seed}");
            assert!(faults.is_sorted_by_key(|planned| planned.at_ms));
        }
    }

    #[test]
    fn a_seed_gives_its_schedule_and_a_longer_storm_begins_alike() {
        assert_eq!(draw(7, 5, 60), draw(7, 5, 60));
        assert_ne!(draw(7, 5, 60), draw(8, 5, 60));
        let (short, long) = (draw(7, 5, 60), draw(7, 5, 600));
        assert!(long.starts_with(&short));
        assert!(long.len() > 200, "{}", long.len());
    }
}
