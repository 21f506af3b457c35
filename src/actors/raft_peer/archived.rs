//! A peer and the archive: it gives its state to be kept, and begins a generation of a state that was kept.
//!
//! The state is taken in O(1); encoding it is the taker's work. Deliberately no decision to do either.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::prelude::*;
use bytes::Bytes;

use super::super::member::Member;
use super::RaftPeer;
use crate::raft::{ClusterId, Configuration, Index, Input, PeerId, Term};
use crate::store::{Operation, Snapshot, Store};

/// Give the applied state. Answered only while this peer leads with a complete view.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "Option<Taken>")]
pub struct TakeSnapshot;

/// A leader's state.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Its cluster.
    pub cluster: ClusterId,
    /// The last entry that is in it.
    pub index: Index,
    /// That entry's term.
    pub term: Term,
    /// The state.
    pub snapshot: Snapshot,
    /// How each member is reached.
    pub contacts: Arc<BTreeMap<PeerId, Bytes>>,
}

/// Begin a generation with this state, as its only voter, outside of any cluster.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Refound {
    /// The cluster and the generation that begins.
    pub cluster: ClusterId,
    /// Its first configuration.
    pub configuration: Configuration,
    /// The state that was kept.
    pub store: Store,
    /// The log begins after this index.
    pub index: Index,
    /// Its terms come after this one.
    pub term: Term,
    /// The record of the restore.
    pub record: Vec<Operation>,
}

impl Handler<TakeSnapshot> for RaftPeer {
    type Result = MessageResult<TakeSnapshot>;

    fn handle(&mut self, _: TakeSnapshot, _: &mut Self::Context) -> Self::Result {
        let leads = |member: &&Member| member.leading.is_some();
        let taken = self.member.as_ref().filter(leads).map(|member| Taken {
            cluster: member.cluster,
            index: member.applied,
            term: member.applied_term,
            snapshot: member.store.snapshot(),
            contacts: member.contacts.clone(),
        });
        MessageResult(taken)
    }
}

impl Handler<Refound> for RaftPeer {
    type Result = ();

    fn handle(&mut self, refound: Refound, ctx: &mut Self::Context) {
        assert!(
            self.member.is_none() && self.relic.is_none() && self.promise.is_none(),
            "the joiner founds only while this node is in no cluster"
        );
        let (now, entropy) = (self.clock.now(), self.entropy.fork());
        let (generation, config) = (refound.cluster.generation, self.config.clone());
        let member = Member::refounded(self.id, config, refound, now, entropy);
        let member = member.keeping(self.history);
        let revision = member.store.revision();
        self.member = Some(member);
        tracing::warn!(generation, revision, "begins a generation from the archive");
        // Alone, it elects itself at once.
        self.step(Input::Tick, ctx);
        self.arm(ctx);
    }
}
