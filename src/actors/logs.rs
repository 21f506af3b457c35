//! A container's log from wherever it runs: the API's node asks the pod's node, on a connection of its own.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use futures::future::LocalBoxFuture;
use k8s_openapi::api::core::v1::Node;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::dial::dial;
use super::messages::{Consistency, LogStream, OpenLog, Read};
use super::node_messages::ReadLog;
use super::refusals::stopping;
use super::registration::registered;
use super::wire::{FromDialler, FromListener};
use crate::env::frames::{ConnectionError, Inbox, Outbox};
use crate::env::network::Network;
use crate::resource::Status;

/// A log's node has so long to open it; a container engine that hangs takes longer.
const OPEN_MS_MAX: u64 = 10_000;
/// Pieces on their way to one client; the sending node waits for the client beyond that.
const PIECES_MAX: usize = 16;

/// The actor.
pub struct Logs {
    network: Rc<dyn Network>,
    read: Recipient<Read>,
}

impl Logs {
    /// Reads node addresses through `read`.
    pub fn new(network: Rc<dyn Network>, read: Recipient<Read>) -> Self {
        Self { network, read }
    }
}

impl Actor for Logs {
    type Context = Context<Self>;
}

impl Handler<OpenLog> for Logs {
    type Result = LocalBoxFuture<'static, Result<LogStream, Status>>;

    fn handle(&mut self, open: OpenLog, _: &mut Self::Context) -> Self::Result {
        Box::pin(open_log(self.network.clone(), self.read.clone(), open))
    }
}

async fn open_log(
    network: Rc<dyn Network>,
    read: Recipient<Read>,
    open: OpenLog,
) -> Result<LogStream, Status> {
    let address = address_of(&read, &open.node).await?;
    let unreachable = |reason: String| {
        Status::internal(format!("node {} cannot be reached: {reason}", open.node))
    };
    let opening = async {
        let dialled = dial(network.as_ref(), &address, None).await;
        let (outbox, mut inbox) = dialled.map_err(|error| unreachable(error.to_string()))?;
        outbox
            .send(&FromDialler::ReadLog(open.clone()))
            .map_err(|error| unreachable(error.to_string()))?;
        // The first frame tells an error from a log, so that an error can still be an HTTP status.
        let first = inbox.next().await;
        Ok::<_, Status>((outbox, inbox, first))
    };
    let opened = timeout(Duration::from_millis(OPEN_MS_MAX), opening).await;
    let (outbox, inbox, first) = opened.map_err(|_| unreachable("no answer".to_owned()))??;
    let (pieces, stream) = mpsc::channel(PIECES_MAX);
    match first {
        Some(Ok(FromListener::LogEnded(Some(status)))) => return Err(status),
        Some(Ok(FromListener::LogEnded(None))) => return Ok(stream),
        Some(Ok(FromListener::Log(piece))) if piece.is_empty() => {}
        Some(Ok(_)) => return Err(unreachable("an unexpected frame".to_owned())),
        Some(Err(error)) => return Err(unreachable(error.to_string())),
        None => return Err(unreachable("connection closed".to_owned())),
    }
    tokio::task::spawn_local(pump(outbox, inbox, pieces));
    Ok(stream)
}

/// Passes pieces on until the log or its reader ends. It always listens, also while the reader takes nothing: a reader
/// may pause for hours, but a connection that is not read counts as dead.
async fn pump(
    outbox: Outbox<FromDialler>,
    mut inbox: Inbox<FromListener>,
    pieces: mpsc::Sender<Result<Bytes, Status>>,
) {
    let mut waiting = VecDeque::new();
    let mut ended = None;
    while ended.is_none() || !waiting.is_empty() {
        tokio::select! {
            biased;
            () = pieces.closed() => return,
            Ok(place) = pieces.reserve(), if !waiting.is_empty() => {
                place.send(Ok(waiting.pop_front().expect("it is not empty")));
                // If that is lost, so is the connection, and the inbox says so.
                drop(outbox.send(&FromDialler::LogTaken(1)));
            }
            frame = inbox.next(), if ended.is_none() => match frame {
                Some(Ok(FromListener::Log(piece))) if waiting.len() < PIECES_MAX => {
                    waiting.push_back(piece);
                }
                frame => ended = Some(reason(frame)),
            },
        }
    }
    if let Some(Some(status)) = ended {
        // The reader may be gone; then nobody misses the reason.
        let _ = pieces.send(Err(status)).await;
    }
}

