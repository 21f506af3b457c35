//! The log: what is replicated, in memory, from a moving base on.
//!
//! Deliberately ignorant of roles, peers and quorums: it is told what to append and what is committed. It has no
//! "stable" half either, since memory is the only storage. Outside of this room it is read only.

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
#[derive(Clone, Debug)]
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
    pub(super) fn new(base: Index, base_term: Term, configuration: Configuration) -> Self {
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

    /// Bytes of the entries kept, overhead included.
    pub fn bytes(&self) -> usize {
        self.bytes
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

    /// Entries kept, committed or not.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if it keeps no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of the committed entries that are still kept.
    pub fn committed_bytes(&self) -> usize {
        self.committed_bytes
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

    /// Every configuration it knows, oldest first: that of its base, then those of its entries.
    pub fn configurations(&self) -> impl Iterator<Item = (Index, &Configuration)> {
        let entries = self.configurations.iter();
        let entries = entries.map(|(index, configuration)| (*index, configuration));
        std::iter::once((self.base, &self.base_configuration)).chain(entries)
    }

    /// True if a log that ends so is at least as complete as this one (dissertation 3.6.1).
    pub(super) fn is_up_to_date(&self, last: Index, last_term: Term) -> bool {
        (last_term, last) >= (self.last_term(), self.last())
    }

    /// The highest index not above `index` where this log's term is not above `term`: nothing after it can agree
    /// with a log that has `term` at `index`. Used by both sides to skip whole terms when backing up.
    pub(super) fn find_agreement(&self, index: Index, term: Term) -> Index {
        let behind = self.entries.partition_point(|entry| entry.term <= term) as Index;
        if behind == 0 && self.base_term > term {
            return 0;
        }
        index.min(self.base + behind)
    }

    /// Adds one entry of the leader's own at the end and says where.
    pub(super) fn push(&mut self, term: Term, payload: Payload) -> Index {
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
    pub(super) fn splice(&mut self, prev: Index, entries: Vec<Entry>) -> Index {
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
    pub(super) fn commit_to(&mut self, index: Index) {
        assert!(index <= self.last(), "only what is in the log is committed");
        while self.commit < index {
            self.commit += 1;
            let entry = self.get(self.commit).expect("commit is never below base");
            self.committed_bytes += cost(entry);
        }
    }

    /// Committed entries not yet handed out, each exactly once.
    pub(super) fn hand_out(&mut self, into: &mut Vec<Entry>) {
        let from = (self.handed - self.base) as usize;
        let to = (self.commit - self.base) as usize;
        into.extend(self.entries.range(from..to).cloned());
        self.handed = self.commit;
    }

    /// Up to `bytes_max` of entries from `from` on, at least one if there is one, and what they cost. Entries share
    /// their bytes with the log.
    pub(super) fn batch(&self, from: Index, bytes_max: usize) -> (Vec<Entry>, usize) {
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
    pub(super) fn compact(&mut self, entries_kept: usize, bytes_kept: usize, floor: Index) {
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
    pub(super) fn restore(&mut self, snapshot: &Snapshot) {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bytes::Bytes;

    use super::super::types::PeerId;
    use super::*;

    fn voters(peers: &[u64]) -> Configuration {
        Configuration {
            voters: peers.iter().copied().map(PeerId).collect::<BTreeSet<_>>(),
            ..Configuration::default()
        }
    }

    fn command(index: Index, term: Term) -> Entry {
        let payload = Payload::Command(Bytes::from(vec![0; 36]));
        Entry {
            index,
            term,
            payload,
        }
    }

    /// A log of commands whose terms are given, after index 1 of term 1.
    fn log(terms: &[Term]) -> Log {
        let mut log = Log::new(1, 1, voters(&[1]));
        let entries = terms.iter().zip(2..).map(|(term, at)| command(at, *term));
        assert_eq!(log.splice(1, entries.collect()), 1 + terms.len() as Index);
        log
    }

    #[test]
    fn splice_keeps_what_agrees_and_replaces_what_does_not() {
        let mut log = log(&[1, 2, 2]);
        assert_eq!(log.splice(1, vec![command(2, 1)]), 2);
        assert_eq!(log.last(), 4, "an old message shortens nothing");
        assert_eq!(log.splice(2, vec![command(3, 3)]), 3);
        assert_eq!((log.last(), log.last_term()), (3, 3));
        assert_eq!(log.uncommitted_bytes(), 200, "what went is not charged");
    }

    #[test]
    #[should_panic(expected = "committed entries are never replaced")]
    fn splice_never_replaces_what_is_committed() {
        let mut log = log(&[1, 2]);
        log.commit_to(3);
        log.splice(2, vec![command(3, 3)]);
    }

    #[test]
    fn a_configuration_is_in_force_from_its_entry_until_that_is_replaced() {
        let mut log = log(&[1]);
        log.push(2, Payload::Configuration(voters(&[1, 2])));
        log.push(2, Payload::Empty);
        assert_eq!(*log.configuration(), voters(&[1, 2]));
        assert_eq!(log.configuration_index(), 3);
        assert_eq!(*log.configuration_at(2), voters(&[1]));
        log.splice(2, vec![command(3, 3)]);
        assert_eq!(*log.configuration(), voters(&[1]));
    }

    #[test]
    fn what_is_committed_is_handed_out_once() {
        let mut log = log(&[1, 1, 1]);
        let mut handed = Vec::new();
        log.commit_to(3);
        log.hand_out(&mut handed);
        log.hand_out(&mut handed);
        log.commit_to(4);
        log.hand_out(&mut handed);
        let indexes: Vec<Index> = handed.iter().map(|entry| entry.index).collect();
        assert_eq!(indexes, [2, 3, 4]);
    }

    #[test]
    fn compaction_is_bounded_by_entries_bytes_and_what_is_needed() {
        let mut log = log(&[1; 10]);
        log.commit_to(9);
        log.hand_out(&mut Vec::new());
        log.compact(usize::MAX, 400, 4);
        assert_eq!(log.base(), 4, "not what is still needed");
        log.compact(usize::MAX, 400, 9);
        assert_eq!(log.base(), 5, "four entries cost 400 bytes");
        log.compact(1, 400, 9);
        assert_eq!(log.base(), 8);
        log.compact(0, 0, Index::MAX);
        assert_eq!((log.base(), log.last()), (9, 11), "only what was applied");
    }

    #[test]
    fn compaction_keeps_the_configuration_of_the_base() {
        let mut log = log(&[]);
        log.push(1, Payload::Configuration(voters(&[7])));
        log.push(1, Payload::Empty);
        log.commit_to(3);
        log.hand_out(&mut Vec::new());
        log.compact(0, 0, Index::MAX);
        assert_eq!(log.base(), 3);
        assert_eq!(*log.configuration(), voters(&[7]));
    }

    #[test]
    fn agreement_skips_terms_that_the_other_cannot_have() {
        let log = log(&[1, 3, 3, 3, 5]);
        assert_eq!(log.find_agreement(6, 4), 5);
        assert_eq!(log.find_agreement(4, 4), 4);
        assert_eq!(log.find_agreement(6, 2), 2);
        assert_eq!(log.find_agreement(6, 0), 0, "not even the base");
    }

    #[test]
    fn a_batch_has_at_least_one_entry_and_else_keeps_to_the_bytes() {
        let log = log(&[1; 5]);
        assert_eq!(log.batch(2, 1).0.len(), 1);
        assert_eq!(log.batch(2, 250), log.batch(2, 200));
        assert_eq!(log.batch(5, 1_000).0.len(), 2);
    }

    #[test]
    fn an_election_compares_terms_before_lengths() {
        let log = log(&[1, 3]);
        assert!(log.is_up_to_date(3, 3));
        assert!(log.is_up_to_date(2, 4));
        assert!(!log.is_up_to_date(9, 2));
        assert!(!log.is_up_to_date(2, 3));
    }
}
