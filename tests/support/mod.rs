//! A single node's backend without consensus: one actor over the real store and the real write path, for tests of
//! the API. It keeps its whole history up to a bound that a test may lower, and streams logs that a test wrote.

#![allow(dead_code, reason = "each suite uses a part of it")]

pub mod client;
pub mod kubectl;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use actix::prelude::*;
use async_trait::async_trait;
use bytes::Bytes;
use kagero::actors::messages::{
    ClusterStatus, DescribeCluster, LogStream, MemberStatus, OpenLog, Read, Recover, Recovery,
    SUBMIT_REQUESTS_MAX, Submit, Subscription, WATCH_BATCHES_MAX, Watch,
};
use kagero::env::clock::{Clock, SystemClock};
use kagero::env::entropy::Entropy;
use kagero::env::network::{BoxStream, Listener};
use kagero::http::State;
use kagero::resource::plan::plan;
use kagero::resource::{Plan, Reply, Request, Stamp, Status};
use kagero::store::{Command, Event, Outcome, ProposalId, Revision, Store, View};
use tokio::sync::mpsc;

/// The backend.
pub struct Backend {
    store: Store,
    sequence: u64,
    clock: SystemClock,
    entropy: Entropy,
    history: Vec<Event>,
    /// Watches from before this revision are expired.
    history_starts_after: Revision,
    watchers: Vec<(String, mpsc::Sender<Arc<Vec<Event>>>)>,
    logs: BTreeMap<String, Vec<Bytes>>,
}

/// Forget the watch history.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ForgetHistory;

/// Cut every watcher off, as a node does that was sent a snapshot.
#[derive(Message)]
#[rtype(result = "()")]
pub struct CutWatchersOff;

/// Set what a container's log says, as pieces; key is `namespace/pod/container`.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SetLog(pub String, pub Vec<Bytes>);

impl Backend {
    /// An empty one.
    pub fn start_new() -> Addr<Self> {
        Self {
            store: Store::new(),
            sequence: 0,
            clock: SystemClock::new(),
            entropy: Entropy::from_seed(1),
            history: Vec::new(),
            history_starts_after: 0,
            watchers: Vec::new(),
            logs: BTreeMap::new(),
        }
        .start()
    }

    fn write(&mut self, request: &Request) -> Result<Reply, Status> {
        let mut stamp = Stamp {
            now: self.clock.wall(),
            entropy: &mut self.entropy,
        };
        let Plan {
            transactions,
            reply,
            ..
        } = plan(&self.store.view(), request, &mut stamp)?;
        for transaction in transactions {
            self.sequence += 1;
            let applied = self.store.apply(&Command {
                id: ProposalId {
                    origin: 1,
                    sequence: self.sequence,
                },
                time_ms: self.clock.wall().as_millisecond(),
                transaction,
            });
            self.publish(applied.events);
            if let Outcome::Conflict { key, .. } = applied.outcome {
                panic!("nobody else writes, yet {key} conflicts");
            }
        }
        Ok(reply.finish(self.store.view().revision()))
    }

    fn publish(&mut self, events: Vec<Event>) {
        self.history.extend(events.iter().cloned());
        self.watchers.retain(|(prefix, watcher)| {
            let seen = events.iter().filter(|e| e.key.starts_with(prefix.as_str()));
            let seen: Vec<Event> = seen.cloned().collect();
            seen.is_empty() && !watcher.is_closed() || watcher.try_send(Arc::new(seen)).is_ok()
        });
    }
}

impl Actor for Backend {
    type Context = Context<Self>;
}

impl Handler<Submit> for Backend {
    type Result = MessageResult<Submit>;

    fn handle(&mut self, submit: Submit, _: &mut Self::Context) -> Self::Result {
        assert!(submit.0.len() <= SUBMIT_REQUESTS_MAX);
        MessageResult(submit.0.iter().map(|request| self.write(request)).collect())
    }
}

impl Handler<Read> for Backend {
    type Result = Result<View, Status>;

    fn handle(&mut self, _: Read, _: &mut Self::Context) -> Self::Result {
        Ok(self.store.view())
    }
}

impl Handler<Watch> for Backend {
    type Result = Result<Subscription, Status>;

