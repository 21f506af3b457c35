//! Asks other nodes: one connection an address, calls pipelined on it, each with a deadline.
//!
//! The caller learns whether a call was certainly not sent (safe to try elsewhere) or may have been executed.

use std::collections::BTreeMap;
use std::rc::Rc;

use actix::prelude::*;
use futures::future::LocalBoxFuture;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::dial::{Connection, dial};
use super::wire::{Answer, Call, FromDialler, FromListener};
use crate::env::frames::{Inbox, Outbox};
use crate::env::network::Network;
use crate::resource::Status;

/// Ask the node at an address.
#[derive(Message)]
#[rtype(result = "Result<Answer, CallError>")]
pub struct Place {
    /// `host:port` of its peer protocol.
    pub address: String,
    /// The question.
    pub call: Call,
    /// When the answer is of no use any more.
    pub deadline: Instant,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CallError {
    /// The other node refused.
    #[error(transparent)]
    Refused(Status),
    /// The question was certainly not received.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It may have been received, and acted upon.
    #[error("no answer: {0}")]
    Lost(String),
}

type Waiting = oneshot::Sender<Result<Answer, CallError>>;

/// A call to make once connected.
struct Queued {
    call: Call,
    waiting: Waiting,
    deadline: Instant,
}

/// A connection, or the wish for one.
#[derive(Default)]
struct Line {
    outbox: Option<Outbox<FromDialler>>,
    /// Asked while connecting.
    queued: Vec<Queued>,
    /// Asked and not yet answered, by id.
    asked: BTreeMap<u64, Waiting>,
    /// Tells answers of an earlier connection to this address from this one's.
    epoch: u64,
}

/// The actor.
pub struct Caller {
    network: Rc<dyn Network>,
    lines: BTreeMap<String, Line>,
    next_id: u64,
}

/// An answer came.
#[derive(Message)]
#[rtype(result = "()")]
struct Answered {
    address: String,
    epoch: u64,
    id: u64,
    answer: Result<Answer, Status>,
}

/// A connection ended.
#[derive(Message)]
#[rtype(result = "()")]
struct Disconnected {
    address: String,
    epoch: u64,
    reason: String,
}

impl Caller {
    /// A caller without connections.
    pub fn new(network: Rc<dyn Network>) -> Self {
        Self {
            network,
            lines: BTreeMap::new(),
            next_id: 0,
        }
    }

    fn connect(&mut self, address: &str, ctx: &mut Context<Self>) {
        let line = self.lines.entry(address.to_owned()).or_default();
        line.epoch += 1;
        let (epoch, network, address) = (line.epoch, self.network.clone(), address.to_owned());
        let connecting = async move {
            let result = dial(network.as_ref(), &address, None).await;
            let result = result.map_err(|error| format!("cannot reach {address}: {error}"));
            (address, epoch, result)
        };
        // Connections cannot be sent in a message (they are of this thread), so their arrival is mapped instead.
        let connected = connecting
            .into_actor(self)
            .map(|(address, epoch, result), caller, ctx| {
                caller.on_connected(address, epoch, result, ctx);
            });
        ctx.spawn(connected);
    }

    /// Sends a call on an open line.
    fn ask(line: &mut Line, id: u64, queued: Queued) {
        let Some(outbox) = &line.outbox else {
            line.queued.push(queued);
            return;
        };
        // The asker's own deadline may have passed while this was queued; then nobody wants the answer.
        if queued.waiting.is_closed() || queued.deadline <= Instant::now() {
            return;
        }
        match outbox.send(&FromDialler::Call {
            id,
            call: queued.call,
        }) {
            Ok(()) => {
                line.asked.insert(id, queued.waiting);
            }
            Err(error) => drop(
                queued
                    .waiting
                    .send(Err(CallError::NotSent(error.to_string()))),
            ),
        }
    }

    fn on_connected(
        &mut self,
        address: String,
        epoch: u64,
        result: Result<Connection, String>,
        ctx: &mut Context<Self>,
    ) {
        let first_id = self.next_id + 1;
        let Some(line) = self.line(&address, epoch) else {
            return;
        };
        let queued = std::mem::take(&mut line.queued);
        match result {
            Err(reason) => {
                for queued in queued {
                    // Nobody misses the answer if the asker has gone.
                    let _ = queued.waiting.send(Err(CallError::NotSent(reason.clone())));
                }
            }
            Ok((outbox, inbox)) => {
                line.outbox = Some(outbox);
                let count = queued.len() as u64;
                for (id, queued) in (first_id..).zip(queued) {
                    Self::ask(line, id, queued);
                }
                self.next_id += count;
                ctx.spawn(listen(inbox, address, epoch, ctx.address()).into_actor(self));
            }
        }
    }

    fn line(&mut self, address: &str, epoch: u64) -> Option<&mut Line> {
        self.lines
            .get_mut(address)
            .filter(|line| line.epoch == epoch)
    }
}

impl Actor for Caller {
    type Context = Context<Self>;
}

impl Handler<Place> for Caller {
    type Result = LocalBoxFuture<'static, Result<Answer, CallError>>;

    fn handle(
        &mut self,
        Place {
            address,
            call,
            deadline,
        }: Place,
        ctx: &mut Self::Context,
    ) -> Self::Result {
        let (waiting, answer) = oneshot::channel();
        let line = self.lines.entry(address.clone()).or_default();
        let idle = line.outbox.is_none() && line.queued.is_empty();
        self.next_id += 1;
        line.asked.retain(|_, waiting| !waiting.is_closed());
        Self::ask(
            line,
            self.next_id,
            Queued {
                call,
                waiting,
                deadline,
            },
        );
        if idle {
            self.connect(&address, ctx);
        }
        Box::pin(async move {
            match timeout_at(deadline, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(CallError::NotSent("the node is stopping".to_owned())),
                Err(_) => Err(CallError::Lost(format!("{address} did not answer in time"))),
            }
        })
    }
}

/// Passes answers on until the connection ends.
async fn listen(mut inbox: Inbox<FromListener>, address: String, epoch: u64, caller: Addr<Caller>) {
    let reason = loop {
        match inbox.next().await {
            Some(Ok(FromListener::Answer { id, answer })) => {
                caller.do_send(Answered {
                    address: address.clone(),
                    epoch,
                    id,
                    answer,
                });
            }
            Some(Ok(other)) => break format!("unexpected frame {other:?}"),
            Some(Err(error)) => break error.to_string(),
            None => break "connection closed".to_owned(),
        }
    };
    caller.do_send(Disconnected {
        address,
        epoch,
        reason,
    });
}

impl Handler<Answered> for Caller {
    type Result = ();

    fn handle(
        &mut self,
        Answered {
            address,
            epoch,
            id,
            answer,
        }: Answered,
        _: &mut Self::Context,
    ) {
        let waiting = self
            .line(&address, epoch)
            .and_then(|line| line.asked.remove(&id));
        if let Some(waiting) = waiting {
            // The asker's deadline may have passed.
            let _ = waiting.send(answer.map_err(CallError::Refused));
        }
    }
}

impl Handler<Disconnected> for Caller {
    type Result = ();

    fn handle(
        &mut self,
        Disconnected {
            address,
            epoch,
            reason,
        }: Disconnected,
        _: &mut Self::Context,
    ) {
        let Some(line) = self.line(&address, epoch) else {
            return;
        };
        line.outbox = None;
        for (_, waiting) in std::mem::take(&mut line.asked) {
            let _ = waiting.send(Err(CallError::Lost(reason.clone())));
        }
    }
}
