//! Pods that wait for a node: new ones at once, those that did not fit after a back-off or when the cluster changed.
//!
//! Pure: `now` is the caller's monotonic clock. Deliberately only keys; the pods themselves are in the cache.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use rand::{Rng, RngCore};

use crate::resource::ObjectKey;
use crate::resource::pods::{is_bound, is_terminated, is_terminating};

/// First back-off of a pod that did not fit (Kubernetes' `podInitialBackoffSeconds`).
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// Longest back-off after a relevant change (Kubernetes' `podMaxBackoffSeconds`).
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A pod that does not fit is tried again after this long even if nothing relevant seems to change, in case a rule of
/// relevance is wrong (Kubernetes waits five times as long).
const UNSCHEDULABLE_RETRY: Duration = Duration::from_secs(60);
/// Doublings counted; 2^4 first back-offs are past `BACKOFF_MAX`.
const ATTEMPTS_COUNTED_MAX: u32 = 4;
/// Pods in one plan: bounds the time one message holds the node's thread.
pub const PODS_PER_PLAN_MAX: usize = 1_000;

/// Whether a pod is the scheduler's: it has no node, is not over, and names our scheduler or none.
pub fn wants_node(pod: &Pod) -> bool {
    let scheduler = pod.spec.as_ref().and_then(|s| s.scheduler_name.as_deref());
    let ours = scheduler.is_none_or(|name| matches!(name, "" | "default-scheduler"));
    ours && !is_bound(pod) && !is_terminated(pod) && !is_terminating(pod)
}

#[derive(Clone, Debug, Default)]
struct Waiting {
    attempts: u32,
    /// When it may be tried again after a relevant change.
    not_before: Duration,
    /// When it will be tried again; `None` while it is in work.
    due: Option<Duration>,
    message: String,
}

/// Pods that wait.
///
/// Invariant: `due` holds exactly the pairs of those entries of `waiting` that have a `due`.
#[derive(Debug, Default)]
pub struct PendingPods {
    waiting: BTreeMap<ObjectKey, Waiting>,
    due: BTreeSet<(Duration, ObjectKey)>,
}

impl PendingPods {
    /// A pod that has no node. One already known keeps its place and back-off.
    pub fn add(&mut self, key: ObjectKey, now: Duration) {
        if !self.waiting.contains_key(&key) {
            self.waiting.insert(key.clone(), Waiting::default());
            self.set_due(&key, now);
        }
    }

    /// A pod that has a node, or is gone.
    pub fn remove(&mut self, key: &ObjectKey) {
        if let Some(Waiting { due: Some(at), .. }) = self.waiting.remove(key) {
            self.due.remove(&(at, key.clone()));
        }
    }

    /// The pods whose turn it is, at most [`PODS_PER_PLAN_MAX`]. Each must be bound and removed, or given back.
    pub fn take(&mut self, now: Duration) -> Vec<ObjectKey> {
        let ready = self.due.iter().take_while(|(at, _)| *at <= now);
        let ready: Vec<_> = ready.take(PODS_PER_PLAN_MAX).cloned().collect();
        for entry in &ready {
            self.due.remove(entry);
            let waiting = self.waiting.get_mut(&entry.1);
            waiting.expect("`due` holds only keys of `waiting`").due = None;
        }
        ready.into_iter().map(|(_, key)| key).collect()
    }

    /// A taken pod did not fit. Returns whether that is news: the reason differs from the last one.
    pub fn unschedulable(
        &mut self,
        key: &ObjectKey,
        message: &str,
        now: Duration,
        entropy: &mut dyn RngCore,
    ) -> bool {
        self.back_off(key, now, entropy);
        self.set_due(key, now + UNSCHEDULABLE_RETRY);
        let Some(waiting) = self.waiting.get_mut(key) else {
            return false;
        };
        let news = waiting.message != message;
        message.clone_into(&mut waiting.message);
        news
    }

