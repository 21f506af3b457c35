//! What `kagero status` prints, from the leader's consensus state and its store.

use super::archive;
use super::messages::{ClusterStatus, MemberStatus};
use super::recovery::record;
use super::wire::Contact;
use crate::raft::{ClusterId, PeerId, Status};
use crate::store::View;

/// Describes the cluster as its leader sees it.
pub(super) fn describe_members(
    cluster: ClusterId,
    status: &Status,
    view: &View,
    voters_wanted: usize,
) -> ClusterStatus {
    let mut members: Vec<MemberStatus> = status
        .configuration
        .contacts
        .iter()
        .map(|(id, bytes)| describe_member(status, *id, Contact::decode(bytes).ok()))
        .collect();
    members.sort_by(|a, b| (&a.name, &a.incarnation).cmp(&(&b.name, &b.incarnation)));
    ClusterStatus {
        cluster_id: format!("{:016x}", cluster.id),
        generation: cluster.generation,
        term: status.term,
        leader: members
            .iter()
            .find(|m| m.role == "leader")
            .map(|m| m.name.clone())
            .unwrap_or_default(),
        voters_wanted,
        revision: view.revision(),
        keys: view.len() as u64,
        recovery: record::find(view, cluster.generation),
        restore: archive::record::find(view, cluster.generation).map(Box::new),
        snapshots: None,
        members,
    }
}

fn describe_member(status: &Status, id: PeerId, contact: Option<Contact>) -> MemberStatus {
    let progress = status.progress.get(&id);
    let itself = id == status.id;
    let matched = if itself {
        status.last
    } else {
        progress.map_or(0, |p| p.matched)
    };
    let contact = contact.as_ref();
    MemberStatus {
        name: contact.map_or_else(|| "?".to_owned(), |c| c.name.clone()),
        incarnation: id.to_string(),
        address: contact.map(|c| c.address.clone()).unwrap_or_default(),
        api: contact.map(|c| c.api.clone()).unwrap_or_default(),
        role: role(status, id).to_owned(),
        matched,
        lag: status.last.saturating_sub(matched),
        silent_ms: progress.map_or(0, |p| p.silent.as_millis() as u64),
    }
}

fn role(status: &Status, id: PeerId) -> &'static str {
    if status.leader == Some(id) {
        "leader"
    } else if status.configuration.voters.contains(&id) {
        "voter"
    } else if status.configuration.outgoing.contains(&id) {
        "leaving"
    } else {
        "learner"
    }
}
