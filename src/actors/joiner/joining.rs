//! How a joiner asks for admission, and what the answer means for it.
//!
//! A process that a later one of its name has taken over ends: it was taken for dead (`admission.rs`). Any other
//! refusal may pass, so it asks again.

use std::time::Duration;

use actix::prelude::*;
use tokio::time::Instant;

use super::super::caller::{CallError, Place};
use super::super::refusals::is_superseded;
use super::super::wire::{Answer, Call};
use super::{Joiner, end};
use crate::raft::ClusterId;

/// Admission writes a Node object through Raft, so it may take an election.
const ADMIT_MS_MAX: u64 = 5_000;

/// An attempt to join ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct JoinTried(pub(super) Result<ClusterId, NotAdmitted>);

/// Why a node was not admitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotAdmitted {
    /// A later process has its name.
    #[error("{0}")]
    Superseded(String),
    /// Whatever it is, it may pass.
    #[error("{0}")]
    ForNow(String),
}

impl Joiner {
    /// Asks for admission, through whoever leads.
    pub(super) fn join(&mut self, address: String, to: Option<ClusterId>, ctx: &mut Context<Self>) {
        let (id, contact) = (self.introduction.id, self.introduction.contact.clone());
        // Another generation may have begun with a state from before this process was admitted: whoever has the name
        // there need not be a later one.
        let again = self.registered && to == self.cluster();
        let (caller, me) = (self.caller.clone(), ctx.address());
        let joining = async move {
            let deadline = Instant::now() + Duration::from_millis(ADMIT_MS_MAX);
            let call = Call::Join {
                id,
                contact,
                again,
                forward: true,
            };
            let result = match caller
                .send(Place {
                    address,
                    call,
                    deadline,
                })
                .await
            {
                Ok(Ok(Answer::Joined(cluster))) => Ok(cluster),
                Ok(Ok(other)) => Err(NotAdmitted::ForNow(format!("unexpected answer {other:?}"))),
                Ok(Err(CallError::Refused(status))) if is_superseded(&status) => {
                    Err(NotAdmitted::Superseded(status.message))
                }
                Ok(Err(error)) => Err(NotAdmitted::ForNow(error.to_string())),
                Err(_) => return,
            };
            me.do_send(JoinTried(result));
        };
        ctx.spawn(joining.into_actor(self));
    }
}

impl Handler<JoinTried> for Joiner {
    type Result = ();

    fn handle(&mut self, JoinTried(result): JoinTried, _: &mut Self::Context) {
        self.busy = false;
        self.attempts = self.attempts.wrapping_add(1);
        match result {
            Ok(cluster) if self.may_belong_to(cluster) => {
                self.registered = true;
                self.complaint.clear();
                self.founding = None;
                self.unlinked_since = self.unlinked_since.map(|_| Instant::now());
                if self.cluster() != Some(cluster) {
                    self.take_part(cluster, None);
                }
            }
            Ok(other) => {
                tracing::error!(?other, own = ?self.cluster(), "the seeds belong to another cluster");
            }
            Err(NotAdmitted::Superseded(reason)) => end(&self.ended, reason),
            Err(NotAdmitted::ForNow(reason)) if !self.is_news(&reason) => {}
            Err(reason) if self.registered => tracing::warn!(%reason, "not admitted again"),
            Err(reason) => tracing::warn!(%reason, "not admitted yet"),
        }
    }
}
