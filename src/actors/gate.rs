//! The API's door on a node that holds no replica: its connections are passed on, whole, to one that does.
//!
//! So any node's API answers, and a worker needs neither a copy of the store nor a second implementation of reads and
//! watches. Deliberately below HTTP: bytes go through unread.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use async_trait::async_trait;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::doors::Known;
use super::joiner::Joiner;
use super::joiner::apis::FindApis;
use crate::env::network::{BoxStream, Listener, Network};
use crate::raft::ClusterId;

/// A replica that cannot be reached within this time is passed over for the next.
const CONNECT_MS_MAX: u64 = 1_000;

/// Clients passed on at once; as many as the API serves itself. More are turned away.
const CLIENTS_MAX: usize = 4_096;

/// A listener that yields only the connections this node can serve itself.
pub struct Gate {
    listener: Box<dyn Listener>,
    network: Rc<dyn Network>,
    known: watch::Receiver<Option<Known>>,
    cluster: watch::Receiver<Option<ClusterId>>,
    joiner: Addr<Joiner>,
    /// Places for clients that are passed on.
    places: Arc<Semaphore>,
}

impl Gate {
    /// A gate before a listener. Until `cluster` says that this node belongs to one, it answers for itself (health
    /// checks do ask); then as long as `known` says that there is a replica here.
    pub fn new(
        listener: Box<dyn Listener>,
        network: Rc<dyn Network>,
        known: watch::Receiver<Option<Known>>,
        cluster: watch::Receiver<Option<ClusterId>>,
        joiner: Addr<Joiner>,
    ) -> Self {
        let places = Arc::new(Semaphore::new(CLIENTS_MAX));
        Self {
            listener,
            network,
            known,
            cluster,
            joiner,
            places,
        }
    }
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
            let Ok(place) = self.places.clone().try_acquire_owned() else {
                tracing::warn!(%peer, "{CLIENTS_MAX} clients are passed on already; one was turned away");
                continue;
            };
            let (joiner, network) = (self.joiner.clone(), self.network.clone());
            tokio::task::spawn_local(async move {
                pass_on(stream, joiner, network).await;
                drop(place);
            });
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
