//! What every handler shares: the way to the actors, with a deadline on each question, and this server's own state.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use actix::{Message, Recipient};
use bytes::Bytes;

use super::State;
use super::continuation::Views;
use super::failure;
use super::metrics::Metrics;
use crate::actors::messages::{Consistency, Read, Submit, Subscription, Watch};
use crate::resource::{Reply, Request, Status};
use crate::store::{Revision, View};

/// A question to an actor that takes longer is answered 504 (Kubernetes' own bound on a request).
pub(super) const ANSWER_SECONDS_MAX: u64 = 60;

/// The server's state, one per server, on one thread.
pub(super) struct Context {
    /// From the composition root.
    pub(super) state: State,
    /// Request metrics.
    pub(super) metrics: Metrics,
    /// Views behind continue tokens.
    pub(super) views: Views,
    /// OpenAPI documents that were asked for, encoded.
    pub(super) documents: RefCell<BTreeMap<String, Rc<Document>>>,
}

/// An encoded OpenAPI document.
pub(super) struct Document {
    /// JSON.
    pub(super) body: Bytes,
    /// Stands in its address and changes with it.
    pub(super) hash: String,
}

impl Context {
    /// A fresh one; registers its metrics.
    pub(super) fn new(state: State) -> Self {
        Self {
            metrics: Metrics::new(&state.registry),
            state,
            views: Views::default(),
            documents: RefCell::default(),
        }
    }

    /// The monotonic clock.
    pub(super) fn now(&self) -> Duration {
        self.state.clock.now()
    }

    /// The wall clock.
    pub(super) fn wall(&self) -> jiff::Timestamp {
        self.state.clock.wall()
    }

    /// Plans and commits one write.
    pub(super) async fn submit(&self, request: Request) -> Result<Reply, Status> {
        let replies = ask(&self.state.submit, Submit(vec![request])).await?;
        let reply = replies.into_iter().next();
        reply.unwrap_or_else(|| Err(Status::internal("a write was not answered")))
    }

    /// A view that is fresh enough.
    pub(super) async fn view(&self, consistency: Consistency) -> Result<View, Status> {
        ask(&self.state.read, Read(consistency)).await?
    }

    /// Subscribes to changes.
    pub(super) async fn subscribe(
        &self,
        prefix: String,
        after: Revision,
    ) -> Result<Subscription, Status> {
        ask(&self.state.watch, Watch { prefix, after }).await?
    }
}

/// Sends a question to an actor and waits for its answer, [`ANSWER_SECONDS_MAX`] at most.
pub(super) async fn ask<M>(actor: &Recipient<M>, message: M) -> Result<M::Result, Status>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    let deadline = Duration::from_secs(ANSWER_SECONDS_MAX);
    match tokio::time::timeout(deadline, actor.send(message)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_closed)) => Err(failure::stopping()),
        Err(_elapsed) => Err(failure::timeout(ANSWER_SECONDS_MAX)),
    }
}
