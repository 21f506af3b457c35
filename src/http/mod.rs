//! The Kubernetes API as an actix-web `App`. Knows nothing of how it is listened to.
//!
//! [`serve`] runs the application over whatever streams a [`Listener`] accepts, so the same application runs over
//! TCP and in a simulation. Handlers decode, ask an actor, and encode; what a write means is decided in `resource`.
//! Deliberately absent: TLS, authentication and authorisation (`identity` says what stands in their place),
//! WebSocket subresources (exec, attach, port-forward), protobuf replies, HTTP/2.

mod accept;
mod answer;
mod app;
mod body;
mod connection;
mod context;
mod continuation;
mod discovery;
mod document;
mod eviction;
mod failure;
mod health;
mod identity;
mod list;
mod logs;
mod metrics;
mod openapi;
mod query;
mod read;
mod recovery;
mod render;
mod resources;
mod route;
mod selection;
mod server;
mod watch;
mod write;

use std::rc::Rc;

use actix::Recipient;

use crate::actors::messages::{DescribeCluster, OpenLog, Read, Recover, Submit, Watch};
use crate::env::clock::Clock;
use crate::env::entropy::Entropy;
#[cfg(doc)]
use crate::env::network::Listener;

pub use app::app;
pub use server::serve;

/// What the API needs of its node.
#[derive(Clone)]
pub struct State {
    /// Plans and commits writes.
    pub submit: Recipient<Submit>,
    /// Gives views. A view must not be given before the changes up to it were handed to [`State::watch`]'s
    /// subscriptions: a bookmark says that nothing up to its revision is still to come.
    pub read: Recipient<Read>,
    /// Opens subscriptions.
    pub watch: Recipient<Watch>,
    /// Opens containers' logs.
    pub logs: Recipient<OpenLog>,
    /// Describes the cluster.
    pub cluster: Recipient<DescribeCluster>,
    /// Recovers from a lost majority.
    pub recovery: Recipient<Recover>,
    /// Where request metrics are registered, and what `/metrics` shows.
    pub registry: prometheus::Registry,
    /// Tells the time.
    pub clock: Rc<dyn Clock>,
    /// Spreads the ends of watches.
    pub entropy: Entropy,
    /// Whether this node can serve; the error says why not (`/readyz`).
    pub readiness: Rc<dyn Fn() -> Result<(), String>>,
    /// `host:port` that clients of `/api` are told.
    pub server_address: String,
}
