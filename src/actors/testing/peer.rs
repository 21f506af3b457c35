//! A raft peer that is no member of any cluster, for those who need one to talk to.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use actix::prelude::*;
use prometheus::Registry;

use crate::actors::metrics::RaftMetrics;
use crate::actors::raft_peer::{Neighbours, Published, RaftPeer, SendEnvelopes};
use crate::env::clock::SystemClock;
use crate::env::entropy::Entropy;
use crate::raft::{Config, PeerId};

/// What a peer has said.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// Envelopes sent.
    pub(crate) envelopes: Cell<usize>,
    /// Whom it knew how to reach when it sent the last ones.
    pub(crate) reachable: RefCell<Vec<PeerId>>,
    /// Times it told its store front of something.
    pub(crate) published: Cell<usize>,
}

/// Takes what a peer says, and counts it.
struct Sink(Rc<Said>);

impl Actor for Sink {
    type Context = Context<Self>;
}

impl Handler<SendEnvelopes> for Sink {
    type Result = ();

    fn handle(&mut self, sent: SendEnvelopes, _: &mut Self::Context) {
        let Said {
            envelopes,
            reachable,
            ..
        } = &*self.0;
        envelopes.set(envelopes.get() + sent.envelopes.len());
        reachable.replace(sent.contacts.keys().copied().collect());
    }
}

impl Handler<Published> for Sink {
    type Result = ();

    fn handle(&mut self, _: Published, _: &mut Self::Context) {
        self.0.published.set(self.0.published.get() + 1);
    }
}

/// Starts it.
pub(crate) fn silent_peer() -> Addr<RaftPeer> {
    counted_peer().0
}

/// The same, with what it says.
pub(crate) fn counted_peer() -> (Addr<RaftPeer>, Rc<Said>) {
    let said = Rc::default();
    let sink = Sink(Rc::clone(&said)).start();
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
    (peer.start(), said)
}
