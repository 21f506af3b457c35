//! What the replicas applied, change by change: the history of the store against which everything that clients saw is
//! judged.
//!
//! Each node's own published events are tapped where its API's watches begin, below HTTP. Whatever a majority committed is
//! applied one by one by some replica, so the union over all replicas has no gap; where one is there all the same
//! (everybody who applied it died at once), [`Truth::gaps`] names it and the checkers judge nothing that touches it.
//!
//! A generation that begins with a survivor's state or a snapshot goes on from there, whatever the one before it did later:
//! its founding state stands in the history like a change of everything ([`Truth::foundings`]).

use std::collections::BTreeMap;
use std::rc::Rc;

use actix::Recipient;
use kagero::actors::doors::Known;
use kagero::actors::messages::Watch;
use kagero::store::{Event, Record, Revision};
use serde_json::Value;
use tokio::sync::watch;

use crate::world::World;

/// Bits of a revision below its generation, as the store documents them.
const GENERATION_BITS: u32 = 40;
/// Keys of the objects that clients write and watch.
pub const WATCHED: &str = "configmaps/default/";
/// A tap that was refused, because its replica is being replaced, tries again after this.
const AGAIN_MS: u64 = 50;

/// What a client sees of a ConfigMap, beside its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Content {
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `data`.
    pub data: BTreeMap<String, String>,
}

impl Content {
    /// Of an object as JSON.
    pub fn of(object: &Value) -> Self {
        let map = |value: &Value| -> BTreeMap<String, String> {
            let entries = value.as_object().into_iter().flatten();
            let texts =
                entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
            texts.collect()
        };
        Self {
            labels: map(&object["metadata"]["labels"]),
            data: map(&object["data"]),
        }
    }
}

/// An object at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The revision of its last change.
    pub revision: Revision,
    /// What it said.
    pub content: Rc<Content>,
}

/// One change of one watched object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub revision: Revision,
    /// The object's name.
    pub name: String,
    /// Before, `None` if it was not there.
    pub previous: Option<State>,
    /// After, `None` if it is gone.
    pub current: Option<State>,
}

/// Two replicas applied different things.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{node} applied something else at revision {revision} than {first}")]
pub struct Differs {
    /// The revision.
    pub revision: Revision,
    /// Who applied it first.
    pub first: String,
    /// Who applied something else.
    pub node: String,
}

/// Everything applied, by revision.
///
/// Invariant: the changes of one revision are all there or none is.
#[derive(Debug, Default)]
pub struct Truth {
    revisions: BTreeMap<Revision, Applied>,
    foundings: BTreeMap<Revision, Founding>,
    /// The newest revision that somebody was told of, although nothing watched changed there.
    told: Revision,
}

/// The watched objects that a later generation begins with, by name.
pub type Founding = BTreeMap<String, State>;

#[derive(Debug)]
struct Applied {
    by: String,
    digest: u64,
    changes: Vec<Change>,
}

impl Truth {
    /// A replica applied these, which are all of one revision. Gives whether that is news.
    pub fn add(&mut self, node: &str, events: &[Event]) -> Result<bool, Differs> {
        let Some(first) = events.first() else {
            return Ok(false);
        };
        let changes = events.iter().filter_map(change).collect();
        self.insert(node, first.revision, digest(events), changes)
    }

    /// The same of somebody who was only shown a change of a watched object, and not what else is of its revision.
    pub fn add_shown(&mut self, node: &str, change: Change) -> Result<bool, Differs> {
        let digest = fnv(format!("{change:?}").as_bytes());
        self.insert(node, change.revision, digest, vec![change])
    }

    fn insert(
        &mut self,
        node: &str,
        revision: Revision,
        digest: u64,
        changes: Vec<Change>,
    ) -> Result<bool, Differs> {
        if let Some(applied) = self.revisions.get(&revision) {
            if applied.digest == digest {
                return Ok(false);
            }
            return Err(Differs {
                revision,
                first: applied.by.clone(),
                node: node.to_owned(),
            });
        }
        let by = node.to_owned();
        let applied = Applied {
            by,
            digest,
            changes,
        };
        self.revisions.insert(revision, applied);
        Ok(true)
    }

