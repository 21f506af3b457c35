//! Who leads, who votes and who of them runs, as leaders tell over HTTP; and whether it is safe to hamper one more.
//!
//! Each answer is also evidence: one cluster, one leader a term.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use kagero::actors::messages::{ClusterStatus, MemberStatus};
use kagero::cli::client::Client;
use kagero::raft::PeerId;

use super::field::Field;
use crate::checkers::leaders::Leaders;
use crate::clients::Ground;
use crate::faults::Target;

/// Who does not answer in this time is not waited for.
const DEADLINE: Duration = Duration::from_millis(400);
const STATUS: &str = "/kagero/v1/status";

/// Asks, and remembers what it was told.
#[derive(Default)]
pub(super) struct Scout {
    cluster: Option<String>,
    leaders: Leaders,
}

/// The cluster as its newest leader sees it, and who runs.
pub(super) struct Standing {
    /// As told.
    pub(super) status: ClusterStatus,
    /// Incarnations of the processes that run, by name.
    running: BTreeMap<String, String>,
}

/// A cluster's status, if the machine knows one in time.
pub(super) async fn status(client: &Client) -> Option<ClusterStatus> {
    let told = client.clone().with_deadline(DEADLINE).get(STATUS).await;
    serde_json::from_value(told.ok()?).ok()
}

impl Scout {
    /// Asks all machines that nothing hampers.
    pub(super) async fn look(
        &mut self,
        field: &Field,
        hampered: &BTreeSet<String>,
    ) -> Result<Option<Standing>> {
        let asked = field.running().into_iter();
        let asked = asked.filter(|name| !hampered.contains(name));
        let clients: Vec<Client> = asked.map(|name| field.client(&name)).collect();
        let told = join_all(clients.iter().map(status)).await;
        let mut newest: Option<ClusterStatus> = None;
        for status in told.into_iter().flatten() {
            self.check(&status)?;
            let reign = |of: &ClusterStatus| (of.generation, of.term);
            if newest
                .as_ref()
                .is_none_or(|known| reign(known) < reign(&status))
            {
                newest = Some(status);
            }
        }
        let running = field.incarnations()?;
        let standing = newest.map(|status| Standing { status, running });
        if let Some(standing) = &standing {
            let (leader, voters) = (&standing.status.leader, standing.voters());
            field.meter().on_told(leader, voters);
        }
        Ok(standing)
    }

    fn check(&mut self, status: &ClusterStatus) -> Result<()> {
        let cluster = self.cluster.get_or_insert(status.cluster_id.clone());
        ensure!(
            *cluster == status.cluster_id,
            "a second cluster, {}, beside {cluster}",
            status.cluster_id
        );
        ensure!(
            status.generation == 0,
            "generation {} began, although a majority never was hampered: {:?}",
            status.generation,
            status.recovery
        );
        if let Some(leader) = status.members.iter().find(|of| of.role == "leader") {
            let id = u64::from_str_radix(&leader.incarnation, 16);
            let id = PeerId(id.context("an incarnation is 16 hex digits")?);
            self.leaders.add(status.generation, status.term, id)?;
        }
        Ok(())
    }
}

fn votes(member: &MemberStatus) -> bool {
    member.role == "leader" || member.role == "voter"
}

impl Standing {
    /// Who runs, by name: its own process' incarnation and no other.
    fn runs(&self, member: &MemberStatus) -> bool {
        self.running.get(&member.name) == Some(&member.incarnation)
    }

    /// Names of the voters, both halves of a joint configuration.
    pub(super) fn voters(&self) -> BTreeSet<String> {
        let voters = self.status.members.iter().filter(|member| votes(member));
        voters.map(|member| member.name.clone()).collect()
    }

    /// Whether as many vote as shall, and all of them run.
    pub(super) fn is_full(&self) -> bool {
        let members = &self.status.members;
        let voters: Vec<_> = members.iter().filter(|member| votes(member)).collect();
        voters.len() == self.status.voters_wanted && voters.iter().all(|member| self.runs(member))
    }

    /// Whether besides there are so many members, and all of them run.
    pub(super) fn is_whole(&self, members: usize) -> bool {
        let all = &self.status.members;
        self.is_full() && all.len() == members && all.iter().all(|member| self.runs(member))
    }

