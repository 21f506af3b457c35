//! What each property finds alone: with the assertions of core and store off, and with no other property to end the run
//! first. A checker that never has the first word is otherwise only said to work.

use std::collections::BTreeMap;

use crate::core::checkers::PROPERTIES;

/// A property, the mutant that was made for it, and which it must find alone.
pub(super) const MEANT: &[(&str, &str)] = &[
    ("acknowledged", "leader_gives_up_its_end"),
    ("append_only", "leader_gives_up_its_end"),
    ("bounds", "log_never_compacted"),
    ("check_quorum", "no_check_quorum"),
    ("commits", "counts_sent_as_held"),
    ("completeness", "replaces_committed"),
    ("configurations", "two_changes_in_flight"),
    ("election_safety", "double_vote"),
    ("handover", "transfer_to_laggard"),
    ("liveness", "lost_append_not_resent"),
    ("log_matching", "accepts_conflicting_prev"),
    ("pre_votes", "no_pre_vote"),
    ("reads", "stale_read_index"),
    ("state_machine", "acknowledges_before_commit"),
    ("state_machine", "skips_an_entry"),
    ("strangers", "cluster_unchecked"),
    ("strangers", "generation_unchecked"),
    ("strangers", "recipient_unchecked"),
    ("up_to_date", "votes_for_shorter_log"),
    ("votes", "double_vote"),
    ("watches", "history_forgets_early"),
    ("watches", "split_watch_revision"),
];

/// Properties that find no mutant alone, and why that is no hole.
pub(super) const SILENT: &[(&str, &str)] = &[];

/// After how many seeds each property found a mutant.
pub(super) type Found = BTreeMap<String, u64>;

/// What the properties found, over all mutants that were played.
#[derive(Debug, Default)]
pub(super) struct Alone {
    by_property: BTreeMap<String, Vec<(&'static str, u64)>>,
    missed: Vec<String>,
}

/// The properties that must find this mutant.
pub(super) fn meant(mutant: &str) -> impl Iterator<Item = &'static str> {
    let of = MEANT.iter().filter(move |(_, name)| *name == mutant);
    of.map(|(property, _)| *property)
}

/// Reads what the probe printed; none if it died.
pub(super) fn read(said: &str) -> Option<Found> {
    let lines = said.trim().strip_suffix("ended")?.lines();
    let lines = lines.filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let (property, seed) = line.split_once(' ')?;
            Some((property.to_owned(), seed.parse().ok()?))
        })
        .collect()
}

/// In a cell of the table.
pub(super) fn cell(found: &Found) -> String {
    let mut found: Vec<_> = found.iter().collect();
    found.sort_by_key(|(_, seed)| **seed);
    let words = found
        .iter()
        .map(|(property, seed)| format!("{property} {seed}"));
    words.collect::<Vec<_>>().join(", ")
}

impl Alone {
    /// Takes what was found of a mutant.
    pub(super) fn add(&mut self, mutant: &'static str, found: &Found) {
        for (property, seed) in found {
            let by = self.by_property.entry(property.clone()).or_default();
            by.push((mutant, *seed));
        }
        for property in meant(mutant).filter(|property| !found.contains_key(*property)) {
            self.missed.push(format!(
                "{property} did not find {mutant}, which was made for it"
            ));
        }
    }

    /// The table: each property, and what it found.
    pub(super) fn table(&self) -> Vec<String> {
        let mut lines = vec![
            "| property | finds alone | of them, after seeds |".to_owned(),
            "|---|---|---|".to_owned(),
        ];
        for property in PROPERTIES {
            let found = self
                .by_property
                .get(property)
                .map_or(&[][..], Vec::as_slice);
            let words = found
                .iter()
                .map(|(mutant, seed)| format!("{mutant} {seed}"));
            let words = words.collect::<Vec<_>>().join(", ");
            lines.push(format!("| {property} | {} | {words} |", found.len()));
        }
        lines
    }

    /// What is not as it should be; `all` if every mutant was played.
    pub(super) fn failures(&self, all: bool) -> Vec<String> {
        let mut failures = self.missed.clone();
        let silent = |property: &str| SILENT.iter().any(|(name, _)| *name == property);
        for property in PROPERTIES {
            let found = self.by_property.contains_key(property);
            if all && !found && !silent(property) {
                failures.push(format!("{property} finds no mutant alone"));
            }
            if found && silent(property) {
                failures.push(format!("{property} finds mutants and is said to find none"));
            }
        }
        failures
    }
}

#[cfg(test)]
mod tests {
    use super::super::all;
    use super::*;

    #[test]
    fn every_property_has_a_mutant_or_a_reason() {
        for (property, mutant) in MEANT {
            assert!(PROPERTIES.contains(property), "{property}");
            assert!(all().any(|known| known.name == *mutant), "{mutant}");
        }
        for property in PROPERTIES {
            let named = MEANT
                .iter()
                .chain(SILENT)
                .any(|(name, _)| *name == property);
            assert!(named, "{property}");
        }
    }

    #[test]
    fn what_finds_nothing_is_told() {
        let found = read("votes 3\nelection_safety 7\nended\n").expect("well formed");
        assert_eq!(cell(&found), "votes 3, election_safety 7");
        assert_eq!(read("votes 3\n"), None, "the probe died");
        let mut alone = Alone::default();
        alone.add("double_vote", &found);
        assert!(alone.failures(false).is_empty());
        let failures = alone.failures(true);
        assert_eq!(failures.len(), PROPERTIES.len() - 2 - SILENT.len());
        alone.add("no_pre_vote", &found);
        let told = "pre_votes did not find no_pre_vote, which was made for it";
        assert_eq!(alone.failures(false), [told]);
    }
}
