//! A work queue of keys: de-duplicated, with delays and a per-key exponential back-off.
//!
//! Pure: `now` is the caller's monotonic clock. Deliberately without keys' meaning and without a worker; a key that
//! is being worked on is never handed out twice at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand::{Rng, RngCore};

/// First back-off after a failure: a conflict is usually cured by the next batch of changes.
const BACKOFF_FIRST: Duration = Duration::from_millis(10);
/// Longest back-off: a person who repaired something waits no longer than this.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Doublings counted; 2^13 first back-offs are past `BACKOFF_MAX`.
const FAILURES_COUNTED_MAX: u32 = 13;

/// Keys waiting for work.
///
/// Invariants: a key is in `ready` at most once, and `queued` is the set of those; `delays` and `due` hold the same
/// pairs; a busy key is never in `ready`. So the queue is bounded by the number of distinct keys.
#[derive(Debug)]
pub struct WorkQueue<K> {
    ready: VecDeque<K>,
    queued: BTreeSet<K>,
    delays: BTreeMap<K, Duration>,
    due: BTreeSet<(Duration, K)>,
    /// Keys being worked on; true if they must be looked at again afterwards.
    busy: BTreeMap<K, bool>,
    failures: BTreeMap<K, u32>,
}

impl<K: Ord + Clone> Default for WorkQueue<K> {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            queued: BTreeSet::new(),
            delays: BTreeMap::new(),
            due: BTreeSet::new(),
            busy: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone> WorkQueue<K> {
    /// Work on this key as soon as possible. A key in work is handed out again after [`done`](Self::done).
    pub fn add(&mut self, key: K) {
        if let Some(again) = self.busy.get_mut(&key) {
            *again = true;
        } else if self.queued.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    /// Work on this key at `at` (or earlier, if an earlier time is already set).
    pub fn add_at(&mut self, key: K, at: Duration) {
        if let Some(&earlier) = self.delays.get(&key) {
            if earlier <= at {
                return;
            }
            self.due.remove(&(earlier, key.clone()));
        }
        self.delays.insert(key.clone(), at);
        self.due.insert((at, key));
    }

    /// Work on this key after its back-off, which grows with each failure since [`succeeded`](Self::succeeded).
    /// Half of the back-off is jitter, so that keys that failed together do not come back together.
    pub fn add_failed(&mut self, key: K, now: Duration, entropy: &mut dyn RngCore) {
        let failures = self.failures.entry(key.clone()).or_default();
        let whole = (BACKOFF_FIRST * 2_u32.pow(*failures)).min(BACKOFF_MAX);
        *failures = (*failures + 1).min(FAILURES_COUNTED_MAX);
        let delay = whole / 2 + whole.mul_f64(entropy.random_range(0.0..0.5));
        self.add_at(key, now + delay);
    }

    /// The key's work succeeded: its next failure backs off from the start.
    pub fn succeeded(&mut self, key: &K) {
        self.failures.remove(key);
    }

    /// The next key to work on; [`done`](Self::done) must follow.
    pub fn take(&mut self, now: Duration) -> Option<K> {
        self.promote(now);
        let key = self.ready.pop_front()?;
        assert!(self.queued.remove(&key), "a ready key is marked as queued");
        let before = self.busy.insert(key.clone(), false);
        assert!(before.is_none(), "a busy key is never ready");
        Some(key)
    }

    /// The key is no longer worked on.
    pub fn done(&mut self, key: &K) {
        if self.busy.remove(key) == Some(true) {
            self.add(key.clone());
        }
    }

    /// When there will be work: `None` for never, a time not after now for at once.
    pub fn next_due(&self, now: Duration) -> Option<Duration> {
        if !self.ready.is_empty() {
            return Some(now);
        }
        self.due.first().map(|(at, _)| *at)
    }

    /// Keys waiting, delayed or in work.
    pub fn len(&self) -> usize {
        self.ready.len() + self.due.len() + self.busy.len()
    }

    /// Whether there is nothing to do, now or later.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Moves what is due to the ready keys.
    fn promote(&mut self, now: Duration) {
        while let Some((at, key)) = self.due.first().cloned() {
            if at > now {
                break;
            }
            self.due.remove(&(at, key.clone()));
            self.delays.remove(&key);
            self.add(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn keys_are_deduplicated_and_come_in_order() {
        let mut queue = WorkQueue::default();
        queue.add("b");
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.take(ms(0)), Some("b"));
        assert_eq!(queue.take(ms(0)), Some("a"));
        assert_eq!(queue.take(ms(0)), None);
    }

    #[test]
    fn a_key_in_work_is_handed_out_again_only_when_done() {
        let mut queue = WorkQueue::default();
        queue.add("a");
        assert_eq!(queue.take(ms(0)), Some("a"));
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.take(ms(0)), None);
        queue.done(&"a");
        assert_eq!(queue.take(ms(0)), Some("a"));
        queue.done(&"a");
        assert!(queue.is_empty());
    }

    #[test]
    fn of_two_delays_the_earlier_counts() {
        let mut queue = WorkQueue::default();
        queue.add_at("a", ms(50));
        queue.add_at("a", ms(20));
        queue.add_at("a", ms(90));
        assert_eq!(queue.next_due(ms(0)), Some(ms(20)));
        assert_eq!(queue.take(ms(19)), None);
        assert_eq!(queue.take(ms(20)), Some("a"));
        queue.done(&"a");
        assert_eq!(queue.next_due(ms(20)), None);
    }

    #[test]
    fn back_off_grows_to_its_bound_and_ends_with_a_success() {
        let mut entropy = StdRng::seed_from_u64(1);
        let mut queue = WorkQueue::default();
        let mut delays = Vec::new();
        for _ in 0..20 {
            queue.add_failed("a", ms(0), &mut entropy);
            let due = queue.next_due(ms(0)).unwrap();
            delays.push(due);
            assert_eq!(queue.take(due), Some("a"));
            queue.done(&"a");
        }
        assert!(delays[0] >= ms(5) && delays[0] <= ms(10), "{delays:?}");
        assert!(delays[5] >= ms(160) && delays[5] <= ms(320), "{delays:?}");
        assert!(delays[19] >= BACKOFF_MAX / 2 && delays[19] <= BACKOFF_MAX);
        queue.succeeded(&"a");
        queue.add_failed("a", ms(0), &mut entropy);
        assert!(queue.next_due(ms(0)).unwrap() <= BACKOFF_FIRST);
    }
}
