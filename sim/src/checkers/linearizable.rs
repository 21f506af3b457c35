//! Linearizability of the store as HTTP clients see it, over the whole history: the revision is the witness.
//!
//! Every answer names, or implies, the revision at which the request took effect, and the replicas' own history
//! ([`Truth`]) says what held at each revision. So no search is needed: each request must have taken effect between the
//! newest revision that anybody had been told before it was sent and the oldest that was written by who asked after it
//! was answered, and its answer must be what held there. Requests without an answer promise nothing, and bound nothing.
//!
//! What is meant by linearizable: Herlihy and Wing, Linearizability: a correctness condition for concurrent objects, 1990.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use kagero::store::Revision;

use crate::clients::contenders::{MARK, POOL};
use crate::history::{Answer, Moment, Operation, Request};
use crate::truth::{Content, State, Truth};

/// An answer that no order of all requests explains.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not linearizable: {why}; asked was {operation:?}, which took effect after {floor} and up to {ceiling}"
)]
pub struct Wrong {
    /// What is wrong with it.
    pub why: &'static str,
    /// The request.
    pub operation: Box<Operation>,
    /// The newest revision known to anybody before it was sent.
    pub floor: Revision,
    /// The newest revision there can have been when its answer was read.
    pub ceiling: Revision,
}

/// What one object was from a revision on.
struct Point {
    at: Revision,
    /// The revision of its last change: `at`, but for what a generation began with.
    changed: Revision,
    content: Option<Rc<Content>>,
}

/// One object's, in order.
type Life = Vec<Point>;

/// Judges all requests.
pub fn check(operations: &[Operation], truth: &Truth) -> Result<(), Wrong> {
    let lives = lives(truth);
    let bounds = Bounds::new(operations);
    let judge = Judge { lives, truth };
    let mut claimed = BTreeSet::new();
    let mut deletions: BTreeMap<&str, Vec<(Revision, Revision, &Operation)>> = BTreeMap::new();
    for operation in operations {
        let (floor, ceiling) = bounds.of(operation, truth.newest());
        let wrong = |why| Wrong {
            why,
            operation: Box::new(operation.clone()),
            floor,
            ceiling,
        };
        judge.check(operation, floor, ceiling).map_err(wrong)?;
        match &operation.answer {
            Answer::Written(revision, _) if !claimed.insert(*revision) => {
                return Err(wrong("two writes were given one revision"));
            }
            Answer::Deleted if operation.request == Request::Delete => {
                let of = deletions.entry(&operation.name).or_default();
                of.push((ceiling, floor, operation));
            }
            _ => {}
        }
    }
    for (name, asked) in deletions {
        judge.check_deletions(name, asked)?;
    }
    judge.check_refused(operations)
}

/// Each object's changes, in order.
fn lives(truth: &Truth) -> BTreeMap<String, Life> {
    let mut lives: BTreeMap<String, Life> = BTreeMap::new();
    for change in truth.all() {
        let content = change.current.as_ref().map(|state| state.content.clone());
        let life = lives.entry(change.name.clone()).or_default();
        life.push(Point {
            at: change.revision,
            changed: change.revision,
            content,
        });
    }
    for (begun, founding) in truth.foundings() {
        for name in founding.keys() {
            lives.entry(name.clone()).or_default();
        }
        for (name, life) in &mut lives {
            let state = founding.get(name);
            let next = life.partition_point(|point| point.at <= *begun);
            let was = next
                .checked_sub(1)
                .and_then(|last| life[last].content.as_ref());
            if was.is_none() && state.is_none() {
                continue;
            }
            let point = Point {
                at: *begun,
                changed: state.map_or(*begun, |state| state.revision),
                content: state.map(|state| state.content.clone()),
            };
            life.insert(next, point);
        }
    }
    lives
}

/// Between which revisions each request took effect.
struct Bounds {
    /// For each answer's moment, in order, the newest revision that anybody had been told by then.
    told: Vec<(Moment, Revision)>,
    /// For each moment at which a write was sent, in order, the oldest revision of all writes sent then or later.
    later: Vec<(Moment, Revision)>,
}

impl Bounds {
    fn new(operations: &[Operation]) -> Self {
        let mut told: Vec<(Moment, Revision)> = operations
            .iter()
            .filter_map(|operation| match &operation.answer {
                Answer::Written(revision, _)
                | Answer::Found(revision, _)
                | Answer::Listed(revision, _) => Some((operation.returned, *revision)),
                _ => None,
            })
            .collect();
        told.sort_unstable();
        let mut newest = 0;
        for (_, revision) in &mut told {
            newest = newest.max(*revision);
            *revision = newest;
        }
        let mut later: Vec<(Moment, Revision)> = operations
            .iter()
            .filter_map(|operation| match &operation.answer {
                Answer::Written(revision, _) => Some((operation.called, *revision)),
                _ => None,
            })
            .collect();
        later.sort_unstable();
        let mut oldest = Revision::MAX;
        for (_, revision) in later.iter_mut().rev() {
            oldest = oldest.min(*revision);
            *revision = oldest;
        }
        Self { told, later }
    }

