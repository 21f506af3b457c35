//! What must hold in every state, and what must come to pass in some: a model in which nothing happens proves nothing.

use stateright::Property;

use super::state::{Cluster, State};

/// Properties that no state may break, by the names that `truth.rs` gives them.
const ALWAYS: [&str; 6] = [
    "assertions",
    "election_safety",
    "leader_completeness",
    "log_matching",
    "state_machine_safety",
    "reads",
];

fn holds(index: usize) -> fn(&Cluster, &State) -> bool {
    fn at<const INDEX: usize>(_: &Cluster, state: &State) -> bool {
        let broken = state.truth.broken.as_ref();
        broken.is_none_or(|(property, _)| *property != ALWAYS[INDEX])
    }
    [at::<0>, at::<1>, at::<2>, at::<3>, at::<4>, at::<5>][index]
}

fn a_leader(_: &Cluster, state: &State) -> bool {
    !state.truth.leaders.is_empty()
}

fn another_leader(_: &Cluster, state: &State) -> bool {
    state.truth.leaders.len() > 1
}

fn a_command_committed(cluster: &Cluster, state: &State) -> bool {
    let asked = cluster.bounds.proposals > state.left.proposals;
    asked && state.truth.committed.len() > cluster.committed_at_start
}

fn a_read_answered(_: &Cluster, state: &State) -> bool {
    state.truth.answered > 0
}

fn the_joiner_votes(cluster: &Cluster, state: &State) -> bool {
    state.peers.values().any(|node| {
        let configuration = node.raft.log().configuration();
        let committed = node.raft.log().configuration_index() <= node.raft.log().commit();
        committed && !configuration.is_joint() && configuration.is_voter(cluster.joiner())
    })
}

impl Cluster {
    /// What the model is about: it must come to pass.
    pub fn goals(&self) -> impl Iterator<Item = &'static str> {
        self.sometimes().into_iter().map(|goal| goal.name)
    }

    /// All properties.
    pub fn all_properties(&self) -> Vec<Property<Self>> {
        let always = ALWAYS.iter().enumerate();
        let always = always.map(|(index, name)| Property::always(name, holds(index)));
        always.chain(self.sometimes()).collect()
    }

    fn sometimes(&self) -> Vec<Property<Self>> {
        let bounds = &self.bounds;
        let mut goals = vec![if self.led {
            Property::sometimes("another_leader", another_leader)
        } else {
            Property::sometimes("a_leader", a_leader)
        }];
        if bounds.expiries + bounds.transfers == 0 {
            goals.clear();
        }
        if bounds.proposals > 0 {
            let goal = Property::sometimes("a_command_committed", a_command_committed);
            goals.push(goal);
        }
        if bounds.reads > 0 {
            goals.push(Property::sometimes("a_read_answered", a_read_answered));
        }
        if bounds.changes > 1 {
            goals.push(Property::sometimes("the_joiner_votes", the_joiner_votes));
        }
        goals
    }
}
