//! A container's log from wherever it runs: the API's node asks the pod's node, on a connection of its own.

use std::rc::Rc;

use actix::prelude::*;
use futures::future::LocalBoxFuture;
use k8s_openapi::api::core::v1::Node;
use tokio::sync::mpsc;

use super::dial::dial;
use super::messages::{Consistency, LogStream, OpenLog, Read};
use super::node_agent::NodeAgent;
use super::node_messages::ReadLog;
use super::refusals::stopping;
use super::registration::registered;
use super::wire::{FromDialler, FromListener};
use crate::env::frames::{Inbox, Outbox};
use crate::env::network::Network;
use crate::resource::Status;

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
        Status::internal(&format!("node {} cannot be reached: {reason}", open.node))
    };
    let dialled = dial(network.as_ref(), &address, None).await;
    let (outbox, mut inbox) = dialled.map_err(|error| unreachable(error.to_string()))?;
    outbox
        .send(&FromDialler::ReadLog(open.clone()))
        .map_err(|error| unreachable(error.to_string()))?;
    // The first frame tells an error from a log, so that an error can still be an HTTP status.
    let first = inbox.next().await;
    let (pieces, stream) = mpsc::channel(PIECES_MAX);
    match first {
        Some(Ok(FromListener::LogEnded(Some(status)))) => return Err(status),
        Some(Ok(FromListener::LogEnded(None))) => return Ok(stream),
        Some(Ok(FromListener::Log(piece))) => {
            pieces
                .try_send(Ok(piece))
                .expect("the channel is new and holds more than one");
        }
        Some(Ok(other)) => return Err(Status::internal(&format!("unexpected frame {other:?}"))),
        Some(Err(error)) => return Err(unreachable(error.to_string())),
        None => return Err(unreachable("connection closed".to_owned())),
    }
    tokio::task::spawn_local(pump(outbox, inbox, pieces));
    Ok(stream)
}

/// Passes pieces on until the log or its reader ends. Holding the outbox keeps the connection open.
async fn pump(
    outbox: Outbox<FromDialler>,
    mut inbox: Inbox<FromListener>,
    pieces: mpsc::Sender<Result<bytes::Bytes, Status>>,
) {
    loop {
        let frame = tokio::select! {
            biased;
            () = pieces.closed() => break,
            frame = inbox.next() => frame,
        };
        let last = match frame {
            Some(Ok(FromListener::Log(piece))) => {
                if pieces.send(Ok(piece)).await.is_err() {
                    break;
                }
                continue;
            }
            Some(Ok(FromListener::LogEnded(status))) => status,
            Some(Ok(other)) => Some(Status::internal(&format!("unexpected frame {other:?}"))),
            Some(Err(error)) => Some(Status::internal(&format!("the log broke off: {error}"))),
            None => Some(Status::internal("the log broke off: connection closed")),
        };
        if let Some(status) = last {
            // The reader may be gone; then nobody misses the reason.
            let _ = pieces.send(Err(status)).await;
        }
        break;
    }
    drop(outbox);
}

async fn address_of(read: &Recipient<Read>, node: &str) -> Result<String, Status> {
    let view = read.send(Read(Consistency::AtLeast(0))).await;
    let view = view.map_err(|_| stopping())??;
    let unknown = || Status::internal(&format!("node {node:?} is not known"));
    let record = view.get(&format!("nodes//{node}")).ok_or_else(unknown)?;
    let node: Node = serde_json::from_slice(&record.value)
        .map_err(|error| Status::internal(&format!("node {node:?} cannot be read: {error}")))?;
    registered(&node)
        .map(|(_, contact)| contact.address)
        .ok_or_else(unknown)
}

/// The other end: streams a log of this node's agent into a connection.
pub(super) async fn answer_log(
    agent: &Addr<NodeAgent>,
    open: OpenLog,
    outbox: &Outbox<FromListener>,
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
    let opened = agent.send(read).await;
    let ended = match opened {
        Ok(Ok(mut stream)) => loop {
            match stream.recv().await {
                Some(Ok(piece)) => {
                    if outbox
                        .send_when_ready(&FromListener::Log(piece))
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
                Some(Err(status)) => break Some(status),
                None => break None,
            }
        },
        Ok(Err(status)) => Some(status),
        Err(_) => Some(stopping()),
    };
    if let Err(error) = outbox.send_when_ready(&FromListener::LogEnded(ended)).await {
        tracing::debug!(path, %error, "a log's reader left");
    }
}
