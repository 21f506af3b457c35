//! Leadership goes to another voter because the leader's machine or process goes away.
//!
//! Deliberately without an answer: who asks sees by the role whether it came to pass.

use actix::prelude::*;

use super::RaftPeer;
use crate::raft::{Input, PeerId};

/// Hand leadership to this voter. Ignored by a peer that does not lead.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct Transfer(pub PeerId);

impl Handler<Transfer> for RaftPeer {
    type Result = ();

    fn handle(&mut self, Transfer(target): Transfer, ctx: &mut Self::Context) {
        self.step(Input::Transfer(target), ctx);
    }
}
