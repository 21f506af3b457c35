//! At most one of a unique pod: at no instant of true time do containers of one namespace and name run on two machines.
//!
//! Looked at after every step of the world, on the machines themselves: no clock and no process is believed. Beside that
//! it notes what became of those that ended, since a run in which none had to end proves nothing.

use std::collections::{BTreeMap, BTreeSet};

use kagero::agent::PodRef;

use crate::world::World;

/// Namespace and name.
pub type Name = (String, String);

/// Where unique pods ran.
#[derive(Debug, Default)]
pub struct Unique {
    /// Where each was seen running last.
    last: BTreeMap<Name, String>,
    /// Those that their node has stopped though no leader gave them up, and that nobody has started since.
    stopped: BTreeSet<Name>,
    /// Those that ended with their machine.
    lost: BTreeSet<Name>,
}

/// A unique pod runs twice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unique pod {namespace}/{name} runs on {first} and on {second}")]
pub struct RunsTwice {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// One machine.
    pub first: String,
    /// The other.
    pub second: String,
}

impl Unique {
    /// Looks at what runs now; gives what has become of pods, in words for the coverage.
    pub fn look(&mut self, world: &World) -> Result<Vec<&'static str>, RunsTwice> {
        let machines = world.machines().map(|name| (name, world.machine(name)));
        let running: Vec<(&str, Vec<Name>)> = machines
            .map(|(name, machine)| (name, machine.running_unique()))
            .filter(|(_, pods)| !pods.is_empty())
            .collect();
        self.see(&running)
    }

    /// A node ended a running container of a unique pod, which no leader gave up.
    pub fn on_stop(&mut self, pod: &PodRef) {
        let name = (pod.namespace.clone(), pod.name.clone());
        self.stopped.insert(name);
    }

    /// A machine is lost, with all that runs on it.
    pub fn on_loss(&mut self, pods: Vec<Name>) {
        self.lost.extend(pods);
    }

    fn see(&mut self, running: &[(&str, Vec<Name>)]) -> Result<Vec<&'static str>, RunsTwice> {
        let mut now: BTreeMap<&Name, &str> = BTreeMap::new();
        let mut seen = Vec::new();
        for (machine, pods) in running {
            for pod in pods {
                let first = now.insert(pod, machine).filter(|first| first != machine);
                if let Some(first) = first {
                    return Err(RunsTwice {
                        namespace: pod.0.clone(),
                        name: pod.1.clone(),
                        first: first.to_owned(),
                        second: (*machine).to_owned(),
                    });
                }
            }
        }
        for (pod, machine) in now {
            let last = self.last.get(pod);
            if last.is_some_and(|last| last == machine) && !self.stopped.contains(pod) {
                continue;
            }
            let moved = last.is_some_and(|last| last != machine);
            let (by_node, by_loss) = (self.stopped.remove(pod), self.lost.remove(pod));
            match (moved, by_node, by_loss) {
                (true, true, _) => seen.push("unique: replaced after its node had stopped it"),
                (true, false, true) => seen.push("unique: replaced after its machine was lost"),
                (false, true, _) => seen.push("unique: started again where it was stopped"),
                _ => {}
            }
            self.last.insert(pod.clone(), machine.to_owned());
        }
        Ok(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> Name {
        ("default".to_owned(), name.to_owned())
    }

    #[test]
    fn one_that_runs_twice_is_found() {
        let mut unique = Unique::default();
        let both = [("n1", vec![pod("db-0")]), ("n2", vec![pod("db-1")])];
        assert_eq!(unique.see(&both), Ok(Vec::new()));
        let twice = [
            ("n1", vec![pod("db-0")]),
            ("n2", vec![pod("db-1"), pod("db-0")]),
        ];
        let found = RunsTwice {
            namespace: "default".to_owned(),
            name: "db-0".to_owned(),
            first: "n1".to_owned(),
            second: "n2".to_owned(),
        };
        assert_eq!(unique.see(&twice), Err(found));
        let other = ("else".to_owned(), "db-0".to_owned());
        let namespaces = [("n1", vec![pod("db-0")]), ("n2", vec![other])];
        assert_eq!(unique.see(&namespaces), Ok(Vec::new()));
        let containers = [("n1", vec![pod("db-0"), pod("db-0")])];
        assert_eq!(unique.see(&containers), Ok(Vec::new()), "of one pod");
    }

    #[test]
    fn what_became_of_it_is_told() {
        let stop = PodRef {
            namespace: "default".to_owned(),
            name: "db-0".to_owned(),
            uid: "u".to_owned(),
            unique: true,
        };
        let mut unique = Unique::default();
        let on = |machine: &'static str| [(machine, vec![pod("db-0")])];
        unique.see(&on("n1")).unwrap();
        unique.on_stop(&stop);
        assert_eq!(unique.see(&[]), Ok(Vec::new()));
        let again = "unique: started again where it was stopped";
        assert_eq!(unique.see(&on("n1")), Ok(vec![again]));
        unique.on_stop(&stop);
        let replaced = "unique: replaced after its node had stopped it";
        assert_eq!(unique.see(&on("n2")), Ok(vec![replaced]));
        assert_eq!(unique.see(&on("n3")), Ok(Vec::new()), "as somebody wished");
        unique.on_loss(vec![pod("db-0")]);
        let lost = "unique: replaced after its machine was lost";
        assert_eq!(unique.see(&on("n1")), Ok(vec![lost]));
    }
}
