//! A rolling upgrade: workers first, then standbys, then voters, the leader last, and nobody before whoever came before is
//! Ready again.
//!
//! In a schedule it is one restart a machine, which say who takes part and when each may begin at the earliest. Who has its
//! turn then is looked up here, since parts change while it goes on; machines of one part keep the schedule's order. Waiting
//! has bounds, as whoever upgrades a cluster in a storm has. Deliberately no new version: what restarts is the same program.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use kagero::raft::PeerId;
use kagero::resource::nodes::INCARNATION;
use serde_json::Value;

use super::roles::{Part, part};
use super::{Fault, Pattern, Planned, Target};
use crate::scenarios::steps::{has_condition, leader};
use crate::world::World;

/// The upgrade goes on without a machine that is not Ready after this time: another fault has it.
const READY_MAX: Duration = Duration::from_secs(15);
/// A machine whose turn has come and that may not be restarted is left out after this time.
const WAIT: Duration = Duration::from_secs(8);

/// The restarts of rolling upgrades, one after the other.
///
/// Invariant: while somebody is left there is a turn, or will be.
#[derive(Debug, Default)]
pub struct Rolling {
    /// Restarts whose time has come, with that time.
    turns: VecDeque<(Duration, Planned)>,
    /// Who has not had a turn, in the schedule's order.
    left: Vec<String>,
    before: Option<Restarted>,
    /// Whether whoever came before in this upgrade was Ready when it was waited for no more.
    was_ready: bool,
    /// Since when whoever came before is no reason to wait.
    free: Duration,
}

/// Who came before.
#[derive(Debug)]
struct Restarted {
    machine: String,
    /// The process that it had.
    old: Option<PeerId>,
    at: Duration,
}

/// What becomes of a turn.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// This machine's process restarts now.
    Restart(Planned, String),
    /// Nobody's does.
    LeftOut(Planned),
}

/// Whether a fault is part of a rolling upgrade, and whose.
fn takes_part(planned: &Planned) -> Option<String> {
    match (planned.fault, planned.pattern, planned.target) {
        (Fault::Restart, Pattern::Rolling, Target::Machine(number)) => Some(format!("n{number}")),
        _ => None,
    }
}

impl Rolling {
    /// Whether nobody has a turn still.
    pub fn is_over(&self) -> bool {
        self.turns.is_empty()
    }

    /// Takes a restart whose time has come, if it is part of an upgrade.
    pub fn take(&mut self, now: Duration, planned: &Planned) -> bool {
        let takes = takes_part(planned).is_some();
        if takes {
            self.turns.push_back((now, *planned));
        }
        takes
    }

    /// An upgrade begins: whoever has a turn takes part, up to whom the next upgrade begins with.
    fn gather<'a>(&mut self, later: impl Iterator<Item = &'a Planned>) {
        let mut seen = BTreeSet::new();
        let turns = self.turns.iter();
        let turns = turns.filter_map(|(_, planned)| takes_part(planned));
        let all = turns.chain(later.filter_map(takes_part));
        self.left = all
            .take_while(|machine| seen.insert(machine.clone()))
            .collect();
    }

    /// What becomes of the next turn, if anything does now. `later` are the faults to come, in order; `may` says whether a
    /// machine may be restarted.
    pub fn next<'a>(
        &mut self,
        now: Duration,
        world: &World,
        later: impl Iterator<Item = &'a Planned>,
        may: impl Fn(&str) -> bool,
    ) -> Option<Turn> {
        let (came, planned) = *self.turns.front()?;
        if !self.look_back(now, world) {
            return None;
        }
        if self.left.is_empty() {
            self.gather(later);
            self.was_ready = false;
        }
        let first = first(&self.left, |machine| part(machine, world));
        match first {
            Some((at, part)) if may(&self.left[at]) => {
                let machine = self.left.remove(at);
                self.turns.pop_front();
                world.count(
                    "rolling: the one before was Ready",
                    u64::from(self.was_ready),
                );
                let last = part == Part::Leader && self.left.is_empty();
                world.count("rolling: the leader last", u64::from(last));
                self.before = Some(Restarted {
                    old: world.incarnations().get(&machine).copied(),
                    machine: machine.clone(),
                    at: now,
                });
                Some(Turn::Restart(planned, machine))
            }
            first if now >= came.max(self.free) + WAIT => {
                self.left.remove(first.map_or(0, |(at, _)| at));
                self.turns.pop_front();
                self.free = now;
                Some(Turn::LeftOut(planned))
            }
            _ => None,
        }
    }

    /// Whether whoever came before is Ready again, or waited for long enough.
    fn look_back(&mut self, now: Duration, world: &World) -> bool {
        let Some(before) = &self.before else {
            return true;
        };
        self.was_ready = is_ready_again(before, world);
        if !self.was_ready && now < before.at + READY_MAX {
            return false;
        }
        world.count("rolling: went on without one", u64::from(!self.was_ready));
        self.before = None;
        self.free = now;
        true
    }
}

