//! Does a schedule's faults when their time has come, to whom they are meant for then, if that is safe.
//!
//! Safe is what leaves a majority of the voters able (`quorum.rs`). A fault that is not safe yet waits for a while and is
//! left out then. Deliberately the only judge: a schedule may say anything, so that shrinking one cannot break it.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::deed::Deed;
use super::quorum::majority_survives;
use super::roles::{find, role};
use super::rolling::{Rolling, Turn};
use super::{Fault, Planned, Schedule};
use crate::world::World;

/// A fault that is not safe, or finds nobody, is left out after this time.
const WAIT: Duration = Duration::from_secs(8);
/// A machine out of reach for longer may lose its pods to other machines: they are replaced after 15 s without a sign
/// of life, and reaching it again takes the leader some seconds.
const UNHEARD_MAX: Duration = Duration::from_secs(8);
/// Two faults of a machine so close to each other may count as one silence.
const BREATH: Duration = Duration::from_secs(10);

/// A machine whose time has come is taken away as soon as it is safe; looked at this often.
const EVICT_AGAIN: Duration = Duration::from_secs(1);

/// A cloud that announces an end too late takes the machine away within this time after it said so, in milliseconds: the
/// process on it, which asks every second, hears of it mostly, and too late for all that it would do.
const TOO_LATE_MS: (u64, u64) = (50, 1_500);
/// Sets that apart from all else that comes from the same seed; each notice has its own, so that shrinking a schedule does
/// not move what is left.
const TOO_LATE_STREAM: u64 = 0xfa17_5c4e_d01e_0003;

/// The faults of one schedule, as they are done.
pub struct Injector {
    began: Duration,
    /// Latest first.
    due: Vec<Planned>,
    waiting: Vec<Planned>,
    rolling: Rolling,
    active: Vec<Active>,
    /// When a machine was last out of reach.
    heard_again: BTreeMap<String, Duration>,
}

/// A fault that goes on.
struct Active {
    fault: Fault,
    machine: String,
    until: Duration,
    /// How long the machine is away afterwards, where it goes.
    away: Duration,
}

impl Injector {
    /// Begins now.
    pub fn new(schedule: &Schedule, now: Duration) -> Self {
        Self {
            began: now,
            due: schedule.faults().iter().rev().copied().collect(),
            waiting: Vec::new(),
            rolling: Rolling::default(),
            active: Vec::new(),
            heard_again: BTreeMap::new(),
        }
    }

    /// Whether all has been done and undone.
    pub fn is_over(&self) -> bool {
        let begun = self.due.is_empty() && self.waiting.is_empty() && self.rolling.is_over();
        begun && self.active.is_empty()
    }

    /// The next thing to do now, if any. To be called again once it is done.
    pub fn next(&mut self, now: Duration, world: &World) -> Option<Deed> {
        // A machine that was lost before its time will not be taken away.
        self.active.retain(|active| {
            let noticed = matches!(active.fault, Fault::Notice(_));
            !noticed || world.machine(&active.machine).cloud().is_announced()
        });
        while let Some(at) = self.active.iter().position(|active| active.until <= now) {
            let over = self.active.remove(at);
            if matches!(over.fault, Fault::Notice(_)) {
                if let Some(deed) = self.take_away(over, now, world) {
                    return Some(deed);
                }
                continue;
            }
            self.heard_again.insert(over.machine.clone(), now);
            return Some(undo(over.fault, over.machine));
        }
        while let Some(next) = self
            .due
            .pop_if(|next| self.began + millis(next.at_ms) <= now)
        {
            if !self.rolling.take(now, &next, self.due.iter().rev()) {
                self.waiting.push(next);
            }
        }
        match self.turn(now, world) {
            Some(Turn::Restart(planned, machine)) => {
                return Some(self.begin(&planned, machine, now, world));
            }
            Some(Turn::LeftOut(planned)) => leave_out(&planned, now, world),
            None => {}
        }
        let mut at = 0;
        while at < self.waiting.len() {
            let planned = self.waiting[at];
            if let Some(machine) = self.victim(&planned, world) {
                self.waiting.remove(at);
                return Some(self.begin(&planned, machine, now, world));
            }
            if self.began + millis(planned.at_ms) + WAIT <= now {
                self.waiting.remove(at);
                leave_out(&planned, now, world);
            } else {
                at += 1;
            }
        }
        None
    }

    /// The machine that a fault is meant for, if it may have it now.
    fn victim(&self, planned: &Planned, world: &World) -> Option<String> {
        let machine = find(planned.target, world)?;
        self.may_have(planned.fault, &machine, world)
            .then_some(machine)
    }

    /// The next turn of a rolling upgrade.
    fn turn(&mut self, now: Duration, world: &World) -> Option<Turn> {
        let mut rolling = std::mem::take(&mut self.rolling);
        let turn = rolling.next(now, world, |machine| {
            self.may_have(Fault::Restart, machine, world)
        });
        self.rolling = rolling;
        turn
    }

    /// Whether a machine may have a fault now.
    fn may_have(&self, fault: Fault, machine: &str, world: &World) -> bool {
        let busy = self
            .active
            .iter()
            .any(|active| active.machine == machine && active.fault.hampers() == fault.hampers());
        !busy && world.is_running(machine) && (!fault.hampers() || self.is_safe(machine, world))
    }

    /// Whether the voters keep their majority if this machine cannot do its part either.
    fn is_safe(&self, machine: &str, world: &World) -> bool {
        let hampered = |name: &str| {
            let mut active = self.active.iter();
            active.any(|active| active.machine == name && active.fault.hampers())
        };
        majority_survives(world, machine, hampered)
    }

