//! Small histories for the checkers' own tests: a core in a state that it came to by its own door, and a step of it as
//! it never should have been.

use std::time::Duration;

use bytes::Bytes;
use kagero::raft::{
    BOOTSTRAP_INDEX, BOOTSTRAP_TERM, ClusterId, Config, Configuration, Entry, Envelope, Index,
    Input, Message, Payload, PeerId, Raft, Ready, Role, Start, Term,
};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{Before, Cause, Step, Why};
use crate::core::history::{History, Written};

const CLUSTER: ClusterId = ClusterId {
    id: 7,
    generation: 3,
};
/// Every timeout of a new core has passed.
const LATER: Duration = Duration::from_secs(5);

/// These vote, and nobody else is there.
pub(super) fn voters(ids: &[u64]) -> Configuration {
    let voters: Vec<PeerId> = ids.iter().copied().map(PeerId).collect();
    Configuration {
        contacts: voters.iter().map(|peer| (*peer, Bytes::new())).collect(),
        voters: voters.into_iter().collect(),
        ..Configuration::default()
    }
}

/// A founder that has done nothing yet.
pub(super) fn founder(id: u64, ids: &[u64]) -> Raft {
    let start = Start::Bootstrap(voters(ids));
    let entropy = StdRng::seed_from_u64(id);
    Raft::new(
        Config::default(),
        PeerId(id),
        CLUSTER,
        start,
        Duration::ZERO,
        entropy,
    )
}

/// A message, as the network brings it.
pub(super) fn envelope(from: u64, to: u64, term: Term, message: Message) -> Envelope {
    Envelope {
        cluster: CLUSTER,
        from: PeerId(from),
        to: PeerId(to),
        term,
        message,
    }
}

/// A message to a core; its answer is not looked at.
pub(super) fn tell(raft: &mut Raft, from: u64, term: Term, message: Message) {
    let to = raft.id().0;
    raft.step(Input::Message(envelope(from, to, term, message)), LATER);
}

/// A founder that all others have elected: it leads term 2, whose first entry is at 2.
pub(super) fn leader(id: u64, ids: &[u64]) -> Raft {
    let mut raft = founder(id, ids);
    raft.step(Input::Tick, LATER);
    for from in ids.iter().copied().filter(|from| *from != id) {
        let granted = Message::PreVoteReply {
            term: BOOTSTRAP_TERM,
            granted: true,
        };
        tell(&mut raft, from, BOOTSTRAP_TERM, granted);
    }
    for from in ids.iter().copied().filter(|from| *from != id) {
        let term = raft.term();
        tell(&mut raft, from, term, Message::VoteReply { granted: true });
    }
    assert_eq!((raft.role(), raft.term()), (Role::Leader, 2));
    raft
}

/// A command's entry.
pub(super) fn entry(index: Index, term: Term, text: &'static str) -> Entry {
    Entry {
        index,
        term,
        payload: Payload::Command(Bytes::from_static(text.as_bytes())),
    }
}

/// A founder among three, n9 leading, that has these entries; committed up to the index.
pub(super) fn follower(id: u64, entries: &[Entry], commit: Index) -> Raft {
    let mut raft = founder(id, &[id, 8, 9]);
    let term = entries.last().map_or(BOOTSTRAP_TERM, |last| last.term);
    let append = Message::Append {
        prev: BOOTSTRAP_INDEX,
        prev_term: BOOTSTRAP_TERM,
        commit,
        round: 0,
        entries: entries.to_vec(),
    };
    tell(&mut raft, 9, term, append);
    assert_eq!(
        raft.log().last(),
        BOOTSTRAP_INDEX + entries.len() as Index,
        "it took them"
    );
    raft
}

/// A step, every part of which a test may change before it is shown to a checker.
pub(super) struct Made {
    pub raft: Raft,
    pub before: Before,
    pub cause: Cause,
    pub ready: Ready,
    pub written: Written,
    pub now: Duration,
    pub config: Config,
}

impl Made {
    /// One that did nothing.
    pub(super) fn of(raft: Raft) -> Self {
        Self {
            before: Before::of(&raft),
            cause: Cause::new(Why::Other),
            ready: Ready::default(),
            written: Written {
                from: raft.log().last() + 1,
                replaced: None,
            },
            now: LATER,
            config: Config::default(),
            raft,
        }
    }

    /// One that made it a leader.
    pub(super) fn elected(raft: Raft) -> Self {
        let mut made = Self::of(raft);
        made.before.role = Role::Candidate;
        made
    }

    /// One that wrote the whole log.
    pub(super) fn wrote(raft: Raft) -> Self {
        let mut made = Self::of(raft);
        made.written.from = made.raft.log().base() + 1;
        made
    }

    /// One that sent this.
    pub(super) fn sent(raft: Raft, to: u64, message: Message) -> Self {
        let mut made = Self::of(raft);
        let (from, term) = (made.raft.id().0, made.raft.term());
        made.ready.messages.push(envelope(from, to, term, message));
        made
    }

    /// As a checker sees it.
    pub(super) fn step(&self) -> Step<'_> {
        Step {
            peer: self.raft.id(),
            raft: &self.raft,
            before: self.before,
            cause: &self.cause,
            ready: &self.ready,
            written: self.written,
            now: self.now,
            local: self.now,
            config: &self.config,
        }
    }
}

/// What is remembered of these cores: founders' configuration, and what each holds now.
pub(super) fn remembered(ids: &[u64], rafts: &[&Raft]) -> History {
    let mut history = History::new(voters(ids));
    for raft in rafts {
        let newborn = founder(raft.id().0, ids);
        history.begin(raft.id(), &newborn);
        let cause = Cause {
            writes_after: Some(BOOTSTRAP_INDEX),
            ..Cause::new(Why::Message)
        };
        let before = Before::of(raft);
        history.observe(raft.id(), raft, &before, &cause, &Ready::default());
    }
    history
}

/// What a refusal says.
pub(super) fn refusal(verdict: super::Verdict) -> String {
    verdict.expect_err("this history must be refused")
}
