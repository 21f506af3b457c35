//! A later generation begins with what its record promises, and with nothing else: the whole store, key by key.
//!
//! **A restore** promises the state at the record's revision. **A recovery** promises the winner's log: all of the history
//! that somebody was seen applying up to the record's last entry (what was committed in a term up to the log's last one
//! stands in that log), then whatever else the log had. That may be what others committed and the winner had not heard of
//! yet, in order; and, after that, what nobody committed and comes true now. What a client is seen writing there must be
//! what a client asked for; of other keys nobody outside knows who asked, so there only their revisions are bounded, by
//! the number of entries.

use std::collections::BTreeSet;

use kagero::actors::messages::RecoveryRecord;
use kagero::store::Revision;

use crate::beginnings::{Beginning, Origin, Stamp, Whole, first_revision, generation_of, is_own};
use crate::clients::contenders::MARK;
use crate::history::{Answer, Operation, Request};
use crate::truth::{Content, Truth, WATCHED};

/// A generation begins with something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("generation {generation} began wrongly: {why}: {key:?}; it is to be the state of {base:?}")]
pub struct Wrong {
    /// Which.
    pub generation: u64,
    /// What is wrong with it.
    pub why: &'static str,
    /// Of which key, if of one.
    pub key: String,
    /// Where it is to go on from, if that is known.
    pub base: Option<Base>,
}

/// Where a generation goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// All that was true up to here is certainly in it.
    pub revision: Revision,
    /// So many entries may follow.
    pub tail: u64,
}

/// How a generation was found to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// With the state of a snapshot, or with nothing.
    Restored,
    /// With what was true at some revision.
    Recovered,
    /// With something beyond that, which nobody had committed.
    RecoveredMore,
}

/// Judges all later generations; gives how each began.
pub fn check(truth: &Truth, operations: &[Operation]) -> Result<Vec<Begun>, Wrong> {
    let beginnings = truth.beginnings().iter();
    let judged = beginnings.map(|(begun, beginning)| {
        let judge = Judge {
            truth,
            operations,
            generation: generation_of(*begun),
            beginning,
            base: base(truth, *begun, beginning)?,
        };
        judge.check()
    });
    judged.collect()
}

/// Up to where everything is kept by the newest generation that was seen beginning.
pub fn kept(truth: &Truth) -> Option<Result<Revision, Wrong>> {
    let (begun, beginning) = truth.beginnings().last_key_value()?;
    Some(base(truth, *begun, beginning).map(|base| base.revision))
}

fn base(truth: &Truth, begun: Revision, beginning: &Beginning) -> Result<Base, Wrong> {
    let wrong = |why| Wrong {
        generation: generation_of(begun),
        why,
        key: String::new(),
        base: None,
    };
    let (base, from) = match beginning.origins.as_slice() {
        [Origin::Restore(record)] => {
            let (revision, tail) = (record.revision, 0);
            (Base { revision, tail }, record.from_generation)
        }
        [Origin::Recovery(record)] => {
            let committed = beginning.committed;
            let committed = committed.ok_or_else(|| wrong("it does not say what was committed"))?;
            let from = record.from_generation;
            if committed < truth.held(from, winner(record)) {
                return Err(wrong("its winner had applied more than it says"));
            }
            (recovered(truth, record, committed), from)
        }
        _ => return Err(wrong("there is not one record of its beginning")),
    };
    if base.revision >= begun || generation_of(base.revision) != from {
        return Err(wrong(
            "its record's revision is not of the generation before",
        ));
    }
    Ok(base)
}

fn winner(record: &RecoveryRecord) -> &str {
    let mut members = record.members.iter();
    let won = members.find(|member| member.name == record.winner && member.dead.is_empty());
    won.map_or("", |winner| winner.incarnation.as_str())
}

fn recovered(truth: &Truth, record: &RecoveryRecord, committed: Revision) -> Base {
    let (from, last) = (record.from_generation, record.last_index);
    let reached = truth.reached(from, record.last_term, last);
    let (index, revision) = reached.unwrap_or((0, first_revision(from)));
    let survivors = record.members.iter().filter(|of| of.dead.is_empty());
    // Who survives alone knew by itself what is committed; else another may have known more.
    let alone = (survivors.count() == 1).then_some(record.commit_index);
    let tail = last.saturating_sub(index.max(alone.unwrap_or_default()));
    Base {
        revision: committed.max(revision),
        tail,
    }
}

struct Judge<'a> {
    truth: &'a Truth,
    operations: &'a [Operation],
    generation: u64,
    beginning: &'a Beginning,
    base: Base,
}

