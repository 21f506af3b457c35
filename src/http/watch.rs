//! Watches: one JSON line a change, for as long as the client stays.
//!
//! A watch from no revision, or 0, begins with the present objects as `ADDED`. An object that comes under the
//! selector, or leaves it, is `ADDED` or `DELETED` to this watcher. A watcher that falls too far behind is cut off by
//! its subscription and comes back by itself from the last revision it saw.

use std::collections::VecDeque;
use std::time::Duration;

use actix_web::{HttpResponse, web};
use bytes::Bytes;
use futures::stream;
use rand::Rng;
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::{Instant, sleep_until};

use super::accept::{self, Form};
use super::answer;
use super::connection::LimitGuard;
use super::context::Context;
use super::list::CHUNK_BYTES;
use super::metrics::StreamGuard;
use super::read;
use super::render::Renderer;
use super::resources::Call;
use super::selection::Selection;
use crate::actors::messages::Consistency;
use crate::resource::Status;
use crate::store::{Event, Record, Revision, View};

/// A watch without `timeoutSeconds` lasts between one and two of these (Kubernetes' own; the spread keeps watchers
/// from coming back all at once).
const DEFAULT_SECONDS: u64 = 1_800;
/// No watch lasts longer.
const SECONDS_MAX: u64 = 24 * 3_600;
/// A quiet watcher that takes bookmarks gets one this often (Kubernetes' own interval).
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// A client that reads nothing has so long beyond the watch's end to take what was sent before; else it is cut off.
const END_GRACE: Duration = Duration::from_secs(5);
/// Records looked at before other tasks get a turn, while the present objects are sent.
const SCAN_RECORDS: usize = 256;

/// Answers a watch.
pub(super) async fn watch(call: Call) -> Result<HttpResponse, Status> {
    let form = accept::form(call.accept())?;
    let renderer = Renderer::new(call.place.kind, form, &call.query)?;
    let selection = Selection::new(&call.place, &call.query)?;
    let lasts = duration(&call)?;
    let plan = Plan::of(&call)?;
    let view = match plan.read {
        Some(consistency) => Some(call.context.view(consistency).await?),
        None => None,
    };
    let after = view.as_ref().map_or(plan.after, View::revision);
    let subscribed = call
        .context
        .subscribe(selection.range().to_owned(), after)
        .await;
    let subscription = match subscribed {
        Ok(subscription) => subscription,
        // Kubernetes says what is wrong with a well-formed watch in the watch.
        Err(status) if status.code == 410 => return Ok(answer::json(error_line(&status))),
        Err(status) => return Err(status),
    };
    let now = Instant::now();
    let watcher = Watcher {
        bookmarks: match (call.query.flag("allowWatchBookmarks"), plan.announce) {
            (false, _) => Bookmarks::Unwanted,
            (true, false) => Bookmarks::Wanted,
            (true, true) => Bookmarks::InitialToo,
        },
        guard: call.context.metrics.stream(call.label),
        limit: call.limit.set(now + lasts + END_GRACE),
        initial: view.filter(|_| plan.initial).map(|view| Initial {
            start: selection.range().to_owned(),
            view,
        }),
        context: call.context,
        selection,
        renderer,
        columns: form == Form::Table,
        after,
        revision: subscription.revision.max(after),
        waiting: VecDeque::from(subscription.backlog),
        events: subscription.events,
        next_bookmark: now + BOOKMARK_INTERVAL,
        end: now + lasts,
        ended: false,
    };
    Ok(HttpResponse::Ok()
        .content_type("application/json")
        .streaming(stream::unfold(watcher, Watcher::step)))
}

/// Where a watch begins.
struct Plan {
    /// The view to begin with, if any.
    read: Option<Consistency>,
    /// Else the revision to begin after.
    after: Revision,
    /// Whether the view's objects are sent.
    initial: bool,
    /// Whether the end of the initial objects is announced (`sendInitialEvents`).
    announce: bool,
}

