//! What is true of all peers together, as somebody sees who sees everything; peers know nothing of it.

use std::any::Any;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use kagero::raft::{BOOTSTRAP_INDEX, Entry, Index, PeerId, Raft, Ready, Role, Snapshot, Tag, Term};

/// An entry that was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Committed {
    term: Term,
    content: u64,
    /// The term of the leader that committed it, who is the first to know.
    during: Term,
}

impl Committed {
    fn is(&self, entry: &Entry) -> bool {
        (self.term, self.content) == (entry.term, content_of(entry))
    }
}

/// The history that properties need. Equal histories are equal states.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Truth {
    /// Who led each term.
    pub leaders: BTreeMap<Term, PeerId>,
    /// What was committed after the bootstrap.
    pub committed: Vec<Committed>,
    /// Reads that wait, and the commit index that they must not stay behind.
    pub reads: BTreeMap<Tag, Index>,
    /// Reads that were answered.
    pub answered: u8,
    /// The property that was broken first, and how.
    pub broken: Option<(&'static str, String)>,
}

impl Truth {
    /// The last committed index.
    pub fn committed_up_to(&self) -> Index {
        BOOTSTRAP_INDEX + self.committed.len() as Index
    }

    /// Looks at what came of a step. `before` is where its applied entries ended; where they end now is returned.
    pub fn observe(&mut self, raft: &Raft, ready: &Ready, before: Index) -> Index {
        self.observe_leader(raft);
        let mut applied = before;
        if let Some(snapshot) = &ready.restore {
            self.observe_snapshot(raft, snapshot);
            applied = snapshot.index;
        }
        for entry in &ready.committed {
            self.observe_committed(raft, entry, applied);
            applied = entry.index;
        }
        for (tag, answer) in &ready.reads {
            let Some(least) = self.reads.remove(tag) else {
                self.broke("reads", format!("read {tag} was answered twice"));
                continue;
            };
            if let Ok(index) = answer {
                self.answered += 1;
                if *index < least {
                    let text = format!("read {tag} at {index}, after {least} was committed");
                    self.broke("reads", text);
                }
            }
        }
        applied
    }

    /// Every two logs that have an entry of one index and term agree up to there.
    pub fn compare(&mut self, one: &Raft, other: &Raft) {
        let (one_log, other_log) = (one.log(), other.log());
        let from = one_log.base().max(other_log.base()) + 1;
        let to = one_log.last().min(other_log.last());
        let mut agree = false;
        for index in (from..=to).rev() {
            let (here, there) = (one_log.get(index), other_log.get(index));
            agree |= one_log.term(index) == other_log.term(index);
            if agree && here != there {
                let text = format!("{} and {} differ at {index}", one.id(), other.id());
                return self.broke("log_matching", text);
            }
        }
    }

    /// The core's own assertions count too.
    pub fn panicked(&mut self, peer: PeerId, panic: &(dyn Any + Send)) {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        let text = text.unwrap_or_else(|| "it panicked".to_owned());
        self.broke("assertions", format!("{peer}: {text}"));
    }

    fn observe_leader(&mut self, raft: &Raft) {
        if raft.role() != Role::Leader {
            return;
        }
        let (term, id) = (raft.term(), raft.id());
        if let Some(known) = self.leaders.get(&term) {
            if *known != id {
                let text = format!("{known} and {id} lead term {term}");
                self.broke("election_safety", text);
            }
            return;
        }
        self.leaders.insert(term, id);
        let log = raft.log();
        // A leader of an earlier term, elected late, need not have what was committed meanwhile.
        let before = |(_, known): &(Index, &Committed)| known.during < term;
        let known = (BOOTSTRAP_INDEX + 1..).zip(&self.committed);
        let lacks = known.filter(before).find(|(index, known)| {
            *index > log.base() && !log.get(*index).is_some_and(|entry| known.is(entry))
        });
        if let Some((index, _)) = lacks {
            let text = format!("{id} leads term {term} without the committed entry {index}");
            self.broke("leader_completeness", text);
        }
    }

    fn observe_committed(&mut self, raft: &Raft, entry: &Entry, applied: Index) {
        let (id, index) = (raft.id(), entry.index);
        if index != applied + 1 {
            let text = format!("{id} applies {index} after {applied}");
            return self.broke("state_machine_safety", text);
        }
        let at = (index - BOOTSTRAP_INDEX - 1) as usize;
        match self.committed.get(at) {
            Some(known) if known.is(entry) => {}
            Some(known) => {
                let terms = (entry.term, known.term);
                let text = format!("{id} applies another entry {index}: terms {terms:?}");
                self.broke("state_machine_safety", text);
            }
            None => self.committed.push(Committed {
                term: entry.term,
                content: content_of(entry),
                during: raft.term(),
            }),
        }
    }

    fn observe_snapshot(&mut self, raft: &Raft, snapshot: &Snapshot) {
        let at = snapshot.index.checked_sub(BOOTSTRAP_INDEX + 1);
        let term = at.map(|at| self.committed.get(at as usize).map(|known| known.term));
        if term.is_some_and(|term| term != Some(snapshot.term)) {
            let text = format!("{} restored {} that is not", raft.id(), snapshot.index);
            self.broke("state_machine_safety", text);
        }
    }

    fn broke(&mut self, property: &'static str, text: String) {
        self.broken.get_or_insert((property, text));
    }
}

fn content_of(entry: &Entry) -> u64 {
    print_of(&entry.payload)
}

/// A short name for what looks the same.
pub fn print_of(thing: &impl std::fmt::Debug) -> u64 {
    struct Into(DefaultHasher);
    impl std::fmt::Write for Into {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.write(text.as_bytes());
            Ok(())
        }
    }
    let mut into = Into(DefaultHasher::new());
    std::fmt::write(&mut into, format_args!("{thing:?}")).expect("hashing does not fail");
    into.0.finish()
}
