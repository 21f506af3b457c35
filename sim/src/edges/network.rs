//! Simulated TCP between the world's hosts. A host's name is its address.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use kagero::env::network::{BoxStream, Listener, Network};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

/// Pairs of hosts between which no word passes, in order of name.
#[derive(Clone, Debug, Default)]
pub struct Cuts(Rc<RefCell<BTreeSet<(String, String)>>>);

impl Cuts {
    /// No word passes between two hosts from now on, or words pass again.
    pub fn set(&self, one: &str, other: &str, cut: bool) {
        let (low, high) = (one.min(other).to_owned(), one.max(other).to_owned());
        let mut pairs = self.0.borrow_mut();
        if cut {
            pairs.insert((low, high));
        } else {
            pairs.remove(&(low, high));
        }
    }

    fn between(&self, one: &str, other: &str) -> bool {
        let pair = (one.min(other).to_owned(), one.max(other).to_owned());
        self.0.borrow().contains(&pair)
    }
}

/// turmoil's network as one host sees it. Connecting over a cut link waits for ever, as it does (for minutes) where a
/// machine has vanished; turmoil itself says "refused", which is what only a living machine can say.
#[derive(Clone, Debug)]
pub struct SimNetwork {
    host: String,
    cuts: Cuts,
}

impl SimNetwork {
    /// The network of a host.
    pub fn new(host: &str, cuts: Cuts) -> Self {
        let host = host.to_owned();
        Self { host, cuts }
    }
}

struct SimListener(TcpListener);

#[async_trait(?Send)]
impl Network for SimNetwork {
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let address: SocketAddr = address
            .parse()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(Box::new(SimListener(TcpListener::bind(address).await?)))
    }

    async fn connect(&self, address: &str) -> io::Result<BoxStream> {
        let to = address.rsplit_once(':').map_or(address, |(host, _)| host);
        match TcpStream::connect(address).await {
            Ok(stream) => Ok(Box::new(SimStream(stream))),
            Err(_) if self.cuts.between(&self.host, to) => std::future::pending().await,
            Err(error) => Err(error),
        }
    }
}

#[async_trait(?Send)]
impl Listener for SimListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    async fn accept(&mut self) -> io::Result<(BoxStream, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        Ok((Box::new(SimStream(stream)), peer))
    }
}

/// turmoil's stream, except that writing nothing sends nothing: turmoil sends an empty segment, and whoever reads it
/// takes it for the end of the stream (hyper writes so after a request's body).
struct SimStream(TcpStream);

impl AsyncRead for SimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
