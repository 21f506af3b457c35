//! The sending half: a bounded buffer of encoded frames and the task that writes it.
//!
//! `send` never waits: consensus may lose messages, and only their sender knows which are worth repeating. All that is
//! queued when the task gets its turn goes out as one write.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{BoxStream, ConnectionError, FAREWELL, FRAME_BYTES_MAX, HEADER_BYTES, HEARTBEAT, Pace};

/// Messages that wait to be written: a burst of one event-loop turn; more means that the peer cannot keep up.
pub const OUTBOX_MESSAGES_MAX: usize = 4_096;

/// Bytes that wait to be written, those being written included; twice the largest frame, so that one always fits.
pub const OUTBOX_BYTES_MAX: usize = 2 * (FRAME_BYTES_MAX + HEADER_BYTES);

/// A patient sender waits until no more than this is unsent: enough to keep a link busy, little to lose or to hold.
pub const OUTBOX_BYTES_WAITED_FOR: usize = 256 << 10;

/// How long a closed connection still swallows what the peer sends. Without, the kernel would answer unread bytes
/// with a reset, which could overtake the farewell and make an orderly end look like a death.
const LINGER_MS_MAX: u64 = 1_000;

/// Why a message was not queued. Nothing of it was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// [`OUTBOX_MESSAGES_MAX`] or [`OUTBOX_BYTES_MAX`] is reached; later there may be room.
    #[error("too much waits to be sent")]
    Full,
    /// The connection has ended; the inbox says why.
    #[error("the connection is closed")]
    Closed,
    /// The message never fits.
    #[error("a message of {bytes} bytes is larger than {FRAME_BYTES_MAX}")]
    TooLarge {
        /// Its encoded size.
        bytes: usize,
    },
    /// The message cannot be written as MessagePack.
    #[error("unwritable message: {0}")]
    Unwritable(String),
}

/// The sending half of a connection. Dropping it sends what is queued and a farewell, then closes.
pub struct Outbox<S> {
    shared: Rc<Shared>,
    message: PhantomData<fn(S)>,
}

impl<S> Outbox<S> {
    pub(super) fn new(shared: Rc<Shared>) -> Self {
        Self {
            shared,
            message: PhantomData,
        }
    }

    /// Whether sending has become pointless.
    pub fn is_closed(&self) -> bool {
        self.shared.phase.get() != Phase::Open
    }
}

impl<S: Serialize> Outbox<S> {
    /// Queues a message. Never waits.
    pub fn send(&self, message: &S) -> Result<(), SendError> {
        if self.is_closed() {
            return Err(SendError::Closed);
        }
        self.shared.queue.borrow_mut().push(message)?;
        self.shared.work.notify_one();
        Ok(())
    }

    /// Queues a message once [`OUTBOX_BYTES_WAITED_FOR`] or fewer bytes wait, for a sender that must lose nothing and
    /// can wait instead (a log).
    pub async fn send_when_ready(&self, message: &S) -> Result<(), SendError> {
        self.shared.drained().await;
        self.send(message)
    }
}

impl<S> fmt::Debug for Outbox<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = self.shared.phase.get();
        f.debug_struct("Outbox")
            .field("phase", &phase)
            .finish_non_exhaustive()
    }
}

impl<S> Drop for Outbox<S> {
    fn drop(&mut self) {
        self.shared.close(Phase::Closing);
    }
}

/// How far a connection's life is. It only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Both halves are in use.
    Open,
    /// A half was dropped: what is queued still goes out, then a farewell.
    Closing,
    /// The other side is gone or has said farewell: nobody listens any more.
    Over,
}

/// What the halves of a connection and its writing task have in common.
pub(super) struct Shared {
    queue: RefCell<Queue>,
    work: Notify,
    /// Told whenever something was written, or the connection ended.
    progress: Notify,
    phase: Cell<Phase>,
    failure: RefCell<Option<ConnectionError>>,
    reader: RefCell<Option<Waker>>,
    retired: RefCell<Option<ReadHalf<BoxStream>>>,
}

impl Shared {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            queue: RefCell::default(),
            work: Notify::new(),
            progress: Notify::new(),
            phase: Cell::new(Phase::Open),
            failure: RefCell::default(),
            reader: RefCell::default(),
            retired: RefCell::default(),
        })
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Ends the connection and wakes whoever waits in either half.
    pub(super) fn close(&self, phase: Phase) {
        self.phase.set(self.phase.get().max(phase));
        self.work.notify_one();
        self.progress.notify_waiters();
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Waits until little is unsent, or the connection has ended.
    async fn drained(&self) {
        loop {
            // Registered before looking, so that progress in between is not missed.
            let mut progress = std::pin::pin!(self.progress.notified());
            progress.as_mut().enable();
            let unsent = self.queue.borrow().unsent();
            if unsent <= OUTBOX_BYTES_WAITED_FOR || self.phase.get() != Phase::Open {
                return;
            }
            progress.await;
        }
    }

    /// Takes over the reading half, which the inbox no longer needs.
    pub(super) fn retire(&self, read: ReadHalf<BoxStream>) {
        *self.retired.borrow_mut() = Some(read);
        self.work.notify_one();
    }

    async fn retired(&self) -> ReadHalf<BoxStream> {
        loop {
            if let Some(read) = self.retired.take() {
                return read;
            }
            self.work.notified().await;
        }
    }

    /// Why writing failed, once.
    pub(super) fn failure(&self) -> Option<ConnectionError> {
        self.failure.take()
    }

    /// Wake this one when the connection ends.
    pub(super) fn wake_on_close(&self, reader: &Waker) {
        *self.reader.borrow_mut() = Some(reader.clone());
    }

    /// The next thing to write, as soon as there is one.
    async fn next(&self) -> Next {
        loop {
            let frames = self.queue.borrow_mut().take();
            match self.phase.get() {
                Phase::Over => return Next::Nothing,
                _ if !frames.is_empty() => return Next::Frames(frames),
                Phase::Closing => return Next::Farewell,
                Phase::Open => self.work.notified().await,
            }
        }
    }
}