    /// A taken pod fitted, and the write failed.
    pub fn bind_failed(&mut self, key: &ObjectKey, now: Duration, entropy: &mut dyn RngCore) {
        if let Some(at) = self.back_off(key, now, entropy) {
            self.set_due(key, at);
        }
    }

    /// Something changed that may make room: everybody is tried again as soon as its back-off allows.
    pub fn on_room(&mut self, now: Duration) {
        let late = self.due.iter().filter(|(at, _)| *at > now);
        let late: Vec<_> = late.map(|(_, key)| key.clone()).collect();
        for key in late {
            let at = self.waiting[&key].not_before.max(now);
            self.set_due(&key, at);
        }
    }

    /// When there will be work.
    pub fn next_due(&self) -> Option<Duration> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Pods that wait, those in work included.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn back_off(
        &mut self,
        key: &ObjectKey,
        now: Duration,
        entropy: &mut dyn RngCore,
    ) -> Option<Duration> {
        let waiting = self.waiting.get_mut(key)?;
        let whole = (BACKOFF_FIRST * 2_u32.pow(waiting.attempts)).min(BACKOFF_MAX);
        waiting.attempts = (waiting.attempts + 1).min(ATTEMPTS_COUNTED_MAX);
        // Half is jitter, so that pods that failed together do not come back together.
        waiting.not_before = now + whole / 2 + whole.mul_f64(entropy.random_range(0.0..0.5));
        Some(waiting.not_before)
    }

    fn set_due(&mut self, key: &ObjectKey, at: Duration) {
        let Some(waiting) = self.waiting.get_mut(key) else {
            return;
        };
        if let Some(before) = waiting.due.replace(at) {
            self.due.remove(&(before, key.clone()));
        }
        self.due.insert((at, key.clone()));
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("default", name)
    }

    #[test]
    fn a_new_pod_is_due_at_once_and_once() {
        let mut pods = PendingPods::default();
        pods.add(key("a"), seconds(1));
        pods.add(key("a"), seconds(1));
        assert_eq!(pods.next_due(), Some(seconds(1)));
        assert_eq!(pods.take(seconds(1)), [key("a")]);
        assert!(pods.take(seconds(1)).is_empty());
        pods.remove(&key("a"));
        assert!(pods.is_empty());
    }

    #[test]
    fn a_pod_that_does_not_fit_waits_for_room_or_a_minute() {
        let mut entropy = StdRng::seed_from_u64(1);
        let mut pods = PendingPods::default();
        pods.add(key("a"), seconds(0));
        pods.take(seconds(0));
        assert!(pods.unschedulable(&key("a"), "full", seconds(0), &mut entropy));
        assert_eq!(pods.next_due(), Some(seconds(60)));
        pods.on_room(seconds(0));
        let due = pods.next_due().unwrap();
        assert!(due >= seconds(1) / 2 && due <= seconds(1), "{due:?}");
        pods.take(due);
        assert!(!pods.unschedulable(&key("a"), "full", due, &mut entropy));
        pods.on_room(seconds(30));
        assert_eq!(pods.next_due(), Some(seconds(30)));
    }

    #[test]
    fn back_off_is_bounded() {
        let mut entropy = StdRng::seed_from_u64(1);
        let mut pods = PendingPods::default();
        pods.add(key("a"), seconds(0));
        for _ in 0..10 {
            let now = pods.next_due().unwrap();
            pods.take(now);
            pods.bind_failed(&key("a"), now, &mut entropy);
            assert!(pods.next_due().unwrap() <= now + BACKOFF_MAX);
        }
    }

    #[test]
    fn a_pod_removed_in_work_does_not_come_back() {
        let mut entropy = StdRng::seed_from_u64(1);
        let mut pods = PendingPods::default();
        pods.add(key("a"), seconds(0));
        pods.take(seconds(0));
        pods.remove(&key("a"));
        assert!(!pods.unschedulable(&key("a"), "full", seconds(0), &mut entropy));
        pods.bind_failed(&key("a"), seconds(0), &mut entropy);
        assert_eq!(pods.next_due(), None);
    }
}
