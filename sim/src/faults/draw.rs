//! Draws schedules from seeds.
//!
//! Deliberately ignorant of what is safe: a fault that would take a majority of the voters waits, or is left out, when
//! its time has come (`injector.rs`).

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::{Fault, Group, Pattern, Planned, Schedule, Target};

/// Sets the schedule's chance apart from the world's, which comes from the same seed.
const STREAM: u64 = 0xfa17_5c4e_d01e_0001;
/// Sets noticed evictions apart from all else that is drawn: with them or without, the other faults are the same.
const NOTICE_STREAM: u64 = 0xfa17_5c4e_d01e_0002;
/// The same for partitions of more than one machine.
const PARTITION_STREAM: u64 = 0xfa17_5c4e_d01e_0004;
/// Between two of those.
const PARTITION_PAUSE_MS: (u64, u64) = (3_000, 25_000);
/// So many of a hundred are between two groups, the others between two machines.
const SPLITS_PERCENT: u32 = 60;
/// Between two noticed evictions.
const NOTICE_PAUSE_MS: (u64, u64) = (3_000, 20_000);
/// How long ahead clouds announce them: GCP and Azure 30 s, AWS 120 s, and some not at all; with their shares, percent.
const NOTICES: [(u32, u32); 3] = [(30, 60), (120, 20), (0, 20)];
/// Between two groups of faults; short enough that they overlap most of the time.
const PAUSE_MS: (u64, u64) = (200, 6_000);
/// From less than an election to more than the 15 s after which a silent node's pods are replaced.
const LAST_MS: (u64, u64) = (100, 20_000);
/// How long a process is not scheduled: a stop-the-world pause, or a live migration.
const PAUSED_MS: (u64, u64) = (50, 8_000);
/// One-way latency of a slow machine: as far as the other side of the earth, and up to an election timeout.
const SLOW_MS: (u32, u32) = (20, 400);
/// Rates of bad clocks, in percent. Real ones are off by a thousandth of this; more finds more.
const SKEW_PERCENT: (u32, u32) = (80, 125);
/// How far a wall clock jumps when somebody sets it.
const JUMP_MS: (i32, i32) = (-30_000, 30_000);
/// Machines that vanish or start together, or are swizzled, at most.
const GROUP_MAX: usize = 4;

/// What a schedule is to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Machines there are.
    pub machines: u8,
    /// No fault begins later, milliseconds.
    pub last_ms: u64,
    /// Whether there are noticed evictions, too.
    pub notices: bool,
    /// The longest that a fault lasts, milliseconds.
    pub longest_ms: u64,
}

impl Shape {
    /// A minute of faults.
    pub fn storm(machines: u8) -> Self {
        Self {
            machines,
            last_ms: 60_000,
            notices: false,
            longest_ms: LAST_MS.1,
        }
    }

    /// The same minute with noticed evictions beside.
    pub fn noticed(machines: u8) -> Self {
        Self {
            notices: true,
            ..Self::storm(machines)
        }
    }
}

/// The schedule of a seed.
pub fn draw(seed: u64, shape: &Shape) -> Schedule {
    let mut drawer = Drawer {
        chance: StdRng::seed_from_u64(seed ^ STREAM),
        shape: *shape,
        faults: Vec::new(),
    };
    let mut at = drawer.within(0, PAUSE_MS.1);
    while at < shape.last_ms {
        drawer.group(at);
        at += drawer.within(PAUSE_MS.0, PAUSE_MS.1);
    }
    if shape.notices {
        drawer.chance = StdRng::seed_from_u64(seed ^ NOTICE_STREAM);
        drawer.notices();
    }
    drawer.chance = StdRng::seed_from_u64(seed ^ PARTITION_STREAM);
    drawer.partitions();
    Schedule::new(drawer.faults)
}

struct Drawer {
    chance: StdRng,
    shape: Shape,
    faults: Vec<Planned>,
}

impl Drawer {
    fn within(&mut self, low: u64, high: u64) -> u64 {
        self.chance.random_range(low..=high)
    }

    fn lasting(&mut self) -> u64 {
        // Short ones as often as long ones: the cube favours what is over before anybody has noticed.
        let part: f64 = self.chance.random();
        LAST_MS.0 + (part.powi(3) * (self.shape.longest_ms - LAST_MS.0) as f64) as u64
    }

    fn group(&mut self, at: u64) {
        match self.chance.random_range(0..100_u32) {
            0..80 => self.single(at),
            80..86 => self.together(at),
            86..91 => self.swizzle(at),
            91..95 => self.rolling(at),
            _ => self.join_storm(at),
        }
    }

    fn add(&mut self, at_ms: u64, fault: Fault, target: Target, for_ms: u64, pattern: Pattern) {
        self.faults.push(Planned {
            at_ms,
            fault,
            target,
            for_ms,
            pattern,
        });
    }

    fn single(&mut self, at: u64) {
        let for_ms = self.lasting();
        let (fault, for_ms) = match self.chance.random_range(0..100_u32) {
            0..25 => (Fault::Lose, for_ms),
            25..40 => (Fault::Restart, 0),
            40..52 => (Fault::CutOff, for_ms),
            52..60 => (Fault::Mute, for_ms),
            60..68 => (Fault::Deaf, for_ms),
            68..78 => {
                let millis = self.chance.random_range(SLOW_MS.0..=SLOW_MS.1);
                (Fault::Slow(millis), for_ms)
            }
            78..90 => (Fault::Pause, self.within(PAUSED_MS.0, PAUSED_MS.1)),
            _ => {
                let skew = Fault::Skew {
                    percent: self.chance.random_range(SKEW_PERCENT.0..=SKEW_PERCENT.1),
                    jump_ms: self.chance.random_range(JUMP_MS.0..=JUMP_MS.1),
                };
                (skew, for_ms)
            }
        };
        let target = self.target();
        self.add(at, fault, target, for_ms, Pattern::Single);
    }

