//! How a node finds out that it is no member any more: nobody tells it, since a leader speaks to members only.
//!
//! A member that was cut off for long enough is replaced behind its back. Its state is then of the past, and its peer
//! waits for a leader for ever. Deliberately no guess: only a leader that names members without this node is proof.
//! The members that this node knew may all have gone, or vote no more; but they, and this node itself, may hear the
//! leader over its link, and so say where to ask.

use std::collections::BTreeSet;

use actix::Addr;

use super::caller::Caller;
use super::doors::Known;
use super::formation::ask_who;
use super::wire::Identity;

/// Rounds of asking: those who were members, whom they name as the leader, and whom that one names if it has just lost.
const ROUNDS_MAX: usize = 3;

/// Asks those who were members when this node last heard, itself among them, and the leaders that they name.
pub(super) async fn is_removed(known: Known, caller: Addr<Caller>) -> bool {
    let standing = &known.standing;
    // Also one of a later generation: it began without this node.
    let ours = |cluster| cluster == standing.cluster || standing.cluster.precedes(cluster);
    let mut next: BTreeSet<String> = known.contacts().map(|contact| contact.address).collect();
    let mut asked = BTreeSet::new();
    for _ in 0..ROUNDS_MAX {
        next.retain(|address| asked.insert(address.clone()));
        let questions = next.iter().map(|address| ask_who(&caller, address));
        let answers = futures::future::join_all(questions).await;
        let ours = |who: &Identity| who.cluster.is_some_and(ours);
        let answers: Vec<_> = answers.into_iter().flatten().filter(ours).collect();
        let names = |who: &Identity| !who.members.is_empty();
        if answers
            .iter()
            .any(|who| names(who) && !who.members.contains(&standing.id))
        {
            return true;
        }
        next = answers.into_iter().filter_map(|who| who.leader).collect();
    }
    false
}