impl Plan {
    fn of(call: &Call) -> Result<Self, Status> {
        let revision = read::revision(&call.query)?;
        let send_initial = call.query.optional_flag("sendInitialEvents");
        let how = call.query.text("resourceVersionMatch");
        if send_initial.is_some() && how != "NotOlderThan" {
            return Err(Status::bad_request(
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        if send_initial.is_none() && !how.is_empty() {
            return Err(Status::bad_request(
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        let announce = send_initial == Some(true);
        let from_now = Consistency::Linearizable;
        let (read, after, initial) = match revision {
            None => (Some(from_now), 0, send_initial != Some(false)),
            Some(0) => (
                Some(Consistency::AtLeast(0)),
                0,
                send_initial != Some(false),
            ),
            Some(revision) if announce => (Some(Consistency::AtLeast(revision)), 0, true),
            Some(revision) => (None, revision, false),
        };
        Ok(Self {
            read,
            after,
            initial,
            announce,
        })
    }
}

fn duration(call: &Call) -> Result<Duration, Status> {
    let asked = call.query.number("timeoutSeconds")?.filter(|s| *s > 0);
    let seconds = asked.unwrap_or_else(|| {
        let mut entropy = call.context.state.entropy.clone();
        entropy.random_range(DEFAULT_SECONDS..=2 * DEFAULT_SECONDS)
    });
    Ok(Duration::from_secs(seconds.min(SECONDS_MAX)))
}

/// The objects that are there when a watch begins.
struct Initial {
    view: View,
    /// The next key to look at.
    start: String,
}

/// Which bookmarks a watcher takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bookmarks {
    Unwanted,
    /// One now and then (`allowWatchBookmarks`).
    Wanted,
    /// Also one where the initial objects end (`sendInitialEvents`).
    InitialToo,
}

/// An open watch.
///
/// Invariant: every selected change in `(after, revision]` is sent, is in `waiting`, or is among the objects of
/// `initial` still to send.
struct Watcher {
    context: web::Data<Context>,
    selection: Selection,
    renderer: Renderer,
    bookmarks: Bookmarks,
    /// Whether the next Table is to head its columns.
    columns: bool,
    initial: Option<Initial>,
    waiting: VecDeque<Event>,
    events: Receiver<std::sync::Arc<Vec<Event>>>,
    after: Revision,
    revision: Revision,
    next_bookmark: Instant,
    end: Instant,
    ended: bool,
    guard: StreamGuard,
    limit: LimitGuard,
}

type Line = Result<Bytes, actix_web::Error>;

impl Watcher {
    /// The next lines, and the watcher that goes on from there.
    async fn step(mut self) -> Option<(Line, Self)> {
        let mut out = Vec::new();
        while out.is_empty() {
            if self.ended {
                drop((self.guard, self.limit));
                return None;
            }
            if self.initial.is_some() {
                self.put_initial(&mut out);
                tokio::task::yield_now().await;
            } else if self.waiting.is_empty() {
                self.wait(&mut out).await;
            } else {
                self.put_waiting(&mut out);
                tokio::task::yield_now().await;
            }
        }
        Some((Ok(out.into()), self))
    }

    /// Sends some of the present objects.
    fn put_initial(&mut self, out: &mut Vec<u8>) {
        let Some(Initial { view, start }) = self.initial.take() else {
            return;
        };
        let range = self.selection.range().to_owned();
        for (looked_at, (key, record)) in view.range_from(&range, &start).enumerate() {
            if looked_at == SCAN_RECORDS || out.len() >= CHUNK_BYTES {
                self.initial = Some(Initial {
                    start: key.to_owned(),
                    view: view.clone(),
                });
                return;
            }
            if self.selection.matches(key, record) {
                self.put(out, "ADDED", record, record.mod_revision);
            }
        }
        if self.bookmarks == Bookmarks::InitialToo {
            self.put_bookmark(
                out,
                view.revision(),
                json!({"k8s.io/initial-events-end": "true"}),
            );
        }
    }

    /// Waits for a change, a bookmark's time, or the end.
    async fn wait(&mut self, out: &mut Vec<u8>) {
        tokio::select! {
            biased;
            () = sleep_until(self.end) => {
                self.ended = true;
                self.mark(out).await;
            }
            () = sleep_until(self.next_bookmark), if self.bookmarks != Bookmarks::Unwanted => self.mark(out).await,
            batch = self.events.recv() => match batch {
                Some(batch) => self.take(&batch),
                None => self.ended = true,
            }
        }
    }

    fn take(&mut self, batch: &[Event]) {
        self.waiting.extend(batch.iter().cloned());
        if let Some(last) = batch.last() {
            self.revision = self.revision.max(last.revision);
        }
    }

    /// Sends a bookmark, and before it whatever came before it.
    async fn mark(&mut self, out: &mut Vec<u8>) {
        self.next_bookmark = Instant::now() + BOOKMARK_INTERVAL;
        if self.bookmarks == Bookmarks::Unwanted {
            return;
        }
        // A view is given only after the changes up to it were handed out: what is not in the channel now is later.
        let Ok(view) = self.context.view(Consistency::AtLeast(self.revision)).await else {
            return;
        };
        let cut_off = loop {
            match self.events.try_recv() {
                Ok(batch) => self.take(&batch),
                Err(error) => break error == TryRecvError::Disconnected,
            }
        };
        while let Some(event) = self.waiting.pop_front() {
            self.put_event(out, &event);
        }
        if cut_off {
            // Changes may have passed this watcher by: a bookmark would hide the gap from its client for good.
            self.ended = true;
            return;
        }
        self.revision = self.revision.max(view.revision());
        self.put_bookmark(out, self.revision, Value::Null);
    }

    /// Sends some of the changes that wait.
    fn put_waiting(&mut self, out: &mut Vec<u8>) {
        while out.len() < CHUNK_BYTES {
            let Some(event) = self.waiting.pop_front() else {
                return;
            };
            if event.revision > self.after {
                self.put_event(out, &event);
            }
        }
    }

    fn put_event(&mut self, out: &mut Vec<u8>, event: &Event) {
        let selected = |record: &&Record| self.selection.matches(&event.key, record);
        let was = event.previous.as_ref().filter(selected);
        let is = event.current.as_ref().filter(selected);
        match (was, is) {
            (None, None) => {}
            (None, Some(record)) => self.put(out, "ADDED", record, event.revision),
            (Some(_), Some(record)) => self.put(out, "MODIFIED", record, event.revision),
            // The last state that the watcher saw, at the revision at which it went.
            (Some(record), None) => self.put(out, "DELETED", record, event.revision),
        }
    }

    fn put(&mut self, out: &mut Vec<u8>, what: &str, record: &Record, revision: Revision) {
        open(out, what);
        let columns = std::mem::take(&mut self.columns);
        let now = self.context.wall();
        self.renderer
            .alone(out, &record.value, revision, now, columns);
        out.extend_from_slice(b"}\n");
    }

    fn put_bookmark(&self, out: &mut Vec<u8>, revision: Revision, annotations: Value) {
        open(out, "BOOKMARK");
        self.renderer.bookmark(out, revision, annotations);
        out.extend_from_slice(b"}\n");
    }
}

fn open(out: &mut Vec<u8>, what: &str) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(what.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
}

fn error_line(status: &Status) -> String {
    let line = json!({"type": "ERROR", "object": status.to_json()});
    format!("{line}\n")
}
