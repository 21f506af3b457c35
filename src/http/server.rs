//! Accepts connections and runs the application over each.
//!
//! HTTP/1.1 only, on the caller's thread: every connection is a local task, and all of them end with [`serve`].

use std::net::SocketAddr;
use std::time::Duration;

use actix_http::{HttpService, KeepAlive};
use actix_service::{Service, ServiceFactory, map_config};
use actix_web::dev::AppConfig;
use actix_web::web;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::State;
use super::app::application;
use super::connection::Connection;
use super::context::Context;
use crate::env::network::Listener;

/// Connections served at once; more wait in the listener's backlog. A watcher holds one (1,000 are designed for), and
/// each costs about 20 KB.
const CONNECTIONS_MAX: usize = 4_096;
/// An idle connection is kept this long (Go's clients close theirs after 90 s; ours must not close first).
const KEEP_ALIVE: Duration = Duration::from_secs(120);
/// A request's head must arrive within this time.
const HEAD: Duration = Duration::from_secs(10);
/// A closing connection must be gone within this time.
const DISCONNECT: Duration = Duration::from_secs(5);
/// After a failed accept (out of file descriptors) the next try waits this long, lest it spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often views that nobody came back for are forgotten.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(30);

/// Serves the API at a listener until dropped. Runs inside a `LocalSet` (any actix system, or a simulated host).
pub async fn serve(mut listener: Box<dyn Listener>, state: State) {
    let context = web::Data::new(Context::new(state));
    let application = map_config(application(context.clone()), |()| AppConfig::default());
    let factory = HttpService::build()
        .keep_alive(KeepAlive::Timeout(KEEP_ALIVE))
        .client_request_timeout(HEAD)
        .client_disconnect_timeout(DISCONNECT)
        // A client that is gone must end its watch now, not at the next event.
        .h1_allow_half_closed(false)
        .on_connect_ext(|connection: &Connection, data| {
            data.insert(connection.limit());
        })
        .h1(application);
    let service =
        ServiceFactory::<(Connection, Option<SocketAddr>)>::new_service(&factory, ()).await;
    let Ok(service) = service else {
        unreachable!("the application has no part that can fail to start");
    };
    let mut connections = JoinSet::new();
    let mut expire = tokio::time::interval(EXPIRE_INTERVAL);
    expire.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task failed");
                }
            }
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, peer)) => {
                    let connection = service.call((Connection::new(stream), Some(peer)));
                    connections.spawn_local(async move {
                        if let Err(error) = connection.await {
                            tracing::debug!(%peer, %error, "connection ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            _ = expire.tick() => context.views.expire(context.now()),
        }
    }
}
