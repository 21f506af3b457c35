//! One container of a pod over its attempts: what runs, what ran before, why it waits, when it may start again.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ContainerStatus;

use super::super::types::{ContainerRecord, ContainerState, EXIT_CODE_UNKNOWN, Exit};

/// The first delay between restarts and between pulls (the kubelet's).
const BACKOFF_FIRST: Duration = Duration::from_secs(10);
/// The longest (the kubelet's).
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// A container that ran this long is well again: its delays begin anew.
const WELL_AFTER_SECONDS: i64 = 600;
/// The first delay after the engine failed us, which usually passes soon.
const ENGINE_BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// The longest of those.
const ENGINE_BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Exponential delays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    delay: Duration,
    until: Duration,
}

impl Backoff {
    /// 10 s, 20 s … 300 s: crashes and pulls.
    pub(crate) fn slow() -> Self {
        Self {
            first: BACKOFF_FIRST,
            max: BACKOFF_MAX,
            delay: Duration::ZERO,
            until: Duration::ZERO,
        }
    }

    /// 1 s … 30 s: the engine.
    pub(crate) fn quick() -> Self {
        Self {
            first: ENGINE_BACKOFF_FIRST,
            max: ENGINE_BACKOFF_MAX,
            ..Self::slow()
        }
    }

    /// Whether the time has come.
    pub(crate) fn is_over(&self, now: Duration) -> bool {
        now >= self.until
    }

    /// Time left until then.
    pub(crate) fn remaining(&self, now: Duration) -> Duration {
        self.until.saturating_sub(now)
    }

    /// The delay in force.
    pub(crate) fn delay(&self) -> Duration {
        self.delay
    }

    /// Holds for the present delay, from now.
    pub(crate) fn hold(&mut self, now: Duration) {
        self.until = now + self.delay;
    }

    /// Makes the next delay longer.
    pub(crate) fn lengthen(&mut self) {
        self.delay = if self.delay.is_zero() {
            self.first
        } else {
            (self.delay * 2).min(self.max)
        };
    }

    /// One more failure: longer, and from now.
    pub(crate) fn fail(&mut self, now: Duration) {
        self.lengthen();
        self.hold(now);
    }

    /// All is well.
    pub(crate) fn reset(&mut self) {
        self.delay = Duration::ZERO;
        self.until = Duration::ZERO;
    }
}

/// One attempt of a container.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Instance {
    /// The runtime's id; "" if it never came to be.
    pub(crate) id: String,
    pub(crate) attempt: u32,
    pub(crate) sandbox_id: String,
    pub(crate) spec_hash: String,
    pub(crate) image: String,
    pub(crate) image_id: String,
    pub(crate) state: ContainerState,
}

impl Instance {
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.state, ContainerState::Running { .. })
    }

    pub(crate) fn exit(&self) -> Option<&Exit> {
        match &self.state {
            ContainerState::Exited(exit) => Some(exit),
            ContainerState::Created | ContainerState::Running { .. } => None,
        }
    }
}

impl From<ContainerRecord> for Instance {
    fn from(record: ContainerRecord) -> Self {
        Self {
            id: record.id,
            attempt: record.attempt,
            sandbox_id: record.sandbox_id,
            spec_hash: record.spec_hash,
            image: record.image,
            image_id: record.image_id,
            state: record.state,
        }
    }
}

/// Why a container is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Waiting {
    /// Whether it is about the image.
    pub(crate) fn is_of_pull(&self) -> bool {
        self.reason.contains("Image")
    }
}

/// One container of a pod. Invariant: `last`, if any, is an attempt before `current`'s.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    /// The newest attempt.
    pub(crate) current: Option<Instance>,
    /// The one before, ended: `lastState`, `logs --previous`.
    pub(crate) last: Option<Instance>,
    /// Why the next attempt is not there yet.
    pub(crate) waiting: Option<Waiting>,
    /// The image for the next attempt, once it is known to be there.
    pub(crate) image_id: Option<String>,
    /// Delays between attempts.
    pub(crate) restart: Backoff,
    /// Delays between pulls.
    pub(crate) pull: Backoff,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            current: None,
            last: None,
            waiting: None,
            image_id: None,
            restart: Backoff::slow(),
            pull: Backoff::slow(),
        }
    }
}

impl Slot {
    pub(crate) fn is_running(&self) -> bool {
        self.current.as_ref().is_some_and(Instance::is_running)
    }

