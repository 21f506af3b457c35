//! Byte streams between machines: listen and connect, over TCP or whatever a simulation puts there.
//!
//! Frames, heartbeats and deadlines stand on top of this, in `frames.rs`.

use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connected byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> Stream for T {}

/// Any stream.
pub type BoxStream = Box<dyn Stream>;

/// Listens and connects.
#[async_trait(?Send)]
pub trait Network {
    /// Listens at `host:port` (IPv4, `[IPv6]` or a name; port 0 picks a free one).
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>>;
    /// Connects to `host:port`. The caller sets the deadline.
    async fn connect(&self, address: &str) -> io::Result<BoxStream>;
}

/// Accepts connections.
#[async_trait(?Send)]
pub trait Listener {
    /// The bound address.
    fn local_addr(&self) -> io::Result<SocketAddr>;
    /// The next connection and who it is. Cancel-safe: no connection is lost if the future is dropped.
    async fn accept(&mut self) -> io::Result<(BoxStream, SocketAddr)>;
}
