//! A process ends itself only where its generation can never live or was gone on from without it: before anybody led
//! there, or after a later one was led; or where it had promised to leave a generation that lives. Else a supervisor's restart would hide that the product gave up.
//!
//! It says which of the reasons that the product knows it has, and that one must be true.

use std::collections::{BTreeMap, BTreeSet};

use kagero::actors::doors::Known;
use kagero::raft::PeerId;

/// Which generations there are, and who belongs to which.
#[derive(Debug, Default)]
pub struct Ends {
    /// Those that had a leader.
    led: BTreeSet<u64>,
    /// The generation of an incarnation's replica; of one that had none, the newest when it was first seen.
    belongs: BTreeMap<PeerId, u64>,
}

/// Why a process ends itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The founders of its cluster died before anybody led (`joiner/founding.rs`).
    Stillborn,
    /// It promised a generation; another was begun, or its own lives on (`joiner.rs`).
    Overtaken,
    /// A later process has its name (`admission.rs`).
    Superseded,
}

/// The product's words for each.
const REASONS: [(&str, Reason); 3] = [
    ("the founders of its cluster died", Reason::Stillborn),
    (
        "it promised a later generation than the one that lives",
        Reason::Overtaken,
    ),
    ("this one is superseded", Reason::Superseded),
];

impl Reason {
    /// Which it is.
    pub fn of(said: &str) -> Option<Self> {
        let known = REASONS.iter().find(|(words, _)| said.contains(words));
        known.map(|(_, reason)| *reason)
    }

    /// What is counted.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stillborn => "ended itself: in a cluster that was never led",
            Self::Overtaken => "ended itself: it promised what was overtaken",
            Self::Superseded => "ended itself: superseded",
        }
    }
}

/// A process gave up in a cluster that lives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the process on {node} ended itself in generation {generation}, {why}: {reason}")]
pub struct GaveUp {
    /// Where.
    pub node: String,
    /// Of which generation it was.
    pub generation: u64,
    /// What is wrong with that.
    pub why: &'static str,
    /// What it said.
    pub reason: String,
}

impl Ends {
    /// Looks what a node knows of its cluster.
    pub fn look(&mut self, known: &Known) {
        let standing = &known.standing;
        self.add(standing.id, standing.cluster.generation, standing.leads);
    }

    fn add(&mut self, id: PeerId, generation: u64, leads: bool) {
        self.belongs.insert(id, generation);
        if leads {
            self.led.insert(generation);
        }
    }

    /// A process runs, which may have no replica.
    pub fn look_at_process(&mut self, id: PeerId) {
        let newest = self.newest().unwrap_or_default();
        self.belongs.entry(id).or_insert(newest);
    }

    fn newest(&self) -> Option<u64> {
        self.led.last().copied()
    }

    /// Judges a process that ended itself.
    pub fn check(&self, node: &str, id: PeerId, reason: &str) -> Result<Reason, GaveUp> {
        let generation = self.belongs.get(&id).copied().unwrap_or_default();
        let gave_up = |why| GaveUp {
            node: node.to_owned(),
            generation,
            why,
            reason: reason.to_owned(),
        };
        let known = Reason::of(reason).ok_or_else(|| gave_up("for no reason that is known"))?;
        match known {
            Reason::Stillborn if self.led.contains(&generation) => {
                Err(gave_up("which was led, though it says the contrary"))
            }
            Reason::Overtaken if self.newest() < Some(generation) => {
                Err(gave_up("which nobody led, nor a later one"))
            }
            Reason::Superseded if self.newest() <= Some(generation) => {
                Err(gave_up("after which no other was led"))
            }
            known => Ok(known),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUPERSEDED: &str = "node name \"n1\" was taken over: this one is superseded";
    const STILLBORN: &str = "the founders of its cluster died before it had a leader";
    const ONE: PeerId = PeerId(1);
    const OTHER: PeerId = PeerId(2);

    #[test]
    fn whoever_gives_up_a_living_cluster_is_found() {
        let mut ends = Ends::default();
        ends.add(ONE, 0, false);
        assert_eq!(ends.check("n1", ONE, STILLBORN), Ok(Reason::Stillborn));
        ends.add(ONE, 0, true);
        for reason in ["bored", STILLBORN, SUPERSEDED] {
            assert!(ends.check("n1", ONE, reason).is_err(), "{reason}");
        }
    }

    #[test]
    fn each_generation_is_judged_by_itself() {
        let mut ends = Ends::default();
        ends.add(ONE, 0, true);
        ends.look_at_process(OTHER);
        ends.add(PeerId(3), 1, false);
        assert!(ends.check("n1", ONE, SUPERSEDED).is_err(), "nobody led");
        ends.add(PeerId(3), 1, true);
        assert_eq!(ends.check("n1", ONE, SUPERSEDED), Ok(Reason::Superseded));
        assert_eq!(ends.check("n2", OTHER, SUPERSEDED), Ok(Reason::Superseded));
        assert!(ends.check("n1", ONE, STILLBORN).is_err(), "it was led");
        ends.add(ONE, 1, false);
        assert!(
            ends.check("n1", ONE, SUPERSEDED).is_err(),
            "it went on there"
        );
        ends.look_at_process(PeerId(4));
        assert!(ends.check("n4", PeerId(4), SUPERSEDED).is_err());
        ends.look_at_process(OTHER);
        assert!(ends.check("n2", OTHER, SUPERSEDED).is_ok(), "as it was");
    }
}
