//! Linearizability again, by a checker that knows nothing of revisions' order: `porcupine-rs` searches an order of each
//! object's requests that explains all answers (Wing and Gong's search with Lowe's memory).
//!
//! Deliberately an opinion and not the judge: it knows nothing of lists, nor that different objects share one order, and
//! it leaves an object undecided that takes too long. `linearizable.rs` judges those too.

use std::collections::BTreeSet;
use std::time::Duration;

use kagero::store::Revision;
use porcupine_rs::{CheckResult, Model, Operation as Searched, check_operations_timeout};

use super::linearizable::mark;
use crate::history::{Answer, Operation, Request};
use crate::truth::{Content, Truth};

/// What one object's search may take, in real time. One that takes longer is counted, not judged.
const PATIENCE: Duration = Duration::from_secs(2);

/// No order of an object's requests explains their answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the second opinion finds no order of the requests for {name} that explains their answers: {requests:#?}"
)]
pub struct NoOrder {
    /// The object.
    pub name: String,
    /// Its requests.
    pub requests: Vec<Operation>,
}

/// One object, as a register with compare-and-set: its revision is a token without order.
#[derive(Clone)]
struct Object;

/// What an object may be; `None` is absent.
type State = Option<(Revision, Content)>;

impl Model for Object {
    /// All that it may be: a deletion without an answer may have happened or not.
    type State = BTreeSet<State>;
    type Op = (Request, Answer);
    type Metadata = ();

    fn init() -> Self::State {
        BTreeSet::from([None])
    }

    fn step(states: &Self::State, (request, answer): &Self::Op) -> (bool, Self::State) {
        let mut next: Self::State = states
            .iter()
            .filter_map(|was| follow(was, request, answer))
            .collect();
        if *answer == Answer::Unknown {
            next.extend(states.iter().cloned());
        }
        (!next.is_empty(), next)
    }
}

/// What the object is after a request was answered so, if that can be where it was this before.
fn follow(was: &State, request: &Request, answer: &Answer) -> Option<State> {
    let is = |base: Revision| was.as_ref().is_some_and(|(revision, _)| *revision == base);
    let content = was.as_ref().map(|(_, content)| content);
    let (possible, next) = match (request, answer) {
        (Request::DeleteAll { label, value }, _) => {
            let has = |content: &Content| content.labels.get(label) == Some(value);
            let left = was.clone().filter(|(_, content)| !has(content));
            (true, left)
        }
        (Request::Delete, Answer::Unknown) => (true, None),
        (Request::Create { content }, Answer::Written(revision, written)) => {
            let possible = was.is_none() && content == written;
            (possible, Some((*revision, written.clone())))
        }
        (Request::Update { base, .. }, Answer::Written(revision, written)) => {
            (is(*base), Some((*revision, written.clone())))
        }
        (
            Request::Patch {
                member,
                value,
                base,
            },
            Answer::Written(revision, written),
        ) => {
            let based = base.is_none_or(is);
            let patched = content.is_some_and(|content| {
                let mut content = content.clone();
                content.data.insert(member.clone(), value.clone());
                content == *written
            });
            (based && patched, Some((*revision, written.clone())))
        }
        (_, Answer::Found(revision, found)) => {
            (is(*revision) && content == Some(found), was.clone())
        }
        (_, Answer::Deleted) => (was.is_some(), None),
        (_, Answer::Missing) => (was.is_none(), None),
        (_, Answer::Exists) => (was.is_some(), was.clone()),
        (
            Request::Update { base, .. }
            | Request::Patch {
                base: Some(base), ..
            },
            _,
        ) => (!is(*base), was.clone()),
        _ => (false, None),
    };
    possible.then_some(next)
}

/// Of how many objects there is a second opinion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opinions {
    /// An order was found.
    pub given: u64,
    /// The search took too long.
    pub none: u64,
}

/// Asks for the second opinion on all objects.
pub fn check(operations: &[Operation], truth: &Truth) -> Result<Opinions, NoOrder> {
    let names: BTreeSet<&str> = operations
        .iter()
        .map(|operation| operation.name.as_str())
        .filter(|name| !name.is_empty())
        .collect();
    let mut opinions = Opinions::default();
    for name in names {
        let requests: Vec<&Operation> = operations
            .iter()
            .filter(|operation| operation.name == name || concerns_all(operation))
            .collect();
        let searched: Vec<Searched<Object>> = requests
            .iter()
            .filter_map(|operation| searched(operation, truth))
            .collect();
        match check_operations_timeout(&searched, PATIENCE) {
            CheckResult::Ok => opinions.given += 1,
            CheckResult::Unknown => opinions.none += 1,
            CheckResult::Illegal => {
                return Err(NoOrder {
                    name: name.to_owned(),
                    requests: requests.into_iter().cloned().collect(),
                });
            }
        }
    }
    Ok(opinions)
}

fn concerns_all(operation: &Operation) -> bool {
    matches!(operation.request, Request::DeleteAll { .. })
}

/// A request as the search wants it. One without an answer stays open for ever; if it is a write, it is what the replicas
/// have of it, or nothing.
fn searched(operation: &Operation, truth: &Truth) -> Option<Searched<Object>> {
    let moment = |at: u64| i64::try_from(at).expect("a run has few moments");
    let (mut answer, mut returned) = (operation.answer.clone(), moment(operation.returned));
    if answer == Answer::Unknown {
        returned = i64::MAX;
        match &operation.request {
            Request::Delete | Request::DeleteAll { .. } => {}
            request => answer = carried_out(&operation.name, mark(request)?, truth)?,
        }
    }
    Some(Searched {
        client_id: u32::try_from(operation.client).ok(),
        call_time: moment(operation.called),
        return_time: returned,
        op: (operation.request.clone(), answer),
        metadata: None,
    })
}

/// The change that brought a mark into an object.
fn carried_out(name: &str, mark: &str, truth: &Truth) -> Option<Answer> {
    let says = |content: &Content| content.data.values().any(|value| value == mark);
    let mut changes = truth.all().filter(|change| change.name == name);
    changes.find_map(|change| {
        let written = change.current.as_ref()?;
        says(&written.content)
            .then(|| Answer::Written(written.revision, (*written.content).clone()))
    })
}

#[cfg(test)]
#[path = "second_opinion_tests.rs"]
mod tests;
