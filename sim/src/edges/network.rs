//! Simulated TCP between the world's hosts. A host's name is its address.

use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use kagero::env::network::{BoxStream, Listener, Network};
use turmoil::net::{TcpListener, TcpStream};

/// turmoil's network.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimNetwork;

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
        Ok(Box::new(TcpStream::connect(address).await?))
    }
}

#[async_trait(?Send)]
impl Listener for SimListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    async fn accept(&mut self) -> io::Result<(BoxStream, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        Ok((Box::new(stream), peer))
    }
}
