//! etcd's promises for watches, as far as Kubernetes' protocol can express them, over all that watchers were sent.
//!
//! A chain of connections, each going on where the one before ended, must show exactly the selected changes after its
//! beginning, in order and each once, whatever happened to leaders, nodes and histories meanwhile. Where it does not, the
//! promise that is broken is named as etcd names it (etcd.io/docs, KV API guarantees, watch APIs):
//!
//! - Ordered, Unique, Atomic, Reliable: changes come in order of revision; none twice; those of one revision together;
//!   none is left out.
//! - Resumable: a connection that begins after a revision goes on without a gap, at any node. 410 Gone is an answer too:
//!   the chain ends there and the next begins anew, so compaction inside the window is judged as well.
//! - Bookmarkable: after a bookmark of a revision, nothing of that revision or an earlier one comes.
//! - Filter: only selected objects come. An object that comes under the selector is ADDED, one that leaves it DELETED.
//! - IsCreate: ADDED is said of what was not there (or not selected) before, and of nothing else.
//! - PrevKV: Kubernetes sends the previous object only with DELETED, so only there it can be judged.

use kagero::store::Revision;

use std::collections::BTreeMap;

use crate::history::{Chain, Leg, Line, Position};
use crate::truth::{Change, Content, State, Truth};

/// A promise of etcd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "this file's head says what they mean")]
pub enum Promise {
    Filter,
    Ordered,
    Unique,
    Atomic,
    Bookmarkable,
    Resumable,
    Reliable,
    IsCreate,
    PrevKv,
}

/// A watcher was sent what it should not have been, or was not sent what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "watch promise {promise:?} broken: watcher {watcher} (selector {selector:?}) at {node}, line {number} of a \
     connection from {after:?}: sent {sent:?}, due {due:?}"
)]
pub struct Broken {
    /// Which promise.
    pub promise: Promise,
    /// Who watched.
    pub watcher: usize,
    /// What it selects.
    pub selector: Option<(String, String)>,
    /// Who sent.
    pub node: String,
    /// Where the connection began.
    pub after: Option<Revision>,
    /// Which line of it, from 1.
    pub number: usize,
    /// The line.
    pub sent: Line,
    /// What should have come.
    pub due: Option<Line>,
}

/// Judges all chains; gives how many lines there were.
pub fn check(chains: &[Chain], truth: &Truth) -> Result<usize, Box<Broken>> {
    let mut lines = 0;
    for chain in chains {
        lines += Judge::new(chain, truth).check()?;
    }
    Ok(lines)
}

/// Whether each watcher has been sent the last change that it selects.
pub fn have_caught_up(truth: &Truth, positions: &BTreeMap<usize, Position>) -> bool {
    positions.values().all(|Position { selector, revision }| {
        let mut missed = truth.changes(*revision, truth.newest());
        missed.all(|change| line(change, selector.as_ref()).is_none())
    })
}

fn selects(selector: Option<&(String, String)>, content: &Content) -> bool {
    selector.is_none_or(|(label, value)| content.labels.get(label) == Some(value))
}

/// What a watcher is to be sent of a change, if anything.
fn line(change: &Change, selector: Option<&(String, String)>) -> Option<Line> {
    let selected = |state: &&State| selects(selector, &state.content);
    let was = change.previous.as_ref().filter(selected);
    let is = change.current.as_ref().filter(selected);
    let make = |kind: fn(String, Revision, Content) -> Line, state: &State| {
        kind(
            change.name.clone(),
            change.revision,
            (*state.content).clone(),
        )
    };
    match (was, is) {
        (None, None) => None,
        (None, Some(is)) => Some(make(Line::Added, is)),
        (Some(_), Some(is)) => Some(make(Line::Modified, is)),
        (Some(was), None) => Some(make(Line::Deleted, was)),
    }
}

fn parts(line: &Line) -> (Option<&str>, Revision) {
    match line {
        Line::Added(name, revision, _)
        | Line::Modified(name, revision, _)
        | Line::Deleted(name, revision, _) => (Some(name), *revision),
        Line::Bookmark(revision) | Line::InitialEnd(revision) => (None, *revision),
    }
}

struct Judge<'a> {
    chain: &'a Chain,
    truth: &'a Truth,
    /// All that is due after the chain's beginning, in order.
    due: Vec<Line>,
    /// How much of it was sent.
    sent: usize,
    /// The highest revision that it was sent, or that it began after.
    position: Revision,
}

