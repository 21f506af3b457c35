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

    /// What happened in another run happened too.
    pub fn merge(&mut self, other: &Self) {
        for (name, times) in &other.0 {
            self.add(name, *times);
        }
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
        let within = |name: &str| name.split_once(": ").is_some_and(|(of, _)| of == group);
        let counts = self.0.iter().filter(|(name, _)| within(name));
        counts.map(|(_, count)| count).sum()
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
}