/// Whether the next process of a machine is registered, and its node Ready, as whoever leads knows it.
fn is_ready_again(before: &Restarted, world: &World) -> bool {
    let id = world.incarnations().get(&before.machine).copied();
    let Some((id, leader)) = id.filter(|id| before.old != Some(*id)).zip(leader(world)) else {
        return false;
    };
    let mut ready = false;
    world.for_each_known(|name, known, _| {
        let key = format!("nodes//{}", before.machine);
        let record = known.view.get(&key).filter(|_| name == leader);
        let node = record.and_then(|record| serde_json::from_slice::<Value>(&record.value).ok());
        ready |= node.is_some_and(|node| {
            let registered = &node["metadata"]["annotations"][INCARNATION];
            *registered == id.to_string() && has_condition(&node, "Ready")
        });
    });
    ready
}

/// Who has the next turn, by position, and with which part; `None` if nobody is left, or nobody leads.
fn first(left: &[String], part: impl Fn(&str) -> Option<Part>) -> Option<(usize, Part)> {
    let parts = left.iter().enumerate();
    let parts = parts.filter_map(|(at, machine)| Some((at, part(machine)?)));
    parts.min_by_key(|(at, part)| (*part, *at))
}

#[cfg(test)]
mod tests {
    use super::super::Schedule;
    use super::*;
    use crate::trace::Trace;
    use crate::world::Plan;

    fn taken(schedule: &str, first: usize) -> Rolling {
        let schedule: Schedule = schedule.parse().unwrap();
        let faults = schedule.faults();
        let mut rolling = Rolling::default();
        for planned in &faults[..first] {
            let time = Duration::from_millis(planned.at_ms);
            assert!(rolling.take(time, planned));
        }
        rolling.gather(faults[first..].iter());
        rolling
    }

    #[test]
    fn whoever_is_in_the_schedule_takes_part_once_an_upgrade() {
        let schedule = "0 restart machine:3 0 rolling; 1 restart machine:1 0 rolling; 2 lose machine:9 9 single; \
             3 restart machine:2 0 rolling; 4 restart machine:3 0 rolling";
        assert_eq!(taken(schedule, 1).left, ["n3", "n1", "n2"]);
        assert_eq!(taken(schedule, 2).turns.len(), 2);
        let other: Schedule = "0 restart machine:1 0 join-storm".parse().unwrap();
        assert!(!Rolling::default().take(Duration::ZERO, &other.faults()[0]));
    }

    #[test]
    fn the_leader_is_last_and_voters_come_after_standbys() {
        let left = ["n1", "n2", "n3", "n4", "n5"].map(str::to_owned);
        let parts = [
            Part::Leader,
            Part::Voter,
            Part::Standby,
            Part::Worker,
            Part::Worker,
        ];
        let mut order = Vec::new();
        let mut rest = left.to_vec();
        let of = |machine: &str| {
            parts
                .get(left.iter().position(|name| name == machine)?)
                .copied()
        };
        while let Some((at, _)) = first(&rest, of) {
            order.push(rest.remove(at));
        }
        assert_eq!(order, ["n4", "n5", "n3", "n2", "n1"]);
        assert_eq!(first(&left, |_| None), None, "nobody leads");
    }

    #[test]
    fn a_turn_that_nobody_may_have_is_left_out_in_the_end() {
        let world = World::new(&Plan::of(1, 3), &Trace::none());
        let mut rolling = taken("0 restart machine:3 0 rolling", 1);
        let may = |_: &str| true;
        assert_eq!(rolling.next(Duration::ZERO, &world, [].iter(), may), None);
        assert!(!rolling.is_over());
        let turn = rolling.next(WAIT, &world, [].iter(), may);
        assert!(matches!(turn, Some(Turn::LeftOut(_))), "{turn:?}");
        assert!(rolling.is_over());
    }
}
