//! How a node reaches another: connect, say which protocol this is, then frames. Under one deadline.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::wire::{FromDialler, FromListener};
use crate::env::frames::{self, ConnectionError, Inbox, Outbox, read_hello, write_hello};
use crate::env::network::{BoxStream, Network};
use crate::raft::PeerId;

/// A node that cannot be reached within this time counts as unreachable for now; on one continent it takes 50 ms.
const DIAL_MS_MAX: u64 = 1_000;

/// The first word on a connection.
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    /// Changes when a frame changes its meaning; added fields and frames do not change it.
    protocol: u32,
    /// The dialling Raft peer, so that one who has no configuration yet can answer it.
    from: Option<Introduction>,
}

/// A Raft peer that dials, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduction {
    /// Its incarnation.
    pub id: PeerId,
    /// Its encoded contact.
    pub contact: Bytes,
}

const PROTOCOL: u32 = 1;

/// Why a node could not be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// No connection, or it broke at once.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// Nothing happened in time.
    #[error("no connection within {DIAL_MS_MAX} ms")]
    Late,
}

/// The two halves of a connection to another node.
pub(super) type Connection = (Outbox<FromDialler>, Inbox<FromListener>);

/// Connects to a node's peer protocol. Must be called inside a `LocalSet`.
pub(super) async fn dial(
    network: &dyn Network,
    address: &str,
    from: Option<Introduction>,
) -> Result<Connection, DialError> {
    let connecting = async {
        let mut stream = network
            .connect(address)
            .await
            .map_err(ConnectionError::from)?;
        write_hello(
            &mut stream,
            &Hello {
                protocol: PROTOCOL,
                from,
            },
        )
        .await?;
        Ok::<_, ConnectionError>(frames::open(stream))
    };
    let connected = timeout(Duration::from_millis(DIAL_MS_MAX), connecting).await;
    Ok(connected.map_err(|_| DialError::Late)??)
}

/// A connection from another node, and the Raft peer that dialled, if one did.
pub struct Greeted {
    /// To the dialler.
    pub outbox: Outbox<FromListener>,
    /// From the dialler.
    pub inbox: Inbox<FromDialler>,
    /// Who dialled, if it is a Raft peer.
    pub from: Option<Introduction>,
}

/// The other end: checks that the dialler speaks this protocol.
pub async fn greet(mut stream: BoxStream) -> Result<Greeted, ConnectionError> {
    let hello: Hello = read_hello(&mut stream).await?;
    if hello.protocol != PROTOCOL {
        return Err(ConnectionError::Foreign);
    }
    let (outbox, inbox) = frames::open(stream);
    Ok(Greeted {
        outbox,
        inbox,
        from: hello.from,
    })
}

impl DialError {
    /// Whether the machine answered that no such process is there.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Connection(error) if error.is_gone())
    }
}
