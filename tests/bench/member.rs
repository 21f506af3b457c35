//! One member of the measured store: the shipped raft peer, store and peer transport, and a door for the load.
//!
//! Deliberately without the Kubernetes API, the scheduler and the agent: what is measured is the replicated store, as
//! beside etcd, which has none of them either. The load speaks frames, many requests outstanding on a connection.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use actix::prelude::*;
use anyhow::{Context as _, Result};
use bytes::Bytes;
use kagero::actors::dial::{Introduction, greet};
use kagero::actors::messages::WATCH_BATCHES_MAX;
use kagero::actors::metrics::RaftMetrics;
use kagero::actors::peers::Peers;
use kagero::actors::raft_peer::{
    EnvelopesReceived, Neighbours, Propose, Published, RaftPeer, ReadIndex, TakePart,
};
use kagero::actors::wire::{Contact, FromDialler};
use kagero::env::clock::{Clock, SystemClock};
use kagero::env::entropy::Entropy;
use kagero::env::frames::{self, Inbox, Outbox};
use kagero::env::network::{BoxStream, Network};
use kagero::env::tcp::Tcp;
use kagero::raft::{ClusterId, Config, Configuration, PeerId};
use kagero::store::{Event, Operation, Outcome, Transaction};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Fixed, since nothing else of this cluster's exists.
const CLUSTER: ClusterId = ClusterId {
    id: 0xbe_9c,
    generation: 0,
};

/// What the load asks.
#[derive(Debug, Serialize, Deserialize)]
pub struct Question {
    /// Unique on the connection.
    pub id: u64,
    /// The question.
    pub ask: Ask,
}

/// The kinds of question.
#[derive(Debug, Serialize, Deserialize)]
pub enum Ask {
    /// Does this member lead, with a complete view?
    Leads,
    /// Write a value; answered when it is committed and applied on the leader.
    Put(String, Bytes),
    /// Read a value, linearizably.
    Get(String),
    /// Tell every later change, under this question's id.
    Watch,
}

/// What the member answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reply {
    /// The question's id.
    pub id: u64,
    /// The answer.
    pub answer: Answer,
}

/// The kinds of answer.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// To `Leads`.
    Leads(bool),
    /// To `Put`: the revision.
    Put(u64),
    /// To `Get`.
    Found(Option<Bytes>),
    /// To `Watch`: it is open.
    Watching,
    /// A change: key, revision, value.
    Changed(String, u64, Bytes),
    /// It did not come to pass.
    Failed(String),
}

/// Serves until it is killed. `contacts` has every founder's peer address, in the order of their ids from 1.
pub async fn serve(own: u64, contacts: &[String], door: &str) -> Result<()> {
    let network: Rc<dyn Network> = Rc::new(Tcp);
    let configuration = configuration(contacts);
    let address = contacts
        .get(own as usize - 1)
        .context("--member is one of --contacts")?;
    let mut peers = network.listen(address).await?;
    let mut load = network.listen(door).await?;
    let clock: Rc<dyn Clock> = Rc::new(SystemClock::new());
    let hub = Hub::default().start();
    let id = PeerId(own);
    let introduction = Introduction {
        id,
        contact: configuration.contacts[&id].clone(),
    };
    let metrics = RaftMetrics::new(&prometheus::Registry::new())?;
    let (published, entropy) = (hub.clone().recipient(), Entropy::from_system());
    let peer = RaftPeer::create(|ctx| {
        let gone = ctx.address().recipient();
        let neighbours = Neighbours {
            send: Peers::new(introduction, network, entropy.clone(), gone)
                .start()
                .recipient(),
            published,
            leader_team: Vec::new(),
        };
        RaftPeer::new(id, Config::default(), clock, entropy, neighbours, metrics)
    });
    peer.do_send(TakePart {
        cluster: CLUSTER,
        founding: Some(configuration),
    });
    loop {
        tokio::select! {
            dialled = peers.accept() => {
                tokio::task::spawn_local(hear_peer(dialled?.0, peer.clone()));
            }
            asked = load.accept() => {
                let (outbox, inbox) = frames::open(asked?.0);
                tokio::task::spawn_local(answer_load(outbox, inbox, peer.clone(), hub.clone()));
            }
        }
    }
}

/// Three founders and how each is reached.
fn configuration(contacts: &[String]) -> Configuration {
    let contact = |address: &String| Contact {
        name: address.clone(),
        address: address.clone(),
        api: String::new(),
        machine_id: String::new(),
        boot_id: String::new(),
        may_vote: true,
        labels: BTreeMap::default(),
        takes_named: true,
    };
    let ids = (1..).map(PeerId);
    let voters: BTreeSet<PeerId> = ids.clone().take(contacts.len()).collect();
    Configuration {
        voters,
        contacts: ids
            .zip(contacts.iter().map(|c| contact(c).encode()))
            .collect(),
        ..Configuration::default()
    }
}

