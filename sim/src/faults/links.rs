//! What each link between hosts must be, given all faults of the moment; overlapping faults neither undo nor hide each
//! other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::deed::Deed;
use crate::cluster::LATENCY_MS;
use crate::world::{CLIENT, World};

/// Who suffers what. Clients reach whoever is not lost, and are as far away from a slow machine as everybody.
#[derive(Debug, Default)]
pub struct Links {
    /// Off the network altogether.
    pub lost: BTreeSet<String>,
    /// Machines that no other hears, and that hear no other.
    pub cut: BTreeSet<String>,
    /// Machines that no other hears.
    pub mute: BTreeSet<String>,
    /// Machines that hear no other.
    pub deaf: BTreeSet<String>,
    /// Machines that hear each other, and no other machine.
    pub splits: Vec<BTreeSet<String>>,
    /// Two machines each that do not hear each other.
    pub links: Vec<BTreeSet<String>>,
    /// One-way latency of each message from or to them, in milliseconds.
    pub slow: BTreeMap<String, u32>,
    /// What links have now, where it is not the usual latency.
    slowed: BTreeMap<(String, String), u32>,
}

impl Links {
    fn is_cut(&self, from: &str, to: &str) -> bool {
        let lost = self.lost.contains(from) || self.lost.contains(to);
        let silent = || {
            let cut = self.cut.contains(from) || self.cut.contains(to);
            let apart = |group: &BTreeSet<String>| group.contains(from) != group.contains(to);
            let severed = |pair: &BTreeSet<String>| pair.contains(from) && pair.contains(to);
            cut || self.mute.contains(from)
                || self.deaf.contains(to)
                || self.splits.iter().any(apart)
                || self.links.iter().any(severed)
        };
        lost || (from != CLIENT && to != CLIENT && silent())
    }

    /// Takes what is done to the network, but for machines that are off it.
    pub fn apply(&mut self, deed: &Deed) {
        match deed {
            Deed::CutOff(name) => {
                self.cut.insert(name.clone());
            }
            Deed::Mute(name) => {
                self.mute.insert(name.clone());
            }
            Deed::Deafen(name) => {
                self.deaf.insert(name.clone());
            }
            Deed::Heal(name) => {
                for faults in [&mut self.cut, &mut self.mute, &mut self.deaf] {
                    faults.remove(name);
                }
            }
            Deed::Split(names) => self.splits.push(names.iter().cloned().collect()),
            Deed::Unite(names) => end_one(&mut self.splits, names),
            Deed::CutLink(one, other) => {
                self.links.push([one.clone(), other.clone()].into());
            }
            Deed::HealLink(one, other) => {
                end_one(&mut self.links, &[one.clone(), other.clone()]);
            }
            Deed::Slow(name, 0) => {
                self.slow.remove(name);
            }
            Deed::Slow(name, latency_ms) => {
                self.slow.insert(name.clone(), *latency_ms);
            }
            Deed::LoseMachine(_)
            | Deed::ReturnMachine(_)
            | Deed::RestartProcess(_)
            | Deed::StartNext(_)
            | Deed::Announce(..)
            | Deed::Pause(_)
            | Deed::Resume(_)
            | Deed::Skew(..)
            | Deed::SetRight(..) => {}
        }
    }

    fn latency(&self, one: &str, other: &str) -> Option<u32> {
        self.slow.get(one).max(self.slow.get(other)).copied()
    }

    /// Makes turmoil's links so.
    pub fn sync(&mut self, sim: &turmoil::Sim<'_>, world: &World) {
        let hosts: Vec<String> = world
            .machines()
            .chain([CLIENT])
            .map(str::to_owned)
            .collect();
        for (at, from) in hosts.iter().enumerate() {
            for to in hosts.iter().filter(|to| *to != from) {
                let cut = self.is_cut(from, to);
                match (world.cuts().set(from, to, cut), cut) {
                    (false, _) => {}
                    (true, true) => sim.partition_oneway(from.as_str(), to.as_str()),
                    (true, false) => sim.repair_oneway(from.as_str(), to.as_str()),
                }
            }
            for to in &hosts[at + 1..] {
                self.sync_latency(sim, from, to);
            }
        }
    }

    fn sync_latency(&mut self, sim: &turmoil::Sim<'_>, one: &str, other: &str) {
        let pair = (one.to_owned(), other.to_owned());
        let wanted = self.latency(one, other);
        if self.slowed.get(&pair).copied() == wanted {
            return;
        }
        let millis = Duration::from_millis;
        if let Some(latency) = wanted {
            self.slowed.insert(pair, latency);
            sim.set_link_latency(one, other, millis(latency.into()));
        } else {
            self.slowed.remove(&pair);
            sim.set_link_latency(one, other, millis(LATENCY_MS.0));
            sim.set_link_max_message_latency(one, other, millis(LATENCY_MS.1));
        }
    }
}

/// Ends one of those that are between the same machines; another may have begun meanwhile.
fn end_one(all: &mut Vec<BTreeSet<String>>, names: &[String]) {
    let names = names.iter().cloned().collect();
    let found = all.iter().position(|group| *group == names);
    all.remove(found.expect("what ends has begun"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_faults_do_not_undo_each_other() {
        let mut links = Links::default();
        links.cut.extend(["n1".to_owned(), "n2".to_owned()]);
        assert!(links.is_cut("n1", "n2") && links.is_cut("n2", "n3"));
        assert!(!links.is_cut("n1", CLIENT), "clients still reach it");
        links.cut.remove("n1");
        assert!(links.is_cut("n1", "n2"), "n2 is cut off still");
        assert!(!links.is_cut("n1", "n3"));
    }

    #[test]
    fn groups_hear_themselves_and_two_may_hear_everybody_but_each_other() {
        let group = |names: [&str; 2]| names.map(str::to_owned).into();
        let mut links = Links {
            splits: vec![group(["n1", "n2"])],
            links: vec![group(["n3", "n4"])],
            ..Links::default()
        };
        assert!(links.is_cut("n1", "n3") && links.is_cut("n3", "n2"));
        assert!(!links.is_cut("n1", "n2") && !links.is_cut("n3", "n5"));
        assert!(links.is_cut("n3", "n4") && links.is_cut("n4", "n3"));
        assert!(!links.is_cut("n4", "n5") && !links.is_cut("n3", CLIENT));
        links.splits.clear();
        assert!(!links.is_cut("n1", "n3") && links.is_cut("n3", "n4"));
    }

    #[test]
    fn one_way_is_one_way() {
        let mut links = Links::default();
        links.mute.insert("n1".to_owned());
        links.deaf.insert("n2".to_owned());
        assert!(links.is_cut("n1", "n3") && !links.is_cut("n3", "n1"));
        assert!(links.is_cut("n3", "n2") && !links.is_cut("n2", "n3"));
        links.lost.insert("n3".to_owned());
        assert!(links.is_cut("n3", CLIENT) && links.is_cut(CLIENT, "n3"));
    }
}
