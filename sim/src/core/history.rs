//! What the world remembers of all peers, the dead ones too: which entries each held, who voted for whom, which
//! configurations there were, and what was committed.
//!
//! Only remembers, and looks at logs no further than a step may have written; the checkers judge.

use std::collections::BTreeMap;

use kagero::raft::{
    BOOTSTRAP_INDEX, BOOTSTRAP_TERM, Configuration, Entry, Index, Message, Payload, PeerId, Raft,
    Ready, Role, Snapshot, Term,
};

use super::checkers::{Before, Cause};

/// The log of one peer, by its terms, as far as it is known; entries that it compacted away stay.
#[derive(Clone, Debug)]
pub struct Held {
    /// Everything up to here came by snapshot, or with the founding.
    start: Index,
    terms: Vec<Term>,
}

impl Held {
    fn new(start: Index) -> Self {
        Self {
            start,
            terms: Vec::new(),
        }
    }

    /// The last index.
    pub fn last(&self) -> Index {
        self.start + self.terms.len() as Index
    }

    /// The term of an entry after the start.
    pub fn term(&self, index: Index) -> Option<Term> {
        let at = index.checked_sub(self.start + 1)?;
        self.terms.get(usize::try_from(at).ok()?).copied()
    }

    /// True if it has this entry, or a snapshot that covers its index.
    pub fn has(&self, index: Index, term: Term) -> bool {
        index <= self.start || self.term(index) == Some(term)
    }
}

/// What a step did to its peer's log.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// The first index that may be new.
    pub from: Index,
    /// The lowest index whose entry went or was replaced.
    pub replaced: Option<Index>,
}

/// A committed entry.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The entry.
    pub entry: Entry,
    /// The lowest term in which a peer was seen to know it committed.
    pub seen: Term,
}

/// Everything remembered.
#[derive(Debug)]
pub struct History {
    held: BTreeMap<PeerId, Held>,
    /// Votes given.
    pub votes: BTreeMap<(PeerId, Term), PeerId>,
    configurations: BTreeMap<(Index, Term), Configuration>,
    committed_configurations: Vec<(Index, Configuration)>,
    /// From [`BOOTSTRAP_INDEX`] + 1 on.
    pub committed: Vec<Committed>,
}

impl History {
    /// Of a cluster with these founders.
    pub fn new(founding: Configuration) -> Self {
        let first = (BOOTSTRAP_INDEX, BOOTSTRAP_TERM);
        Self {
            held: BTreeMap::new(),
            votes: BTreeMap::new(),
            configurations: [(first, founding.clone())].into(),
            // Before the founders', the empty one of whoever has just joined.
            committed_configurations: vec![
                (0, Configuration::default()),
                (BOOTSTRAP_INDEX, founding),
            ],
            committed: Vec::new(),
        }
    }

    /// A peer came into being.
    pub fn begin(&mut self, peer: PeerId, raft: &Raft) {
        self.held.insert(peer, Held::new(raft.log().base()));
    }

    /// What a peer, dead or alive, held last.
    pub fn held(&self, peer: PeerId) -> Option<&Held> {
        self.held.get(&peer)
    }

    /// The highest index that any peer has handed out.
    pub fn committed_up_to(&self) -> Index {
        BOOTSTRAP_INDEX + self.committed.len() as Index
    }

    /// A committed entry.
    pub fn committed_at(&self, index: Index) -> Option<&Committed> {
        let at = index.checked_sub(BOOTSTRAP_INDEX + 1)?;
        self.committed.get(usize::try_from(at).ok()?)
    }

    /// The configuration that was in force at a committed index.
    pub fn configuration_at(&self, index: Index) -> &Configuration {
        let known = self.committed_configurations.iter().rev();
        let mut known = known.filter(|(at, _)| *at <= index);
        &known.next().expect("the first is at 0").1
    }

    /// The configuration that a peer knew as the newest before its step.
    pub fn configuration_before(&self, before: &Before) -> &Configuration {
        let (index, term) = before.configuration;
        match self.configurations.get(&(index, term)) {
            Some(configuration) => configuration,
            None => self.configuration_at(index),
        }
    }

    /// Takes note of a step; says what it wrote.
    pub fn observe(
        &mut self,
        peer: PeerId,
        raft: &Raft,
        before: &Before,
        cause: &Cause,
        ready: &Ready,
    ) -> Written {
        self.note_votes(peer, raft, before, ready);
        let held = self
            .held
            .entry(peer)
            .or_insert_with(|| Held::new(raft.log().base()));
        if let Some(Snapshot { index, .. }) = &ready.restore {
            *held = Held::new(*index);
        }
        let log = raft.log();
        let from = cause
            .writes_after
            .map_or(held.last(), |after| after.min(held.last()))
            .max(held.start)
            + 1;
        let mut replaced = None;
        if log.last() < held.last() {
            replaced = Some(log.last() + 1);
            held.terms
                .truncate((log.last().saturating_sub(held.start)) as usize);
        }
        for index in from..=log.last() {
            let Some(entry) = log.get(index) else {
                // Compacted, perhaps in the very step in which it came: what came is in `ready` then.
                let entry = ready.committed.iter().find(|entry| entry.index == index);
                if let Some(entry) = entry {
                    held.write(index, entry.term);
                }
                continue;
            };
            if held.term(index).is_some_and(|term| term != entry.term) {
                replaced = Some(replaced.map_or(index, |known: Index| known.min(index)));
            }
            held.write(index, entry.term);
            if let Payload::Configuration(configuration) = &entry.payload {
                let key = (index, entry.term);
                self.configurations
                    .entry(key)
                    .or_insert_with(|| configuration.clone());
            }
        }
        Written { from, replaced }
    }

    fn note_votes(&mut self, peer: PeerId, raft: &Raft, before: &Before, ready: &Ready) {
        let stands = matches!(raft.role(), Role::Candidate | Role::Leader);
        if stands && raft.term() > before.term {
            self.votes.entry((peer, raft.term())).or_insert(peer);
        }
        for envelope in &ready.messages {
            if envelope.message == (Message::VoteReply { granted: true }) {
                let key = (peer, envelope.term);
                self.votes.entry(key).or_insert(envelope.to);
            }
        }
    }

    /// Remembers an entry that a peer in `term` was handed out, if it is the first; else only the lower term.
    pub fn commit(&mut self, entry: &Entry, term: Term) {
        let next = self.committed_up_to() + 1;
        if entry.index == next {
            if let Payload::Configuration(configuration) = &entry.payload {
                let known = (entry.index, configuration.clone());
                self.committed_configurations.push(known);
            }
            self.committed.push(Committed {
                entry: entry.clone(),
                seen: term,
            });
        } else if let Some(at) = entry.index.checked_sub(BOOTSTRAP_INDEX + 1)
            && let Some(known) = self.committed.get_mut(at as usize)
        {
            known.seen = known.seen.min(term);
        }
    }
}

impl Held {
    fn write(&mut self, index: Index, term: Term) {
        let at = (index - self.start - 1) as usize;
        if self.terms.get(at).is_some_and(|known| *known != term) {
            self.terms.truncate(at);
        }
        if at == self.terms.len() {
            self.terms.push(term);
        }
    }
}
