//! Lists: a selected part of a collection, in pieces when asked, streamed.
//!
//! A list is served in two steps. First the records are selected from a view, by reference; then they are rendered
//! chunk by chunk as the client takes them. Between chunks other tasks run, since consensus shares the thread.

use std::vec;

use actix_web::{HttpResponse, web};
use bytes::Bytes;
use futures::stream;
use serde_json::{Value, json};

use super::accept;
use super::answer;
use super::context::Context;
use super::continuation::Token;
use super::read;
use super::render::Renderer;
use super::resources::Call;
use super::selection::Selection;
use crate::actors::messages::Consistency;
use crate::resource::Status;
use crate::store::{Revision, View};

/// A response is rendered in chunks of about so many bytes.
pub(super) const CHUNK_BYTES: usize = 64 * 1024;
/// Other tasks get a turn after so many records were looked at (decoding one for a selector takes some 10 µs).
const SCAN_RECORDS: usize = 256;
/// Records left over are counted up to this many; beyond, `remainingItemCount` is left out, as it may be.
const COUNT_RECORDS_MAX: usize = 20_000;

/// Kubernetes' words for a continue token whose revision is gone.
const TOO_OLD: &str = "The provided continue parameter is too old to display a consistent list result. You can start \
    a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of \
    the results. Continuing with the provided token results in an inconsistent list - objects that were created, \
    modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/// Answers a list.
pub(super) async fn list(call: &Call) -> Result<HttpResponse, Status> {
    let form = accept::form(call.accept())?;
    let renderer = Renderer::new(call.place.kind, form, &call.query)?;
    let selection = Selection::new(&call.place, &call.query)?;
    let limit = call.query.number("limit")?.filter(|limit| *limit > 0);
    let (view, start) = match start(call, &selection).await? {
        Start::At(view, key) => (view, key),
        Start::Expired(response) => return Ok(response),
    };
    let limit = limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    let page = select(&view, &selection, start, limit).await;
    if page.next.is_some() {
        call.context.views.keep(&view, call.context.now());
    }
    let (head, tail) = renderer.frame(&page.metadata(view.revision()));
    Ok(respond(&call.context, renderer, head, page.items, tail))
}

enum Start {
    /// In this view, at this key.
    At(View, String),
    /// The continue token's view is gone.
    Expired(HttpResponse),
}

/// The view to list from, and the key to start at.
async fn start(call: &Call, selection: &Selection) -> Result<Start, Status> {
    let exact = exact(call)?;
    let token = call.query.text("continue");
    if token.is_empty() {
        let view = call.context.view(read::consistency(&call.query)?).await?;
        let view = match exact {
            Some(revision) if view.revision() != revision => kept(&call.context, revision)?,
            _ => view,
        };
        return Ok(Start::At(view, selection.range().to_owned()));
    }
    if !["", "0"].contains(&call.query.text("resourceVersion")) {
        let message = "specifying resource version is not allowed when using continue";
        return Err(Status::bad_request(message));
    }
    let token = Token::decode(token, &selection.prefix)?;
    let view = call.context.view(Consistency::Linearizable).await?;
    let view = if token.rv == 0 || token.rv == view.revision() {
        Some(view)
    } else {
        call.context.views.find(token.rv, call.context.now())
    };
    if let Some(view) = view {
        return Ok(Start::At(view, token.start));
    }
    let status = Status::expired(TOO_OLD);
    let mut body = status.to_json();
    body["metadata"]["continue"] = Token::new(0, token.start).encode().into();
    Ok(Start::Expired(answer::failure_with(&status, body)))
}

/// The revision that `resourceVersionMatch=Exact` demands.
fn exact(call: &Call) -> Result<Option<Revision>, Status> {
    let how = call.query.text("resourceVersionMatch");
    let revision = read::revision(&call.query)?;
    match (how, revision) {
        ("", _) | ("NotOlderThan", Some(_)) => Ok(None),
        ("Exact", Some(revision)) if revision > 0 => Ok(Some(revision)),
        ("Exact", Some(_)) => Err(Status::bad_request(
            "resourceVersionMatch: Forbidden: resourceVersionMatch \"Exact\" is forbidden for \
             resourceVersion \"0\"",
        )),
        ("Exact" | "NotOlderThan", None) => Err(Status::bad_request(
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless \
             resourceVersion is provided",
        )),
        (other, _) => Err(Status::bad_request(format!(
            "resourceVersionMatch: Unsupported value: {other:?}: supported values: \"Exact\", \
             \"NotOlderThan\", \"\""
        ))),
    }
}

