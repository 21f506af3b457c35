//! How scripts write down events and a peer's status; the rest is `raft/show.rs`.

use super::cluster::{Cluster, Event};
use crate::raft::Rejected;
use crate::raft::node::Raft;
use crate::raft::show::{configuration, entries};

pub fn event(event: &Event) -> String {
    match event {
        Event::Role(role) => role.clone(),
        Event::Restored(index) => format!("restored {index}"),
        Event::Applied(applied) => format!("applied {}", entries(applied)),
        Event::Proposed(tag, Ok((index, term))) => format!("proposal {tag} at {index}@{term}"),
        Event::Proposed(tag, Err(error)) => format!("proposal {tag} refused: {}", refusal(error)),
        Event::Read(tag, Ok(index)) => format!("read {tag} at {index}"),
        Event::Read(tag, Err(error)) => format!("read {tag} refused: {}", refusal(error)),
        Event::SnapshotWanted => "snapshot wanted".into(),
    }
}

fn refusal(error: &Rejected) -> String {
    match error {
        Rejected::NotLeader { leader: Some(peer) } => format!("n{} leads", peer.0),
        Rejected::NotLeader { leader: None } => "no leader".into(),
        Rejected::InvalidChange(reason) => reason.replace("000000000000000", "n"),
        other => other.to_string(),
    }
}

pub fn status(raft: &Raft, cluster: &Cluster) -> String {
    let status = raft.status(cluster.now);
    let mut lines = vec![format!(
        "n{} {:?} t{} last={} commit={} {}",
        status.id.0,
        status.role,
        status.term,
        status.last,
        status.commit,
        configuration(&status.configuration)
    )];
    for (peer, progress) in &status.progress {
        let (matched, silent) = (progress.matched, progress.silent.as_millis());
        let gone = if progress.gone { " gone" } else { "" };
        let caught_up = if progress.caught_up { " caught up" } else { "" };
        let snapshot = progress.snapshot.map_or(String::new(), |(sent, total)| {
            format!(" snapshot {sent}/{total}")
        });
        lines.push(format!(
            "   n{} matched={matched} silent={silent}ms{gone}{caught_up}{snapshot}",
            peer.0
        ));
    }
    lines.join("\n")
}
