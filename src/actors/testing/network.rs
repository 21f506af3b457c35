//! Streams between addresses in one process.
//!
//! A connection to an address where nobody listens is refused, and so is one from or to an address that is cut off.
//! Deliberately without loss: that is the simulation's.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use async_trait::async_trait;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;

use crate::env::network::{BoxStream, Listener, Network};

/// Bytes under way in each direction of a stream.
const STREAM_BYTES: usize = 64 << 10;

/// A network. Clones are the same network.
#[derive(Clone, Default)]
pub(crate) struct Wires {
    listeners: Rc<RefCell<Listeners>>,
    /// Whoever listens here can be reached by itself alone; connections that are open stay so.
    pub(crate) cut_off: Rc<RefCell<BTreeSet<String>>>,
}

type Listeners = BTreeMap<String, mpsc::UnboundedSender<DuplexStream>>;

impl Wires {
    /// This network, as an edge of a node.
    pub(crate) fn network(&self) -> Rc<dyn Network> {
        Rc::new(self.clone())
    }

    /// The same, as the node at this address has it, which may be cut off.
    pub(crate) fn network_of(&self, own: String) -> Rc<dyn Network> {
        let wires = self.clone();
        Rc::new(OneEnd { wires, own })
    }

    fn reach(&self, address: &str) -> io::Result<BoxStream> {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let listener = self.listeners.borrow().get(address).cloned();
        let (near, far) = duplex(STREAM_BYTES);
        let arrived = listener.ok_or_else(refused)?.send(far);
        arrived.map_err(|_| refused())?;
        Ok(Box::new(near))
    }
}

/// The network of a node that may be cut off.
struct OneEnd {
    wires: Wires,
    own: String,
}

#[async_trait(?Send)]
impl Network for OneEnd {
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        self.wires.listen(address).await
    }

    async fn connect(&self, address: &str) -> io::Result<BoxStream> {
        if self.own == address {
            return self.wires.reach(address);
        }
        if self.wires.cut_off.borrow().contains(&self.own) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        self.wires.connect(address).await
    }
}

#[async_trait(?Send)]
impl Network for Wires {
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let (arrive, arriving) = mpsc::unbounded_channel();
        let local = address.parse().map_err(io::Error::other)?;
        let taken = self
            .listeners
            .borrow_mut()
            .insert(address.to_owned(), arrive);
        if taken.is_some_and(|earlier| !earlier.is_closed()) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        Ok(Box::new(Plug { local, arriving }))
    }

    async fn connect(&self, address: &str) -> io::Result<BoxStream> {
        if self.cut_off.borrow().contains(address) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        self.reach(address)
    }
}

struct Plug {
    local: SocketAddr,
    arriving: mpsc::UnboundedReceiver<DuplexStream>,
}

#[async_trait(?Send)]
impl Listener for Plug {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    async fn accept(&mut self) -> io::Result<(BoxStream, SocketAddr)> {
        let stream = self.arriving.recv().await;
        let stream = stream.ok_or_else(|| io::Error::from(io::ErrorKind::AddrInUse))?;
        Ok((Box::new(stream), self.local))
    }
}