enum Next {
    Frames(BytesMut),
    Farewell,
    Nothing,
}

/// Frames that wait.
///
/// Invariants: `frames` holds whole frames, `messages` of them; at most [`OUTBOX_MESSAGES_MAX`]; together with `in_flight`
/// at most [`OUTBOX_BYTES_MAX`] bytes.
#[derive(Debug, Default)]
struct Queue {
    frames: BytesMut,
    messages: usize,
    in_flight: usize,
}

impl Queue {
    fn push<S: Serialize>(&mut self, message: &S) -> Result<(), SendError> {
        if self.messages >= OUTBOX_MESSAGES_MAX {
            return Err(SendError::Full);
        }
        let start = self.frames.len();
        let pushed = self.encode(start, message);
        match pushed {
            Ok(()) => self.messages += 1,
            Err(_) => self.frames.truncate(start),
        }
        pushed
    }

    fn encode<S: Serialize>(&mut self, start: usize, message: &S) -> Result<(), SendError> {
        self.frames.put_u32(0);
        rmp_serde::encode::write_named(&mut (&mut self.frames).writer(), message)
            .map_err(|error| SendError::Unwritable(error.to_string()))?;
        let bytes = self.frames.len() - start - HEADER_BYTES;
        if bytes > FRAME_BYTES_MAX {
            return Err(SendError::TooLarge { bytes });
        }
        if self.frames.len() + self.in_flight > OUTBOX_BYTES_MAX {
            return Err(SendError::Full);
        }
        let header = u32::try_from(bytes).expect("a frame is far smaller than 4 GiB");
        self.frames[start..start + HEADER_BYTES].copy_from_slice(&header.to_be_bytes());
        Ok(())
    }

    fn unsent(&self) -> usize {
        self.frames.len() + self.in_flight
    }

    fn take(&mut self) -> BytesMut {
        self.messages = 0;
        self.in_flight = self.frames.len();
        mem::take(&mut self.frames)
    }
}

/// The writing task: lives until the connection ends.
pub(super) async fn write(mut stream: WriteHalf<BoxStream>, shared: Rc<Shared>, pace: Pace) {
    match write_frames(&mut stream, &shared, pace).await {
        Ok(()) => linger(&shared).await,
        Err(error) => {
            *shared.failure.borrow_mut() = Some(error);
            shared.close(Phase::Over);
        }
    }
}

async fn write_frames(
    stream: &mut WriteHalf<BoxStream>,
    shared: &Shared,
    pace: Pace,
) -> Result<(), ConnectionError> {
    loop {
        match timeout(pace.heartbeat, shared.next()).await {
            Ok(Next::Frames(frames)) => write_all(stream, frames, shared, pace).await?,
            Err(_idle) => write_header(stream, HEARTBEAT, pace).await?,
            Ok(Next::Farewell) => {
                write_header(stream, FAREWELL, pace).await?;
                break;
            }
            Ok(Next::Nothing) => break,
        }
    }
    within(pace.silence, stream.shutdown()).await
}

/// Writes it all. Each piece has its own deadline: a slow link is not a dead one.
async fn write_all(
    stream: &mut WriteHalf<BoxStream>,
    mut frames: BytesMut,
    shared: &Shared,
    pace: Pace,
) -> Result<(), ConnectionError> {
    while frames.has_remaining() {
        let written = within(pace.silence, stream.write(&frames)).await?;
        if written == 0 {
            return Err(ConnectionError::Gone(io::ErrorKind::WriteZero));
        }
        frames.advance(written);
        shared.queue.borrow_mut().in_flight = frames.len();
        shared.progress.notify_waiters();
    }
    within(pace.silence, stream.flush()).await
}

async fn write_header(
    stream: &mut WriteHalf<BoxStream>,
    header: u32,
    pace: Pace,
) -> Result<(), ConnectionError> {
    let write = async {
        stream.write_all(&header.to_be_bytes()).await?;
        stream.flush().await
    };
    within(pace.silence, write).await
}

async fn within<T>(
    silence: Duration,
    io: impl Future<Output = io::Result<T>>,
) -> Result<T, ConnectionError> {
    match timeout(silence, io).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(ConnectionError::Silent(silence)),
    }
}

/// Swallows what still comes until the peer closes too, see [`LINGER_MS_MAX`].
async fn linger(shared: &Shared) {
    let swallow = async {
        let mut read = shared.retired().await;
        let mut sink = [0; 1 << 12];
        while matches!(read.read(&mut sink).await, Ok(1..)) {}
    };
    let _ = timeout(Duration::from_millis(LINGER_MS_MAX), swallow).await;
}
