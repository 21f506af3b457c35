//! A process ends itself only where its cluster can never live or has gone on without it: before anybody led, or after
//! a later generation began. Else a supervisor's restart would hide that the product gave up.

use std::collections::BTreeSet;

use kagero::actors::doors::Known;

/// Which generations there are.
#[derive(Debug, Default)]
pub struct Ends {
    newest: u64,
    /// Those that had a leader.
    led: BTreeSet<u64>,
}

/// A process gave up in a cluster that lives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the process on {node} ended itself in a cluster that lives: {reason}")]
pub struct GaveUp {
    /// Where.
    pub node: String,
    /// What it said.
    pub reason: String,
}

impl Ends {
    /// Looks what a node knows of its cluster.
    pub fn look(&mut self, known: &Known) {
        self.add(known.standing.cluster.generation, known.standing.leads);
    }

    fn add(&mut self, generation: u64, leads: bool) {
        self.newest = self.newest.max(generation);
        if leads {
            self.led.insert(generation);
        }
    }

    /// Judges a process that ended itself.
    pub fn check(&self, node: &str, reason: &str) -> Result<(), GaveUp> {
        if self.newest > 0 || !self.led.contains(&self.newest) {
            return Ok(());
        }
        let (node, reason) = (node.to_owned(), reason.to_owned());
        Err(GaveUp { node, reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_gives_up_a_living_cluster_is_found() {
        let mut ends = Ends::default();
        ends.add(0, false);
        assert_eq!(ends.check("n1", "nobody ever led"), Ok(()));
        ends.add(0, true);
        assert!(ends.check("n1", "bored").is_err());
        ends.add(1, false);
        assert_eq!(ends.check("n1", "overtaken"), Ok(()));
    }
}
