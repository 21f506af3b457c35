//! Clients that fight for a few ConfigMaps: they create, replace, patch, delete, read and list them, at random nodes, and
//! note each question with its answer for the checkers.
//!
//! Deliberately without retries, and with bases for replacements that may be old: conflicts are wanted.

use std::collections::BTreeMap;

use kagero::cli::client::{Client, ClientError, Patch};
use kagero::store::Revision;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{CONFIG_MAPS, Ground, anybody};
use crate::history::{Answer, Operation, Request};
use crate::truth::Content;

/// Contenders at once.
const CONTENDERS: usize = 5;
/// Objects that they fight for.
const OBJECTS: u64 = 6;
/// Between two requests of one contender.
const PAUSE_MS: (u64, u64) = (20, 300);
/// The label that all these objects carry.
pub const POOL: (&str, &str) = ("pool", "contended");
/// The label by which some watchers select, with its values.
pub const SIDE: (&str, [&str; 2]) = ("side", ["left", "right"]);
/// The member of `data` that says which request wrote it.
pub const MARK: &str = "mark";

/// Starts them.
pub(super) fn start(world: &impl Ground) -> Vec<JoinHandle<()>> {
    (0..CONTENDERS)
        .map(|number| {
            let contender = Contender {
                world: world.clone(),
                number,
                marks: 0,
                seen: BTreeMap::new(),
            };
            tokio::task::spawn_local(contender.run())
        })
        .collect()
}

struct Contender<W> {
    world: W,
    number: usize,
    marks: u64,
    /// What it last saw of each object.
    seen: BTreeMap<String, (Revision, Content)>,
}

impl<W: Ground> Contender<W> {
    async fn run(mut self) {
        while self.world.writing() {
            let (name, request) = self.draw();
            self.ask(name, request).await;
            self.world.pass(PAUSE_MS.0..=PAUSE_MS.1).await;
        }
    }

    fn content(&mut self) -> Content {
        let side = usize::from(self.world.chance(0..=1) == 1);
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let mark = self.mark();
        Content {
            labels: BTreeMap::from([label(POOL.0, POOL.1), label(SIDE.0, SIDE.1[side])]),
            data: BTreeMap::from([label(MARK, &mark)]),
        }
    }

    /// A text that no other request writes.
    fn mark(&mut self) -> String {
        self.marks += 1;
        format!("{}-{}", self.number, self.marks)
    }

    fn draw(&mut self) -> (String, Request) {
        let name = format!("pool-{}", self.world.chance(0..=OBJECTS - 1));
        let seen = self.seen.get(&name).map(|(revision, _)| *revision);
        let kind = self.world.chance(0..=99);
        let request = match (kind, seen) {
            (0..15, _) => Request::Create {
                content: self.content(),
            },
            (15..35, Some(base)) => Request::Update {
                content: self.content(),
                base,
            },
            (35..55, _) => Request::Patch {
                member: format!("m{}", self.world.chance(0..=2)),
                value: self.mark(),
                base: seen.filter(|_| self.world.chance(0..=1) == 1),
            },
            (55..62, _) => Request::Delete,
            (62, _) => {
                let side = usize::from(self.world.chance(0..=1) == 1);
                let request = Request::DeleteAll {
                    label: SIDE.0.to_owned(),
                    value: SIDE.1[side].to_owned(),
                };
                return (String::new(), request);
            }
            (63..75, _) => return (String::new(), Request::List),
            _ => Request::Get,
        };
        (name, request)
    }