    /// Takes away the machine whose end was announced, if that is safe; else later.
    fn take_away(&mut self, noticed: Active, now: Duration, world: &World) -> Option<Deed> {
        let Active { machine, away, .. } = &noticed;
        let mut others = self.active.iter();
        let busy = others.any(|active| active.machine == *machine && active.fault.hampers());
        if busy || !world.is_running(machine) || !self.is_safe(machine, world) {
            let until = now + EVICT_AGAIN;
            self.active.push(Active { until, ..noticed });
            return None;
        }
        let machine = machine.clone();
        let part = role(&machine, world);
        world.count(&format!("notice: taken away as {part}"), 1);
        if noticed.fault == Fault::Notice(0) {
            let heard = world.machine(&machine).cloud().heard().is_some();
            world.count("notice: 0 s, heard", u64::from(heard));
        }
        world.note_at(now, &format!("{machine} is taken away as {part}"));
        self.active.push(Active {
            fault: Fault::Lose,
            machine: machine.clone(),
            until: now + *away,
            away: Duration::ZERO,
        });
        Some(done(Fault::Lose, machine))
    }

    fn begin(&mut self, planned: &Planned, machine: String, now: Duration, world: &World) -> Deed {
        let Planned { fault, for_ms, .. } = *planned;
        world.count(&format!("pattern: {}", planned.pattern.name()), 1);
        world.note_at(now, &format!("planned {planned} hits {machine}"));
        let heard = self.heard_again.get(&machine);
        let again = heard.is_some_and(|heard| now < *heard + BREATH);
        let noticed = notice_of(planned, world.plan().seed);
        if noticed.is_some() || fault.hampers() && (millis(for_ms) > UNHEARD_MAX || again) {
            world.disturb(&machine);
        }
        if let Fault::Notice(seconds) = fault {
            let part = role(&machine, world);
            world.count(&format!("notice: to {part}"), 1);
            world.count(&format!("notice: {seconds} s"), 1);
        }
        if fault != Fault::Restart {
            self.active.push(Active {
                fault,
                machine: machine.clone(),
                until: now + noticed.unwrap_or(millis(for_ms)),
                away: millis(for_ms),
            });
        }
        done(fault, machine)
    }
}

fn leave_out(planned: &Planned, now: Duration, world: &World) {
    world.count(&format!("left out: {}", planned.fault.name()), 1);
    world.note_at(now, &format!("left out: {planned}"));
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// How long after its notice a machine is taken away, at the earliest; `None` for what is no notice.
fn notice_of(planned: &Planned, seed: u64) -> Option<Duration> {
    match planned.fault {
        Fault::Notice(0) => {
            let seed = seed ^ TOO_LATE_STREAM ^ planned.at_ms.rotate_left(32);
            let mut chance = StdRng::seed_from_u64(seed);
            Some(millis(chance.random_range(TOO_LATE_MS.0..=TOO_LATE_MS.1)))
        }
        Fault::Notice(seconds) => Some(Duration::from_secs(seconds.into())),
        _ => None,
    }
}

fn done(fault: Fault, machine: String) -> Deed {
    match fault {
        Fault::Lose => Deed::LoseMachine(machine),
        Fault::Notice(seconds) => Deed::Announce(machine, Duration::from_secs(seconds.into())),
        Fault::Restart => Deed::RestartProcess(machine),
        Fault::CutOff => Deed::CutOff(machine),
        Fault::Mute => Deed::Mute(machine),
        Fault::Deaf => Deed::Deafen(machine),
        Fault::Slow(latency_ms) => Deed::Slow(machine, latency_ms),
        Fault::Pause => Deed::Pause(machine),
        Fault::Skew { percent, jump_ms } => Deed::Skew(machine, percent, jump_ms.into()),
    }
}

fn undo(fault: Fault, machine: String) -> Deed {
    match fault {
        Fault::Lose => Deed::ReturnMachine(machine),
        Fault::Restart => unreachable!("a restart has no duration"),
        Fault::Notice(_) => unreachable!("a machine is taken away after its notice"),
        Fault::CutOff | Fault::Mute | Fault::Deaf => Deed::Heal(machine),
        Fault::Slow(_) => Deed::Slow(machine, 0),
        Fault::Pause => Deed::Resume(machine),
        Fault::Skew { jump_ms, .. } => Deed::SetRight(machine, -i64::from(jump_ms)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Trace;
    use crate::world::Plan;

    #[test]
    fn a_fault_that_finds_nobody_waits_and_is_left_out() {
        let world = World::new(&Plan::of(1, 3), &Trace::none());
        let schedule = "0 lose leader 1000 single".parse().unwrap();
        let mut injector = Injector::new(&schedule, Duration::ZERO);
        assert_eq!(injector.next(Duration::ZERO, &world), None);
        assert!(!injector.is_over());
        assert_eq!(injector.next(WAIT, &world), None);
        assert!(injector.is_over());
        assert_eq!(world.coverage().of("left out: lose"), 1);
    }

    #[test]
    fn a_machine_is_there_still_when_its_process_hears_of_an_end_too_late() {
        let mut all = Vec::new();
        for seed in 1..=20 {
            let schedule: Schedule = "700 notice:0 machine:1 1000 single".parse().unwrap();
            let planned = &schedule.faults()[0];
            let within = notice_of(planned, seed).unwrap();
            assert!(within >= millis(TOO_LATE_MS.0), "seed {seed}: {within:?}");
            assert!(within <= millis(TOO_LATE_MS.1), "seed {seed}: {within:?}");
            assert_eq!(notice_of(planned, seed), Some(within));
            all.push(within);
        }
        all.dedup();
        assert!(all.len() > 1, "every seed has its own");
    }
}
