//! Writes whose leader is gone between commit and answer, or never gets so far: what the client is told is what is so.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::Duration;

use crate::actors::testing::host::{Host, env, eventually, obtain, options, peer_address};
use crate::actors::testing::network::Wires;
use crate::cli::client::{Client, ClientError};
use crate::env::network::{BoxStream, Listener, Network};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Longer than a node tries.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a machine cannot do any more on the connections that it made; they never break.
#[derive(Default)]
struct Ailments {
    /// It hears nothing from whoever listens at these addresses.
    deaf_to: RefCell<BTreeSet<String>>,
    /// Nobody hears anything from it.
    mute: Cell<bool>,
}

/// An ailing machine's network.
struct Ailing {
    wires: Wires,
    ailments: Rc<Ailments>,
}

struct AilingStream {
    inner: BoxStream,
    address: String,
    ailments: Rc<Ailments>,
}

#[async_trait(?Send)]
impl Network for Ailing {
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        self.wires.listen(address).await
    }

    async fn connect(&self, address: &str) -> io::Result<BoxStream> {
        Ok(Box::new(AilingStream {
            inner: self.wires.connect(address).await?,
            address: address.to_owned(),
            ailments: self.ailments.clone(),
        }))
    }
}

impl AsyncRead for AilingStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ailments.deaf_to.borrow().contains(&self.address) {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl AsyncWrite for AilingStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.ailments.mute.get() {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// A cluster of three: its leader, the node that a client asks, and a witness.
struct Three {
    wires: Wires,
    leader: Host,
    /// The leader's.
    ailments: Rc<Ailments>,
    entry: Host,
    /// What the entry node hears from the leader is lost from now on.
    deafen: Box<dyn Fn()>,
    witness: Host,
}

impl Three {
    async fn start(seed: u64) -> Self {
        let wires = Wires::default();
        let mut hosts = Vec::new();
        for number in 1..=3 {
            let ailments = Rc::<Ailments>::default();
            let mut edges = env(&wires, seed + u64::from(number));
            edges.network = Rc::new(Ailing {
                wires: wires.clone(),
                ailments: ailments.clone(),
            });
            let host = Host::start_in(edges, options(number)).await;
            hosts.push((host, ailments, number));
        }
        let leads = |(host, ..): &(Host, _, _)| host.leads();
        eventually("a leader", || hosts.iter().any(leads)).await;
        let at = hosts.iter().position(leads).unwrap();
        let (leader, ailments, number) = hosts.remove(at);
        let (entry, ears, _) = hosts.remove(0);
        let (witness, ..) = hosts.remove(0);
        let three = Self {
            wires,
            leader,
            ailments,
            entry,
            deafen: Box::new(move || {
                ears.deaf_to.borrow_mut().insert(peer_address(number));
            }),
            witness,
        };
        // From here on the entry node has a connection to the leader.
        let first = json!({ "metadata": { "name": "first" } });
        let client = three.client();
        obtain("a write", || client.post(CONFIG_MAPS, &first)).await;
        three
    }

    /// Of the entry node.
    fn client(&self) -> Client {
        self.entry.client(&self.wires).with_deadline(PATIENCE)
    }

    fn create(&self) -> JoinHandle<Result<Value, ClientError>> {
        let client = self.client();
        let object = json!({ "metadata": { "generateName": "made-" }, "data": { "a": "b" } });
        spawn_local(async move { client.post(CONFIG_MAPS, &object).await })
    }

    /// What was made so far, as a client of the witness sees it.
    async fn made(&self) -> Vec<Value> {
        let client = self.witness.client(&self.wires);
        let list = obtain("a list", || client.get(CONFIG_MAPS)).await;
        let mut items = list["items"].as_array().unwrap().clone();
        let name = |item: &Value| item["metadata"]["name"].as_str().unwrap().to_owned();
        items.retain(|item| name(item).starts_with("made-"));
        items
    }

    /// A create whose answer is lost, though it has committed.
    async fn create_unanswered(&self) -> JoinHandle<Result<Value, ClientError>> {
        (self.deafen)();
        let creating = self.create();
        obtain("it commits", async || match self.made().await.len() {
            1 => Ok(()),
            count => Err(count),
        })
        .await;
        assert!(!creating.is_finished(), "nobody has answered it");
        creating
    }

