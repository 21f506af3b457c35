//! Forgets v1 Events after an hour, or earlier when there are too many.
//!
//! Fed with the store's changes rather than with typed objects: thousands of events would otherwise be decoded and
//! kept for the sake of one timestamp. Deliberately not a [`Controller`](super::Controller): it has no keys to reconcile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use crate::resource::cache::split_key;
use crate::resource::{Deletion, ObjectKey, Request, ResourceName, Verb, Writer};
use crate::store;

/// How long an event is kept after it was last seen (kube-apiserver's `--event-ttl` default).
const EVENT_AGE_MAX: Duration = Duration::from_secs(3_600);
/// Events kept whatever their age: about 10 MB of memory on every voter.
const EVENTS_MAX: usize = 10_000;
/// Events removed in one sweep; the rest goes with the next.
const SWEEP_EVENTS_MAX: usize = 1_000;
const PREFIX: &str = "events/";
const WRITER: Writer = Writer {
    user: "system:kagero:event-ttl",
};

/// Knows when each event was last seen.
///
/// Invariant: `by_age` and `seen` hold the same pairs.
#[derive(Debug, Default)]
pub struct EventTtl {
    by_age: BTreeSet<(Timestamp, ObjectKey)>,
    seen: BTreeMap<ObjectKey, Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Times {
    last_timestamp: Option<Timestamp>,
    event_time: Option<Timestamp>,
    metadata: Meta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    creation_timestamp: Option<Timestamp>,
}

impl EventTtl {
    /// All events of a view.
    pub fn fill(view: &store::View) -> Self {
        let mut ttl = Self::default();
        for (key, record) in view.range(PREFIX) {
            ttl.set(key, Some(record));
        }
        ttl
    }

    /// Takes changes, in order; those of other kinds are ignored.
    pub fn take(&mut self, changes: &[store::Event]) {
        for change in changes.iter().filter(|c| c.key.starts_with(PREFIX)) {
            self.set(&change.key, change.current.as_ref());
        }
    }

    /// Deletes of what is too old, or too much; the oldest first. Asks again until the events are gone.
    pub fn sweep(&self, now: Timestamp) -> Vec<Request> {
        let excess = self.by_age.len().saturating_sub(EVENTS_MAX);
        let events = self.by_age.iter().enumerate();
        let old = events.take_while(|(at, (seen, _))| *at < excess || is_old(*seen, now));
        let deletes = old.map(|(_, (_, key))| {
            let verb = Verb::Delete(Deletion::default());
            let events = ResourceName::new("", "v1", "events");
            WRITER.request(events, &key.namespace, Some(&key.name), verb)
        });
        deletes.take(SWEEP_EVENTS_MAX).collect()
    }

    fn set(&mut self, key: &str, record: Option<&store::Record>) {
        let Some((_, key)) = split_key(key) else {
            return;
        };
        if let Some(before) = self.seen.remove(&key) {
            self.by_age.remove(&(before, key.clone()));
        }
        let Some(record) = record else { return };
        // One that cannot be read counts as ancient: it is of no use to anybody.
        let seen = last_seen(record).unwrap_or(Timestamp::UNIX_EPOCH);
        self.by_age.insert((seen, key.clone()));
        self.seen.insert(key, seen);
    }
}

fn is_old(seen: Timestamp, now: Timestamp) -> bool {
    now.duration_since(seen).unsigned_abs() > EVENT_AGE_MAX && now > seen
}

fn last_seen(record: &store::Record) -> Option<Timestamp> {
    let times: Times = serde_json::from_slice(&record.value).ok()?;
    times
        .last_timestamp
        .or(times.event_time)
        .or(times.metadata.creation_timestamp)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    fn event(name: &str, seen: Option<&str>) -> store::Event {
        let value = json!({"metadata": {"name": name}, "lastTimestamp": seen});
        store::Event {
            revision: 1,
            key: format!("events/default/{name}").into(),
            previous: None,
            current: Some(store::Record {
                create_revision: 1,
                mod_revision: 1,
                version: 1,
                value: Bytes::from(value.to_string()),
            }),
        }
    }

    fn swept(ttl: &EventTtl, now: &str) -> Vec<String> {
        let requests = ttl.sweep(now.parse().unwrap());
        requests.into_iter().map(|r| r.name.unwrap()).collect()
    }

    #[test]
    fn events_go_an_hour_after_they_were_last_seen() {
        let mut ttl = EventTtl::default();
        ttl.take(&[
            event("a", Some("2026-01-01T00:00:00Z")),
            event("b", Some("2026-01-01T00:30:00Z")),
        ]);
        assert!(swept(&ttl, "2026-01-01T01:00:00Z").is_empty());
        assert_eq!(swept(&ttl, "2026-01-01T01:00:01Z"), ["a"]);
        ttl.take(&[event("a", Some("2026-01-01T01:00:00Z"))]);
        assert!(swept(&ttl, "2026-01-01T01:00:01Z").is_empty());
        ttl.take(&[store::Event {
            current: None,
            ..event("b", None)
        }]);
        assert!(swept(&ttl, "2026-01-01T01:59:00Z").is_empty());
    }

    #[test]
    fn too_many_events_go_oldest_first_and_one_sweep_is_bounded() {
        let mut ttl = EventTtl::default();
        let seconds = |n: usize| format!("2026-01-01T00:{:02}:{:02}Z", n / 60 % 60, n % 60);
        for n in 0..EVENTS_MAX + 2 {
            ttl.take(&[event(&format!("e{n:05}"), Some(&seconds(n / 10)))]);
        }
        assert_eq!(swept(&ttl, "2026-01-01T00:00:00Z"), ["e00000", "e00001"]);
        assert_eq!(swept(&ttl, "2026-01-02T00:00:00Z").len(), SWEEP_EVENTS_MAX);
    }
}