/// Why a log ended; `None` if it was simply over.
fn reason(frame: Option<Result<FromListener, ConnectionError>>) -> Option<Status> {
    match frame {
        Some(Ok(FromListener::LogEnded(status))) => status,
        Some(Ok(_)) => Some(Status::internal("the log broke off: an unexpected frame")),
        Some(Err(error)) => Some(Status::internal(format!("the log broke off: {error}"))),
        None => Some(Status::internal("the log broke off: connection closed")),
    }
}

async fn address_of(read: &Recipient<Read>, node: &str) -> Result<String, Status> {
    let view = read.send(Read(Consistency::AtLeast(0))).await;
    let view = view.map_err(|_| stopping())??;
    let unknown = || Status::internal(format!("node {node:?} is not known"));
    let record = view.get(&format!("nodes//{node}")).ok_or_else(unknown)?;
    let node: Node = serde_json::from_slice(&record.value)
        .map_err(|error| Status::internal(format!("node {node:?} cannot be read: {error}")))?;
    registered(&node)
        .map(|(_, contact)| contact.address)
        .ok_or_else(unknown)
}

/// The other end: streams a log of this node's agent into a connection, until the log ends or its reader leaves.
pub(super) async fn answer_log(
    agent: &Recipient<ReadLog>,
    open: OpenLog,
    outbox: &Outbox<FromListener>,
    inbox: &mut Inbox<FromDialler>,
) {
    let path = open.container_path();
    let OpenLog {
        pod,
        uid,
        container,
        options,
        ..
    } = open;
    let read = ReadLog {
        pod,
        uid,
        container,
        options,
    };
    let opened = tokio::select! {
        biased;
        // Before the log has begun there is nothing for its reader to say but that it leaves.
        _ = inbox.next() => return tracing::debug!(path, "a log's reader left"),
        opened = agent.send(read) => opened,
    };
    let ended = match opened {
        Ok(Ok(stream)) => match send_pieces(stream, outbox, inbox).await {
            Some(ended) => ended,
            None => return tracing::debug!(path, "a log's reader left"),
        },
        Ok(Err(status)) => Some(status),
        Err(_) => Some(stopping()),
    };
    if let Err(error) = outbox.send_when_ready(&FromListener::LogEnded(ended)).await {
        tracing::debug!(path, %error, "a log's reader left");
    }
}

/// Sends pieces, never more than [`PIECES_MAX`] that the reader has not taken. `None` if the reader left.
async fn send_pieces(
    mut stream: LogStream,
    outbox: &Outbox<FromListener>,
    inbox: &mut Inbox<FromDialler>,
) -> Option<Option<Status>> {
    outbox.send(&FromListener::Log(Bytes::new())).ok()?;
    let mut places = PIECES_MAX;
    loop {
        tokio::select! {
            biased;
            frame = inbox.next() => match frame {
                Some(Ok(FromDialler::LogTaken(taken))) => places += taken,
                _ => return None,
            },
            piece = stream.recv(), if places > 0 => match piece {
                // Nothing may look like the opening.
                Some(Ok(piece)) if piece.is_empty() => {}
                Some(Ok(piece)) => {
                    places -= 1;
                    outbox.send(&FromListener::Log(piece)).ok()?;
                }
                Some(Err(status)) => return Some(Some(status)),
                None => return Some(None),
            },
        }
    }
}

#[cfg(test)]
mod tests;
