//! Unique pods: run only under a lease, are killed at its end, and start again only where nobody else can run them.
//!
//! Deliberately without any idea of how long a lease is or who confirms it (`actors/lease.rs`): a moment on the agent's
//! clock is enough here. A pod that is not unique always has a lease.

use std::time::Duration;

use super::super::operation::Operation;
use super::super::render;
use super::super::types::Assignment;
use super::slot::{Slot, Waiting};
use super::{Flight, Moment, PodMachine};

/// Between two attempts to kill what an engine did not kill: soon enough for the time that a stop may take, and no more
/// than a few questions a second to an engine that is ill.
const KILL_AGAIN: Duration = Duration::from_millis(500);

/// Why a container waits, in its status.
const NO_LEASE: &str = "WaitingForLease";

impl PodMachine {
    /// Whether it may run now.
    pub(crate) fn has_lease(&self, now: Duration) -> bool {
        !self.pod.unique || self.leased_until.is_some_and(|until| now < until)
    }

    /// It has the lease that ends then, too.
    pub(crate) fn extend_lease(&mut self, until: Duration) {
        self.leased_until = self.leased_until.max(Some(until));
    }

    /// A leader wants it. Without a lease that has held until now it is as strange here as anywhere, unless nobody else
    /// can ever have run it.
    pub(crate) fn claim(&mut self, unique: bool, fresh: bool, now: Duration) {
        self.pod.unique = unique;
        let holds = self.has_lease(now);
        if !holds {
            self.leased_until = None;
        }
        self.trusted = fresh || holds && self.trusted;
    }

    /// Whether this node may start it, or say that it is gone: it alone can have run it up to now, or nobody can.
    pub(super) fn is_ours(&self, moment: &Moment<'_>) -> bool {
        !self.pod.unique || self.has_lease(moment.now) && (self.trusted || moment.may_start)
    }

    /// Whether a start that was planned earlier may begin: it has held its lease ever since.
    pub(crate) fn is_trusted_with_start(&self, now: Duration) -> bool {
        !self.pod.unique || self.has_lease(now) && self.trusted
    }

    /// Kills whatever of it runs: its lease is over, or was over for a while. Its sandbox goes, too: a container that is
    /// just being started fails without it.
    pub(super) fn halt(&mut self, moment: &mut Moment<'_>) {
        if self.leased_until.is_some() {
            self.trusted = false;
        }
        if self.kill_again > moment.now {
            return;
        }
        let grace = Duration::ZERO;
        let ids: Vec<String> = self.running().map(|(_, id)| id).collect();
        for id in ids {
            let killing = |flight: &Flight| matches!(flight, Flight::Stop(other, at) if *other == id && *at <= moment.now);
            if self.flights.values().any(killing) {
                continue;
            }
            self.kill_again = moment.now + KILL_AGAIN;
            let operation = Operation::StopContainer {
                id: id.clone(),
                grace,
            };
            self.perform(Flight::Stop(id, moment.now), operation, moment);
        }
        let sandboxes = self.sandbox.iter().map(|sandbox| sandbox.id.clone());
        let sandboxes: Vec<String> = sandboxes.chain(self.stale_sandboxes.clone()).collect();
        for id in sandboxes {
            if !self.is_flying(&Flight::RemoveSandbox(id.clone())) {
                self.kill_again = moment.now + KILL_AGAIN;
                self.remove_sandbox(id, moment);
            }
        }
    }

    /// It starts: what was said of its waiting is over.
    pub(super) fn begin(&mut self) {
        for slot in self.slots.values_mut() {
            slot.waiting.take_if(|waiting| waiting.reason == NO_LEASE);
        }
    }

    /// Says why its containers do not start.
    pub(super) fn wait_for_lease(&mut self, assignment: &Assignment) {
        for container in render::main_containers(assignment) {
            let slot = self.slots.entry(container.name.clone()).or_default();
            if !Slot::is_running(slot) {
                slot.waiting = Some(Waiting {
                    reason: NO_LEASE,
                    message: "at most one pod of this name may run: it starts as soon as the leader is sure that it runs nowhere else"
                        .to_owned(),
                });
            }
        }
    }
}
