//! Seeded bugs of the consensus core. What each breaks stands in its line; which checker finds it, the gate finds out.

use super::{Mutant, Patch};

const ELECTION: &str = "src/raft/election.rs";
const NODE: &str = "src/raft/node.rs";
const LOG: &str = "src/raft/log.rs";
const QUORUM: &str = "src/raft/quorum.rs";
const REPLICATION: &str = "src/raft/replication.rs";
const PROGRESS: &str = "src/raft/progress.rs";
const READ: &str = "src/raft/read.rs";
const SNAPSHOT: &str = "src/raft/snapshot.rs";
const MEMBERSHIP: &str = "src/raft/membership.rs";
const ROSTER: &str = "src/raft/roster.rs";
const TRANSFER: &str = "src/raft/transfer.rs";
const FAULTS: &str = "sim/src/core/faults.rs";

const fn one(
    name: &'static str,
    about: &'static str,
    budget: u64,
    patch: &'static [Patch],
) -> Mutant {
    Mutant {
        name,
        about,
        budget,
        patches: patch,
    }
}

/// All of them.
pub const MUTANTS: &[Mutant] = &[
    one(
        "double_vote",
        "votes for everybody who asks in a term",
        200,
        &[(
            ELECTION,
            "let free = self.vote == Some(from) || (self.vote.is_none() && self.leader.is_none());",
            "let free = true;",
        )],
    ),
    one(
        "votes_for_shorter_log",
        "a vote does not ask for an up-to-date log",
        500,
        &[(
            ELECTION,
            "let granted = free && self.log.is_up_to_date(last, last_term);",
            "let granted = free;",
        )],
    ),
    one(
        "forgets_vote",
        "stepping down within a term forgets the vote",
        5_000,
        &[(
            NODE,
            "            self.refuse_readers();\n            self.part = Part::Follower;",
            "            self.refuse_readers();\n            self.vote = None;\n            self.part = Part::Follower;",
        )],
    ),
    one(
        "no_pre_vote",
        "stands for election without asking first",
        50,
        &[(
            NODE,
            "            self.ask_pre_votes();",
            "            self.stand(false);",
        )],
    ),
    one(
        "no_check_quorum",
        "a leader that hears nobody leads on",
        500,
        &[(
            ELECTION,
            "if !leadership.is_quorum(configuration, id, |peer| peer.silent(now) < timeout) {",
            "if false {",
        )],
    ),
    one(
        "half_is_a_majority",
        "two of four decide",
        500,
        &[(QUORUM, "    voters / 2 + 1", "    voters.div_ceil(2)")],
    ),
    one(
        "joint_half_votes",
        "an election in a joint configuration asks the new half only",
        5_000,
        &[(
            QUORUM,
            "            && (self.outgoing.is_empty() || has_majority(&self.outgoing, &said_yes))",
            "",
        )],
    ),
    one(
        "joint_half_commits",
        "a joint configuration commits by its new half only",
        2_000,
        &[(
            QUORUM,
            "            reached.min(self::reached(&self.outgoing, &matched))",
            "            reached",
        )],
    ),
    one(
        "learners_count",
        "learners' acknowledgements count",
        1_000,
        &[(
            QUORUM,
            "        let reached = reached(&self.voters, &matched);",
            "        let all: BTreeSet<PeerId> = self.voters.union(&self.learners).copied().collect();\n        let reached = reached(&all, &matched);",
        )],
    ),
    one(
        "no_own_term_rule",
        "commits an earlier term's entry by counting copies",
        2_000,
        &[(
            REPLICATION,
            "let news = reached > self.log.commit() && reached >= leadership.first;",
            "let news = reached > self.log.commit();",
        )],
    ),
    one(
        "commits_beyond_matched",
        "a follower commits what it was not shown to agree",
        5_000,
        &[(
            REPLICATION,
            "            .commit_to(commit.min(matched).max(self.log.commit()));",
            "            .commit_to(commit.min(self.log.last()).max(self.log.commit()));",
        )],
    ),
    one(
        "told_beyond_acknowledged",
        "a leader calls committed what a follower was sent, not what it has",
        500,
        &[(
            REPLICATION,
            "let index = commit.min(self.progress.matched);",
            "let index = commit.min(self.progress.next - 1);",
        )],
    ),
    one(
        "counts_sent_as_held",
        "what was sent counts as acknowledged",
        100,
        &[(
            PROGRESS,
            "                self.next = last + 1;\n            }",
            "                self.next = last + 1;\n                self.matched = last;\n            }",
        )],
    ),
    one(
        "accepts_conflicting_prev",
        "an append's predecessor need only exist",
        5_000,
        &[(
            REPLICATION,
            "if self.log.term(prev) != Some(prev_term) && prev >= self.log.commit() {",
            "if self.log.term(prev).is_none() && prev >= self.log.commit() {",
        )],
    ),
    one(
        "old_append_shortens_log",
        "an append that came late cuts off what came after it",
        500,
        &[(
            LOG,
            "            self.admit(entry);\n        }\n        matched\n",
            "            self.admit(entry);\n        }\n        if matched >= self.commit.max(self.base) && matched < self.last() {\n            self.truncate_from(matched + 1);\n        }\n        matched\n",
        )],
    ),
    one(
        "replaces_committed",
        "a peer with any log may lead, and its followers give up what is committed",
        1_000,
        &[
            (
                LOG,
                "(last_term, last) >= (self.last_term(), self.last())",
                "(last_term, last) > (0, 0) || self.last() == 0",
            ),
            (
                LOG,
                "        assert!(index > self.commit, \"committed entries are never replaced\");\n",
                "",
            ),
        ],
    ),
    one(
        "stale_term_accepted",
        "messages of earlier terms are heeded",
        200,
        &[(
            NODE,
            "Ordering::Less => self.on_old_message(envelope),",
            "Ordering::Less => self.on_message(envelope),",
        )],
    ),
    one(
        "later_term_ignored",
        "a later term is not taken over",
        200,
        &[(
            NODE,
            "                if changes_term {",
            "                if changes_term && envelope.term == 0 {",
        )],
    ),
    one(
        "applies_out_of_order",
        "entries are handed out backwards",
        50,
        &[(
            LOG,
            "into.extend(self.entries.range(from..to).cloned());",
            "into.extend(self.entries.range(from..to).rev().cloned());",
        )],
    ),
    one(
        "skips_an_entry",
        "the first of three or more is not handed out",
        200,
        &[(
            LOG,
            "into.extend(self.entries.range(from..to).cloned());",
            "into.extend(self.entries.range(from + usize::from(to - from > 2)..to).cloned());",
        )],
    ),
    one(
        "acknowledges_before_commit",
        "entries are handed out as soon as they are in the log",
        50,
        &[
            (
                LOG,
                "        let to = (self.commit - self.base) as usize;\n",
                "        let to = self.entries.len();\n",
            ),
            (
                LOG,
                "        self.handed = self.commit;\n",
                "        self.handed = self.last();\n",
            ),
            // It is to be found by what it does, not by a sum that does not come out even.
            (
                LOG,
                "            self.committed_bytes -= cost(&entry);",
                "            self.committed_bytes = self.committed_bytes.saturating_sub(cost(&entry));",
            ),
        ],
    ),
    one(
        "leader_gives_up_its_end",
        "a leader drops what is last in its log when much is not committed",
        500,
        &[
            (
                NODE,
                "        self.log.hand_out(&mut self.out.ready.committed);\n",
                "        self.log.hand_out(&mut self.out.ready.committed);\n        let kept = self.log.commit() + 8;\n        if matches!(self.part, Part::Leader(_)) && self.log.last() > kept {\n            self.log.truncate_from(kept);\n        }\n",
            ),
            (
                LOG,
                "    fn truncate_from(&mut self, index: Index) {",
                "    pub(super) fn truncate_from(&mut self, index: Index) {",
            ),
        ],
    ),
    one(
        "uncommitted_uncapped",
        "a leader takes proposals without end",
        1_000,
        &[(
            REPLICATION,
            "if waiting > 0 && waiting + bytes > self.config.uncommitted_bytes_max {",
            "if waiting > usize::MAX / 2 && bytes > self.config.uncommitted_bytes_max {",
        )],
    ),
    one(
        "window_without_end",
        "appends in flight are not counted",
        1_000,
        &[
            (
                PROGRESS,
                "                    .saturating_sub(self.inflight_bytes);",
                "                    .saturating_sub(0);",
            ),
            (
                PROGRESS,
                "(left > 0 && self.inflight.len() < config.inflight_messages_max)",
                "(left > 0)",
            ),
        ],
    ),
    one(
        "log_never_compacted",
        "what was applied stays in the log",
        200,
        &[(
            LOG,
            "        while self.base < self.handed.min(floor)",
            "        while self.base < self.handed.min(floor).min(1)",
        )],
    ),
    one(
        "laggard_holds_the_log",
        "a leader keeps everything for a member that lags",
        5_000,
        &[(
            NODE,
            "        self.log.compact(usize::MAX, bytes, applied);",
            "        self.log.compact(usize::MAX, bytes, applied.min(floor));",
        )],
    ),
    one(
        "lost_append_not_resent",
        "what a follower says it lacks is not sent again",
        500,
        &[(
            PROGRESS,
            "            State::Replicate if prev > self.matched => {",
            "            State::Replicate if prev > self.matched.max(u64::MAX / 2) => {",
        )],
    ),
    one(
        "messages_postpone_ticks",
        "a peer that hears messages never looks at its clock",
        1_000,
        &[(
            NODE,
            "next.min(self.ticked + self.config.heartbeat)",
            "next.min(self.now + self.config.heartbeat)",
        )],
    ),
    one(
        "stale_read_index",
        "a leader answers reads without asking a quorum",
        5_000,
        &[(
            READ,
            "if !leadership.is_quorum(configuration, id, |peer| peer.round >= asked.number) {",
            "if false {",
        )],
    ),
    one(
        "reads_before_own_term",
        "a new leader answers before it knows what is committed",
        5_000,
        &[(READ, " || commit < leadership.first\n", "\n")],
    ),
    one(
        "read_joins_round",
        "a read joins the round that began before it",
        1_000,
        &[(
            READ,
            "                return leadership.readers.own.push(tag);",
            "                return match &mut leadership.asked {\n                    Some(round) => round.readers.own.push(tag),\n                    None => leadership.readers.own.push(tag),\n                };",
        )],
    ),
    one(
        "late_read_answer",
        "an answer to an earlier batch answers a later one",
        5_000,
        &[(
            READ,
            "        if batch != self.forwarding.batch {",
            "        if batch > self.forwarding.batch {",
        )],
    ),
    one(
        "lost_read_not_asked_again",
        "a forwarded read whose answer was lost waits for ever",
        1_000,
        &[(NODE, "        self.retry_forwarded();\n", "")],
    ),
    one(
        "snapshot_replaces_newer_log",
        "an old snapshot is installed over a newer log",
        2_000,
        &[
            (
                SNAPSHOT,
                "        if chunk.index <= self.log.commit() {",
                "        if chunk.index < self.log.base() {",
            ),
            (
                LOG,
                "        assert!(snapshot.index > self.commit, \"a restore never goes back\");\n",
                "",
            ),
        ],
    ),
    one(
        "chunk_offset_unchecked",
        "pieces of a snapshot are put together as they come",
        500,
        &[(
            SNAPSHOT,
            "                if incoming.data.len() as u64 == chunk.offset {",
            "                if (incoming.data.len() as u64) < chunk.total {",
        )],
    ),
    one(
        "lost_chunk_not_resent",
        "a lost piece of a snapshot is waited for, for ever",
        1_000,
        &[(
            SNAPSHOT,
            "} else if now.saturating_sub(self.moved) >= config.election_timeout {",
            "} else if now.saturating_sub(self.moved) >= config.election_timeout * 1_000 {",
        )],
    ),
    one(
        "snapshot_without_configuration",
        "a restored peer keeps the configuration it had",
        500,
        &[(
            LOG,
            "            snapshot.configuration.clone(),",
            "            self.base_configuration.clone(),",
        )],
    ),
    one(
        "two_changes_in_flight",
        "a change begins before the last one is committed",
        500,
        &[(
            MEMBERSHIP,
            "if configuration.is_joint() || !settled || self.log.commit() < leadership.first {",
            "if configuration.is_joint() || self.log.commit() < leadership.first {",
        )],
    ),
    one(
        "change_before_own_term",
        "a change begins before an entry of the leader's term is committed",
        5_000,
        &[(
            MEMBERSHIP,
            "if configuration.is_joint() || !settled || self.log.commit() < leadership.first {",
            "if configuration.is_joint() || !settled {",
        )],
    ),
    one(
        "leaves_joint_early",
        "a joint configuration is left before it is committed",
        500,
        &[(
            MEMBERSHIP,
            "if self.log.configuration_index() > commit || commit < leadership.first {\n            return;\n        }\n        let configuration = self.log.configuration();\n        if configuration.is_joint() {",
            "if commit < leadership.first {\n            return;\n        }\n        let configuration = self.log.configuration();\n        if configuration.is_joint() {",
        )],
    ),
    one(
        "no_joint_consensus",
        "voters change at once",
        1_000,
        &[(
            MEMBERSHIP,
            "        next.outgoing = std::mem::replace(&mut next.voters, voters);",
            "        next.voters = voters;",
        )],
    ),
    one(
        "removed_leader_stays",
        "a leader that was voted out leads on",
        2_000,
        &[(
            MEMBERSHIP,
            "        if configuration.is_voter(id) {\n            return;",
            "        if configuration.is_voter(id) || !configuration.is_joint() {\n            return;",
        )],
    ),
    one(
        "promotes_at_once",
        "a member is promoted before it has caught up",
        1_000,
        &[(
            ROSTER,
            "        caught_up && may_vote && self.is_healthy(peer)",
            "        (caught_up || may_vote) && self.is_healthy(peer)",
        )],
    ),
    one(
        "caught_up_at_once",
        "one quick round counts as caught up",
        2_000,
        &[(
            PROGRESS,
            "now.saturating_sub(since) >= CAUGHT_UP_FOR",
            "now.saturating_sub(since) >= Duration::ZERO",
        )],
    ),
    one(
        "generation_unchecked",
        "messages of another generation are heeded",
        500,
        &[(
            NODE,
            "if envelope.cluster != self.out.cluster {",
            "if envelope.cluster.id != self.out.cluster.id {",
        )],
    ),
    one(
        "cluster_unchecked",
        "messages of another cluster are heeded",
        500,
        &[(
            NODE,
            "if envelope.cluster != self.out.cluster {",
            "if envelope.cluster.generation != self.out.cluster.generation {",
        )],
    ),
    one(
        "recipient_unchecked",
        "messages for another incarnation are heeded",
        500,
        &[(
            NODE,
            "if envelope.to != self.out.id || envelope.from == self.out.id {",
            "if envelope.from == self.out.id {",
        )],
    ),
    one(
        "id_reused",
        "a crashed peer comes back empty under its id (its caller's rule: the simulator is patched)",
        500,
        &[(
            FAULTS,
            "        self.dead.insert(victim);\n",
            "        self.start(victim, Start::Join);\n",
        )],
    ),
    one(
        "transfer_to_laggard",
        "leadership is handed to a peer that lacks entries",
        500,
        &[(
            TRANSFER,
            "target.is_some_and(|progress| progress.matched == last)",
            "target.is_some()",
        )],
    ),
    one(
        "transfer_never_given_up",
        "a transfer to a peer that is silent never ends",
        10_000,
        &[(
            TRANSFER,
            "            leadership\n                .transfer\n                .take_if(|transfer| now >= transfer.until);",
            "            leadership\n                .transfer\n                .take_if(|transfer| now >= transfer.until * 1_000);",
        )],
    ),
];
