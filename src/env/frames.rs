//! Typed messages over any byte stream: frames, write batching, heartbeats, silence, and who is to blame at the end.
//!
//! A frame is a big-endian `u32` length and so many bytes of MessagePack with named fields. Length 0 is a heartbeat,
//! `u32::MAX` a farewell: what ends without one was not closed but lost. Deliberately without reconnecting, which is
//! the owner's decision ([`Backoff`] says when), and without encryption, which is the stream's.

mod backoff;
mod hello;
mod inbox;
mod outbox;
#[cfg(test)]
mod tests;

use std::io;
use std::time::Duration;

pub use backoff::{BACKOFF_MS_MAX, BACKOFF_MS_MIN, Backoff};
pub use hello::{HELLO_BYTES_MAX, HELLO_MS_MAX, read_hello, write_hello};
pub use inbox::Inbox;
pub use outbox::{
    OUTBOX_BYTES_MAX, OUTBOX_BYTES_WAITED_FOR, OUTBOX_MESSAGES_MAX, Outbox, SendError,
};

use super::network::BoxStream;

/// Bytes in one frame: an object of 1.5 MB with room to spare; what is larger goes in chunks (snapshots do), so that
/// heartbeats and votes never wait long behind it.
pub const FRAME_BYTES_MAX: usize = 8 << 20;

/// A side that has nothing to say for so long says just that.
pub const HEARTBEAT_MS: u64 = 1_000;

/// A peer that says nothing at all for so long is taken for dead: three heartbeats lost and the fourth late.
pub const SILENCE_MS_MAX: u64 = 4_000;

/// Bytes of a frame's header.
const HEADER_BYTES: usize = size_of::<u32>();

/// The header of a frame that only shows life.
const HEARTBEAT: u32 = 0;

/// The header of the last frame, after which an end of the stream is no accident.
const FAREWELL: u32 = u32::MAX;

/// How often a connection shows life and how long it waits for the other side's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Idle time after which a heartbeat is sent.
    pub heartbeat: Duration,
    /// Time without a single byte after which the peer counts as silent.
    pub silence: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(HEARTBEAT_MS),
            silence: Duration::from_millis(SILENCE_MS_MAX),
        }
    }
}

/// Why a connection could not be made or did not last.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// Refused, reset, or ended without a farewell: the machine answers and the process is gone. A hint for consensus
    /// (`raft::Input::Unreachable`), not a proof: a middlebox can say the same.
    #[error("the peer is gone ({0})")]
    Gone(io::ErrorKind),
    /// Nothing at all for this long: dead, cut off or overloaded, nobody can tell.
    #[error("the peer was silent for {} ms", .0.as_millis())]
    Silent(Duration),
    /// The peer announced a larger frame than is allowed here.
    #[error("a frame of {bytes} bytes is larger than {max}")]
    TooLarge {
        /// The announced size.
        bytes: usize,
        /// What is allowed.
        max: usize,
    },
    /// The peer does not speak this protocol, or not this version of it.
    #[error("the peer does not speak this protocol")]
    Foreign,
    /// A frame is not the expected message.
    #[error("unreadable message: {0}")]
    Unreadable(String),
    /// A message that cannot be written as MessagePack.
    #[error("unwritable message: {0}")]
    Unwritable(String),
    /// Anything else: no route, no such name, no more sockets.
    #[error("the connection failed: {0}")]
    Io(String),
}

impl ConnectionError {
    /// Whether the peer's process is (very probably) gone, not merely out of sight.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone(_))
    }
}

impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            kind @ (Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::BrokenPipe
            | Kind::NotConnected
            | Kind::WriteZero
            | Kind::UnexpectedEof) => Self::Gone(kind),
            _ => Self::Io(error.to_string()),
        }
    }
}

/// Turns a stream into messages `S` out and messages `R` in, at the default [`Pace`]. Must be called inside a
/// `LocalSet`: one task writes, and the [`Inbox`] reads when polled. Dropping either half closes the connection.
pub fn open<S, R>(stream: BoxStream) -> (Outbox<S>, Inbox<R>) {
    open_at(stream, Pace::default())
}

/// The same at another pace.
pub fn open_at<S, R>(stream: BoxStream, pace: Pace) -> (Outbox<S>, Inbox<R>) {
    let (read, write) = tokio::io::split(stream);
    let shared = outbox::Shared::new();
    tokio::task::spawn_local(outbox::write(write, shared.clone(), pace));
    (Outbox::new(shared.clone()), Inbox::new(read, shared, pace))
}
