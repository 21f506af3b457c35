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

use super::Gate;

/// Pairs of hosts, from and to, between which no word passes.
#[derive(Clone, Debug, Default)]
pub struct Cuts(Rc<RefCell<BTreeSet<(String, String)>>>);

impl Cuts {
    /// No word passes from one host to another from now on, or words pass again. Gives whether that is a change.
    pub fn set(&self, from: &str, to: &str, cut: bool) -> bool {
        let pair = (from.to_owned(), to.to_owned());
        let mut pairs = self.0.borrow_mut();
        if cut {
            pairs.insert(pair)
        } else {
            pairs.remove(&pair)
        }
    }

    fn between(&self, one: &str, other: &str) -> bool {
        let pairs = self.0.borrow();
        let has = |from: &str, to: &str| pairs.contains(&(from.to_owned(), to.to_owned()));
        has(one, other) || has(other, one)
    }
}

/// turmoil's network as one host sees it. Connecting over a cut link waits for ever, as it does (for minutes) where a
/// machine has vanished; turmoil itself says "refused", which is what only a living machine can say. While the host is
/// paused, nothing that it writes leaves and nothing sent to it is read.
#[derive(Clone, Debug)]
pub struct SimNetwork {
    host: String,
    cuts: Cuts,
    gate: Gate,
}

impl SimNetwork {
    /// The network of a host.
    pub fn new(host: &str, cuts: Cuts, gate: Gate) -> Self {
        let host = host.to_owned();
        Self { host, cuts, gate }
    }

    fn stream(&self, stream: TcpStream) -> BoxStream {
        let gate = self.gate.clone();
        Box::new(SimStream { stream, gate })
    }
}

struct SimListener {
    listener: TcpListener,
    network: SimNetwork,
}

#[async_trait(?Send)]
impl Network for SimNetwork {
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let address: SocketAddr = address
            .parse()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(Box::new(SimListener {
            listener: TcpListener::bind(address).await?,
            network: self.clone(),
        }))
    }

    async fn connect(&self, address: &str) -> io::Result<BoxStream> {
        self.gate.open().await;
        let to = address.rsplit_once(':').map_or(address, |(host, _)| host);
        match TcpStream::connect(address).await {
            Ok(stream) => Ok(self.stream(stream)),
            Err(_) if self.cuts.between(&self.host, to) => std::future::pending().await,
            Err(error) => Err(error),
        }
    }
}

#[async_trait(?Send)]
impl Listener for SimListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    async fn accept(&mut self) -> io::Result<(BoxStream, SocketAddr)> {
        let (stream, peer) = self.listener.accept().await?;
        self.network.gate.open().await;
        Ok((self.network.stream(stream), peer))
    }
}

/// turmoil's stream, except that writing nothing sends nothing: turmoil sends an empty segment, and whoever reads it
/// takes it for the end of the stream (hyper writes so after a request's body).
struct SimStream {
    stream: TcpStream,
    gate: Gate,
}

impl AsyncRead for SimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.gate.poll_open(cx));
        Pin::new(&mut self.stream).poll_read(cx, buf)
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
        std::task::ready!(self.gate.poll_open(cx));
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.gate.poll_open(cx));
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.gate.poll_open(cx));
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
