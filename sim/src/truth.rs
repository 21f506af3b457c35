//! What the replicas applied, change by change: the history of the store against which everything that clients saw is
//! judged.
//!
//! Each node's own published events are tapped where its API's watches begin, below HTTP. Whatever a majority committed is
//! applied one by one by some replica, so the union over all replicas has no gap; where one is there all the same,
//! [`Truth::gaps`] names it and the run fails, because nothing that touches it can be judged.
//!
//! A generation that begins with a survivor's state or a snapshot goes on from there, whatever the one before it did later:
//! its founding state stands in the history like a change of everything ([`Truth::foundings`]).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use actix::Recipient;
use kagero::actors::doors::Known;
use kagero::actors::messages::Watch;
use kagero::raft::{Index, PeerId, Term};
use kagero::store::{Event, Record, Revision};
use serde_json::Value;
use tokio::sync::watch;

use crate::beginnings::{Beginning, Fnv, Reach, Stamp, Whole, first_revision, generation_of};
use crate::clients::watchers::floor;
use crate::world::World;

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
    /// The same with all else, as replicas showed it.
    beginnings: BTreeMap<Revision, Beginning>,
    /// What each entry came to, by generation: in a term no later than this, this revision.
    reached: BTreeMap<(u64, Index), (Term, Revision)>,
    /// The newest revision that an incarnation was seen at, by generation.
    held: BTreeMap<(u64, PeerId), Revision>,
    /// Where replicas' histories begin that were sent a snapshot.
    floors: BTreeSet<Revision>,
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
    /// All keys that were changed, with what they are since.
    touched: Vec<Touch>,
    weight: Weight,
}

/// How much of a watch history some changes take, as the product counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Events.
    pub events: usize,
    /// Bytes.
    pub bytes: usize,
}

impl Weight {
    /// A change's cost beside its key and the value that went (`EVENT_OVERHEAD_BYTES` of the product's history).
    const OVERHEAD_BYTES: usize = size_of::<Event>() + 3 * 32;

    fn of(events: &[Event]) -> Self {
        let cost = |event: &Event| {
            let went = event.previous.as_ref().map_or(0, |was| was.value.len());
            Self::OVERHEAD_BYTES + event.key.len() + went
        };
        Self {
            events: events.len(),
            bytes: events.iter().map(cost).sum(),
        }
    }
}

/// A key, and what it is now.
type Touch = (Arc<str>, Option<Stamp>);

impl Truth {
    /// A replica applied these, which are all of one revision. Gives whether that is news.
    pub fn add(&mut self, node: &str, events: &[Event]) -> Result<bool, Differs> {
        let Some(first) = events.first() else {
            return Ok(false);
        };
        let changes = events.iter().filter_map(change).collect();
        let touch = |event: &Event| (event.key.clone(), event.current.as_ref().map(Stamp::of));
        let touched = events.iter().map(touch).collect();
        let weight = Weight::of(events);
        let applied = Applied {
            by: node.to_owned(),
            digest: digest(events),
            changes,
            touched,
            weight,
        };
        self.insert(node, first.revision, applied)
    }

    /// The same of somebody who was only shown a change of a watched object, and not what else is of its revision.
    pub fn add_shown(&mut self, node: &str, change: Change) -> Result<bool, Differs> {
        let mut digest = Fnv::default();
        digest.feed(format!("{change:?}").as_bytes());
        let revision = change.revision;
        let applied = Applied {
            by: node.to_owned(),
            digest: digest.0,
            changes: vec![change],
            touched: Vec::new(),
            weight: Weight::default(),
        };
        self.insert(node, revision, applied)
    }