    /// A replica of a generation that begins at this revision has these objects there. Gives whether that is news.
    pub fn found(
        &mut self,
        node: &str,
        revision: Revision,
        founding: Founding,
    ) -> Result<bool, Differs> {
        match self.foundings.get(&revision) {
            None => {
                self.foundings.insert(revision, founding);
                Ok(true)
            }
            Some(first) if *first == founding => Ok(false),
            Some(_) => Err(Differs {
                revision,
                first: "another".to_owned(),
                node: node.to_owned(),
            }),
        }
    }

    /// What each later generation began with, by its first revision.
    pub fn foundings(&self) -> &BTreeMap<Revision, Founding> {
        &self.foundings
    }

    /// The watched objects at a revision, by name.
    pub fn at(&self, revision: Revision) -> BTreeMap<&str, &State> {
        let founding = self.foundings.range(..=revision).next_back();
        let (begun, founding) = founding.unzip();
        let founding = founding.into_iter().flatten();
        let mut there: BTreeMap<&str, &State> = founding
            .map(|(name, state)| (name.as_str(), state))
            .collect();
        for change in self.changes(begun.copied().unwrap_or_default(), revision) {
            match &change.current {
                Some(state) => there.insert(&change.name, state),
                None => there.remove(change.name.as_str()),
            };
        }
        there
    }

    /// The changes of watched objects after one revision up to another, in order.
    pub fn changes(&self, after: Revision, up_to: Revision) -> impl Iterator<Item = &Change> {
        let range = after + 1..=up_to.max(after + 1);
        self.revisions
            .range(range)
            .filter(move |(revision, _)| **revision <= up_to)
            .flat_map(|(_, applied)| &applied.changes)
    }

    /// All changes of watched objects, in order.
    pub fn all(&self) -> impl Iterator<Item = &Change> {
        self.revisions.values().flat_map(|applied| &applied.changes)
    }

    /// Revisions that nobody was seen applying, as (after, before), of those from the first seen on. Between a generation's
    /// last and the founding of the next there are none.
    pub fn gaps(&self) -> Vec<(Revision, Revision)> {
        let mut gaps = Vec::new();
        let mut last = 0;
        for revision in self.revisions.keys() {
            let begun = revision - 1;
            let founded = begun > last && self.foundings.contains_key(&begun);
            if *revision != last + 1 && !founded {
                gaps.push((last, *revision));
            }
            last = *revision;
        }
        gaps
    }

    /// There is this revision, whatever it changed.
    pub fn tell(&mut self, revision: Revision) {
        self.told = self.told.max(revision);
    }

    /// The newest revision seen.
    pub fn newest(&self) -> Revision {
        let last = self.revisions.keys().next_back();
        last.copied().unwrap_or_default().max(self.told)
    }
}

fn state(record: &Record) -> State {
    // The store holds what the API admitted, which is JSON; anything else shows as an empty object and is found.
    let object: Value = serde_json::from_slice(&record.value).unwrap_or_default();
    State {
        revision: record.mod_revision,
        content: Rc::new(Content::of(&object)),
    }
}

fn change(event: &Event) -> Option<Change> {
    let name = event.key.strip_prefix(WATCHED)?;
    Some(Change {
        revision: event.revision,
        name: name.to_owned(),
        previous: event.previous.as_ref().map(state),
        current: event.current.as_ref().map(state),
    })
}

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// FNV-1a over bytes.
fn fnv(bytes: &[u8]) -> u64 {
    let feed = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
    bytes.iter().fold(FNV_BASIS, feed)
}

