//! How often each fault and each noteworthy branch of the product happened, in one run or summed over many.
//!
//! Deliberately not line coverage: what is counted is what a reader of the paper or of DESIGN.md would name.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Counts by name. The part of a name before its colon groups lines of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage(BTreeMap<String, u64>);

impl Coverage {
    /// It happened so many times more.
    pub fn add(&mut self, name: &str, times: u64) {
        if times == 0 {
            return;
        }
        if let Some(count) = self.0.get_mut(name) {
            *count += times;
        } else {
            self.0.insert(name.to_owned(), times);
        }
    }

    /// These happened so many times more.
    pub fn add_all<'a>(&mut self, counts: impl IntoIterator<Item = (&'a str, u64)>) {
        for (name, times) in counts {
            self.add(name, times);
        }
    }

    /// All counts of a group are as if nothing of it had happened.
    pub fn forget(&mut self, group: &str) {
        self.0.retain(|name, _| !is_of(name, group));
    }

    /// What happened in another run happened too.
    pub fn merge(&mut self, other: &Self) {
        self.add_all(other.iter());
    }

    /// Each name with its count, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        let counts = self.0.iter();
        counts.map(|(name, times)| (name.as_str(), *times))
    }

    /// How often something happened.
    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Those of some names that never happened.
    pub fn missing<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
        let missing = |name: &&str| self.of(name) == 0;
        names.into_iter().filter(missing).collect()
    }

    /// All counts of a group together.
    pub fn sum(&self, group: &str) -> u64 {
        let counts = self.iter().filter(|(name, _)| is_of(name, group));
        counts.map(|(_, count)| count).sum()
    }
}

fn is_of(name: &str, group: &str) -> bool {
    name.split_once(": ").is_some_and(|(of, _)| of == group)
}

/// What processes count of themselves, from a moment on that may come late: they count from their own beginning.
#[derive(Clone, Debug, Default)]
pub struct Since {
    gone: Coverage,
    before: Coverage,
}

impl Since {
    /// A process is gone, and had counted this.
    pub fn end<'a>(&mut self, counted: impl IntoIterator<Item = (&'a str, u64)>) {
        self.gone.add_all(counted);
    }

    /// What all that are gone had counted.
    pub fn gone(&self) -> &Coverage {
        &self.gone
    }

    /// What all have counted until now, the living too, is of before.
    pub fn begin(&mut self, total: Coverage) {
        self.before = total;
    }

    /// What of all that was counted is of after.
    pub fn counts(&self, total: &Coverage) -> Vec<(String, u64)> {
        let since = |(name, times): (&str, u64)| {
            let before = self.before.of(name);
            (name.to_owned(), times.saturating_sub(before))
        };
        total.iter().map(since).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = self.0.keys().map(String::len).max().unwrap_or_default();
        for (name, count) in &self.0 {
            writeln!(f, "  {name:<widest$} {count:>10}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_happened_is_missing_and_sums_go_over_runs() {
        let (mut one, mut other) = (Coverage::default(), Coverage::default());
        one.add("fault: lose", 2);
        other.add("fault: lose", 1);
        other.add("fault: pause", 4);
        other.add("fault: slow", 0);
        one.merge(&other);
        assert_eq!(one.of("fault: lose"), 3);
        assert_eq!(one.sum("fault"), 7);
        let wanted = ["fault: lose", "fault: slow"];
        assert_eq!(one.missing(wanted), ["fault: slow"]);
    }

    #[test]
    fn a_group_is_forgotten_and_nothing_else() {
        let mut coverage = Coverage::default();
        coverage.add_all([("raft: election_won", 3), ("raft-like: else", 1)]);
        coverage.forget("raft");
        let left: Vec<_> = coverage.iter().collect();
        assert_eq!(left, [("raft-like: else", 1)]);
    }

    #[test]
    fn what_was_counted_before_does_not_count() {
        let mut since = Since::default();
        since.end([("election_won", 1)]);
        let with_living = |of_gone: &Coverage, elections| {
            let mut total = of_gone.clone();
            total.add("election_won", elections);
            total
        };
        since.begin(with_living(since.gone(), 2));
        let counts = since.counts(&with_living(since.gone(), 2));
        assert_eq!(counts, [("election_won".to_owned(), 0)]);
        since.end([("election_won", 3)]);
        let counts = since.counts(since.gone());
        assert_eq!(counts, [("election_won".to_owned(), 1)]);
    }
}