    fn insert(
        &mut self,
        node: &str,
        revision: Revision,
        applied: Applied,
    ) -> Result<bool, Differs> {
        if let Some(first) = self.revisions.get(&revision) {
            if first.digest == applied.digest {
                return Ok(false);
            }
            return Err(Differs {
                revision,
                first: first.by.clone(),
                node: node.to_owned(),
            });
        }
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

    /// The same of a replica that shows all it has. Gives whether that is news.
    pub fn begin(
        &mut self,
        node: &str,
        revision: Revision,
        beginning: Beginning,
    ) -> Result<bool, Differs> {
        if let Some(first) = self.beginnings.get(&revision)
            && *first != beginning
        {
            return Err(Differs {
                revision,
                first: "another".to_owned(),
                node: node.to_owned(),
            });
        }
        let news = self.found(node, revision, beginning.watched.clone())?;
        self.beginnings.insert(revision, beginning);
        Ok(news)
    }

    /// Everything that each later generation began with, by its first revision.
    pub fn beginnings(&self) -> &BTreeMap<Revision, Beginning> {
        &self.beginnings
    }

    /// A replica was so far.
    pub fn reach(&mut self, reach: Reach) {
        let entry = (reach.generation, reach.applied);
        let known = self.reached.entry(entry);
        let (term, _) = known.or_insert((reach.term, reach.revision));
        *term = reach.term.min(*term);
    }

    /// The last entry up to an index of which it is known, in a term up to this one, to what it came.
    pub fn reached(&self, generation: u64, term: Term, index: Index) -> Option<(Index, Revision)> {
        let mut entries = self.reached.range((generation, 0)..=(generation, index));
        entries
            .rfind(|(_, (of, _))| *of <= term)
            .map(|((_, index), (_, revision))| (*index, *revision))
    }

    /// An incarnation shows this revision.
    pub fn hold(&mut self, id: PeerId, revision: Revision) {
        let held = self.held.entry((generation_of(revision), id)).or_default();
        *held = revision.max(*held);
    }

    /// The newest revision of a generation that an incarnation showed; 0 if it showed none.
    pub fn held(&self, generation: u64, incarnation: &str) -> Revision {
        let of = (generation, PeerId(u64::MIN))..=(generation, PeerId(u64::MAX));
        let mut held = self.held.range(of);
        held.find(|((_, id), _)| id.to_string() == incarnation)
            .map_or(0, |(_, revision)| *revision)
    }

    /// A replica's history begins after this revision.
    pub fn add_floor(&mut self, revision: Revision) {
        self.floors.insert(revision);
    }

    /// Where histories begin.
    pub fn floors(&self) -> &BTreeSet<Revision> {
        &self.floors
    }

    /// How much everything after a revision weighs.
    pub fn weight_since(&self, after: Revision) -> Weight {
        let later = self.revisions.range(after + 1..);
        later.fold(Weight::default(), |sum, (_, applied)| Weight {
            events: sum.events + applied.weight.events,
            bytes: sum.bytes + applied.weight.bytes,
        })
    }

    /// All that the store held at a revision.
    pub fn whole_at(&self, revision: Revision) -> Whole {
        let begun = self.beginnings.range(..=revision).next_back();
        let (begun, mut whole) = begun.map_or_else(Default::default, |(begun, beginning)| {
            (*begun, beginning.whole.clone())
        });
        for (_, applied) in self.revisions.range(begun..=revision) {
            touch(&mut whole, &applied.touched);
        }
        whole
    }

    /// Makes what the store held at the revision before this one what it held at this one; false if nobody was seen
    /// applying it.
    pub fn advance(&self, whole: &mut Whole, revision: Revision) -> bool {
        let applied = self.revisions.get(&revision);
        applied
            .map(|applied| touch(whole, &applied.touched))
            .is_some()
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

fn touch(whole: &mut Whole, touched: &[Touch]) {
    for (key, stamp) in touched {
        match stamp {
            Some(stamp) => whole.insert(key.clone(), *stamp),
            None => whole.remove(key),
        };
    }
}

pub(crate) fn state(record: &Record) -> State {
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

/// FNV-1a over keys and records.
fn digest(events: &[Event]) -> u64 {
    let mut hash = Fnv::default();
    for event in events {
        hash.feed(event.key.as_bytes());
        for record in [&event.previous, &event.current] {
            let version = record.as_ref().map_or(0, |record| record.version);
            let changed = record.as_ref().map_or(0, |record| record.mod_revision);
            hash.feed(&version.to_le_bytes());
            hash.feed(&changed.to_le_bytes());
        }
        if let Some(record) = &event.current {
            hash.feed(&record.value);
        }
    }
    hash.0
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
            let generation = standing.cluster.generation;
            let begun = first_revision(generation);
            if begun > 0 && view.revision() == begun {
                let beginning = Beginning::of(view, generation);
                match world.truth().begin(node, begun, beginning) {
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
        // A founder's history reaches back to the beginning; who was sent a snapshot knows nothing from before. Asked again
        // at once after a snapshot: the process may end a moment later, and a client may have been told of its floor.
        let mut opened = false;
        for after in from {
            let prefix = String::new();
            match watch.send(Watch { prefix, after }).await {
                Ok(Ok(mut subscription)) => {
                    opened = true;
                    record(world, node, &subscription.backlog);
                    while let Some(batch) = subscription.events.recv().await {
                        record(world, node, &batch);
                    }
                    break;
                }
                Ok(Err(status)) => {
                    if let Some(floor) = floor(&status.message) {
                        world.truth().add_floor(floor);
                    }
                }
                Err(_) => return,
            }
        }
        if !opened {
            tokio::time::sleep(std::time::Duration::from_millis(AGAIN_MS)).await;
        }
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
