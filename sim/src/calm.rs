//! Since when nothing is done any more: to the world, and to each machine; and since when clients are served again.
//!
//! Told by the driver of each fault as it is done. Deliberately ignorant of what a process does to itself: whoever ends itself
//! begins no new calm.

use std::collections::{BTreeMap, BTreeSet};
use std::slice::from_ref;
use std::time::Duration;

use crate::world::Fault;

/// After the last fault on a machine is over, containers may end there for so long: its pods were replaced elsewhere if
/// nobody heard of it for 15 s, a leader finds it again within some seconds, and has its pods deleted then.
pub(crate) const AFTERMATH: Duration = Duration::from_secs(30);

/// What is, and was, done.
#[derive(Debug, Default)]
pub(crate) struct Calm {
    since: Option<Duration>,
    /// The same, but for an operator's word.
    able: Option<Duration>,
    served: Option<Duration>,
    /// What machines suffer from.
    suffers: BTreeMap<String, BTreeSet<&'static str>>,
    /// Machines on which containers may end, with the time at which something was last done to them.
    disturbed: BTreeMap<String, Duration>,
    /// Machines whose end is announced, and since when.
    announced: BTreeMap<String, Duration>,
    /// When the end of a machine was announced, and when it was back.
    taken_back: Vec<(Duration, Duration)>,
}

