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
use crate::env::frames::{Inbox, Outbox, SendError};
use crate::env::network::Network;
use crate::resource::Status;

/// Calls that wait for one node; with more it is overrun, and who asks is told so at once.
const CALLS_WAITING_MAX: usize = 4_096;
/// Fewer calls than this are not worth a sweep.
const SWEEP_MIN: usize = 64;

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
    /// The question fits into no frame; nobody ever received it.
    #[error("a request of {bytes} bytes cannot be passed on to the leader")]
    TooLarge {
        /// Its encoded size.
        bytes: usize,
    },
    /// The question was certainly not received.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It may have been received, and acted upon.
    #[error("no answer: {0}")]
    Lost(String),
}

impl From<SendError> for CallError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::TooLarge { bytes } => Self::TooLarge { bytes },
            error => Self::NotSent(error.to_string()),
        }
    }
}

type Waiting = oneshot::Sender<Result<Answer, CallError>>;

/// A call to make once connected.
struct Queued {
    call: Call,
    waiting: Waiting,
    deadline: Instant,
}

/// A connection, or the wish for one.
struct Line {
    outbox: Option<Outbox<FromDialler>>,
    /// Asked while connecting.
    queued: Vec<Queued>,
    /// Asked and not yet answered, by id.
    asked: BTreeMap<u64, Waiting>,
    /// Asked calls are swept of those whose asker has gone when there are so many.
    sweep_at: usize,
    /// Tells what an earlier connection to this address says from this one's.
    epoch: u64,
}

impl Line {
    fn new(epoch: u64) -> Self {
        Self {
            outbox: None,
            queued: Vec::new(),
            asked: BTreeMap::new(),
            sweep_at: SWEEP_MIN,
            epoch,
        }
    }

    /// Forgets the calls that nobody waits for any more, now and then.
    fn sweep(&mut self) {
        if self.asked.len() >= self.sweep_at {
            self.asked.retain(|_, waiting| !waiting.is_closed());
            self.sweep_at = SWEEP_MIN.max(2 * self.asked.len());
        }
    }
}

/// The actor. Invariant: a line has a connection, is about to have one, or is forgotten; `epochs` only grows, over all
/// lines, so that a forgotten line's late news is never taken for a later one's.
pub struct Caller {
    network: Rc<dyn Network>,
    lines: BTreeMap<String, Line>,
    next_id: u64,
    epochs: u64,
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
            epochs: 0,
        }
    }

    fn connect(&mut self, address: &str, epoch: u64, ctx: &mut Context<Self>) {
        let (network, address) = (self.network.clone(), address.to_owned());
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
            Err(error) => drop(queued.waiting.send(Err(error.into()))),
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
                self.lines.remove(&address);
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
        let fresh = !self.lines.contains_key(&address);
        if fresh {
            self.epochs += 1;
            self.connect(&address, self.epochs, ctx);
        }
        let epoch = self.epochs;
        let line = self.lines.entry(address.clone());
        let line = line.or_insert_with(|| Line::new(epoch));
        line.sweep();
        if line.asked.len() + line.queued.len() >= CALLS_WAITING_MAX {
            let reason = format!("{CALLS_WAITING_MAX} calls wait for {address} already");
            return Box::pin(async { Err(CallError::NotSent(reason)) });
        }
        self.next_id += 1;
        Self::ask(
            line,
            self.next_id,
            Queued {
                call,
                waiting,
                deadline,
            },
        );
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
        for (_, waiting) in std::mem::take(&mut line.asked) {
            // The asker's deadline may have passed.
            let _ = waiting.send(Err(CallError::Lost(reason.clone())));
        }
        // Addresses of machines that are no more must not pile up.
        self.lines.remove(&address);
    }
}