/// Hands another member's envelopes to the raft peer.
async fn hear_peer(stream: BoxStream, peer: Addr<RaftPeer>) {
    let Ok(mut greeted) = greet(stream).await else {
        return;
    };
    while let Some(Ok(FromDialler::Raft(envelopes))) = greeted.inbox.next().await {
        if peer.send(EnvelopesReceived(envelopes)).await.is_err() {
            return;
        }
    }
}

/// Answers one connection of the load, each question by itself.
async fn answer_load(
    outbox: Outbox<Reply>,
    mut inbox: Inbox<Question>,
    peer: Addr<RaftPeer>,
    hub: Addr<Hub>,
) {
    let outbox = Rc::new(outbox);
    while let Some(Ok(Question { id, ask })) = inbox.next().await {
        let (outbox, peer, hub) = (outbox.clone(), peer.clone(), hub.clone());
        tokio::task::spawn_local(async move {
            let answer = match ask {
                Ask::Leads => leads(&hub).await,
                Ask::Put(key, value) => put(&peer, key, value).await,
                Ask::Get(key) => get(&peer, &key).await,
                Ask::Watch => watch(&hub, id, outbox.clone()).await,
            };
            let answer = answer.unwrap_or_else(Answer::Failed);
            // The load is gone then, and with it the measurement.
            drop(outbox.send(&Reply { id, answer }));
        });
    }
}

async fn leads(hub: &Addr<Hub>) -> Result<Answer, String> {
    let leads = hub.send(Leads).await.map_err(|e| e.to_string())?;
    Ok(Answer::Leads(leads))
}

async fn put(peer: &Addr<RaftPeer>, key: String, value: Bytes) -> Result<Answer, String> {
    let transaction = Transaction {
        compare: Vec::new(),
        operations: vec![Operation::Put { key, value }],
    };
    let outcomes = peer
        .send(Propose {
            time_ms: 0,
            term: None,
            transactions: vec![(None, transaction)],
        })
        .await
        .map_err(|error| error.to_string())?;
    match outcomes.into_iter().next() {
        Some(Ok(Outcome::Committed { revision })) => Ok(Answer::Put(revision)),
        other => Err(format!("{other:?}")),
    }
}

async fn get(peer: &Addr<RaftPeer>, key: &str) -> Result<Answer, String> {
    let view = peer.send(ReadIndex).await.map_err(|e| e.to_string())?;
    let view = view.map_err(|error| error.to_string())?;
    Ok(Answer::Found(
        view.get(key).map(|record| record.value.clone()),
    ))
}

/// Opens a watch, which lasts as long as the connection.
async fn watch(hub: &Addr<Hub>, id: u64, outbox: Rc<Outbox<Reply>>) -> Result<Answer, String> {
    let (sender, mut batches) = mpsc::channel::<Arc<Vec<Event>>>(WATCH_BATCHES_MAX);
    let subscribed = hub.send(Subscribe(sender)).await;
    subscribed.map_err(|error| error.to_string())?;
    tokio::task::spawn_local(async move {
        while let Some(batch) = batches.recv().await {
            for event in batch.iter() {
                let value = event.current.as_ref().map(|record| record.value.clone());
                let answer = Answer::Changed(
                    event.key.to_string(),
                    event.revision,
                    value.unwrap_or_default(),
                );
                if outbox.send_when_ready(&Reply { id, answer }).await.is_err() {
                    return;
                }
            }
        }
    });
    Ok(Answer::Watching)
}

/// Passes changes on to watchers.
#[derive(Default)]
struct Hub {
    leads: bool,
    watchers: Vec<mpsc::Sender<Arc<Vec<Event>>>>,
}

/// Add a watcher.
#[derive(Message)]
#[rtype(result = "()")]
struct Subscribe(mpsc::Sender<Arc<Vec<Event>>>);

/// Does this member lead?
#[derive(Message)]
#[rtype(result = "bool")]
struct Leads;

impl Actor for Hub {
    type Context = Context<Self>;
}

impl Handler<Leads> for Hub {
    type Result = bool;

    fn handle(&mut self, _: Leads, _: &mut Self::Context) -> bool {
        self.leads
    }
}

impl Handler<Subscribe> for Hub {
    type Result = ();

    fn handle(&mut self, Subscribe(watcher): Subscribe, _: &mut Self::Context) {
        self.watchers.push(watcher);
    }
}

impl Handler<Published> for Hub {
    type Result = ();

    fn handle(&mut self, published: Published, _: &mut Self::Context) {
        self.leads = published.standing.leads;
        if published.events.is_empty() {
            return;
        }
        // One that is too slow loses its watch, as in the product; the load then counts too few changes.
        self.watchers
            .retain(|watcher| watcher.try_send(published.events.clone()).is_ok());
    }
}