/// FNV-1a over keys and records.
fn digest(events: &[Event]) -> u64 {
    const PRIME: u64 = FNV_PRIME;
    let mut hash = FNV_BASIS;
    let mut feed = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
        hash = hash.wrapping_mul(PRIME);
    };
    for event in events {
        feed(event.key.as_bytes());
        for record in [&event.previous, &event.current] {
            let version = record.as_ref().map_or(0, |record| record.version);
            let changed = record.as_ref().map_or(0, |record| record.mod_revision);
            feed(&version.to_le_bytes());
            feed(&changed.to_le_bytes());
        }
        if let Some(record) = &event.current {
            feed(&record.value);
        }
    }
    hash
}

fn first_revision(generation: u64) -> Revision {
    generation << GENERATION_BITS
}

/// Listens to what a node's replica applies, for as long as its process lives.
pub(crate) async fn tap(
    world: World,
    node: String,
    watch: Recipient<Watch>,
    known: watch::Receiver<Option<Known>>,
) {
    let foundings = tap_foundings(&world, &node, known.clone());
    tokio::join!(tap_changes(&world, &node, watch, known), foundings);
}

async fn tap_foundings(world: &World, node: &str, mut known: watch::Receiver<Option<Known>>) {
    loop {
        if let Some(Known { view, standing, .. }) = &*known.borrow_and_update() {
            let begun = first_revision(standing.cluster.generation);
            if begun > 0 && view.revision() == begun {
                let objects = view.range(WATCHED);
                let founding = objects
                    .filter_map(|(key, record)| {
                        Some((key.strip_prefix(WATCHED)?.to_owned(), state(record)))
                    })
                    .collect();
                match world.truth().found(node, begun, founding) {
                    Ok(true) => world.count("cluster: generation begun", 1),
                    Ok(false) => {}
                    Err(differs) => world.report_broken(differs.to_string()),
                }
            }
        }
        if known.changed().await.is_err() {
            return;
        }
    }
}

async fn tap_changes(
    world: &World,
    node: &str,
    watch: Recipient<Watch>,
    mut known: watch::Receiver<Option<Known>>,
) {
    loop {
        let at = |known: &Option<Known>| {
            let known = known.as_ref()?;
            let begun = first_revision(known.standing.cluster.generation);
            Some([begun, known.view.revision()])
        };
        let Ok(Some(from)) = known
            .wait_for(Option::is_some)
            .await
            .map(|known| at(&known))
        else {
            return;
        };
        // A founder's history reaches back to the beginning; who was sent a snapshot knows nothing from before.
        for after in from {
            let prefix = String::new();
            match watch.send(Watch { prefix, after }).await {
                Ok(Ok(mut subscription)) => {
                    record(world, node, &subscription.backlog);
                    while let Some(batch) = subscription.events.recv().await {
                        record(world, node, &batch);
                    }
                    break;
                }
                Ok(Err(_)) => {}
                Err(_) => return,
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(AGAIN_MS)).await;
    }
}

fn record(world: &World, node: &str, events: &[Event]) {
    for transaction in events.chunk_by(|one, next| one.revision == next.revision) {
        match world.truth().add(node, transaction) {
            Ok(true) => transaction.iter().for_each(|event| cover(world, event)),
            Ok(false) => {}
            Err(differs) => world.report_broken(differs.to_string()),
        }
    }
}

/// Counts what is noteworthy among the changes.
fn cover(world: &World, event: &Event) {
    let ready = |record: &Option<Record>| {
        let node: Value = serde_json::from_slice(&record.as_ref()?.value).ok()?;
        let conditions = node["status"]["conditions"].as_array()?;
        let ready = conditions.iter().find(|one| one["type"] == "Ready")?;
        Some(ready["status"] == "True")
    };
    match event.key.split('/').next() {
        Some("pods") if event.previous.is_none() => world.count("cluster: pod created", 1),
        Some("pods") if event.current.is_none() => world.count("cluster: pod removed", 1),
        Some("nodes") => match (ready(&event.previous), ready(&event.current)) {
            (Some(true), Some(false)) => world.count("cluster: node NotReady", 1),
            (Some(false), Some(true)) => world.count("cluster: node Ready again", 1),
            _ => {}
        },
        _ => {}
    }
}