    fn notices(&mut self) {
        let mut at = self.within(0, NOTICE_PAUSE_MS.1);
        while at < self.shape.last_ms {
            let mut left = self.chance.random_range(0..100_u32);
            let drawn = NOTICES.iter().find(|(_, share)| {
                let found = left < *share;
                left = left.saturating_sub(*share);
                found
            });
            let (seconds, _) = drawn.expect("the shares are a hundred");
            let (target, for_ms) = (self.target(), self.lasting());
            self.add(at, Fault::Notice(*seconds), target, for_ms, Pattern::Single);
            at += self.within(NOTICE_PAUSE_MS.0, NOTICE_PAUSE_MS.1);
        }
    }

    fn partitions(&mut self) {
        let mut at = self.within(0, PARTITION_PAUSE_MS.1);
        while at < self.shape.last_ms {
            let mut all: Vec<u8> = (1..=self.shape.machines).collect();
            all.shuffle(&mut self.chance);
            let splits = self.chance.random_range(0..100) < SPLITS_PERCENT;
            let (fault, count) = if splits {
                let count = self.chance.random_range(1..=all.len() / 2);
                (Fault::Split, count)
            } else {
                (Fault::Link, 2)
            };
            let group = all[..count]
                .iter()
                .fold(Group::default(), |group, number| group.with(*number));
            let for_ms = self.lasting();
            self.add(at, fault, Target::Machines(group), for_ms, Pattern::Single);
            at += self.within(PARTITION_PAUSE_MS.0, PARTITION_PAUSE_MS.1);
        }
    }

    fn target(&mut self) -> Target {
        let number = self.chance.random_range(0..self.shape.machines);
        match self.chance.random_range(0..100_u32) {
            0..30 => Target::Leader,
            30..55 => Target::Follower(number),
            55..70 => Target::Learner(number),
            70..85 => Target::Worker(number),
            _ => Target::Machine(number + 1),
        }
    }

    /// Some machines in random order.
    fn several(&mut self) -> Vec<Target> {
        let mut all: Vec<u8> = (1..=self.shape.machines).collect();
        all.shuffle(&mut self.chance);
        let most = GROUP_MAX.min(all.len());
        let count = self.chance.random_range(2..=most);
        all.truncate(count);
        all.into_iter().map(Target::Machine).collect()
    }

    fn together(&mut self, at: u64) {
        for target in self.several() {
            let for_ms = self.lasting();
            self.add(at, Fault::Lose, target, for_ms, Pattern::Together);
        }
    }

    fn swizzle(&mut self, at: u64) {
        let targets = self.several();
        let mut heals: Vec<u64> = targets
            .iter()
            .map(|_| self.within(3_000, LAST_MS.1))
            .collect();
        heals.shuffle(&mut self.chance);
        let mut from = at;
        for (target, heal) in targets.into_iter().zip(heals) {
            self.add(from, Fault::CutOff, target, heal, Pattern::Swizzle);
            from += self.within(50, 1_500);
        }
    }

    /// Who takes part, and when a turn may begin at the earliest; whose it is then, `rolling.rs` says.
    fn rolling(&mut self, at: u64) {
        let mut all: Vec<u8> = (1..=self.shape.machines).collect();
        all.shuffle(&mut self.chance);
        let mut from = at;
        for machine in all {
            let target = Target::Machine(machine);
            self.add(from, Fault::Restart, target, 0, Pattern::Rolling);
            from += self.within(500, 4_000);
        }
    }

    fn join_storm(&mut self, at: u64) {
        for target in self.several() {
            self.add(at, Fault::Restart, target, 0, Pattern::JoinStorm);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::FAULTS;
    use super::*;

    #[test]
    fn a_seed_gives_its_schedule_and_all_kinds_are_drawn() {
        let shape = Shape::noticed(6);
        assert_eq!(draw(7, &shape), draw(7, &shape));
        assert_ne!(draw(7, &shape), draw(8, &shape));
        let drawn: Vec<Planned> = (0..40)
            .flat_map(|seed| draw(seed, &shape).faults().to_vec())
            .collect();
        let faults: BTreeSet<&str> = drawn.iter().map(|planned| planned.fault.name()).collect();
        assert_eq!(faults, BTreeSet::from(FAULTS));
        let patterns: BTreeSet<Pattern> = drawn.iter().map(|planned| planned.pattern).collect();
        assert_eq!(patterns, BTreeSet::from(Pattern::ALL));
    }

    #[test]
    fn notices_come_beside_the_same_other_faults() {
        for seed in 0..40 {
            let with = draw(seed, &Shape::noticed(6));
            let others = with.faults().iter().copied();
            let others = others.filter(|planned| !matches!(planned.fault, Fault::Notice(_)));
            let without = draw(seed, &Shape::storm(6));
            assert_eq!(Schedule::new(others.collect()), without);
            assert!(with.len() > without.len());
        }
    }
}