    /// Whether a machine may be hampered as well: never more than one of all that vote, in a joint configuration of both
    /// halves, so that a majority of each stays however the change ends.
    pub(super) fn is_safe(&self, machine: &str, hampered: &BTreeSet<String>) -> bool {
        let members = &self.status.members;
        let able = |member: &MemberStatus| {
            self.runs(member) && member.name != machine && !hampered.contains(&member.name)
        };
        let voters: Vec<_> = members.iter().filter(|member| votes(member)).collect();
        let unable = voters.iter().filter(|member| !able(member)).count();
        voters.len() >= self.status.voters_wanted && unable <= 1
    }

    /// Whom a target means now.
    pub(super) fn find(&self, target: Target) -> Option<String> {
        let members = &self.status.members;
        let those = |wanted: &dyn Fn(&MemberStatus) -> bool| -> Vec<String> {
            let running = members.iter().filter(|member| self.runs(member));
            let wanted = running.filter(|member| wanted(member));
            wanted.map(|member| member.name.clone()).collect()
        };
        let (all, number) = match target {
            Target::Leader => (those(&|member| member.role == "leader"), 0),
            Target::Follower(number) => (those(&|member| member.role == "voter"), number),
            Target::Learner(number) | Target::Worker(number) => {
                (those(&|member| member.role == "learner"), number)
            }
            Target::Machine(number) => {
                let wanted = format!("n{number}");
                let name = self.running.keys().find(|name| **name == wanted);
                return name.cloned();
            }
            // Each of chaos' own faults hits one machine.
            Target::Machines(_) => return None,
        };
        let at = usize::from(number).checked_rem(all.len())?;
        Some(all[at].clone())
    }
}

/// Tells the meter when a lost voter is replaced, for ever: each machine is asked by itself, so that one which does not
/// answer keeps nobody waiting.
pub(super) async fn follow(field: Field, name: String) {
    const ROUND: Duration = Duration::from_millis(50);
    let client = field.client(&name);
    loop {
        tokio::time::sleep(ROUND).await;
        if !field.meter().is_degraded() {
            continue;
        }
        let Some(status) = status(&client).await else {
            continue;
        };
        match field.incarnations() {
            Ok(running) => {
                let standing = Standing { status, running };
                if standing.is_full() {
                    let (leader, voters) = (&standing.status.leader, standing.voters());
                    field.meter().on_whole(leader, voters, field.elapsed());
                }
            }
            Err(error) => field.report_broken(format!("{error:#}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(members: &[(&str, &str, &str)], running: &[(&str, &str)]) -> Standing {
        let member = |(name, incarnation, role): &(&str, &str, &str)| MemberStatus {
            name: (*name).to_owned(),
            incarnation: (*incarnation).to_owned(),
            address: String::new(),
            api: String::new(),
            role: (*role).to_owned(),
            matched: 0,
            lag: 0,
            silent_ms: 0,
        };
        let running = running.iter();
        Standing {
            status: ClusterStatus {
                cluster_id: "c".to_owned(),
                generation: 0,
                term: 1,
                leader: "n1".to_owned(),
                voters_wanted: 3,
                revision: 0,
                keys: 0,
                recovery: None,
                restore: None,
                snapshots: None,
                members: members.iter().map(member).collect(),
            },
            running: running
                .map(|(n, i)| ((*n).to_owned(), (*i).to_owned()))
                .collect(),
        }
    }

    const THREE: [(&str, &str, &str); 4] = [
        ("n1", "a", "leader"),
        ("n2", "b", "voter"),
        ("n3", "c", "voter"),
        ("n4", "d", "learner"),
    ];

    fn names(all: &[&str]) -> BTreeSet<String> {
        all.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn one_voter_may_be_hampered_and_never_two() {
        let all = [("n1", "a"), ("n2", "b"), ("n3", "c"), ("n4", "d")];
        let standing = standing(&THREE, &all);
        assert!(standing.is_full() && standing.is_whole(4));
        assert!(standing.is_safe("n1", &names(&[])));
        assert!(standing.is_safe("n1", &names(&["n4"])));
        assert!(standing.is_safe("n4", &names(&["n1"])));
        assert!(!standing.is_safe("n2", &names(&["n1"])));
    }

    #[test]
    fn a_voter_whose_process_is_another_by_now_counts_as_dead() {
        let again = [("n1", "a"), ("n2", "b2"), ("n3", "c"), ("n4", "d")];
        let standing = standing(&THREE, &again);
        assert!(!standing.is_full());
        assert!(!standing.is_safe("n3", &names(&[])));
        assert!(standing.is_safe("n2", &names(&[])), "it votes for nobody");
        assert_eq!(standing.find(Target::Follower(0)).as_deref(), Some("n3"));
        assert_eq!(standing.find(Target::Leader).as_deref(), Some("n1"));
    }
}
