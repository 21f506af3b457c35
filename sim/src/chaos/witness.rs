//! What was written, as far as clients can know: a few witnesses watch all ConfigMaps from before the first is written
//! until after the last, and their accounts together are the history against which everybody else's is judged.
//!
//! In the simulation that history is tapped below HTTP (`truth.rs`); here nobody sees into a process. So the same changes
//! must come to every witness from whichever machine it asks (`Truth` compares them), each witness is judged by the
//! watch checker like any watcher, one of them must have come through without a gap, and the last list must be what the
//! history ends with. What all machines would leave out of every watch alike, and of no list and no answer, is not found.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use kagero::cli::client::{ClientError, Lines};
use kagero::store::Revision;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::field::Field;
use crate::clients::watchers::line;
use crate::clients::{CONFIG_MAPS, Ground};
use crate::history::{Chain, Leg, Line};
use crate::truth::{Change, Content, State};

/// How many there are; each begins at another machine.
const WITNESSES: usize = 3;
/// They are told apart from the other watchers by their numbers.
const FIRST_NUMBER: usize = 100;
/// How often it is looked whether they are to end.
const LOOK: Duration = Duration::from_millis(250);
/// A connection over which nothing came for so long may be dead, and another machine is asked.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Between two connections.
const PAUSE: Duration = Duration::from_millis(50);

/// The witnesses of a run.
pub(super) struct Witnesses {
    positions: Vec<Rc<Cell<Revision>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Witnesses {
    /// Starts them. Nobody must have written a ConfigMap that is to be judged.
    pub(super) async fn start(field: &Field) -> Result<Self> {
        let mut witnesses = Self {
            positions: Vec::new(),
            tasks: Vec::new(),
        };
        for number in 0..WITNESSES {
            let position = Rc::new(Cell::default());
            let mut witness = Witness {
                field: field.clone(),
                number,
                seen: BTreeMap::new(),
                position: position.clone(),
            };
            witness.begin().await?;
            witnesses.positions.push(position);
            let task = tokio::task::spawn_local(witness.run());
            witnesses.tasks.push(task);
        }
        Ok(witnesses)
    }

    /// Whether one of them has seen everything up to a revision.
    pub(super) fn have_seen(&self, revision: Revision) -> bool {
        let mut positions = self.positions.iter();
        positions.any(|position| position.get() >= revision)
    }

    /// Waits for their ends, which come when [`Ground::watching`] ends.
    pub(super) async fn join(self) -> Result<()> {
        for task in self.tasks {
            task.await.context("a witness panicked")?;
        }
        Ok(())
    }
}

struct Witness {
    field: Field,
    number: usize,
    /// What each object was when it was last seen.
    seen: BTreeMap<String, State>,
    position: Rc<Cell<Revision>>,
}

/// A revision and the objects at it.
pub(super) fn listed(list: &Value) -> Option<(Revision, BTreeMap<String, State>)> {
    let revision = |object: &Value| {
        let text = object["metadata"]["resourceVersion"].as_str()?;
        text.parse::<Revision>().ok()
    };
    let state = |item: &Value| {
        let name = item["metadata"]["name"].as_str()?.to_owned();
        let content = Rc::new(Content::of(item));
        let revision = revision(item)?;
        Some((name, State { revision, content }))
    };
    let items = list["items"].as_array()?.iter();
    Some((revision(list)?, items.map(state).collect::<Option<_>>()?))
}

impl Witness {
    fn node(&self, attempt: usize) -> String {
        let machines = self.field.machines();
        machines[(self.number + attempt) % machines.len()].clone()
    }

    async fn begin(&mut self) -> Result<()> {
        let list = self.field.client(&self.node(0)).get(CONFIG_MAPS).await?;
        let (revision, objects) = listed(&list).context("a list without revisions")?;
        for (name, state) in &objects {
            let change = Change {
                revision: state.revision,
                name: name.clone(),
                previous: None,
                current: Some(state.clone()),
            };
            self.tell(change);
        }
        self.seen = objects;
        self.position.set(revision);
        Ok(())
    }

    async fn run(mut self) {
        let mut chain = Chain {
            watcher: FIRST_NUMBER + self.number,
            selector: None,
            legs: Vec::new(),
        };
        let mut attempt = 0;
        while self.field.watching() {
            let leg = self.leg(attempt).await;
            chain.legs.push(leg);
            attempt += 1;
            tokio::time::sleep(PAUSE).await;
        }
        self.field.history().chains.push(chain);
    }

