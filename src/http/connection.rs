//! A connection that can be given a last moment: when a client that reads nothing keeps an answer from being sent.
//!
//! Deliberately not for every answer: who reads a log may pause for hours.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::env::network::BoxStream;

/// Until when a client may keep what is written from being sent; for ever if there is none.
#[derive(Clone, Default)]
pub(super) struct Limit(Rc<Cell<Option<Instant>>>);

impl Limit {
    /// Sets it until the guard is dropped.
    pub(super) fn set(&self, until: Instant) -> LimitGuard {
        self.0.set(Some(until));
        LimitGuard(self.clone())
    }
}

/// Lifts a limit when it is dropped: the connection may serve other requests.
pub(super) struct LimitGuard(Limit);

impl Drop for LimitGuard {
    fn drop(&mut self) {
        self.0.0.set(None);
    }
}

/// The connection.
pub(super) struct Connection {
    stream: BoxStream,
    limit: Limit,
    /// Rings at the limit, while a write waits.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    /// Without a limit yet.
    pub(super) fn new(stream: BoxStream) -> Self {
        Self {
            stream,
            limit: Limit::default(),
            alarm: None,
        }
    }

    /// What its limit is set by.
    pub(super) fn limit(&self) -> Limit {
        self.limit.clone()
    }

    /// A write that waits beyond the limit fails.
    fn limited<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        let (Some(until), true) = (self.limit.0.get(), written.is_pending()) else {
            self.alarm = None;
            return written;
        };
        let alarm = self.alarm.take();
        let alarm = alarm.filter(|alarm| alarm.deadline() == until);
        let mut alarm = alarm.unwrap_or_else(|| Box::pin(sleep_until(until)));
        let rung = alarm.as_mut().poll(cx);
        self.alarm = Some(alarm);
        rung.map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.limited(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.limited(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
