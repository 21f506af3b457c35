//! How a node finds out that it is no member any more: nobody tells it, since a leader speaks to members only.
//!
//! A member that was cut off for long enough is replaced behind its back. Its state is then of the past, and its peer
//! waits for a leader for ever. Deliberately no guess: only a member that hears a leader and names members without
//! this node is proof.

use std::collections::BTreeSet;

use actix::Addr;

use super::caller::Caller;
use super::doors::Known;
use super::formation::ask_who;
use super::wire::Identity;

/// Asks those who were members when this node last heard.
pub(super) async fn is_removed(known: Known, caller: Addr<Caller>) -> bool {
    let standing = &known.standing;
    let Some(own) = known.contact(standing.id) else {
        return true;
    };
    let others = standing
        .configuration
        .contacts
        .keys()
        .filter(|id| **id != standing.id);
    let addresses: BTreeSet<String> = others
        .filter_map(|id| known.contact(*id))
        .map(|contact| contact.address)
        .collect();
    let asked = addresses.iter().map(|address| ask_who(&caller, address));
    let answers = futures::future::join_all(asked).await;
    let proves = |who: &Identity| {
        // Also one of a later generation: it began without this node.
        let ours = |cluster| cluster == standing.cluster || standing.cluster.precedes(cluster);
        let hears_a_leader = who.cluster.is_some_and(ours) && who.leader.is_some();
        hears_a_leader && !who.apis.is_empty() && !who.apis.contains(&own.api)
    };
    answers.iter().flatten().any(proves)
}