    async fn leg(&mut self, attempt: usize) -> Leg {
        let (node, after) = (self.node(attempt), self.position.get());
        let path =
            format!("{CONFIG_MAPS}?watch=true&allowWatchBookmarks=true&resourceVersion={after}");
        let client = self.field.client(&node).with_deadline(SILENCE_MAX);
        let mut leg = Leg {
            node,
            after: Some(after),
            lines: Vec::new(),
            gone: None,
        };
        match client.watch(&path).await {
            Ok(lines) => self.read(lines, &mut leg).await,
            Err(error) => self.refused(error.code()),
        }
        leg
    }

    /// A machine whose history begins later says so; another may know more.
    fn refused(&self, code: Option<u16>) {
        if code == Some(410) {
            self.field.count("witness: 410 Gone", 1);
        }
    }

    async fn read(&mut self, mut lines: Lines, leg: &mut Leg) {
        let mut heard = Instant::now();
        while self.field.watching() {
            match lines.next(LOOK).await {
                Ok(Some(event)) => {
                    heard = Instant::now();
                    if event["type"] == "ERROR" {
                        let code = event["object"]["code"].as_u64();
                        return self.refused(code.and_then(|code| code.try_into().ok()));
                    }
                    let Some(line) = line(&event) else {
                        let what = format!("a witness was sent {event}");
                        return self.field.report_broken(what);
                    };
                    self.take(&line);
                    leg.lines.push(line);
                }
                Err(ClientError::Deadline { .. }) if heard.elapsed() < SILENCE_MAX => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn take(&mut self, line: &Line) {
        let (name, revision, current) = match line {
            Line::Added(name, revision, content) | Line::Modified(name, revision, content) => {
                let state = State {
                    revision: *revision,
                    content: Rc::new(content.clone()),
                };
                (name, *revision, Some(state))
            }
            Line::Deleted(name, revision, _) => (name, *revision, None),
            Line::Bookmark(revision) | Line::InitialEnd(revision) => {
                return self.position.set(*revision);
            }
        };
        let previous = match &current {
            Some(state) => self.seen.insert(name.clone(), state.clone()),
            None => self.seen.remove(name),
        };
        self.position.set(revision);
        self.tell(Change {
            revision,
            name: name.clone(),
            previous,
            current,
        });
    }

    fn tell(&self, change: Change) {
        let node = format!("witness {}", self.number);
        if let Err(differs) = self.field.truth().add_shown(&node, change) {
            self.field.report_broken(differs.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::checkers::judge_history;
    use crate::history::{Answer, History, Operation, Request};
    use crate::truth::Truth;

    fn content(mark: &str) -> Content {
        let data = BTreeMap::from([("mark".to_owned(), mark.to_owned())]);
        Content {
            data,
            ..Content::default()
        }
    }

    fn written(revision: Revision, mark: &str) -> Change {
        let content = Rc::new(content(mark));
        Change {
            revision,
            name: "a".to_owned(),
            previous: None,
            current: Some(State { revision, content }),
        }
    }

    #[test]
    fn witnesses_that_contradict_each_other_are_found() {
        let mut truth = Truth::default();
        assert_eq!(truth.add_shown("0", written(4, "x")), Ok(true));
        assert_eq!(truth.add_shown("1", written(4, "x")), Ok(false));
        assert!(truth.add_shown("1", written(4, "y")).is_err());
    }

    #[test]
    fn an_acknowledged_write_that_no_witness_saw_is_found() {
        let create = |revision, mark: &str| Operation {
            client: 0,
            node: "n1".to_owned(),
            name: "a".to_owned(),
            called: 1,
            returned: 2,
            request: Request::Create {
                content: content(mark),
            },
            answer: Answer::Written(revision, content(mark)),
        };
        let mut truth = Truth::default();
        truth.add_shown("0", written(4, "x")).unwrap();
        truth.tell(9);
        let mut history = History::default();
        history.operations.push(create(4, "x"));
        judge_history(&history, &truth, |_, _| {}).unwrap();
        history.operations[0] = create(5, "y");
        let broken = judge_history(&history, &truth, |_, _| {}).unwrap_err();
        let why = "an acknowledged write is not in the replicas' history";
        assert!(broken.to_string().contains(why), "{broken}");
    }

    #[test]
    fn a_list_has_a_revision_and_objects() {
        let metadata = json!({ "name": "a", "resourceVersion": "4" });
        let item = json!({ "metadata": metadata, "data": { "mark": "x" } });
        let list = json!({ "metadata": { "resourceVersion": "9" }, "items": [item] });
        let (revision, objects) = listed(&list).unwrap();
        assert_eq!(revision, 9);
        assert_eq!(Some(&objects["a"]), written(4, "x").current.as_ref());
        assert!(listed(&json!({ "items": [] })).is_none());
    }
}
