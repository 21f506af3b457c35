//! The receiving half: reads when polled, so that a busy owner slows its peer down instead of queueing. An owner that
//! does not poll for as long as the silence, while more comes than the sockets hold, is silent itself to its peer.
//!
//! Between messages it holds no buffer: a node with thousands of idle links pays nothing for them.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use futures::{Stream, StreamExt};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, ReadBuf, ReadHalf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::outbox::{Phase, Shared};
use super::{BoxStream, ConnectionError, FAREWELL, FRAME_BYTES_MAX, HEADER_BYTES, HEARTBEAT, Pace};

/// Bytes read at once.
const READ_BYTES: usize = 16 << 10;

/// The receiving half of a connection, a `Stream`. Ends with `None` after a farewell, after an error, and when the
/// [`Outbox`](super::Outbox) was dropped. Dropping it closes the connection.
pub struct Inbox<R> {
    read: Option<ReadHalf<BoxStream>>,
    buffer: BytesMut,
    /// Kept across polls: it fires only after the runtime has looked at the sockets once more, so an owner that was
    /// busy for longer than the silence still finds what came in the meantime.
    deadline: Option<Pin<Box<Sleep>>>,
    shared: Rc<Shared>,
    pace: Pace,
    message: PhantomData<fn() -> R>,
}

impl<R> Inbox<R> {
    pub(super) fn new(read: ReadHalf<BoxStream>, shared: Rc<Shared>, pace: Pace) -> Self {
        Self {
            read: Some(read),
            buffer: BytesMut::new(),
            deadline: None,
            shared,
            pace,
            message: PhantomData,
        }
    }

    fn end(&mut self, phase: Phase) {
        self.buffer = BytesMut::new();
        self.deadline = None;
        if let Some(read) = self.read.take() {
            self.shared.retire(read);
            self.shared.close(phase);
        }
    }
}

impl<R: DeserializeOwned> Inbox<R> {
    /// The next message. Safe to cancel.
    pub async fn next(&mut self) -> Option<Result<R, ConnectionError>> {
        StreamExt::next(self).await
    }

    /// The next message, `None` after a farewell.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<R>, ConnectionError>> {
        loop {
            match self.take_frame()? {
                Some(Frame::Message(message)) => return Poll::Ready(Ok(Some(message))),
                Some(Frame::Farewell) => return Poll::Ready(Ok(None)),
                None => ready!(self.poll_read(cx))?,
            }
        }
    }

    /// The next whole frame that is not a heartbeat, if it is there.
    fn take_frame(&mut self) -> Result<Option<Frame<R>>, ConnectionError> {
        loop {
            let Some((header, body)) = self.buffer.split_first_chunk::<HEADER_BYTES>() else {
                return Ok(None);
            };
            let header = u32::from_be_bytes(*header);
            let bytes = header as usize;
            match header {
                HEARTBEAT => self.buffer.advance(HEADER_BYTES),
                FAREWELL => return Ok(Some(Frame::Farewell)),
                _ if bytes > FRAME_BYTES_MAX => {
                    let max = FRAME_BYTES_MAX;
                    return Err(ConnectionError::TooLarge { bytes, max });
                }
                _ if body.len() < bytes => return Ok(None),
                _ => {
                    let message = rmp_serde::from_slice(&body[..bytes])
                        .map_err(|error| ConnectionError::Unreadable(error.to_string()))?;
                    self.buffer.advance(HEADER_BYTES + bytes);
                    return Ok(Some(Frame::Message(message)));
                }
            }
        }
    }

    /// Reads some bytes, or says that there will be none.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        let mut chunk = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut chunk = ReadBuf::uninit(&mut chunk);
        let read = self.read.as_mut().expect("polled only while it reads");
        if Pin::new(read).poll_read(cx, &mut chunk)?.is_ready() {
            if chunk.filled().is_empty() {
                return Poll::Ready(Err(ConnectionError::Gone(io::ErrorKind::UnexpectedEof)));
            }
            self.buffer.extend_from_slice(chunk.filled());
            let deadline = Instant::now() + self.pace.silence;
            if let Some(sleep) = &mut self.deadline {
                sleep.as_mut().reset(deadline);
            }
            return Poll::Ready(Ok(()));
        }
        if let Some(failure) = self.shared.failure() {
            return Poll::Ready(Err(failure));
        }
        self.shared.wake_on_close(cx.waker());
        self.poll_silence(cx)
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        let silence = self.pace.silence;
        let start = || Box::pin(sleep_until(Instant::now() + silence));
        let deadline = self.deadline.get_or_insert_with(start);
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(ConnectionError::Silent(silence)))
    }
}

enum Frame<R> {
    Message(R),
    Farewell,
}

impl<R: DeserializeOwned> Stream for Inbox<R> {
    type Item = Result<R, ConnectionError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.read.is_none() {
            return Poll::Ready(None);
        }
        if self.shared.phase() == Phase::Closing {
            self.end(Phase::Closing);
            return Poll::Ready(None);
        }
        let polled = ready!(self.poll_message(cx));
        if !matches!(polled, Ok(Some(_))) {
            self.end(Phase::Over);
        }
        Poll::Ready(polled.transpose())
    }
}

impl<R> fmt::Debug for Inbox<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = self.shared.phase();
        f.debug_struct("Inbox")
            .field("phase", &phase)
            .finish_non_exhaustive()
    }
}

impl<R> Drop for Inbox<R> {
    fn drop(&mut self) {
        self.end(Phase::Closing);
    }
}
