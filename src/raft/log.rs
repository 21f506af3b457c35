//! The log: what is replicated, in memory, from a moving base on.
//!
//! Deliberately ignorant of roles, peers and quorums: it is told what to append and what is committed. It has no
//! "stable" half either, since memory is the only storage.

use std::collections::VecDeque;

use super::types::{Configuration, Entry, Index, Payload, Snapshot, Term};

/// Bytes charged for an entry beside its payload, so that a flood of tiny entries meets the byte bounds too.
/// About what one takes in memory.
const ENTRY_OVERHEAD_BYTES: usize = 64;

/// A log whose entries up to and including `base` live on only in the state machine.
///
/// Invariants:
/// - entries are consecutive from `base + 1`, their terms never decrease;
/// - `base ≤ handed ≤ commit ≤ last`;
/// - nothing at or below `commit` is ever replaced;
/// - `configurations` holds exactly the log's configuration entries, in order.
#[derive(Debug)]
pub struct Log {
    base: Index,
    base_term: Term,
    base_configuration: Configuration,
    entries: VecDeque<Entry>,
    configurations: VecDeque<(Index, Configuration)>,
    commit: Index,
    handed: Index,
    bytes: usize,
    committed_bytes: usize,
}

impl Log {
    /// A log that begins after `base`, where `configuration` is in force.
    pub fn new(base: Index, base_term: Term, configuration: Configuration) -> Self {
        Self {
            base,
            base_term,
            base_configuration: configuration,
            entries: VecDeque::new(),
            configurations: VecDeque::new(),
            commit: base,
            handed: base,
            bytes: 0,
            committed_bytes: 0,
        }
    }

    /// The index before the first entry kept.
    pub fn base(&self) -> Index {
        self.base
    }

    /// The last index.
    pub fn last(&self) -> Index {
        self.base + self.entries.len() as Index
    }

    /// The last entry's term.
    pub fn last_term(&self) -> Term {
        self.entries.back().map_or(self.base_term, |e| e.term)
    }

    /// The highest index known to be committed.
    pub fn commit(&self) -> Index {
        self.commit
    }

    /// The term at an index, or none if it is before the base or after the end. Index 0 has term 0 in every log.
    pub fn term(&self, index: Index) -> Option<Term> {
        match index {
            0 => Some(0),
            _ if index == self.base => Some(self.base_term),
            _ => self.get(index).map(|entry| entry.term),
        }
    }

    /// The entry at an index, if it is kept.
    pub fn get(&self, index: Index) -> Option<&Entry> {
        self.entries.get(self.position(index)?)
    }

    /// Bytes of the entries not yet committed.
    pub fn uncommitted_bytes(&self) -> usize {
        self.bytes - self.committed_bytes
    }

    /// The newest configuration, committed or not.
    pub fn configuration(&self) -> &Configuration {
        match self.configurations.back() {
            Some((_, configuration)) => configuration,
            None => &self.base_configuration,
        }
    }

    /// Where the newest configuration stands.
    pub fn configuration_index(&self) -> Index {
        self.configurations
            .back()
            .map_or(self.base, |(index, _)| *index)
    }

    /// The configuration in force at an index that is not before the base.
    pub fn configuration_at(&self, index: Index) -> &Configuration {
        self.configurations
            .iter()
            .rev()
            .find(|(at, _)| *at <= index)
            .map_or(&self.base_configuration, |(_, configuration)| configuration)
    }

    /// True if a log that ends so is at least as complete as this one (dissertation 3.6.1).
    pub fn is_up_to_date(&self, last: Index, last_term: Term) -> bool {
        (last_term, last) >= (self.last_term(), self.last())
    }

    /// The highest index not above `index` where this log's term is not above `term`: nothing after it can agree
    /// with a log that has `term` at `index`. Used by both sides to skip whole terms when backing up.
    pub fn find_agreement(&self, index: Index, term: Term) -> Index {
        let behind = self.entries.partition_point(|entry| entry.term <= term) as Index;
        if behind == 0 && self.base_term > term {
            return 0;
        }
        index.min(self.base + behind)
    }

    /// Adds one entry of the leader's own at the end and says where.
    pub fn push(&mut self, term: Term, payload: Payload) -> Index {
        assert!(term >= self.last_term(), "terms never decrease");
        let index = self.last() + 1;
        self.admit(Entry {
            index,
            term,
            payload,
        });
        index
    }