/// An older view, if a list in pieces happens to hold it.
fn kept(context: &Context, revision: Revision) -> Result<View, Status> {
    let view = context.views.find(revision, context.now());
    view.ok_or_else(|| {
        Status::expired(format!(
            "The resourceVersion for the provided list is too old: {revision}"
        ))
    })
}

/// A selected record: its revision and its value.
type Item = (Revision, Bytes);

/// One piece of a list.
struct Page {
    items: Vec<Item>,
    /// The first key of the next piece.
    next: Option<String>,
    /// How many records the later pieces have, where that is cheap to tell.
    remaining: Option<usize>,
}

impl Page {
    fn metadata(&self, revision: Revision) -> Value {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if let Some(next) = &self.next {
            metadata["continue"] = Token::new(revision, next.clone()).encode().into();
        }
        if let Some(remaining) = self.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
        metadata
    }
}

/// Selects up to `limit` records from a key on.
async fn select(view: &View, selection: &Selection, mut start: String, limit: usize) -> Page {
    let mut items = Vec::new();
    let range = selection.range();
    loop {
        let mut resume = None;
        for (looked_at, (key, record)) in view.range_from(range, &start).enumerate() {
            if looked_at == SCAN_RECORDS {
                resume = Some(key.to_owned());
                break;
            }
            if !selection.matches(key, record) {
                continue;
            }
            if items.len() == limit {
                let remaining = selection
                    .is_everything()
                    .then(|| count(view, range, key))
                    .flatten();
                return Page {
                    items,
                    next: Some(key.to_owned()),
                    remaining,
                };
            }
            items.push((record.mod_revision, record.value.clone()));
        }
        match resume {
            Some(key) => start = key,
            None => {
                return Page {
                    items,
                    next: None,
                    remaining: None,
                };
            }
        }
        tokio::task::yield_now().await;
    }
}

fn count(view: &View, range: &str, start: &str) -> Option<usize> {
    let counted = view
        .range_from(range, start)
        .take(COUNT_RECORDS_MAX)
        .count();
    (counted < COUNT_RECORDS_MAX).then_some(counted)
}

/// A list under way to its client.
struct Writer {
    context: web::Data<Context>,
    renderer: Renderer,
    items: vec::IntoIter<Item>,
    started: bool,
    /// What closes the list; `None` once it was written.
    tail: Option<&'static str>,
}

impl Writer {
    /// The next chunk, `None` after the last.
    fn chunk(&mut self, mut out: Vec<u8>) -> Option<Bytes> {
        let tail = self.tail?;
        let now = self.context.wall();
        for (revision, value) in self.items.by_ref() {
            if std::mem::replace(&mut self.started, true) {
                out.push(b',');
            }
            self.renderer.item(&mut out, &value, revision, now);
            if out.len() >= CHUNK_BYTES {
                return Some(out.into());
            }
        }
        out.extend_from_slice(tail.as_bytes());
        self.tail = None;
        Some(out.into())
    }
}

/// A response of one piece if the list fits into a chunk, else a stream of chunks.
fn respond(
    context: &web::Data<Context>,
    renderer: Renderer,
    head: String,
    items: Vec<Item>,
    tail: &'static str,
) -> HttpResponse {
    let mut writer = Writer {
        context: context.clone(),
        renderer,
        items: items.into_iter(),
        started: false,
        tail: Some(tail),
    };
    let first = writer.chunk(head.into_bytes()).unwrap_or_default();
    if writer.tail.is_none() {
        return answer::json(first);
    }
    let chunks = stream::unfold((Some(first), writer), |(first, mut writer)| async move {
        let chunk = if let Some(chunk) = first {
            chunk
        } else {
            tokio::task::yield_now().await;
            writer.chunk(Vec::with_capacity(CHUNK_BYTES))?
        };
        Some((Ok::<_, actix_web::Error>(chunk), (None, writer)))
    });
    HttpResponse::Ok()
        .content_type("application/json")
        .streaming(chunks)
}
