//! What happens to a local cluster that whoever watches `dev` should know: another leader, no quorum, a new cluster.
//!
//! Pure: takes what the nodes say in, gives a line out. Deliberately silent on what passes before an election is over.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::actors::messages::ClusterStatus;

/// Without a leader for so long there is no quorum: an election takes a tenth of it, and a killed process is back.
pub const NO_LEADER: Duration = Duration::from_secs(4);

/// What was heard last.
#[derive(Debug)]
pub struct News {
    cluster: String,
    leader: String,
    term: u64,
    heard: Instant,
    /// Whether the loss of the quorum was told.
    lost: bool,
    /// The incarnation of each member, by name.
    members: BTreeMap<String, String>,
    /// Nodes whose process ended, with the incarnation that ended: they are lost until another takes its place.
    ended: BTreeMap<String, String>,
}

impl News {
    /// Begins with a cluster that formed.
    pub fn new(status: &ClusterStatus, now: Instant) -> Self {
        let members = status.members.iter();
        let members = members.map(|member| (member.name.clone(), member.incarnation.clone()));
        Self {
            cluster: status.cluster_id.clone(),
            leader: status.leader.clone(),
            term: status.term,
            heard: now,
            lost: false,
            members: members.collect(),
            ended: BTreeMap::new(),
        }
    }

    /// A node's process ended.
    pub fn on_end(&mut self, node: &str) {
        let ended = self.members.get(node).cloned().unwrap_or_default();
        self.ended.insert(node.to_owned(), ended);
    }

    /// The nodes with their API's addresses, and what any of them knows of a leader; what there is to say.
    pub fn on_look(
        &mut self,
        nodes: &[(String, String)],
        seen: &[ClusterStatus],
        now: Instant,
    ) -> Option<String> {
        let Some(status) = self.newest(seen) else {
            let due = !self.lost && now.duration_since(self.heard) >= NO_LEADER;
            return due.then(|| {
                self.lost = true;
                self.loss(nodes)
            });
        };
        let is_new = status.cluster_id != self.cluster;
        let leader = format!("{} leads (term {})", status.leader, status.term);
        let line = if is_new {
            Some(format!(
                "a new cluster has formed, {}, and it is empty: no node of the one before is left; {leader}",
                status.cluster_id
            ))
        } else if self.lost {
            Some(format!("the quorum is back: {leader}"))
        } else {
            (status.leader != self.leader || status.term != self.term).then_some(leader)
        };
        let ended = std::mem::take(&mut self.ended);
        *self = Self::new(status, now);
        let is_member = |incarnation: &String| {
            let mut members = status.members.iter();
            members.any(|member| member.incarnation == *incarnation)
        };
        if !is_new {
            self.ended = ended;
            self.ended.retain(|_, incarnation| is_member(incarnation));
        }
        line
    }

    /// The status of the latest term, of the known cluster before any other: one may form beside it.
    fn newest<'a>(&self, seen: &'a [ClusterStatus]) -> Option<&'a ClusterStatus> {
        let known = |status: &&ClusterStatus| status.cluster_id == self.cluster;
        seen.iter()
            .max_by_key(|status| (known(status), status.term))
    }

    fn loss(&self, nodes: &[(String, String)]) -> String {
        let alive = nodes
            .iter()
            .find(|(name, _)| !self.ended.contains_key(name));
        let dead: Vec<_> = self.ended.keys().map(String::as_str).collect();
        match alive {
            Some((_, api)) if !dead.is_empty() => format!(
                "no quorum: pods run on and nothing can be changed. What {} held is lost; to go on with the rest: kagero recover --api {api} --dead {}",
                dead.join(" and "),
                dead.join(",")
            ),
            _ => {
                "no quorum: nothing can be changed until a majority of the nodes answers".to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::messages::MemberStatus;

    fn status(cluster: &str, leader: &str, term: u64) -> ClusterStatus {
        ClusterStatus {
            cluster_id: cluster.into(),
            generation: 1,
            term,
            leader: leader.into(),
            voters_wanted: 3,
            revision: 1,
            keys: 1,
            recovery: None,
            restore: None,
            snapshots: None,
            members: (1..=3).map(member).collect(),
        }
    }

    fn member(number: u16) -> MemberStatus {
        MemberStatus {
            name: format!("n{number}"),
            incarnation: format!("i{number}"),
            address: "a:1".into(),
            api: "a:2".into(),
            role: "voter".into(),
            matched: 1,
            lag: 0,
            silent_ms: 0,
        }
    }

    fn nodes() -> Vec<(String, String)> {
        let node = |number: u16| (format!("n{number}"), format!("127.0.0.1:{number}"));
        (1..=3).map(node).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn another_leader_is_told_once() {
        let now = Instant::now();
        let mut news = News::new(&status("c", "n1", 1), now);
        assert_eq!(news.on_look(&nodes(), &[status("c", "n1", 1)], now), None);
        let old_and_new = [status("c", "n2", 2), status("c", "n1", 1)];
        let told = news.on_look(&nodes(), &old_and_new, now);
        assert_eq!(told.as_deref(), Some("n2 leads (term 2)"));
        assert_eq!(news.on_look(&nodes(), &old_and_new, now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_quorum_is_told_once_with_what_can_be_done() {
        let begun = Instant::now();
        let mut news = News::new(&status("c", "n1", 1), begun);
        news.on_end("n2");
        let dead_is_member = [status("c", "n1", 1)];
        assert_eq!(news.on_look(&nodes(), &dead_is_member, begun), None);
        news.on_end("n3");
        assert_eq!(news.on_look(&nodes(), &[], begun), None, "an election");
        let told = news.on_look(&nodes(), &[], begun + NO_LEADER).unwrap();
        let command = "kagero recover --api 127.0.0.1:1 --dead n2,n3";
        assert!(
            told.contains("no quorum") && told.ends_with(command),
            "{told}"
        );
        assert_eq!(news.on_look(&nodes(), &[], begun + 2 * NO_LEADER), None);
        let back = news.on_look(&nodes(), &[status("c", "n1", 3)], begun + 2 * NO_LEADER);
        assert_eq!(
            back.as_deref(),
            Some("the quorum is back: n1 leads (term 3)")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_replaced_is_not_lost() {
        let begun = Instant::now();
        let mut news = News::new(&status("c", "n1", 1), begun);
        news.on_end("n2");
        let mut again = status("c", "n1", 1);
        again.members[1].incarnation = "i4".into();
        assert_eq!(news.on_look(&nodes(), &[again], begun), None);
        news.on_end("n3");
        let told = news.on_look(&nodes(), &[], begun + NO_LEADER).unwrap();
        assert!(told.ends_with("--dead n3"), "{told}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_formed_anew_is_told() {
        let now = Instant::now();
        let mut news = News::new(&status("c", "n1", 7), now);
        let told = news
            .on_look(&nodes(), &[status("d", "n3", 1)], now)
            .unwrap();
        assert!(
            told.contains("a new cluster has formed, d, and it is empty"),
            "{told}"
        );
        assert!(told.ends_with("n3 leads (term 1)"), "{told}");
    }
}
