//! Clients that watch the ConfigMaps over HTTP: from a list or from the initial events, all of them or those of a label;
//! they leave and come back elsewhere, go on from their last revision, and now and then from a much older one.
//!
//! What they were sent is noted; `checkers/watches.rs` judges it. Deliberately without a cache: a watcher remembers where
//! it is and nothing else.

use std::time::Duration;

use kagero::cli::client::{ClientError, Lines};
use kagero::store::Revision;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::contenders::{SIDE, revision};
use super::{CONFIG_MAPS, Ground, anybody};
use crate::history::{Chain, Leg, Line, Position};
use crate::truth::Content;

/// Watchers at once; the odd ones select by label.
const WATCHERS: usize = 4;
/// How long a watcher stays at one node.
const STAY_MS: (u64, u64) = (500, 15_000);
/// Between two connections.
const PAUSE_MS: (u64, u64) = (10, 500);
/// How often it looks whether it is to leave.
const LOOK: Duration = Duration::from_millis(250);
/// A connection over which nothing came for so long may be dead (turmoil sends nothing twice).
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// One chain in so many begins at an old revision.
const OLD_ONE_IN: u64 = 5;
/// How far back that is at most.
const OLD_REVISIONS: u64 = 400;

/// Starts them; they end when [`Ground::watching`] does.
pub(crate) fn start(world: &impl Ground) -> Vec<JoinHandle<()>> {
    (0..WATCHERS)
        .map(|number| {
            let side = SIDE.1[number / 2 % 2].to_owned();
            let watcher = Watcher {
                world: world.clone(),
                number,
                selector: (number % 2 == 1).then(|| (SIDE.0.to_owned(), side)),
                position: None,
            };
            tokio::task::spawn_local(watcher.run())
        })
        .collect()
}

struct Watcher<W> {
    world: W,
    number: usize,
    selector: Option<(String, String)>,
    /// Up to where it has seen everything; `None` before the initial objects are complete.
    position: Option<Revision>,
}

/// Why a leg ended.
#[derive(PartialEq, Eq)]
enum End {
    /// It can go on elsewhere.
    Left,
    /// The server does not know its revision any more, or the initial objects did not come whole.
    Lost,
}

impl<W: Ground> Watcher<W> {
    async fn run(mut self) {
        while self.world.watching() {
            let chain = self.chain().await;
            self.world.history().chains.push(chain);
            self.world.pass(PAUSE_MS.0..=PAUSE_MS.1).await;
        }
    }

    /// Watches from a beginning on until it is lost or the run ends.
    async fn chain(&mut self) -> Chain {
        let mut chain = Chain {
            watcher: self.number,
            selector: self.selector.clone(),
            legs: Vec::new(),
        };
        self.position = self.begin().await;
        self.note_position();
        while self.world.watching() {
            let (leg, end) = self.leg().await;
            chain.legs.push(leg);
            if end == End::Lost {
                break;
            }
            self.world.pass(PAUSE_MS.0..=PAUSE_MS.1).await;
        }
        chain
    }

    /// Where a chain begins: an old revision, a list's, or (`None`) with the initial objects.
    async fn begin(&mut self) -> Option<Revision> {
        if let Some(position) = self.position
            && self.world.chance(1..=OLD_ONE_IN) == 1
        {
            let back = self.world.chance(1..=OLD_REVISIONS);
            self.world.count("watch: begun in the past", 1);
            return Some(position.saturating_sub(back).max(1));
        }
        if self.world.chance(0..=1) == 1 {
            return None;
        }
        let (client, _) = anybody(&self.world);
        let list = client
            .get(&format!("{CONFIG_MAPS}?{}", self.selection()))
            .await;
        // From revision 0, that of a cluster in which nothing was ever written, a watch begins with the initial objects.
        let listed = list.ok().map(|list| revision(&list));
        listed.filter(|revision| *revision > 0)
    }

    fn selection(&self) -> String {
        let selector = self.selector.as_ref();
        selector.map_or_else(String::new, |(label, value)| {
            format!("labelSelector={label}%3D{value}")
        })
    }

