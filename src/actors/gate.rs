//! The API's door on a node that holds no replica: its connections are passed on, whole, to one that does.
//!
//! So any node's API answers, and a worker needs neither a copy of the store nor a second implementation of reads and
//! watches. Deliberately below HTTP: bytes go through unread.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::timeout;

use super::doors::Known;
use super::joiner::{FindApis, Joiner};
use crate::env::network::{BoxStream, Listener, Network};
use crate::raft::ClusterId;

/// A replica that cannot be reached within this time is passed over for the next.
const CONNECT_MS_MAX: u64 = 1_000;

/// A listener that yields only the connections this node can serve itself.
pub struct Gate {
    /// The API's own listener.
    pub listener: Box<dyn Listener>,
    /// To reach the others.
    pub network: Rc<dyn Network>,
    /// Says whether there is a replica here.
    pub known: watch::Receiver<Option<Known>>,
    /// Says whether this node belongs to a cluster; before it does, it answers for itself (health checks do ask).
    pub cluster: watch::Receiver<Option<ClusterId>>,
    /// Finds those who have a replica.
    pub joiner: Addr<Joiner>,
}

#[async_trait(?Send)]
impl Listener for Gate {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    async fn accept(&mut self) -> io::Result<(BoxStream, SocketAddr)> {
        loop {
            let (stream, peer) = self.listener.accept().await?;
            // No waiting from here on: the caller may drop this future, and with it the connection.
            if self.known.borrow().is_some() || self.cluster.borrow().is_none() {
                return Ok((stream, peer));
            }
            tokio::task::spawn_local(pass_on(stream, self.joiner.clone(), self.network.clone()));
        }
    }
}

/// Joins a client's connection to the first replica that answers.
async fn pass_on(mut client: BoxStream, joiner: Addr<Joiner>, network: Rc<dyn Network>) {
    // No answer means that the node is stopping.
    for api in joiner.send(FindApis).await.unwrap_or_default() {
        let connected = timeout(Duration::from_millis(CONNECT_MS_MAX), network.connect(&api)).await;
        let Ok(Ok(mut server)) = connected else {
            continue;
        };
        if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut server).await {
            tracing::debug!(api, %error, "a passed-on connection ended");
        }
        return;
    }
    tracing::warn!("no replica's API can be reached; a client was turned away");
}
