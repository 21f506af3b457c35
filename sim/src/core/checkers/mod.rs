//! What must hold in every run, whatever is lost, late, doubled or dead: one property a file.
//!
//! Checkers look from outside, through the core's read-only window and through what the world remembers of all peers
//! (`history.rs`), the dead ones too. They change nothing and draw nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use kagero::raft::{Config, Configuration, Index, PeerId, Raft, Ready, Role, Term};

use super::history::{History, Written};

pub mod acknowledged;
mod append_only;
mod bounds;
mod check_quorum;
mod commits;
mod completeness;
mod configurations;
mod election_safety;
mod handover;
mod log_matching;
#[cfg(test)]
mod made;
pub mod model;
mod pre_votes;
pub mod reads;
pub mod state_machine;
mod strangers;
mod up_to_date;
mod votes;
pub mod watches;

/// Nothing, or what is wrong.
pub type Verdict = Result<(), String>;

/// A property that does not hold, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which property: the name of its file.
    pub property: &'static str,
    /// What was seen.
    pub text: String,
}

/// Every property, by the name of its file; liveness is `calm.rs`.
pub const PROPERTIES: [&str; 18] = [
    "acknowledged",
    "append_only",
    "bounds",
    "check_quorum",
    "commits",
    "completeness",
    "configurations",
    "election_safety",
    "handover",
    "liveness",
    "log_matching",
    "pre_votes",
    "reads",
    "state_machine",
    "strangers",
    "up_to_date",
    "votes",
    "watches",
];

/// What a run does with verdicts: it ends with the first thing broken, or judges each property as if there were no
/// other, and goes on.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// Each is judged as if alone.
    pub alone: bool,
    /// What was broken, each property once; only then.
    pub broken: Vec<Violation>,
}

impl Verdicts {
    /// Takes one; an error ends the run.
    pub fn take(&mut self, property: &'static str, verdict: Verdict) -> Result<(), Violation> {
        let Err(text) = verdict else {
            return Ok(());
        };
        let violation = Violation { property, text };
        if !self.alone {
            return Err(violation);
        }
        let mut known = self.broken.iter();
        if known.all(|known| known.property != property) {
            self.broken.push(violation);
        }
        Ok(())
    }
}

/// A peer as it was before a step.
#[derive(Clone, Copy, Debug)]
pub struct Before {
    /// Its role.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// The leader it followed.
    pub leader: Option<PeerId>,
    /// Its log's base.
    pub base: Index,
    /// Its log's end.
    pub last: Index,
    /// Its commit index.
    pub commit: Index,
    /// Where its newest configuration stands, and that entry's term.
    pub configuration: (Index, Term),
}

impl Before {
    /// What a peer is now.
    pub fn of(raft: &Raft) -> Self {
        let log = raft.log();
        let configuration = log.configuration_index();
        Self {
            role: raft.role(),
            term: raft.term(),
            leader: raft.leader(),
            base: log.base(),
            last: log.last(),
            commit: log.commit(),
            configuration: (configuration, log.term(configuration).unwrap_or(0)),
        }
    }
}

/// Why a step was made.
#[derive(Clone, Debug)]
pub enum Why {
    /// Time passed.
    Tick,
    /// A message of this cluster, to this peer.
    Message,
    /// The order to stand for election.
    TimeoutNow,
    /// A message of another cluster or generation, or for another peer.
    Stranger,
    /// A proposal of so many payloads.
    Propose(usize),
    /// A change that the membership plan asked for.
    Plan,
    /// Anything else.
    Other,
}

/// Why a step was made, and what it can have written.
#[derive(Clone, Debug)]
pub struct Cause {
    /// Why.
    pub why: Why,
    /// From whom, if it was a message.
    pub from: Option<PeerId>,
    /// Entries after this index may have been written; none: only beyond the end.
    pub writes_after: Option<Index>,
}

impl Cause {
    /// One that is no message.
    pub fn new(why: Why) -> Self {
        Self {
            why,
            from: None,
            writes_after: None,
        }
    }
}

/// A step of one peer.
pub struct Step<'a> {
    /// Who.
    pub peer: PeerId,
    /// The core, after it.
    pub raft: &'a Raft,
    /// The core before it.
    pub before: Before,
    /// Why.
    pub cause: &'a Cause,
    /// What came of it.
    pub ready: &'a Ready,
    /// What it wrote.
    pub written: Written,
    /// True time.
    pub now: Duration,
    /// The peer's own time.
    pub local: Duration,
    /// The bounds in force.
    pub config: &'a Config,
}

impl Step<'_> {
    /// True if this step made it a leader.
    pub fn was_elected(&self) -> bool {
        let led_before = self.before.role == Role::Leader && self.before.term == self.raft.term();
        self.raft.role() == Role::Leader && !led_before
    }

    /// True if it led this term before and after.
    pub fn leads_on(&self) -> bool {
        self.raft.role() == Role::Leader
            && self.before.role == Role::Leader
            && self.before.term == self.raft.term()
    }
}

/// True if those who satisfy the condition are a quorum. The core's own arithmetic is not asked: it is under test.
pub fn is_quorum(configuration: &Configuration, yes: impl Fn(PeerId) -> bool) -> bool {
    let of = |half: &BTreeSet<PeerId>| 2 * half.iter().filter(|id| yes(**id)).count() > half.len();
    of(&configuration.voters) && (configuration.outgoing.is_empty() || of(&configuration.outgoing))
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// The checkers that look at every step.
#[derive(Debug, Default)]
pub struct Checkers {
    election_safety: election_safety::ElectionSafety,
    votes: votes::Votes,
    up_to_date: up_to_date::UpToDate,
    pre_votes: pre_votes::PreVotes,
    check_quorum: check_quorum::CheckQuorum,
    log_matching: log_matching::LogMatching,
    configurations: configurations::Configurations,
}

impl Checkers {
    /// Shows all of them a step.
    pub fn on_step(
        &mut self,
        step: &Step<'_>,
        history: &History,
        verdicts: &mut Verdicts,
    ) -> Result<(), Violation> {
        verdicts.take("strangers", strangers::check(step))?;
        verdicts.take("votes", self.votes.on_step(step))?;
        verdicts.take("up_to_date", self.up_to_date.on_step(step))?;
        verdicts.take("pre_votes", self.pre_votes.on_step(step, history))?;
        let elected = self.election_safety.on_step(step, history);
        verdicts.take("election_safety", elected)?;
        verdicts.take("completeness", completeness::check(step, history))?;
        verdicts.take("append_only", append_only::check(step))?;
        verdicts.take("log_matching", self.log_matching.on_step(step))?;
        verdicts.take("commits", commits::check(step, history))?;
        let followed = self.configurations.on_step(step, history);
        verdicts.take("configurations", followed)?;
        verdicts.take("handover", handover::check(step, history))?;
        verdicts.take("check_quorum", self.check_quorum.on_step(step))?;
        verdicts.take("bounds", bounds::check(step))
    }

    /// Looks at one whole log.
    pub fn audit(
        &self,
        peer: PeerId,
        raft: &Raft,
        verdicts: &mut Verdicts,
    ) -> Result<(), Violation> {
        verdicts.take("log_matching", self.log_matching.audit(peer, raft))
    }
}
