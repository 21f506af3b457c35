//! Seeded bugs of the store.

use super::Mutant;

const APPLY: &str = "src/store/apply.rs";
const HISTORY: &str = "src/store/history.rs";
const OUTCOMES: &str = "src/store/outcomes.rs";
const VIEW: &str = "src/store/view.rs";

/// All of them.
pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "split_watch_revision",
        about: "each change of a transaction has a revision of its own",
        budget: 50,
        patches: &[(
            APPLY,
            "events.push(self.view.put(revision, key, value.clone()));",
            "events.push(self.view.put(revision + events.len() as u64, key, value.clone()));",
        )],
    },
    Mutant {
        name: "compare_ignored",
        about: "a transaction is applied whatever its comparisons say",
        budget: 50,
        patches: &[(
            APPLY,
            "            (actual != compare.mod_revision).then(",
            "            (actual > u64::MAX / 2).then(",
        )],
    },
    Mutant {
        name: "repeats_executed",
        about: "a proposal that comes again is executed again",
        budget: 200,
        patches: &[
            (
                APPLY,
                "if let Some(outcome) = self.outcomes.get(command.id) {",
                "if let Some(outcome) = self.outcomes.get(command.id).filter(|_| false) {",
            ),
            (
                OUTCOMES,
                "        assert!(known.is_none(), \"a known proposal is not executed again\");\n        self.order.push_back(id);\n",
                "        if known.is_none() {\n            self.order.push_back(id);\n        }\n",
            ),
        ],
    },
    Mutant {
        name: "no_change_has_a_revision",
        about: "a transaction that changes nothing counts",
        budget: 200,
        patches: &[(
            APPLY,
            "        if !events.is_empty() {",
            "        if revision > 0 {",
        )],
    },
    Mutant {
        name: "history_without_end",
        about: "the watch history is not bounded",
        budget: 500,
        patches: &[(
            HISTORY,
            "        while self.events.len() > self.bounds.events_max || self.bytes > self.bounds.bytes_max {",
            "        while self.events.len() > usize::MAX / 2 {",
        )],
    },
    Mutant {
        name: "history_forgets_early",
        about: "the watch history drops one transaction more than it must",
        budget: 500,
        patches: &[(
            HISTORY,
            "            self.floor = oldest.revision;",
            "            self.floor = oldest.revision + 1;",
        )],
    },
    Mutant {
        name: "compacted_watch_goes_on",
        about: "a watch from the last compacted revision is served with a gap",
        budget: 5_000,
        patches: &[(
            HISTORY,
            "        if after < self.floor {",
            "        if after + 1 < self.floor {",
        )],
    },
    Mutant {
        name: "restored_history_claims_the_past",
        about: "a restored store serves watches from before its snapshot",
        budget: 2_000,
        patches: &[(
            APPLY,
            "            history: History::after(view.revision()),",
            "            history: History::after(0),",
        )],
    },
    Mutant {
        name: "snapshot_forgets_outcomes",
        about: "a restored store executes what it had executed before",
        budget: 2_000,
        patches: &[(
            APPLY,
            "            view,\n            outcomes,\n        })",
            "            view,\n            outcomes: if outcomes.len() > 0 { Outcomes::default() } else { outcomes },\n        })",
        )],
    },
    Mutant {
        name: "version_not_counted",
        about: "a record's version stays 1",
        budget: 50,
        patches: &[(
            VIEW,
            "            current.version = record.version + 1;\n",
            "",
        )],
    },
];
