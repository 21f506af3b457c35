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
use crate::scenarios::steps::leader;
use crate::world::World;

/// A fault that is not safe, or finds nobody, is left out after this time.
const WAIT: Duration = Duration::from_secs(8);
/// A machine out of reach for longer may lose its pods to other machines: they are replaced after 15 s without a sign
/// of life, and reaching it again takes the leader some seconds.
const UNHEARD_MAX: Duration = Duration::from_secs(8);
/// Two faults of a machine so close to each other may count as one silence.
const BREATH: Duration = Duration::from_secs(10);

/// A pause comes so long after another fault of its machine at least: a node that can do nothing between two pauses stands
/// still for longer than the 11 s that README allows for.
const PAUSE_REST: Duration = Duration::from_secs(1);

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

/// Whom a fault hits.
#[derive(Debug)]
struct Hit {
    machines: Vec<String>,
    /// Those of them that may fail to do their part.
    hampered: Vec<String>,
}

/// A fault that goes on.
struct Active {
    fault: Fault,
    hit: Hit,
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
            !noticed || world.machine(active.hit.first()).cloud().is_announced()
        });
        while let Some(at) = self.active.iter().position(|active| active.until <= now) {
            let over = self.active.remove(at);
            if matches!(over.fault, Fault::Notice(_)) {
                if let Some(deed) = self.take_away(over, now, world) {
                    return Some(deed);
                }
                continue;
            }
            for machine in &over.hit.machines {
                self.heard_again.insert(machine.clone(), now);
            }
            return Some(undo(over.fault, &over.hit));
        }
        while let Some(next) = self
            .due
            .pop_if(|next| self.began + millis(next.at_ms) <= now)
        {
            if !self.rolling.take(now, &next) {
                self.waiting.push(next);
            }
        }
        match self.turn(now, world) {
            Some(Turn::Restart(planned, machine)) => {
                let hit = Hit::one(planned.fault, machine);
                return Some(self.begin(&planned, hit, now, world));
            }
            Some(Turn::LeftOut(planned)) => leave_out(&planned, now, world),
            None => {}
        }
        let mut at = 0;
        while at < self.waiting.len() {
            let planned = self.waiting[at];
            if let Some(hit) = self.victims(&planned, now, world) {
                self.waiting.remove(at);
                return Some(self.begin(&planned, hit, now, world));
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

    /// Whom a fault is meant for, if they may have it now.
    fn victims(&self, planned: &Planned, now: Duration, world: &World) -> Option<Hit> {
        let mut found = find(planned.target, world);
        match planned.fault {
            Fault::Split => self.parted(found, world),
            Fault::Link => self.linked(found, world),
            fault => {
                let machine = found.pop().filter(|_| found.is_empty())?;
                let over = self.heard_again.get(&machine);
                let rested = over.is_none_or(|over| *over + PAUSE_REST <= now);
                let may = fault != Fault::Pause || rested;
                let may = may && self.may_have(fault, &machine, world);
                may.then(|| Hit::one(fault, machine))
            }
        }
    }

    /// Of two groups the one that a majority of the voters is not in. Seeds that are all empty and hear nobody else found a
    /// cluster, as README says of those that lost theirs: they are never all in that group.
    fn parted(&self, group: Vec<String>, world: &World) -> Option<Hit> {
        let others = world
            .machines()
            .filter(|name| !group.iter().any(|one| one == name));
        let others: Vec<String> = others.map(str::to_owned).collect();
        if group.is_empty() || others.is_empty() {
            return None;
        }
        let seeds = &world.plan().names()[..world.plan().seeds];
        let may = |side: &Vec<String>| {
            let founds = seeds.iter().all(|seed| side.contains(seed));
            !founds && self.is_safe(side, world)
        };
        let hampered = [group, others].into_iter().find(may)?;
        Some(Hit {
            machines: hampered.clone(),
            hampered,
        })
    }

    /// Two machines, either of which the voters can do without. While one of them leads it is the other that fails to do
    /// its part; a majority without that one hears each other.
    fn linked(&self, pair: Vec<String>, world: &World) -> Option<Hit> {
        let safe = |name: &String| self.is_safe(std::slice::from_ref(name), world);
        if pair.len() != 2 || !pair.iter().all(safe) {
            return None;
        }
        let leader = leader(world);
        let hampered = pair.iter().find(|name| leader.as_ref() != Some(*name));
        Some(Hit {
            hampered: hampered.into_iter().cloned().collect(),
            machines: pair,
        })
    }

    /// The next turn of a rolling upgrade.
    fn turn(&mut self, now: Duration, world: &World) -> Option<Turn> {
        let mut rolling = std::mem::take(&mut self.rolling);
        let turn = rolling.next(now, world, self.due.iter().rev(), |machine| {
            self.may_have(Fault::Restart, machine, world)
        });
        self.rolling = rolling;
        turn
    }

    /// Whether a machine may have a fault now, which it has alone.
    fn may_have(&self, fault: Fault, machine: &str, world: &World) -> bool {
        let name = machine.to_owned();
        let busy = if fault.hampers() {
            self.is_hampered(machine)
        } else {
            let mut active = self.active.iter().filter(|active| !active.fault.hampers());
            active.any(|active| active.hit.machines.contains(&name))
        };
        let may = !busy && world.is_running(machine);
        may && (!fault.hampers() || self.is_safe(&[name], world))
    }

    /// Whether a fault keeps a machine from doing its part.
    fn is_hampered(&self, machine: &str) -> bool {
        let mut hampered = self.active.iter().flat_map(|active| &active.hit.hampered);
        hampered.any(|name| name == machine)
    }

    /// Whether the voters keep their majority if these machines cannot do their part either.
    fn is_safe(&self, machines: &[String], world: &World) -> bool {
        majority_survives(world, machines, |name| self.is_hampered(name))
    }

    /// Takes away the machine whose end was announced, if that is safe; else later.
    fn take_away(&mut self, noticed: Active, now: Duration, world: &World) -> Option<Deed> {
        let (machine, away) = (noticed.hit.first().to_owned(), noticed.away);
        if !self.may_have(Fault::Lose, &machine, world) {
            let until = now + EVICT_AGAIN;
            self.active.push(Active { until, ..noticed });
            return None;
        }
        let part = role(&machine, world);
        world.count(&format!("notice: taken away as {part}"), 1);
        if noticed.fault == Fault::Notice(0) {
            let heard = world.machine(&machine).cloud().heard().is_some();
            world.count("notice: 0 s, heard", u64::from(heard));
        }
        world.note_at(now, &format!("{machine} is taken away as {part}"));
        let hit = || Hit::one(Fault::Lose, machine.clone());
        self.active.push(Active {
            fault: Fault::Lose,
            hit: hit(),
            until: now + away,
            away: Duration::ZERO,
        });
        Some(done(Fault::Lose, &hit()))
    }

    fn begin(&mut self, planned: &Planned, hit: Hit, now: Duration, world: &World) -> Deed {
        let Planned { fault, for_ms, .. } = *planned;
        world.count(&format!("pattern: {}", planned.pattern.name()), 1);
        let whom = hit.machines.join("+");
        world.note_at(now, &format!("planned {planned} hits {whom}"));
        let noticed = notice_of(planned, world.plan().seed);
        for machine in &hit.machines {
            let heard = self.heard_again.get(machine);
            let again = heard.is_some_and(|heard| now < *heard + BREATH);
            if noticed.is_some() || fault.hampers() && (millis(for_ms) > UNHEARD_MAX || again) {
                world.disturb(machine);
            }
        }
        count(fault, &hit, world);
        let deed = done(fault, &hit);
        if fault != Fault::Restart {
            self.active.push(Active {
                fault,
                hit,
                until: now + noticed.unwrap_or(millis(for_ms)),
                away: millis(for_ms),
            });
        }
        deed
    }
}

impl Hit {
    /// A machine that has a fault alone.
    fn one(fault: Fault, machine: String) -> Self {
        let hampered = fault.hampers().then(|| machine.clone());
        Self {
            machines: vec![machine],
            hampered: hampered.into_iter().collect(),
        }
    }

    fn first(&self) -> &str {
        self.machines.first().expect("a fault hits somebody")
    }

    fn last(&self) -> &str {
        self.machines.last().expect("a fault hits somebody")
    }
}

/// What is noteworthy of a fault beyond its name.
fn count(fault: Fault, hit: &Hit, world: &World) {
    let leader = leader(world);
    let leads = |name: &String| leader.as_ref() == Some(name);
    match fault {
        Fault::Notice(seconds) => {
            let part = role(hit.first(), world);
            world.count(&format!("notice: to {part}"), 1);
            world.count(&format!("notice: {seconds} s"), 1);
        }
        Fault::Split if hit.hampered.iter().any(leads) => {
            world.count("split: with the leader in the minority", 1);
        }
        Fault::Split => world.count("split: with the leader in the majority", 1),
        Fault::Link if hit.machines.iter().any(leads) => world.count("link: of the leader", 1),
        Fault::Link => world.count("link: of others", 1),
        _ => {}
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

fn done(fault: Fault, hit: &Hit) -> Deed {
    let machine = hit.first().to_owned();
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
        Fault::Split => Deed::Split(hit.machines.clone()),
        Fault::Link => Deed::CutLink(machine, hit.last().to_owned()),
    }
}

fn undo(fault: Fault, hit: &Hit) -> Deed {
    let machine = hit.first().to_owned();
    match fault {
        Fault::Lose => Deed::ReturnMachine(machine),
        Fault::Restart => unreachable!("a restart has no duration"),
        Fault::Notice(_) => unreachable!("a machine is taken away after its notice"),
        Fault::CutOff | Fault::Mute | Fault::Deaf => Deed::Heal(machine),
        Fault::Slow(_) => Deed::Slow(machine, 0),
        Fault::Pause => Deed::Resume(machine),
        Fault::Skew { jump_ms, .. } => Deed::SetRight(machine, -i64::from(jump_ms)),
        Fault::Split => Deed::Unite(hit.machines.clone()),
        Fault::Link => Deed::HealLink(machine, hit.last().to_owned()),
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
