//! How often each fault was done and each branch of the protocol was taken.
//!
//! Counts only; that a count of zero fails a batch is `batch.rs`'s rule.

use kagero::raft::{Counters, Message, Raft};

macro_rules! marks {
    ($($kind:ident $name:ident $text:literal)*) => {
        /// Something worth counting.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mark {
            $(#[doc = $text] $name,)*
        }

        /// All of them, with their kind and what they count.
        pub const MARKS: &[(Mark, Kind, &str)] = &[$((Mark::$name, Kind::$kind, $text),)*];
    };
}

/// Which of the two lists it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Done to the cluster.
    Fault,
    /// What the cluster did.
    Branch,
}

marks! {
    Fault Lost "messages lost"
    Fault Doubled "messages doubled"
    Fault Reordered "messages that overtook an earlier one"
    Fault VeryLate "messages late by election timeouts"
    Fault CutOneWay "one-way cuts"
    Fault CutOff "peers cut off from the rest"
    Fault Mended "networks mended"
    Fault Stopped "messages stopped by a cut"
    Fault Crashed "peers crashed"
    Fault CrashedLeader "leaders crashed"
    Fault Paused "peers paused"
    Fault PausedLeader "leaders paused"
    Fault Resumed "peers resumed with a jumped clock"
    Fault ClockWrong "peers whose clock runs at a wrong rate"
    Fault ClockAhead "clocks that jumped ahead"
    Fault ClockBack "clocks that went back"
    Fault GoneTrue "peers truly told that another is gone"
    Fault GoneFalse "peers wrongly told that another is gone"
    Fault Misdelivered "messages given to another incarnation"
    Fault Foreign "messages of another cluster or generation"
    Fault SnapshotLate "snapshots encoded late"
    Fault LearnerAdded "learners added"
    Fault LearnersRemoved "learners removed"
    Fault VotersSet "voters chosen at random"
    Fault Planned "changes by the membership plan"
    Fault TransferAsked "transfers asked"
    Fault ProposedToFollower "proposals to a peer that does not lead"
    Fault Retried "proposals proposed again"
    Branch PreVotesAsked "pre-votes asked"
    Branch PreVoteRefused "pre-votes refused"
    Branch ElectionStood "elections stood for"
    Branch ElectionWon "elections won"
    Branch VoteRefused "votes refused"
    Branch QuorumLost "leaders that stepped down unheard"
    Branch Deposed "leaders deposed by a later term"
    Branch AppendRefused "appends refused"
    Branch Truncated "log ends replaced"
    Branch OwnTermHeld "commits that waited for an entry of the leader's term"
    Branch Compacted "steps that compacted the log"
    Branch SnapshotWanted "snapshots asked of a state machine"
    Branch SnapshotInstalled "snapshots installed"
    Branch JointEntered "joint configurations entered"
    Branch JointLeft "joint configurations left"
    Branch LeaderRetired "leaders that left with their configuration"
    Branch Promoted "learners promoted by the plan"
    Branch HandoverTold "transfer targets told to stand"
    Branch Acknowledged "writes acknowledged"
    Branch ProposalLost "proposals lost to another term"
    Branch Repeated "repeated proposals answered and not executed"
    Branch Conflicted "transactions refused by a comparison"
    Branch ReadServed "reads served"
    Branch ReadForwarded "reads served by a follower"
    Branch ReadRefused "reads refused"
    Branch RefusedNotLeader "requests refused: not the leader"
    Branch RefusedOverloaded "requests refused: too much uncommitted"
    Branch RefusedTransferring "requests refused: leadership in transfer"
    Branch RefusedInFlight "requests refused: a change is in flight"
    Branch RefusedInvalid "requests refused: a change without sense"
    Branch WatchServed "watches served from the history"
    Branch WatchCompacted "watches told that the history is compacted"
    Branch DroppedCluster "messages dropped: of another cluster"
    Branch DroppedRecipient "messages dropped: for another incarnation"
    Branch DroppedTerm "messages dropped: of an earlier term"
}

/// The counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage(Vec<u64>);

impl Default for Coverage {
    fn default() -> Self {
        Self(vec![0; MARKS.len()])
    }
}

impl Coverage {
    /// Counts one.
    pub fn mark(&mut self, mark: Mark) {
        self.add(mark, 1);
    }

    /// Counts some.
    pub fn add(&mut self, mark: Mark, count: u64) {
        self.0[mark as usize] += count;
    }

    /// Counts one if it is so.
    pub fn mark_if(&mut self, mark: Mark, so: bool) {
        self.add(mark, u64::from(so));
    }

    /// What a step added to the core's own counters.
    pub fn count_step(&mut self, before: &Counters, raft: &Raft) {
        let after = raft.counters();
        for (mark, before, after) in [
            (Mark::PreVotesAsked, before.pre_votes, after.pre_votes),
            (Mark::ElectionStood, before.elections, after.elections),
            (Mark::ElectionWon, before.elections_won, after.elections_won),
            (Mark::QuorumLost, before.quorums_lost, after.quorums_lost),
            (
                Mark::AppendRefused,
                before.appends_refused,
                after.appends_refused,
            ),
            (
                Mark::SnapshotInstalled,
                before.snapshots_installed,
                after.snapshots_installed,
            ),
            (
                Mark::DroppedCluster,
                before.dropped_cluster,
                after.dropped_cluster,
            ),
            (
                Mark::DroppedRecipient,
                before.dropped_recipient,
                after.dropped_recipient,
            ),
            (Mark::DroppedTerm, before.dropped_term, after.dropped_term),
        ] {
            self.add(mark, after - before);
        }
    }

    /// What a message that is sent tells.
    pub fn count_message(&mut self, message: &Message) {
        match message {
            Message::PreVoteReply { granted: false, .. } => self.mark(Mark::PreVoteRefused),
            Message::VoteReply { granted: false } => self.mark(Mark::VoteRefused),
            Message::TimeoutNow => self.mark(Mark::HandoverTold),
            _ => {}
        }
    }

    /// Adds another run's.
    pub fn merge(&mut self, other: &Self) {
        for (mine, other) in self.0.iter_mut().zip(&other.0) {
            *mine += other;
        }
    }

    /// Every mark with its kind, text and count.
    pub fn rows(&self) -> impl Iterator<Item = (Mark, Kind, &'static str, u64)> + '_ {
        let rows = MARKS.iter().zip(&self.0);
        rows.map(|((mark, kind, text), count)| (*mark, *kind, *text, *count))
    }

    /// What never happened.
    pub fn never(&self) -> Vec<&'static str> {
        let rows = self.rows().filter(|row| row.3 == 0);
        rows.map(|row| row.2).collect()
    }
}