    /// The one object that was made is the one that the client was told of.
    async fn is_told(&self, creating: JoinHandle<Result<Value, ClientError>>) {
        let told = creating.await.unwrap().unwrap();
        let made = self.made().await;
        assert_eq!(made.len(), 1, "{made:?}");
        for field in ["name", "uid", "resourceVersion", "creationTimestamp"] {
            assert_eq!(told["metadata"][field], made[0]["metadata"][field]);
        }
        assert_eq!(
            (&told["kind"], &told["data"]["a"]),
            (&json!("ConfigMap"), &json!("b"))
        );
    }
}

/// Seeds in which the next leader is the node that the client asked, and the witness.
const SEEDS: [u64; 2] = [10, 20];

#[actix::test]
async fn a_create_is_answered_though_its_leader_dies_before_it_could() {
    tokio::time::pause();
    for seed in SEEDS {
        let mut three = Three::start(seed).await;
        let creating = three.create_unanswered().await;
        let other = Host::start(&three.wires, options(4), 4).await;
        drop(std::mem::replace(&mut three.leader, other));
        three.is_told(creating).await;
    }
}

#[actix::test]
async fn a_create_is_answered_though_its_leader_hands_over_before_it_could() {
    tokio::time::pause();
    for seed in SEEDS {
        let mut three = Three::start(seed).await;
        let creating = three.create_unanswered().await;
        assert!(three.leader.node.hand_over(Duration::from_secs(1)).await);
        three.is_told(creating).await;
    }
}

#[actix::test]
async fn a_create_that_its_leader_could_not_commit_is_made_by_the_next() {
    tokio::time::pause();
    for seed in SEEDS {
        let three = Three::start(seed).await;
        (three.deafen)();
        three.ailments.mute.set(true);
        let creating = three.create();
        three.is_told(creating).await;
        assert!(!three.leader.leads());
    }
}

#[actix::test]
async fn a_delete_is_answered_though_its_object_is_gone_already() {
    tokio::time::pause();
    let mut three = Three::start(30).await;
    (three.deafen)();
    let (client, path) = (three.client(), format!("{CONFIG_MAPS}/first"));
    let deleting = spawn_local({
        let path = path.clone();
        async move { client.delete(&path).await }
    });
    let witness = three.witness.client(&three.wires);
    obtain("it commits", async || match witness.get(&path).await {
        Err(error) if error.code() == Some(404) => Ok(()),
        other => Err(other),
    })
    .await;
    assert!(!deleting.is_finished(), "nobody has answered it");
    assert!(three.leader.node.hand_over(Duration::from_secs(1)).await);
    let told = deleting.await.unwrap().unwrap();
    assert_eq!(told["status"], "Success", "{told}");
}

/// One whole HTTP answer.
async fn post(wires: &Wires, api: &str, object: &Value) -> String {
    let mut stream = wires.network().connect(api).await.unwrap();
    let body = object.to_string();
    let head = format!(
        "POST {CONFIG_MAPS} HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Seventeen of these are more than the 16 MiB that a leader takes uncommitted.
const LARGE_BYTES: usize = 1_000_000;

#[actix::test]
async fn who_writes_more_than_a_cut_off_leader_can_hold_is_told_to_come_back() {
    tokio::time::pause();
    let three = Three::start(40).await;
    three.ailments.mute.set(true);
    let large = "x".repeat(LARGE_BYTES);
    let mut writing = Vec::new();
    for number in 0..20 {
        let (wires, api) = (three.wires.clone(), three.leader.api.clone());
        let name = format!("large-{number}");
        let object = json!({ "metadata": { "name": name }, "data": { "a": large } });
        writing.push(spawn_local(
            async move { post(&wires, &api, &object).await },
        ));
    }
    let refused = || {
        writing
            .iter()
            .filter(|writing| writing.is_finished())
            .count()
    };
    eventually("some are refused", || refused() > 0).await;
    assert!(
        three.leader.leads(),
        "it does not know yet that nobody hears it"
    );
    assert_eq!(refused(), 4, "sixteen fit");
    for answer in writing {
        if !answer.is_finished() {
            answer.abort();
            continue;
        }
        let answer = answer.await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
        assert!(head.to_lowercase().contains("\r\nretry-after: 1"), "{head}");
        let status: Value = serde_json::from_str(body).unwrap();
        assert_eq!(status["reason"], "TooManyRequests");
        assert_eq!(status["message"], "too many writes wait for replication");
    }
}