    fn handle(&mut self, watch: Watch, _: &mut Self::Context) -> Self::Result {
        if watch.after < self.history_starts_after {
            return Err(Status::expired(format!(
                "too old resource version: {} ({})",
                watch.after, self.history_starts_after
            )));
        }
        let later = self.history.iter().filter(|e| e.revision > watch.after);
        let backlog = later
            .filter(|e| e.key.starts_with(&watch.prefix))
            .cloned()
            .collect();
        let (sender, events) = mpsc::channel(WATCH_BATCHES_MAX);
        self.watchers.push((watch.prefix, sender));
        Ok(Subscription {
            backlog,
            revision: self.store.view().revision(),
            events,
        })
    }
}

impl Handler<OpenLog> for Backend {
    type Result = Result<LogStream, Status>;

    fn handle(&mut self, open: OpenLog, _: &mut Self::Context) -> Self::Result {
        let key = format!("{}/{}/{}", open.namespace, open.pod, open.container);
        let pieces = self.logs.get(&key).cloned().unwrap_or_default();
        let skipped = match open.options.tail_lines {
            Some(lines) => pieces.len().saturating_sub(lines as usize),
            None => 0,
        };
        let (sender, receiver) = mpsc::channel(pieces.len().max(1));
        for piece in pieces.into_iter().skip(skipped) {
            sender.try_send(Ok(piece)).expect("room for every piece");
        }
        Ok(receiver)
    }
}

impl Handler<DescribeCluster> for Backend {
    type Result = Result<ClusterStatus, Status>;

    fn handle(&mut self, _: DescribeCluster, _: &mut Self::Context) -> Self::Result {
        let view = self.store.view();
        Ok(ClusterStatus {
            cluster_id: "00000000000000aa".into(),
            generation: 0,
            term: 1,
            leader: "n1".into(),
            voters_wanted: 1,
            revision: view.revision(),
            keys: view.len() as u64,
            recovery: None,
            restore: None,
            snapshots: None,
            members: vec![MemberStatus {
                name: "n1".into(),
                incarnation: "0000000000000001".into(),
                address: "127.0.0.1:7443".into(),
                api: "127.0.0.1:6443".into(),
                role: "leader".into(),
                matched: view.revision(),
                lag: 0,
                silent_ms: 0,
            }],
        })
    }
}

impl Handler<Recover> for Backend {
    type Result = Result<Recovery, Status>;

    fn handle(&mut self, _: Recover, _: &mut Self::Context) -> Self::Result {
        Err(Status::new(409, "Conflict", "nothing to recover"))
    }
}

impl Handler<ForgetHistory> for Backend {
    type Result = ();

    fn handle(&mut self, _: ForgetHistory, _: &mut Self::Context) {
        self.history.clear();
        self.history_starts_after = self.store.view().revision();
    }
}

impl Handler<CutWatchersOff> for Backend {
    type Result = ();

    fn handle(&mut self, _: CutWatchersOff, _: &mut Self::Context) {
        self.watchers.clear();
    }
}

impl Handler<SetLog> for Backend {
    type Result = ();

    fn handle(&mut self, SetLog(key, pieces): SetLog, _: &mut Self::Context) {
        self.logs.insert(key, pieces);
    }
}

/// The API's state over a backend.
pub fn state(backend: &Addr<Backend>) -> State {
    State {
        submit: backend.clone().recipient(),
        read: backend.clone().recipient(),
        watch: backend.clone().recipient(),
        logs: backend.clone().recipient(),
        cluster: backend.clone().recipient(),
        recovery: backend.clone().recipient(),
        registry: prometheus::Registry::new(),
        clock: Rc::new(SystemClock::new()),
        entropy: Entropy::from_seed(2),
        readiness: Rc::new(|| Ok(())),
        server_address: "127.0.0.1:6443".into(),
    }
}

/// A TCP listener on loopback, at a free port.
#[expect(
    clippy::disallowed_types,
    reason = "tests are outside of the simulation"
)]
pub struct Loopback(tokio::net::TcpListener);

impl Loopback {
    /// Listens.
    #[expect(
        clippy::disallowed_types,
        reason = "tests are outside of the simulation"
    )]
    pub async fn bind() -> Self {
        Self(tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap())
    }
}

#[async_trait(?Send)]
impl Listener for Loopback {
    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }

    async fn accept(&mut self) -> std::io::Result<(BoxStream, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        Ok((Box::new(stream), peer))
    }
}

/// Serves the API over a backend; the address it is at.
pub async fn serve(backend: &Addr<Backend>) -> SocketAddr {
    let listener = Loopback::bind().await;
    let address = listener.local_addr().unwrap();
    actix_rt::spawn(kagero::http::serve(Box::new(listener), state(backend)));
    address
}