    async fn leg(&mut self) -> (Leg, End) {
        let (client, node) = anybody(&self.world);
        let mut leg = Leg {
            node,
            after: self.position,
            lines: Vec::new(),
            gone: None,
        };
        let from = self.position.map_or_else(
            || "sendInitialEvents=true&resourceVersionMatch=NotOlderThan".to_owned(),
            |position| format!("resourceVersion={position}"),
        );
        let seconds = self.world.chance(2..=20);
        let selection = self.selection();
        let path = format!(
            "{CONFIG_MAPS}?watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&{from}&{selection}"
        );
        let end = match client.watch(&path).await {
            Ok(lines) => self.read(lines, &mut leg).await,
            Err(error) if error.code() == Some(410) => self.refused(&error.to_string(), &mut leg),
            Err(_) => End::Left,
        };
        self.world.count("watch: connections", 1);
        // Whoever did not get all initial objects knows nothing to go on from.
        let end = if self.position.is_none() {
            End::Lost
        } else {
            end
        };
        (leg, end)
    }

    /// The message ends with the oldest revision to go on from, in brackets.
    fn refused(&self, message: &str, leg: &mut Leg) -> End {
        self.world.count("watch: 410 Gone", 1);
        // It once knew all: what it no longer knows, it dropped for the bounds of its history.
        let dropped = self.world.was_never_restored(&leg.node);
        self.world
            .count("watch: 410 from a floor of history", u64::from(dropped));
        leg.gone = Some(floor(message).unwrap_or_default());
        End::Lost
    }

    async fn read(&mut self, mut lines: Lines, leg: &mut Leg) -> End {
        let stay = Duration::from_millis(self.world.chance(STAY_MS.0..=STAY_MS.1));
        let leave = Instant::now() + stay;
        let mut heard = Instant::now();
        while self.world.watching() && Instant::now() < leave {
            match lines.next(LOOK).await {
                Ok(Some(event)) => {
                    heard = Instant::now();
                    if event["type"] == "ERROR" {
                        let status = &event["object"];
                        if status["code"] != 410 {
                            return End::Left;
                        }
                        let message = status["message"].as_str().unwrap_or_default();
                        return self.refused(message, leg);
                    }
                    self.take(&event, leg);
                }
                Err(ClientError::Deadline { .. }) if heard.elapsed() < SILENCE_MAX => {}
                Ok(None) | Err(_) => return End::Left,
            }
        }
        End::Left
    }

    fn take(&mut self, event: &Value, leg: &mut Leg) {
        let Some(line) = line(event) else {
            let what = format!("a watch was sent {event}");
            return self.world.report_broken(what);
        };
        match &line {
            // Whoever asks to go on from 0, where nothing was ever written, is sent the initial objects instead
            // (Kubernetes: "any" version): that is no place to come back to.
            Line::Bookmark(revision) | Line::InitialEnd(revision) => {
                self.position = Some(*revision).filter(|revision| *revision > 0);
            }
            Line::Added(_, revision, _)
            | Line::Modified(_, revision, _)
            | Line::Deleted(_, revision, _) => {
                // An initial object's revision says nothing of the others'.
                self.position = self.position.map(|_| *revision);
            }
        }
        self.world.count("watch: lines", 1);
        self.note_position();
        leg.lines.push(line);
    }

    fn note_position(&self) {
        if let Some(revision) = self.position {
            let selector = self.selector.clone();
            let position = Position { selector, revision };
            let mut history = self.world.history();
            history.positions.insert(self.number, position);
        }
    }
}

/// The revision after which a server that refuses with 410 Gone still knows every change, if it says so.
pub(crate) fn floor(message: &str) -> Option<Revision> {
    let (_, last) = message.rsplit_once('(')?;
    last.split_once(')')?.0.parse().ok()
}

pub(crate) fn line(event: &Value) -> Option<Line> {
    let object = &event["object"];
    let revision = revision(object);
    let name = || object["metadata"]["name"].as_str().map(str::to_owned);
    let content = || Content::of(object);
    match event["type"].as_str()? {
        "ADDED" => Some(Line::Added(name()?, revision, content())),
        "MODIFIED" => Some(Line::Modified(name()?, revision, content())),
        "DELETED" => Some(Line::Deleted(name()?, revision, content())),
        "BOOKMARK" => {
            let end = &object["metadata"]["annotations"]["k8s.io/initial-events-end"];
            Some(if end == "true" {
                Line::InitialEnd(revision)
            } else {
                Line::Bookmark(revision)
            })
        }
        _ => None,
    }
}