impl Judge<'_> {
    fn wrong(&self, why: &'static str, key: &str) -> Wrong {
        Wrong {
            generation: self.generation,
            why,
            key: key.to_owned(),
            base: Some(self.base),
        }
    }

    fn check(&self) -> Result<Begun, Wrong> {
        let Base { revision, tail } = self.base;
        let begun = first_revision(self.generation);
        for (key, stamp) in &self.beginning.whole {
            if stamp.changed == begun && !is_own(key, self.generation) {
                return Err(self.wrong("it was written by nobody", key));
            }
        }
        let mut held = self.truth.whole_at(revision);
        let mut first = None;
        // What others committed is in the log up to some entry, and from there on something else may be.
        for up_to in revision..=revision + tail {
            if up_to > revision && !self.truth.advance(&mut held, up_to) {
                break;
            }
            match self.compare(&held, up_to) {
                Ok(()) if matches!(self.beginning.origins[0], Origin::Restore(_)) => {
                    return Ok(Begun::Restored);
                }
                Ok(()) if self.is_all(&held) => return Ok(Begun::Recovered),
                Ok(()) => first = Some(Ok(Begun::RecoveredMore)),
                Err(wrong) => {
                    first.get_or_insert(Err(wrong));
                }
            }
        }
        first.expect("there is a first state to compare with")
    }

    /// All that it did not write itself at its beginning.
    fn inherited(&self) -> impl Iterator<Item = (&str, &Stamp)> {
        let begun = first_revision(self.generation);
        let whole = self.beginning.whole.iter();
        let whole = whole.map(|(key, stamp)| (&**key, stamp));
        whole.filter(move |(_, stamp)| stamp.changed != begun)
    }

    /// Whether it began with exactly this.
    fn is_all(&self, held: &Whole) -> bool {
        let same = |(key, stamp): (&str, &Stamp)| held.get(key) == Some(stamp);
        let there = |key| self.beginning.whole.contains_key(key);
        self.inherited().all(same) && held.keys().all(there)
    }

    /// Compares with what was true at a revision, after which the rest of the tail may follow.
    fn compare(&self, held: &Whole, up_to: Revision) -> Result<(), Wrong> {
        let last = self.base.revision + self.base.tail;
        let mut more = BTreeSet::new();
        for (key, stamp) in self.inherited() {
            if held.get(key) == Some(stamp) {
                continue;
            }
            if stamp.changed > last {
                return Err(self.wrong("it is newer than the log", key));
            }
            if stamp.changed <= up_to {
                let why = if held.contains_key(key) {
                    "it was not so"
                } else {
                    "it was not there"
                };
                return Err(self.wrong(why, key));
            }
            if !self.may_be_written(key, up_to) {
                return Err(self.wrong("nobody asked for it", key));
            }
            more.insert(stamp.changed);
        }
        let mut room = last - up_to - more.len() as u64;
        for key in held.keys() {
            if self.beginning.whole.contains_key(key) {
                continue;
            }
            if room == 0 || !self.may_be_deleted(key, up_to) {
                return Err(self.wrong("it is lost", key));
            }
            room -= 1;
        }
        Ok(())
    }

    /// What clients asked of an object, if it is one of theirs.
    fn asked<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Operation> {
        let asked = self.operations.iter();
        asked.filter(move |of| of.name == name || of.name.is_empty())
    }

    fn may_be_written(&self, key: &str, up_to: Revision) -> bool {
        let Some(name) = key.strip_prefix(WATCHED) else {
            return true;
        };
        let Some(state) = self.beginning.watched.get(name) else {
            return false;
        };
        if name.starts_with("ack-") {
            let number = name.rsplit('-').next();
            return state.content.data.get("number").map(String::as_str) == number;
        }
        let mut bases: Vec<Content> = Vec::new();
        if let Some(was) = self.truth.at(up_to).get(name) {
            bases.push((*was.content).clone());
        }
        bases.extend(self.asked(name).filter_map(|of| match &of.request {
            Request::Create { content } | Request::Update { content, .. } => Some(content.clone()),
            _ => None,
        }));
        bases
            .iter()
            .any(|base| self.is_patched(name, base, &state.content))
    }

    /// Whether patches that clients asked for, or none, make one content of another.
    fn is_patched(&self, name: &str, base: &Content, content: &Content) -> bool {
        let patched = |key: &String, value: &String| {
            self.asked(name).any(|of| {
                matches!(&of.request, Request::Patch { member, value: new, .. } if member == key && new == value)
            })
        };
        let mut data = content.data.iter();
        base.labels == content.labels
            && base.data.get(MARK) == content.data.get(MARK)
            && base.data.keys().all(|key| content.data.contains_key(key))
            && data.all(|(key, value)| base.data.get(key) == Some(value) || patched(key, value))
    }

    /// Whoever plans a deletion sees what is committed, and not the rest of the log.
    fn may_be_deleted(&self, key: &str, up_to: Revision) -> bool {
        let Some(name) = key.strip_prefix(WATCHED) else {
            return true;
        };
        let there = self.truth.at(up_to);
        let labels = there.get(name).map(|state| &state.content.labels);
        let deletes = |of: &Operation| match &of.request {
            Request::Delete => true,
            Request::DeleteAll { label, value } => {
                labels.is_some_and(|labels| labels.get(label) == Some(value))
            }
            _ => false,
        };
        // It may have been answered by the generation that began.
        let done = |of: &Operation| matches!(of.answer, Answer::Unknown | Answer::Deleted);
        self.asked(name).any(|of| deletes(of) && done(of))
    }
}

#[cfg(test)]
#[path = "foundings_tests.rs"]
mod tests;
