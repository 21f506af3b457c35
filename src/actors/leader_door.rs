//! The door by which the leader's own actors write: to their own node's store front, and only while it leads.
//!
//! What a leader has decided must never be forwarded: a deposed one's late word ("this node is silent") would overwrite
//! what its successor knows better. Clients' writes go through [`StoreFront`] itself, which finds the leader.

use actix::prelude::*;

use super::messages::Submit;
use super::refusals::stopping;
use super::store_front::{StoreFront, SubmitHere};
use crate::resource::{Reply, Status};

/// The actor: answers every request of a [`Submit`] with `NotLeader` unless this node leads.
pub struct LeaderDoor {
    front: Addr<StoreFront>,
}

impl LeaderDoor {
    /// To this node's front.
    pub fn new(front: Addr<StoreFront>) -> Self {
        Self { front }
    }
}

impl Actor for LeaderDoor {
    type Context = Context<Self>;
}

impl Handler<Submit> for LeaderDoor {
    type Result = ResponseFuture<Vec<Result<Reply, Status>>>;

    fn handle(&mut self, Submit(requests): Submit, _: &mut Self::Context) -> Self::Result {
        let count = requests.len();
        let submitted = self.front.send(SubmitHere(requests));
        Box::pin(async move {
            let replies = submitted.await.unwrap_or_else(|_| Err(stopping()));
            replies.unwrap_or_else(|status| vec![Err(status); count])
        })
    }
}
