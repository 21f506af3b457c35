//! The network of production: TCP through tokio.
//!
//! Deliberately without encryption (a later layer between this and `frames`) and without deadlines of its own but one:
//! an address that does not answer must not keep a name's other addresses from being tried.
#![expect(
    clippy::disallowed_types,
    reason = "the one place where sockets are real"
)]

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;

use super::network::{BoxStream, Listener, Network};

/// Connections that wait to be accepted: all of 5,000 nodes' watchers may come back at once; the kernel caps it at
/// `net.core.somaxconn`.
const BACKLOG: u32 = 4_096;

/// How long one of several addresses of a name is tried before the next: RFC 8305 starts the next after 250 ms; twice
/// that, because here the first is given up.
const ATTEMPT_MS_MAX: u64 = 500;

/// A connection on which nothing moves is probed after so long, so often, so many times: one whose other end lost its
/// power is known dead after 30 s. Who merely waits, such as a watch without events, never is.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;

/// TCP with Nagle's algorithm off and keep-alive on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

#[async_trait(?Send)]
impl Network for Tcp {
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let mut failure = no_address(address);
        for address in lookup_host(address).await? {
            match listen(address) {
                Ok(listener) => return Ok(Box::new(Accepting(listener))),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn connect(&self, address: &str) -> io::Result<BoxStream> {
        let mut failure = no_address(address);
        let mut addresses = lookup_host(address).await?.peekable();
        while let Some(address) = addresses.next() {
            let attempt = async {
                let stream = TcpStream::connect(address).await?;
                configure(&stream)?;
                Ok(stream)
            };
            let connected = if addresses.peek().is_none() {
                attempt.await
            } else {
                let deadline = Duration::from_millis(ATTEMPT_MS_MAX);
                let late = |_| Err(io::ErrorKind::TimedOut.into());
                timeout(deadline, attempt).await.unwrap_or_else(late)
            };
            match connected {
                Ok(stream) => return Ok(Box::new(stream)),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

fn configure(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    sockopt::set_socket_keepalive(stream, true)?;
    Ok(())
}

fn no_address(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{name} has no address"))
}

/// With the address reusable, so that a restarted node need not wait for its predecessor's connections to expire.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[derive(Debug)]
struct Accepting(TcpListener);

#[async_trait(?Send)]
impl Listener for Accepting {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// A connection that died while it waited is skipped. Other errors, such as too many open files, are the caller's
    /// to wait out.
    async fn accept(&mut self) -> io::Result<(BoxStream, SocketAddr)> {
        loop {
            match self.0.accept().await {
                Ok((stream, from)) if configure(&stream).is_ok() => {
                    return Ok((Box::new(stream), from));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests;
