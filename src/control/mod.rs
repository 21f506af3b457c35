//! Controllers: pure reconcilers `(cache, key, now) → writes`, and the work queue that feeds them.
//!
//! A reconciler sees no event payload: it reads the cache, says what to write, and is called again until it has
//! nothing to say. Deliberately without clocks, actors or retries' timers; `actors/controller_host.rs` has those.

mod bootstrap;
mod claim;
mod deployment;
mod event_ttl;
mod events;
mod garbage;
mod kinds;
mod namespace;
mod node_lifecycle;
mod notice;
mod patches;
mod pod_cleanup;
mod pod_events;
mod queue;
mod replica_set;
mod replicas;
#[cfg(test)]
pub(crate) mod world;

use std::time::Duration;

use rand::RngCore;

pub use bootstrap::Bootstrap;
pub use deployment::Deployments;
pub use event_ttl::EventTtl;
pub use events::{EventSource, Level, event};
pub use garbage::GarbageCollector;
pub(crate) use kinds::{Owner, owner};
pub use namespace::NamespaceDeletion;
pub use node_lifecycle::NodeLifecycle;
pub use pod_cleanup::PodCleanup;
pub use pod_events::pod_events;
pub use queue::WorkQueue;
pub use replica_set::ReplicaSets;

use crate::resource::cache::{Cached, Change};
use crate::resource::selector::SelectorError;
use crate::resource::{Cache, ObjectKey, Request};

/// All controllers of a cluster.
pub fn controllers() -> Vec<Box<dyn Controller>> {
    let mut controllers: Vec<Box<dyn Controller>> = vec![
        Box::new(Bootstrap),
        Box::new(NodeLifecycle),
        Box::new(PodCleanup),
        Box::new(ReplicaSets),
        Box::new(Deployments),
        Box::new(NamespaceDeletion),
    ];
    kinds::each_kind!(T => controllers.push(Box::new(GarbageCollector::<T>::default())));
    controllers
}

/// Brings one kind of object closer to what its spec says.
pub trait Controller {
    /// For logs and metrics, e.g. `replicaset-controller`.
    fn name(&self) -> &'static str;
    /// The keys a change calls for. May name too many, never too few.
    fn keys_for(&self, change: &Change, cache: &Cache) -> Vec<ObjectKey>;
    /// The keys to look at when a leader starts.
    fn all_keys(&self, cache: &Cache) -> Vec<ObjectKey>;
    /// What to write now, so that the object comes closer to its spec. Idempotent: once the cache reflects the
    /// writes, it asks for no more of the same. A key whose object is gone is no error.
    fn reconcile(
        &self,
        cache: &Cache,
        key: &ObjectKey,
        now: jiff::Timestamp,
        entropy: &mut dyn RngCore,
    ) -> Result<Outcome, ReconcileError>;
}

/// The keys of all objects of a kind.
fn keys_of<T: Cached>(cache: &Cache) -> Vec<ObjectKey> {
    cache.list::<T>().map(|(key, _)| key.clone()).collect()
}

/// What a reconciler asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// In this order, each by itself.
    pub writes: Vec<Write>,
    /// Look again after this long even if nothing changes.
    pub requeue_after: Option<Duration>,
}

impl Outcome {
    /// Adds a write without an event.
    fn write(&mut self, request: Request) {
        self.writes.push(Write {
            request,
            event: None,
        });
    }

    /// Adds a write that is told to people once it has succeeded.
    fn write_and_tell(&mut self, request: Request, event: Request) {
        self.writes.push(Write {
            request,
            event: Some(event),
        });
    }

    /// Asks to be called again no later than after `delay`.
    fn requeue_within(&mut self, delay: Duration) {
        let sooner = self.requeue_after.map_or(delay, |other| other.min(delay));
        self.requeue_after = Some(sooner);
    }
}

/// One write and what is said about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// The write.
    pub request: Request,
    /// Creates a v1 Event; sent only after `request` has succeeded, and never retried.
    pub event: Option<Request>,
}

/// Why a key could not be reconciled. It is logged and tried again with back-off.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// A selector that validation should have refused.
    #[error("{kind} {key} has an invalid selector: {reason}")]
    InvalidSelector {
        /// The object's kind.
        kind: &'static str,
        /// The object.
        key: ObjectKey,
        /// What is wrong.
        reason: SelectorError,
    },
    /// A field that every stored object of the kind has is missing.
    #[error("{kind} {key} has no {field}")]
    Incomplete {
        /// The object's kind.
        kind: &'static str,
        /// The object.
        key: ObjectKey,
        /// The missing field.
        field: &'static str,
    },
}

impl ReconcileError {
    fn no_spec<T: k8s_openapi::Resource>(key: &ObjectKey) -> Self {
        Self::Incomplete {
            kind: T::KIND,
            key: key.clone(),
            field: "spec",
        }
    }
}
