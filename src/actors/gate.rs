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
use tokio::time::timeout;

use super::joiner::{FindApis, Joiner};
use super::store_front::{StoreFront, WhatIsKnown};
use crate::env::network::{BoxStream, Listener, Network};

/// A replica that cannot be reached within this time is passed over for the next.
const CONNECT_MS_MAX: u64 = 1_000;

/// A listener that yields only the connections this node can serve itself.
pub struct Gate {
    /// The API's own listener.
    pub listener: Box<dyn Listener>,
    /// To reach the others.
    pub network: Rc<dyn Network>,
    /// Knows whether there is a replica here.
    pub front: Addr<StoreFront>,
    /// Finds those who have one.
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
            let known = self.front.send(WhatIsKnown).await.map_err(|_| stopping())?;
            if known.is_some() {
                return Ok((stream, peer));
            }
            let apis = self.joiner.send(FindApis).await.map_err(|_| stopping())?;
            if apis.is_empty() {
                // No cluster yet: health checks and clear refusals are better than a closed door.
                return Ok((stream, peer));
            }
            tokio::task::spawn_local(pass_on(stream, apis, self.network.clone()));
        }
    }
}

fn stopping() -> io::Error {
    io::Error::other("the node is stopping")
}

/// Joins a client's connection to the first replica that answers.
async fn pass_on(mut client: BoxStream, apis: Vec<String>, network: Rc<dyn Network>) {
    for api in apis {
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