/// What machines suffer from, and whether they begin to or are relieved of it; a restart lasts for no time.
fn effect(fault: &Fault) -> (Vec<&str>, Option<(&'static str, bool)>) {
    let (names, effect): (&[String], _) = match fault {
        Fault::Announce(name, _) | Fault::LoseMachine(name) => (from_ref(name), ("loss", true)),
        Fault::ReturnMachine(name) => (from_ref(name), ("loss", false)),
        Fault::RestartProcess(name) | Fault::StartNext(name) => return (vec![name], None),
        Fault::CutOff(name) | Fault::Mute(name) | Fault::Deafen(name) => {
            (from_ref(name), ("silence", true))
        }
        Fault::Heal(name) => (from_ref(name), ("silence", false)),
        Fault::Split(names) => (names, ("split", true)),
        Fault::Unite(names) => (names, ("split", false)),
        Fault::CutLink(one, other) => return (vec![one, other], Some(("link", true))),
        Fault::HealLink(one, other) => return (vec![one, other], Some(("link", false))),
        Fault::Slow(name, latency_ms) => (from_ref(name), ("slowness", *latency_ms > 0)),
        Fault::Pause(name) => (from_ref(name), ("pause", true)),
        Fault::Resume(name) => (from_ref(name), ("pause", false)),
        Fault::Skew(name, percent, _) => (from_ref(name), ("skew", *percent != 100)),
        Fault::SetRight(name, _) => (from_ref(name), ("skew", false)),
    };
    (names.iter().map(String::as_str).collect(), Some(effect))
}

impl Calm {
    /// A fault is done, or undone.
    pub(crate) fn on_fault(&mut self, now: Duration, fault: &Fault) {
        if matches!(fault, Fault::StartNext(_)) {
            return;
        }
        self.since = Some(now);
        self.enable(now);
        match fault {
            Fault::Announce(name, _) => {
                self.announced.insert(name.clone(), now);
            }
            Fault::ReturnMachine(name) => {
                let announced = self.announced.remove(name);
                self.taken_back.extend(announced.map(|since| (since, now)));
            }
            _ => {}
        }
        let (names, effect) = effect(fault);
        for name in names {
            let suffers = self.suffers.entry(name.to_owned()).or_default();
            match effect {
                Some((what, true)) => drop(suffers.insert(what)),
                Some((what, false)) => drop(suffers.remove(what)),
                None => {}
            }
            if let Some(last) = self.disturbed.get_mut(name) {
                *last = now;
            }
        }
    }

    /// Since when nothing is done to the world; `None` if nothing ever was.
    pub(crate) fn since(&self) -> Option<Duration> {
        self.since
    }

    /// The last that serving takes was done: a fault ended, or an operator said what to do.
    pub(crate) fn enable(&mut self, now: Duration) {
        (self.able, self.served) = (Some(now), None);
    }

    /// Since when nothing stands against serving; `None` if nothing ever did.
    pub(crate) fn able(&self) -> Option<Duration> {
        self.able
    }

    /// A client was acknowledged a write.
    pub(crate) fn on_served(&mut self, now: Duration) {
        self.served.get_or_insert(now);
    }

    /// When a client was first served since then.
    pub(crate) fn served(&self) -> Option<Duration> {
        self.served
    }

    /// Containers may end on this machine, because of what is about to be done to it.
    pub(crate) fn disturb(&mut self, now: Duration, machine: &str) {
        self.disturbed.insert(machine.to_owned(), now);
    }

    /// Whether containers may end there.
    pub(crate) fn may_stop(&self, now: Duration, machine: &str) -> bool {
        let suffers = self.suffers.get(machine).is_some_and(|of| !of.is_empty());
        let disturbed = self.disturbed.get(machine);
        disturbed.is_some_and(|last| suffers || now <= *last + AFTERMATH)
    }

    /// Whether a container that was started then may be one too many, wherever it is: it replaces one of a machine whose
    /// end was announced, and that machine is there again, so that its own pods count once more.
    pub(crate) fn may_be_too_many(&self, now: Duration, started: Duration) -> bool {
        let mut taken_back = self.taken_back.iter();
        taken_back.any(|(since, back)| *since <= started && now <= *back + AFTERMATH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn name() -> String {
        "n1".to_owned()
    }

    #[test]
    fn a_replacement_is_one_too_many_for_a_while_once_an_announced_machine_is_back() {
        let mut calm = Calm::default();
        calm.on_fault(at(10), &Fault::Announce(name(), at(30)));
        calm.on_fault(at(12), &Fault::LoseMachine(name()));
        assert!(!calm.may_be_too_many(at(13), at(11)), "it is not back");
        calm.on_fault(at(14), &Fault::ReturnMachine(name()));
        assert!(calm.may_be_too_many(at(15), at(11)));
        assert!(!calm.may_be_too_many(at(15), at(9)), "from before");
        assert!(calm.may_be_too_many(at(16), at(15)), "placed before");
        assert!(!calm.may_be_too_many(at(45), at(11)), "that is long over");
        calm.on_fault(at(50), &Fault::LoseMachine(name()));
        calm.on_fault(at(52), &Fault::ReturnMachine(name()));
        assert!(
            !calm.may_be_too_many(at(53), at(51)),
            "nothing was announced"
        );
    }

    #[test]
    fn a_machine_is_disturbed_for_as_long_as_it_suffers_and_some_time_after() {
        let mut calm = Calm::default();
        calm.on_fault(at(1), &Fault::Slow(name(), 100));
        assert!(!calm.may_stop(at(2), "n1"), "nobody said so");
        calm.disturb(at(5), "n1");
        calm.on_fault(at(5), &Fault::CutOff(name()));
        calm.on_fault(at(80), &Fault::Slow(name(), 0));
        assert!(calm.may_stop(at(200), "n1"), "it is cut off");
        calm.on_fault(at(200), &Fault::Heal(name()));
        assert!(calm.may_stop(at(230), "n1"));
        assert!(!calm.may_stop(at(231), "n1"), "that is long over");
        calm.on_fault(at(300), &Fault::CutOff(name()));
        assert!(!calm.may_stop(at(331), "n2"));
    }

    #[test]
    fn whoever_ends_itself_begins_no_new_calm() {
        let mut calm = Calm::default();
        calm.on_fault(at(1), &Fault::RestartProcess(name()));
        calm.on_served(at(2));
        calm.on_served(at(3));
        calm.on_fault(at(9), &Fault::StartNext(name()));
        assert_eq!((calm.since(), calm.served()), (Some(at(1)), Some(at(2))));
        calm.on_fault(at(10), &Fault::RestartProcess(name()));
        assert_eq!((calm.since(), calm.served()), (Some(at(10)), None));
        calm.on_served(at(11));
        calm.enable(at(20));
        assert_eq!((calm.able(), calm.served()), (Some(at(20)), None));
        assert_eq!(calm.since(), Some(at(10)), "a word is no fault");
    }
}