    pub(crate) fn exit(&self) -> Option<&Exit> {
        self.current.as_ref().and_then(Instance::exit)
    }

    pub(crate) fn next_attempt(&self) -> u32 {
        match &self.current {
            Some(current) if current.state == ContainerState::Created => current.attempt,
            Some(current) => current.attempt + 1,
            None => self.last.as_ref().map_or(0, |last| last.attempt + 1),
        }
    }

    /// Takes what the runtime says of the newest attempt. Returns an older one to remove, if any.
    pub(crate) fn on_seen(&mut self, seen: Instance, now: Duration) -> Option<Instance> {
        let was_running = self.is_running();
        let ended = seen.exit().cloned();
        let mut old = None;
        let is_same = |c: &Instance| c.id == seen.id && c.attempt == seen.attempt;
        let same = self.current.as_ref().is_some_and(is_same);
        if !same && let Some(before) = self.current.replace(seen.clone()) {
            old = self.last.replace(before);
        }
        self.current = Some(seen);
        if let Some(exit) = ended
            && (was_running || !same)
        {
            self.on_ended(&exit, now);
        }
        old
    }

    /// The newest attempt is no longer known to the runtime.
    pub(crate) fn on_vanished(&mut self, now: Duration, wall: Timestamp) {
        let Some(current) = &mut self.current else {
            return;
        };
        let started_at = match &current.state {
            ContainerState::Running { started_at } => Some(*started_at),
            ContainerState::Created => None,
            ContainerState::Exited(_) => return,
        };
        let exit = unknown_exit(started_at, wall);
        current.state = ContainerState::Exited(exit.clone());
        self.on_ended(&exit, now);
    }

    fn on_ended(&mut self, exit: &Exit, now: Duration) {
        let began = exit.started_at.unwrap_or(exit.finished_at);
        if exit.finished_at.as_second() - began.as_second() >= WELL_AFTER_SECONDS {
            self.restart.reset();
        }
        self.restart.hold(now);
        self.waiting = None;
    }

    /// A new attempt has begun, or failed to (then its exit is in its state). Returns an older one to remove, if any.
    pub(crate) fn on_started(&mut self, instance: Instance, now: Duration) -> Option<Instance> {
        if self.exit().is_some() {
            self.restart.lengthen();
        }
        self.waiting = None;
        self.image_id = None;
        if self.current.as_ref().is_some_and(|c| c.exit().is_none()) {
            // A start that was interrupted: the runtime removed what was left of it.
            self.current = None;
        }
        self.on_seen(instance, now)
    }

    /// What the pod's status remembers of a container that is nowhere to be found: it does not run twice because the
    /// machine was restarted.
    pub(crate) fn recall(
        &mut self,
        status: &ContainerStatus,
        hash: String,
        now: Duration,
        wall: Timestamp,
    ) {
        let state = status.state.clone().unwrap_or_default();
        let last = status.last_state.clone().unwrap_or_default();
        let exit = if let Some(ended) = state.terminated.or(last.terminated) {
            Exit {
                code: ended.exit_code,
                // The epoch stands for a container that never ran (`status.rs`).
                started_at: ended
                    .started_at
                    .map(|t| t.0)
                    .filter(|t| *t != Timestamp::UNIX_EPOCH),
                finished_at: ended.finished_at.map_or(wall, |t| t.0),
                reason: ended.reason,
                message: ended.message.unwrap_or_default(),
            }
        } else if let Some(running) = state.running {
            unknown_exit(running.started_at.map(|t| t.0), wall)
        } else {
            return;
        };
        let id = status.container_id.as_deref().unwrap_or_default();
        let instance = Instance {
            id: id.rsplit_once("//").map_or(id, |(_, id)| id).to_owned(),
            attempt: u32::try_from(status.restart_count).unwrap_or_default(),
            sandbox_id: String::new(),
            spec_hash: hash,
            image: status.image.clone(),
            image_id: status.image_id.clone(),
            state: ContainerState::Exited(exit),
        };
        self.on_seen(instance, now);
    }
}

fn unknown_exit(started_at: Option<Timestamp>, wall: Timestamp) -> Exit {
    Exit {
        code: EXIT_CODE_UNKNOWN,
        started_at,
        finished_at: wall,
        reason: Some("ContainerStatusUnknown".to_owned()),
        message: "The container could not be located".to_owned(),
    }
}
