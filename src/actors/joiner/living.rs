//! Whether all is lost: before a cluster begins with a state that was kept, the nodes which that state, or the newest
//! roster, names are asked.
//!
//! One that still holds the cluster's log, or hears a leader of it, may know of writes that came after the state: going
//! on from there is `kagero recover`'s, which counts such survivors. A node without a vote that merely lives is none.
//! Deliberately takes silence for an end: of machines that are gone nothing else is to be had.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::prelude::*;
use futures::StreamExt;
use futures::stream;
use tokio::time::Instant;

use super::super::archive::Listed;
use super::super::caller::{Caller, Place};
use super::super::wire::{Answer, Call};
use crate::raft::PeerId;

/// For one node's answer; a connection to a machine that is gone takes as long.
const ANSWER_MS_MAX: u64 = 2_000;
/// Nodes asked at a time: 5,000 that are gone take 40 s.
const ASKED_AT_A_TIME: usize = 250;

/// Names one of these nodes that holds the cluster's log still, or hears its leader.
pub(super) async fn survivor(
    caller: &Addr<Caller>,
    own: PeerId,
    cluster: u64,
    nodes: BTreeMap<String, Listed>,
) -> Option<String> {
    let own = own.to_string();
    let nodes = nodes.into_iter().filter(|(id, _)| *id != own);
    let asked = stream::iter(nodes).map(|(_, node)| async move {
        let place = Place {
            address: node.address,
            call: Call::Testify,
            deadline: Instant::now() + Duration::from_millis(ANSWER_MS_MAX),
        };
        let Ok(Ok(Answer::Testified(said))) = caller.send(place).await else {
            return None;
        };
        let account = said.account?;
        let lives = account.hears_leader || account.position.index > 0;
        (account.cluster.id == cluster && lives).then_some(node.name)
    });
    let mut living = asked
        .buffer_unordered(ASKED_AT_A_TIME)
        .filter_map(std::future::ready)
        .boxed_local();
    living.next().await
}
