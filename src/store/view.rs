//! The map at one revision: immutable to its readers, O(1) to clone and to keep.
//!
//! Deliberately without any writing method that others could call; changes come through [`Store::apply`] alone.
//!
//! [`Store::apply`]: super::Store::apply

use std::mem;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;

use super::hash::StableHash;
use super::{Event, Record, Revision};

/// An immutable state of the store, cheap to clone and to keep: it shares all but what changed since with later ones.
///
/// Invariants: `value_bytes` is the sum of the values' lengths; for every record
/// `1 ≤ create_revision ≤ mod_revision ≤ revision` and `version ≥ 1`.
#[derive(Clone, Debug, Default)]
pub struct View {
    records: OrdMap<Arc<str>, Record>,
    revision: Revision,
    value_bytes: u64,
}

impl View {
    /// The revision it reflects.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// One record.
    pub fn get(&self, key: &str) -> Option<&Record> {
        self.records.get(key)
    }

    /// The records whose key starts with `prefix`, in order of key.
    pub fn range<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Record)> {
        self.range_from(prefix, prefix)
    }

    /// The same, from `start` on (inclusive). A `start` before the prefix's first key is as good as the prefix.
    pub fn range_from<'a>(
        &'a self,
        prefix: &'a str,
        start: &str,
    ) -> impl Iterator<Item = (&'a str, &'a Record)> + use<'a> {
        self.records_from(Bound::Included(start.max(prefix)))
            .map(|(key, record)| (&**key, record))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of all values together.
    pub fn value_bytes(&self) -> u64 {
        self.value_bytes
    }

    /// A hash of the revision and of every key and record, equal on replicas that hold the same. Reads everything:
    /// for checks, not for a request's path.
    pub fn digest(&self) -> u64 {
        let mut hash = StableHash::new();
        hash.number(self.revision);
        for (key, record) in &self.records {
            hash.bytes(key.as_bytes());
            hash.number(record.create_revision);
            hash.number(record.mod_revision);
            hash.number(record.version);
            hash.bytes(&record.value);
        }
        hash.finish()
    }

    /// This state with one key as it was before a change of it. The revision stays.
    pub(super) fn before(&self, event: &Event) -> Self {
        let bytes = |record: &Record| record.value.len() as u64;
        let mut before = self.clone();
        let replaced = match &event.previous {
            Some(record) => {
                before.value_bytes += bytes(record);
                (before.records).insert(event.key.clone(), record.clone())
            }
            None => before.records.remove(&event.key),
        };
        before.value_bytes -= replaced.as_ref().map_or(0, bytes);
        before
    }

    /// Every record from a key on.
    pub(super) fn records_from<'a>(
        &'a self,
        start: Bound<&str>,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Record)> + use<'a> {
        self.records.range::<_, str>((start, Bound::Unbounded))
    }

    /// Sets a key at the coming `revision`. The key's text is shared by the map and every event that names it.
    pub(super) fn put(&mut self, revision: Revision, key: &str, value: Bytes) -> Event {
        self.value_bytes += value.len() as u64;
        let mut current = Record {
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            value,
        };
        let known = self.records.get_key_value_mut(key);
        let (key, previous) = if let Some((key, record)) = known {
            current.create_revision = record.create_revision;
            current.version = record.version + 1;
            let previous = mem::replace(record, current.clone());
            self.value_bytes -= previous.value.len() as u64;
            (key.clone(), Some(previous))
        } else {
            let key: Arc<str> = key.into();
            self.records.insert(key.clone(), current.clone());
            (key, None)
        };
        Event {
            revision,
            key,
            previous,
            current: Some(current),
        }
    }

    /// Removes a key at the coming `revision`; `None` if it was absent.
    pub(super) fn delete(&mut self, revision: Revision, key: &str) -> Option<Event> {
        let (key, previous) = self.records.remove_with_key(key)?;
        self.value_bytes -= previous.value.len() as u64;
        Some(Event {
            revision,
            key,
            previous: Some(previous),
            current: None,
        })
    }

    /// Ends a transaction that changed something.
    pub(super) fn advance(&mut self, revision: Revision) {
        assert!(revision > self.revision, "revisions only grow");
        self.revision = revision;
    }

    /// Puts back a record as a snapshot has it.
    pub(super) fn restore(&mut self, key: Arc<str>, record: Record) {
        self.value_bytes += record.value.len() as u64;
        let previous = self.records.insert(key, record);
        assert!(previous.is_none(), "a snapshot's keys are distinct");
    }
}
