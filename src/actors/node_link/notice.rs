//! Writes down that a node's end is announced, on the node's word.
//!
//! Deliberately nothing else: what follows from it, controllers and the membership keeper read from the Node object.

use std::time::Duration;

use actix::prelude::*;
use jiff::{SignedDuration, Timestamp};

use super::{NodeLink, RETRY_MS, worth_retrying};
use crate::actors::messages::Submit;
use crate::actors::registration::announce;
use crate::resource::Request;
use crate::resource::nodes::Eviction;

/// A deadline that differs by less from the one that is written is the same: the way of the word takes time.
const MOVED_MIN: SignedDuration = SignedDuration::from_secs(5);

impl NodeLink {
    /// The node says that its machine will be taken away in so many milliseconds, or, after all, not.
    pub(super) fn on_notice(&mut self, in_ms: Option<u64>, ctx: &mut Context<Self>) {
        let now = self.around.clock.wall();
        let after = |ms| now.checked_add(Duration::from_millis(ms));
        let deadline = in_ms.map(|ms| after(ms).unwrap_or(Timestamp::MAX));
        let known = match (self.notice, deadline) {
            (Some(before), Some(now)) => before.duration_since(now).abs() < MOVED_MIN,
            (before, now) => before == now,
        };
        if known {
            return;
        }
        self.notice = deadline;
        let node = self.target.name.clone();
        let eviction = deadline.map(|deadline| Eviction {
            incarnation: self.target.id.to_string(),
            since: now,
            deadline,
        });
        tracing::warn!(node, ?deadline, "the end of a node is announced");
        let (request, submit) = (announce(&node, eviction.as_ref()), &self.around.submit);
        let writing = write(request, submit.clone(), node).into_actor(self);
        let before = self.announcing.replace(ctx.spawn(writing));
        if let Some(before) = before {
            ctx.cancel_future(before);
        }
    }
}

/// Writes until it is written, or can't be. The link's end ends it, too.
async fn write(request: Request, submit: Recipient<Submit>, node: String) {
    loop {
        // No answer means that the node is stopping.
        let Ok(replies) = submit.send(Submit(vec![request.clone()])).await else {
            return;
        };
        match replies.into_iter().next() {
            Some(Err(refused)) if worth_retrying(&refused) => {
                tracing::info!(node, %refused, "cannot announce a node's end yet");
                tokio::time::sleep(Duration::from_millis(RETRY_MS)).await;
            }
            Some(Err(refused)) => {
                tracing::warn!(node, %refused, "cannot announce a node's end");
                return;
            }
            Some(Ok(_)) | None => return,
        }
    }
}
