//! What came together is stepped together: one message a peer for many proposals, one word of many changes.
//!
//! Inputs wait until the mailbox is empty, then all of them are stepped and what follows is performed once. Deliberately
//! not a delay: nothing waits for more to come.

use actix::prelude::*;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::super::member::Pending;
use super::{ProposeError, RaftPeer};
use crate::raft::{Input, Ready};
use crate::store::Outcome;

/// Bytes of proposals that are proposed as one: as many as one append message carries.
const PROPOSED_BYTES_MAX: usize = 256 << 10;

/// Step everything that waits. One for each time the mailbox was empty, so that whatever came together is stepped
/// together: its entries travel in one message and its effects are told once.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Flush;

/// Proposals that will be one.
#[derive(Default)]
pub(super) struct Proposals {
    pub(super) payloads: Vec<Bytes>,
    pub(super) bytes: usize,
    pub(super) answers: Vec<oneshot::Sender<Result<Outcome, ProposeError>>>,
}

impl RaftPeer {
    /// Steps the core, first with what waits, and performs what it returns.
    pub(super) fn step(&mut self, input: Input, ctx: &mut Context<Self>) {
        self.seal_proposals();
        self.inputs.push(input);
        self.step_inputs(ctx);
    }

    /// Steps the core soon, together with what else has come by then.
    pub(super) fn step_soon(&mut self, input: Input, ctx: &mut Context<Self>) {
        self.seal_proposals();
        self.flush_soon(ctx);
        self.inputs.push(input);
    }

    /// The same for proposals.
    pub(super) fn propose_soon(&mut self, proposed: Proposals, ctx: &mut Context<Self>) {
        if self.proposals.bytes + proposed.bytes > PROPOSED_BYTES_MAX {
            self.seal_proposals();
        }
        self.flush_soon(ctx);
        self.proposals.bytes += proposed.bytes;
        self.proposals.payloads.extend(proposed.payloads);
        self.proposals.answers.extend(proposed.answers);
    }

    fn flush_soon(&self, ctx: &mut Context<Self>) {
        if self.inputs.is_empty() && self.proposals.answers.is_empty() {
            ctx.notify(Flush);
        }
    }

    /// Makes the waiting proposals one input.
    fn seal_proposals(&mut self) {
        let Proposals {
            payloads, answers, ..
        } = std::mem::take(&mut self.proposals);
        if let (false, Some(member)) = (payloads.is_empty(), &mut self.member) {
            let tag = member.tag(Pending::Propose(answers));
            self.inputs.push(Input::Propose(tag, payloads));
        }
    }

    /// Forgets what waits to be stepped; whoever asked for it learns that its outcome is unknown.
    pub(super) fn drop_waiting(&mut self) {
        self.inputs.clear();
        self.proposals = Proposals::default();
    }

    fn step_inputs(&mut self, ctx: &mut Context<Self>) {
        let now = self.clock.now();
        let inputs = std::mem::take(&mut self.inputs);
        let ticked = inputs.iter().any(|input| matches!(input, Input::Tick));
        let mut all = Ready::default();
        for input in inputs {
            let Some(member) = &mut self.member else {
                return;
            };
            let ready = member.raft.step(input, now);
            if let Some(mut first) = all.append(ready) {
                // The snapshot is to be of the state after all of these.
                all.snapshot_wanted |= std::mem::take(&mut first.snapshot_wanted);
                self.perform(first, false, ctx);
            }
        }
        self.perform(all, ticked, ctx);
        self.wake_for_a_leader();
    }
}

impl Handler<Flush> for RaftPeer {
    type Result = ();

    fn handle(&mut self, _: Flush, ctx: &mut Self::Context) {
        self.seal_proposals();
        self.step_inputs(ctx);
    }
}