    /// Takes a leader's entries, whose predecessor is known to agree. Replaces what conflicts, keeps what does not,
    /// and returns the last index now known to agree.
    pub fn splice(&mut self, prev: Index, entries: Vec<Entry>) -> Index {
        let matched = prev + entries.len() as Index;
        let mut fresh = entries.into_iter().peekable();
        while let Some(entry) = fresh.peek() {
            match self.term(entry.index) {
                Some(term) if term == entry.term => {}
                None if entry.index < self.base => {}
                Some(_) => {
                    self.truncate_from(entry.index);
                    break;
                }
                None => break,
            }
            fresh.next();
        }
        for entry in fresh {
            assert_eq!(entry.index, self.last() + 1, "entries are consecutive");
            assert!(entry.term >= self.last_term(), "terms never decrease");
            self.admit(entry);
        }
        matched
    }

    /// Raises the commit index; what is beyond the end must not be asked for.
    pub fn commit_to(&mut self, index: Index) {
        assert!(index <= self.last(), "only what is in the log is committed");
        while self.commit < index {
            self.commit += 1;
            let entry = self.get(self.commit).expect("commit is never below base");
            self.committed_bytes += cost(entry);
        }
    }

    /// Committed entries not yet handed out, each exactly once.
    pub fn hand_out(&mut self, into: &mut Vec<Entry>) {
        let from = (self.handed - self.base) as usize;
        let to = (self.commit - self.base) as usize;
        into.extend(self.entries.range(from..to).cloned());
        self.handed = self.commit;
    }

    /// Up to `bytes_max` of entries from `from` on, at least one if there is one, and what they cost. Entries share
    /// their bytes with the log.
    pub fn batch(&self, from: Index, bytes_max: usize) -> (Vec<Entry>, usize) {
        let start = self
            .position(from)
            .expect("the caller checked that `from` is kept");
        let mut bytes = 0;
        let mut count = 0;
        for entry in self.entries.range(start.min(self.entries.len())..) {
            let cost = cost(entry);
            if count > 0 && bytes + cost > bytes_max {
                break;
            }
            bytes += cost;
            count += 1;
        }
        let entries = self.entries.range(start..start + count).cloned().collect();
        (entries, bytes)
    }

    /// Forgets the oldest entries handed out, until at most so many entries and bytes of them are kept, and never
    /// those after `floor`.
    pub fn compact(&mut self, entries_kept: usize, bytes_kept: usize, floor: Index) {
        while self.base < self.handed.min(floor)
            && ((self.handed - self.base) as usize > entries_kept
                || self.committed_bytes > bytes_kept)
        {
            let entry = self.entries.pop_front().expect("handed is not beyond last");
            self.bytes -= cost(&entry);
            self.committed_bytes -= cost(&entry);
            (self.base, self.base_term) = (entry.index, entry.term);
            if let Payload::Configuration(configuration) = entry.payload {
                self.base_configuration = configuration;
                self.configurations.pop_front();
            }
        }
    }

    /// Replaces everything by a snapshot that is ahead of the commit index.
    pub fn restore(&mut self, snapshot: &Snapshot) {
        assert!(snapshot.index > self.commit, "a restore never goes back");
        *self = Self::new(
            snapshot.index,
            snapshot.term,
            snapshot.configuration.clone(),
        );
    }

    fn position(&self, index: Index) -> Option<usize> {
        index.checked_sub(self.base + 1).map(|at| at as usize)
    }

    fn admit(&mut self, entry: Entry) {
        self.bytes += cost(&entry);
        if let Payload::Configuration(configuration) = &entry.payload {
            self.configurations
                .push_back((entry.index, configuration.clone()));
        }
        self.entries.push_back(entry);
    }

    fn truncate_from(&mut self, index: Index) {
        assert!(index > self.commit, "committed entries are never replaced");
        let keep = (index - self.base - 1) as usize;
        for entry in self.entries.drain(keep..) {
            self.bytes -= cost(&entry);
        }
        self.configurations.retain(|(at, _)| *at < index);
    }
}

fn cost(entry: &Entry) -> usize {
    ENTRY_OVERHEAD_BYTES
        + match &entry.payload {
            Payload::Empty => 0,
            Payload::Command(bytes) => bytes.len(),
            Payload::Configuration(configuration) => configuration
                .contacts
                .values()
                .map(|contact| contact.len() + ENTRY_OVERHEAD_BYTES)
                .sum(),
        }
}
