//! A raft peer that is no member of any cluster, for those who need one to talk to.

use std::cell::Cell;
use std::rc::Rc;

use actix::prelude::*;
use prometheus::Registry;

use crate::actors::metrics::RaftMetrics;
use crate::actors::raft_peer::{Neighbours, Published, RaftPeer, SendEnvelopes};
use crate::env::clock::SystemClock;
use crate::env::entropy::Entropy;
use crate::raft::{Config, PeerId};

/// Takes what a peer says, and counts it.
struct Sink(Rc<Cell<usize>>);

impl Actor for Sink {
    type Context = Context<Self>;
}

impl Handler<SendEnvelopes> for Sink {
    type Result = ();

    fn handle(&mut self, sent: SendEnvelopes, _: &mut Self::Context) {
        self.0.set(self.0.get() + sent.envelopes.len());
    }
}

impl Handler<Published> for Sink {
    type Result = ();

    fn handle(&mut self, _: Published, _: &mut Self::Context) {}
}

/// Starts it.
pub(crate) fn silent_peer() -> Addr<RaftPeer> {
    counted_peer().0
}

/// The same, with the number of envelopes it has sent.
pub(crate) fn counted_peer() -> (Addr<RaftPeer>, Rc<Cell<usize>>) {
    let sent = Rc::default();
    let sink = Sink(Rc::clone(&sent)).start();
    let neighbours = Neighbours {
        send: sink.clone().recipient(),
        published: sink.recipient(),
        leader_team: Vec::new(),
    };
    let (clock, entropy) = (Rc::new(SystemClock::new()), Entropy::from_seed(1));
    let metrics = RaftMetrics::new(&Registry::new()).unwrap();
    let peer = RaftPeer::new(
        PeerId(1),
        Config::default(),
        clock,
        entropy,
        neighbours,
        metrics,
    );
    (peer.start(), sent)
}