    fn of(&self, operation: &Operation, newest: Revision) -> (Revision, Revision) {
        let before = self.told.partition_point(|(at, _)| *at < operation.called);
        let floor = before.checked_sub(1).map_or(0, |last| self.told[last].1);
        let after = self
            .later
            .partition_point(|(at, _)| *at < operation.returned);
        let next = self.later.get(after).map(|(_, revision)| revision - 1);
        (floor, next.unwrap_or(newest))
    }
}

struct Judge<'a> {
    lives: BTreeMap<String, Life>,
    truth: &'a Truth,
}

impl Judge<'_> {
    fn life(&self, name: &str) -> &[Point] {
        self.lives.get(name).map_or(&[], Vec::as_slice)
    }

    /// What an object was at a revision, and since when.
    fn at(&self, name: &str, revision: Revision) -> (Revision, Option<&Content>) {
        let life = self.life(name);
        let after = life.partition_point(|point| point.at <= revision);
        let last = after.checked_sub(1).map(|last| &life[last]);
        last.map_or((0, None), |point| (point.changed, point.content.as_deref()))
    }

    /// Whether a generation began with an object so, which nobody may have been seen writing: what a survivor had beyond
    /// what was known to be committed goes on, too.
    fn founded(&self, name: &str, changed: Revision, content: &Content) -> bool {
        let is = |state: &State| state.revision == changed && *state.content == *content;
        let mut foundings = self.truth.foundings().values();
        foundings.any(|founding| founding.get(name).is_some_and(is))
    }

    /// Whether something held of an object at some revision between two.
    fn sometime(
        &self,
        name: &str,
        floor: Revision,
        ceiling: Revision,
        held: impl Fn(Revision, Option<&Content>) -> bool,
    ) -> bool {
        let (changed, content) = self.at(name, floor);
        let mut within = self
            .life(name)
            .iter()
            .filter(|point| point.at > floor && point.at <= ceiling);
        held(changed, content) || within.any(|point| held(point.changed, point.content.as_deref()))
    }

    fn check(
        &self,
        operation: &Operation,
        floor: Revision,
        ceiling: Revision,
    ) -> Result<(), &'static str> {
        let name = operation.name.as_str();
        match (&operation.answer, &operation.request) {
            // Deletions are judged together, in `check_deletions`; of many objects no revision is told.
            (Answer::Unknown | Answer::Deleted, _) => Ok(()),
            (Answer::Written(revision, content), request) => {
                if *revision <= floor || *revision > ceiling {
                    return Err("a write took effect outside of its time");
                }
                self.check_written(name, *revision, content, request)
            }
            (Answer::Found(revision, content), _) => {
                let (changed, held) = self.at(name, *revision);
                let was = changed == *revision && held == Some(content);
                if !was && !self.founded(name, *revision, content) {
                    return Err("it never was as it was read");
                }
                if *revision > ceiling {
                    return Err("it was read before it was written");
                }
                let read = |changed, _: Option<&Content>| changed == *revision;
                let fresh = self.sometime(name, floor, ceiling, read);
                fresh.then_some(()).ok_or("a stale read")
            }
            (Answer::Listed(revision, items), _) => {
                if *revision < floor || *revision > ceiling {
                    return Err("a list of another time");
                }
                self.check_list(*revision, items)
            }
            (Answer::Missing, _) => {
                let absent = |_, content: Option<&Content>| content.is_none();
                let was = self.sometime(name, floor, ceiling, absent);
                was.then_some(()).ok_or("it was there all the while")
            }
            (Answer::Exists, _) => {
                let present = |_, content: Option<&Content>| content.is_some();
                let was = self.sometime(name, floor, ceiling, present);
                was.then_some(()).ok_or("it was not there all the while")
            }
            (
                Answer::Conflict,
                Request::Update { base, .. }
                | Request::Patch {
                    base: Some(base), ..
                },
            ) => {
                let other =
                    |changed, content: Option<&Content>| content.is_none() || changed != *base;
                let was = self.sometime(name, floor, ceiling, other);
                was.then_some(())
                    .ok_or("it was what it was to replace all the while")
            }
            (Answer::Conflict, _) => Err("a conflict without a condition"),
        }
    }

    fn check_written(
        &self,
        name: &str,
        revision: Revision,
        content: &Content,
        request: &Request,
    ) -> Result<(), &'static str> {
        let (changed, held) = self.at(name, revision);
        if changed != revision || held != Some(content) {
            return Err("an acknowledged write is not in the replicas' history");
        }
        let (previous, was) = self.at(name, revision - 1);
        match (request, was) {
            (Request::Create { content: wanted }, None) if wanted == content => Ok(()),
            (Request::Create { .. }, None) | (Request::Update { .. }, Some(_))
                if !asked_for(request, content) =>
            {
                Err("something else was written than was asked for")
            }
            (Request::Update { base, .. }, Some(_)) if *base == previous => Ok(()),
            (Request::Update { .. }, _) => Err("a lost update: it replaced what was not its base"),
            (
                Request::Patch {
                    base: Some(base), ..
                },
                _,
            ) if *base != previous => Err("a lost update: it changed what was not its base"),
            (Request::Patch { member, value, .. }, Some(was)) => {
                let mut wanted = was.clone();
                wanted.data.insert(member.clone(), value.clone());
                let same = wanted == *content;
                same.then_some(())
                    .ok_or("a patch changed more than it says")
            }
            _ => Err("what it needs was not so just before"),
        }
    }

    fn check_list(
        &self,
        revision: Revision,
        items: &[(String, Revision, Content)],
    ) -> Result<(), &'static str> {
        let listed: BTreeMap<&str, (Revision, &Content)> = items
            .iter()
            .map(|(name, changed, content)| (name.as_str(), (*changed, content)))
            .collect();
        let held: BTreeMap<&str, (Revision, &Content)> = self
            .lives
            .keys()
            .filter_map(|name| {
                let (changed, content) = self.at(name, revision);
                Some((name.as_str(), (changed, content?)))
            })
            .filter(|(_, (_, content))| content.labels.get(POOL.0).is_some_and(|v| v == POOL.1))
            .collect();
        (listed == held)
            .then_some(())
            .ok_or("a list that no revision shows")
    }

    /// Each acknowledged deletion must have a removal of its own within its time: the earliest removals go to those
    /// whose time ends first.
    fn check_deletions(
        &self,
        name: &str,
        mut asked: Vec<(Revision, Revision, &Operation)>,
    ) -> Result<(), Wrong> {
        asked.sort_by_key(|(ceiling, floor, _)| (*ceiling, *floor));
        let mut removals: BTreeSet<Revision> = self
            .life(name)
            .iter()
            .filter(|point| point.content.is_none())
            // What a generation began without, nobody deleted.
            .filter(|point| !self.truth.foundings().contains_key(&point.at))
            .map(|point| point.at)
            .collect();
        for (ceiling, floor, operation) in asked {
            let first = removals.range(floor + 1..).next().copied();
            let Some(removal) = first.filter(|removal| *removal <= ceiling) else {
                return Err(Wrong {
                    why: "a deletion was acknowledged and did not happen",
                    operation: Box::new(operation.clone()),
                    floor,
                    ceiling,
                });
            };
            removals.remove(&removal);
        }
        Ok(())
    }

    /// What was refused was never written.
    fn check_refused(&self, operations: &[Operation]) -> Result<(), Wrong> {
        let contents = self
            .truth
            .all()
            .filter_map(|change| change.current.as_ref());
        let written: BTreeSet<&str> = contents
            .flat_map(|state| state.content.data.values().map(String::as_str))
            .collect();
        let refused = |operation: &&Operation| {
            let answer = &operation.answer;
            matches!(answer, Answer::Missing | Answer::Exists | Answer::Conflict)
                && mark(&operation.request).is_some_and(|mark| written.contains(mark))
        };
        match operations.iter().find(refused) {
            None => Ok(()),
            Some(operation) => Err(Wrong {
                why: "a write was refused and carried out",
                operation: Box::new(operation.clone()),
                floor: 0,
                ceiling: self.truth.newest(),
            }),
        }
    }
}

fn asked_for(request: &Request, written: &Content) -> bool {
    matches!(request, Request::Create { content } | Request::Update { content, .. } if content == written)
}

/// The text that only this request writes.
pub(super) fn mark(request: &Request) -> Option<&str> {
    match request {
        Request::Create { content } | Request::Update { content, .. } => {
            content.data.get(MARK).map(String::as_str)
        }
        Request::Patch { value, .. } => Some(value),
        _ => None,
    }
}

#[cfg(test)]
#[path = "linearizable_tests.rs"]
mod tests;