    async fn ask(&mut self, name: String, request: Request) {
        let (client, node) = anybody(&self.world);
        let called = self.world.history().moment();
        let answered = send(&client, &name, &request).await;
        let answer = answered.unwrap_or_else(|error| refusal(&request, &error));
        if let Answer::Written(revision, _) = &answer {
            self.world.measure_write(*revision);
        }
        match &answer {
            Answer::Written(revision, content) | Answer::Found(revision, content) => {
                self.seen.insert(name.clone(), (*revision, content.clone()));
            }
            // What it saw is kept after a conflict now and then, so that an old base is tried again.
            Answer::Conflict if self.world.chance(0..=1) == 1 => {}
            Answer::Missing | Answer::Deleted | Answer::Conflict => {
                self.seen.remove(&name);
            }
            _ => {}
        }
        self.world.count(counted(&answer), 1);
        let mut history = self.world.history();
        let returned = history.moment();
        history.operations.push(Operation {
            client: self.number,
            node,
            name,
            called,
            returned,
            request,
            answer,
        });
    }
}

fn counted(answer: &Answer) -> &'static str {
    match answer {
        Answer::Written(..) => "client: written",
        Answer::Deleted => "client: deleted",
        Answer::Found(..) => "client: found",
        Answer::Missing => "client: missing",
        Answer::Exists => "client: exists already",
        Answer::Conflict => "client: conflict",
        Answer::Listed(..) => "client: listed",
        Answer::Unknown => "client: no answer",
    }
}

async fn send(client: &Client, name: &str, request: &Request) -> Result<Answer, ClientError> {
    let path = format!("{CONFIG_MAPS}/{name}");
    match request {
        Request::Create { content } => {
            let object = object(name, content, None);
            Ok(written(&client.post(CONFIG_MAPS, &object).await?))
        }
        Request::Update { content, base } => {
            let object = object(name, content, Some(*base));
            Ok(written(&client.put(&path, &object).await?))
        }
        Request::Patch {
            member,
            value,
            base,
        } => {
            let mut change = json!({ "data": { member: value } });
            if let Some(base) = base {
                change["metadata"] = json!({ "resourceVersion": base.to_string() });
            }
            Ok(written(&client.patch(&path, Patch::Merge, &change).await?))
        }
        Request::Delete => client.delete(&path).await.map(|_| Answer::Deleted),
        Request::DeleteAll { label, value } => {
            let path = format!("{CONFIG_MAPS}?labelSelector={label}%3D{value}");
            client.delete(&path).await.map(|_| Answer::Deleted)
        }
        Request::Get => {
            let (revision, content) = read(&client.get(&path).await?);
            Ok(Answer::Found(revision, content))
        }
        Request::List => {
            let path = format!("{CONFIG_MAPS}?labelSelector={}%3D{}", POOL.0, POOL.1);
            Ok(listed(&client.get(&path).await?))
        }
    }
}

/// What an error says of the request. Only what the API's conventions make certain counts as an answer.
fn refusal(request: &Request, error: &ClientError) -> Answer {
    match (error.code(), request) {
        (Some(404), _) => Answer::Missing,
        (Some(409), Request::Create { .. }) => Answer::Exists,
        (Some(409), _) => Answer::Conflict,
        _ => Answer::Unknown,
    }
}

fn object(name: &str, content: &Content, base: Option<Revision>) -> Value {
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": name, "labels": content.labels },
        "data": content.data,
    });
    if let Some(base) = base {
        object["metadata"]["resourceVersion"] = json!(base.to_string());
    }
    object
}

/// An object's revision; 0, which no object has, if it names none.
pub(super) fn revision(object: &Value) -> Revision {
    let text = object["metadata"]["resourceVersion"].as_str();
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn read(object: &Value) -> (Revision, Content) {
    (revision(object), Content::of(object))
}

fn written(object: &Value) -> Answer {
    let (revision, content) = read(object);
    Answer::Written(revision, content)
}

fn listed(list: &Value) -> Answer {
    let items = list["items"].as_array().into_iter().flatten();
    let item = |item: &Value| {
        let name = item["metadata"]["name"].as_str().unwrap_or_default();
        let (revision, content) = read(item);
        (name.to_owned(), revision, content)
    };
    Answer::Listed(revision(list), items.map(item).collect())
}