impl<'a> Judge<'a> {
    fn new(chain: &'a Chain, truth: &'a Truth) -> Self {
        Self {
            chain,
            truth,
            due: Vec::new(),
            sent: 0,
            position: 0,
        }
    }

    fn check(mut self) -> Result<usize, Box<Broken>> {
        let mut lines = 0;
        let mut begun = false;
        for leg in &self.chain.legs {
            let mut initial = Vec::new();
            for (at, line) in leg.lines.iter().enumerate() {
                lines += 1;
                let wrong = |promise, due| self.wrong(leg, at, promise, due);
                match (leg.after, line) {
                    (Some(after), _) if !begun => {
                        self.begin(after);
                        begun = true;
                    }
                    (None, Line::Added(..)) if !begun => {
                        initial.push(line);
                        continue;
                    }
                    (None, Line::InitialEnd(revision)) if !begun => {
                        self.check_initial(*revision, &initial)
                            .map_err(|(promise, due)| wrong(promise, due))?;
                        self.begin(*revision);
                        begun = true;
                        continue;
                    }
                    (None, _) if !begun => return Err(wrong(Promise::IsCreate, None)),
                    _ => {}
                }
                self.take(line, at == 0)
                    .map_err(|(promise, due)| self.wrong(leg, at, promise, due))?;
            }
        }
        Ok(lines)
    }

    fn wrong(&self, leg: &Leg, at: usize, promise: Promise, due: Option<Line>) -> Box<Broken> {
        Box::new(Broken {
            promise,
            watcher: self.chain.watcher,
            selector: self.chain.selector.clone(),
            node: leg.node.clone(),
            after: leg.after,
            number: at + 1,
            sent: leg.lines[at].clone(),
            due,
        })
    }

    fn begin(&mut self, after: Revision) {
        let changes = self.truth.changes(after, self.truth.newest());
        let selector = self.chain.selector.as_ref();
        self.due = changes
            .filter_map(|change| line(change, selector))
            .collect();
        self.position = after;
    }

    fn take(&mut self, line: &Line, first: bool) -> Result<(), (Promise, Option<Line>)> {
        let due = self.due.get(self.sent);
        let (_, revision) = parts(line);
        if let Line::Bookmark(_) | Line::InitialEnd(_) = line {
            let missed = due.filter(|due| parts(due).1 <= revision);
            if missed.is_some() || revision < self.position {
                return Err((Promise::Bookmarkable, missed.cloned()));
            }
        } else if due == Some(line) {
            self.sent += 1;
        } else {
            return Err((self.name(line, first), due.cloned()));
        }
        self.position = revision;
        Ok(())
    }

    /// The promise that a line breaks that is not the one that is due.
    fn name(&self, line: &Line, first: bool) -> Promise {
        let (name, revision) = parts(line);
        let same = |due: &&Line| parts(due) == (name, revision);
        if self.due[..self.sent].iter().any(|sent| sent == line) {
            return Promise::Unique;
        }
        if revision < self.position {
            return Promise::Ordered;
        }
        match (
            self.due[self.sent..].iter().find(same),
            self.due.get(self.sent),
        ) {
            (None, _) => Promise::Filter,
            (Some(due), Some(next)) if due == next => match (due, line) {
                (Line::Deleted(..), Line::Deleted(..)) => Promise::PrevKv,
                (Line::Added(..), Line::Added(..)) | (Line::Modified(..), Line::Modified(..)) => {
                    Promise::Reliable
                }
                _ => Promise::IsCreate,
            },
            (Some(_), Some(next)) if parts(next).1 == self.position => Promise::Atomic,
            (Some(_), _) if first => Promise::Resumable,
            (Some(_), _) => Promise::Reliable,
        }
    }

    /// The initial objects are those that were there at one revision.
    fn check_initial(
        &self,
        revision: Revision,
        sent: &[&Line],
    ) -> Result<(), (Promise, Option<Line>)> {
        let there = self.truth.at(revision);
        let selector = self.chain.selector.as_ref();
        let selected = there
            .iter()
            .filter(|(_, state)| selects(selector, &state.content));
        let due: Vec<Line> = selected
            .map(|(name, state)| {
                let content = (*state.content).clone();
                Line::Added((*name).to_owned(), state.revision, content)
            })
            .collect();
        if let Some(due) = due.iter().find(|due| !sent.contains(due)) {
            return Err((Promise::Reliable, Some(due.clone())));
        }
        if due.len() != sent.len() {
            return Err((Promise::Filter, None));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "watches_tests.rs"]
mod tests;
