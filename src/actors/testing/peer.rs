//! A raft peer that is no member of any cluster, for those who need one to talk to.

use std::rc::Rc;

use actix::prelude::*;
use prometheus::Registry;

use crate::actors::metrics::RaftMetrics;
use crate::actors::raft_peer::{Neighbours, Published, RaftPeer, SendEnvelopes};
use crate::env::clock::SystemClock;
use crate::env::entropy::Entropy;
use crate::raft::{Config, PeerId};

/// Takes what a peer says, and forgets it.
struct Sink;

impl Actor for Sink {
    type Context = Context<Self>;
}

impl Handler<SendEnvelopes> for Sink {
    type Result = ();

    fn handle(&mut self, _: SendEnvelopes, _: &mut Self::Context) {}
}

impl Handler<Published> for Sink {
    type Result = ();

    fn handle(&mut self, _: Published, _: &mut Self::Context) {}
}

/// Starts it.
pub(crate) fn silent_peer() -> Addr<RaftPeer> {
    let sink = Sink.start();
    let neighbours = Neighbours {
        send: sink.clone().recipient(),
        published: sink.recipient(),
        leader_team: Vec::new(),
    };
    let (clock, entropy) = (Rc::new(SystemClock::new()), Entropy::from_seed(1));
    let metrics = RaftMetrics::new(&Registry::new()).unwrap();
    RaftPeer::new(
        PeerId(1),
        Config::default(),
        clock,
        entropy,
        neighbours,
        metrics,
    )
    .start()
}
