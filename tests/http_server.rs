//! The API over streams that are no sockets: connections, bodies and their ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use actix::Addr;
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kagero::env::network::{BoxStream, Listener};
use serde_json::{Value, json};
use support::Backend;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;

/// Bytes under way between client and server.
const PIPE_BYTES: usize = 64 * 1024;
const DEADLINE: Duration = Duration::from_secs(20);

/// A listener that is handed its connections.
struct InMemory(mpsc::Receiver<DuplexStream>);

fn nowhere() -> SocketAddr {
    "[::1]:1".parse().unwrap()
}

#[async_trait(?Send)]
impl Listener for InMemory {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(nowhere())
    }

    async fn accept(&mut self) -> io::Result<(BoxStream, SocketAddr)> {
        match self.0.recv().await {
            Some(stream) => Ok((Box::new(stream), nowhere())),
            None => std::future::pending().await,
        }
    }
}

/// A server and the way to it.
struct Server {
    connect: mpsc::Sender<DuplexStream>,
    _backend: Addr<Backend>,
}

impl Server {
    fn start() -> Self {
        let backend = Backend::start_new();
        let (connect, connections) = mpsc::channel(8);
        let listener = Box::new(InMemory(connections));
        actix_rt::spawn(kagero::http::serve(listener, support::state(&backend)));
        Self {
            connect,
            _backend: backend,
        }
    }

    async fn stream(&self) -> DuplexStream {
        let (ours, theirs) = duplex(PIPE_BYTES);
        self.connect.send(theirs).await.unwrap();
        ours
    }

    async fn client(&self) -> SendRequest<Full<Bytes>> {
        let (client, connection) = handshake(TokioIo::new(self.stream().await)).await.unwrap();
        actix_rt::spawn(async move {
            let _ = connection.await;
        });
        client
    }
}

fn request(method: &str, uri: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let builder = Request::builder()
        .method(method)
        .uri(uri)
        .header("host", "test");
    builder.body(Full::new(body.into())).unwrap()
}

async fn send(
    client: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Response<Incoming> {
    let answered = async {
        client.ready().await.unwrap();
        client.send_request(request).await.unwrap()
    };
    tokio::time::timeout(DEADLINE, answered)
        .await
        .expect("an answer in time")
}

async fn read(response: Response<Incoming>) -> (u16, Bytes) {
    let code = response.status().as_u16();
    (
        code,
        response.into_body().collect().await.unwrap().to_bytes(),
    )
}

fn json_of(body: &Bytes) -> Value {
    serde_json::from_slice(body).unwrap()
}

#[actix_web::test]
async fn one_connection_serves_many_requests_failures_included() {
    let server = Server::start();
    let mut client = server.client().await;
    for _ in 0..3 {
        let (code, body) = read(send(&mut client, request("GET", "/healthz", "")).await).await;
        assert_eq!((code, &body[..]), (200, &b"ok"[..]));
        let (code, body) =
            read(send(&mut client, request("POST", "/api/v1/frogs", "{}")).await).await;
        assert_eq!((code, &json_of(&body)["kind"]), (404, &json!("Status")));
    }
}

#[actix_web::test]
async fn a_request_to_upgrade_is_refused_at_once() {
    let server = Server::start();
    let path = "/api/v1/namespaces/default/pods/web/exec?command=ls";
    for (method, protocol) in [("GET", "websocket"), ("POST", "SPDY/3.1")] {
        let mut client = server.client().await;
        let mut request = request(method, path, "");
        request
            .headers_mut()
            .insert("connection", "Upgrade".parse().unwrap());
        request
            .headers_mut()
            .insert("upgrade", protocol.parse().unwrap());
        let (code, body) = read(send(&mut client, request).await).await;
        assert_eq!((code, &json_of(&body)["kind"]), (404, &json!("Status")));
    }
}

/// curl's `--http2` asks so, with every request: it must not lose what the request says.
#[actix_web::test]
async fn a_request_that_offers_another_protocol_keeps_its_body() {
    let server = Server::start();
    let offering = |method, path, body: Value| {
        let mut request = request(method, path, body.to_string());
        let headers = request.headers_mut();
        headers.insert("connection", "Upgrade, HTTP2-Settings".parse().unwrap());
        headers.insert("upgrade", "h2c".parse().unwrap());
        headers.insert("http2-settings", "AAMAAABk".parse().unwrap());
        request
    };
    let create = offering(
        "POST",
        "/api/v1/namespaces",
        json!({"metadata": {"name": "a"}}),
    );
    let (code, _) = read(send(&mut server.client().await, create).await).await;
    assert_eq!(code, 201);
    let path = "/api/v1/namespaces/a";
    let dry = offering("DELETE", path, json!({"dryRun": ["All"]}));
    let (code, _) = read(send(&mut server.client().await, dry).await).await;
    assert_eq!(code, 200);
    let found = send(&mut server.client().await, request("GET", path, "")).await;
    let (code, body) = read(found).await;
    assert_eq!(code, 200);
    assert!(json_of(&body)["metadata"]["deletionTimestamp"].is_null());
}

#[actix_web::test]
async fn an_overlong_body_is_refused_in_words() {
    let server = Server::start();
    let mut client = server.client().await;
    let huge = request("POST", "/api/v1/namespaces", vec![b' '; 10_000_000]);
    let (code, body) = read(send(&mut client, huge).await).await;
    assert_eq!(code, 413);
    assert_eq!(json_of(&body)["reason"], "RequestEntityTooLarge");
    let mut other = server.client().await;
    assert_eq!(
        read(send(&mut other, request("GET", "/healthz", "")).await)
            .await
            .0,
        200
    );
}

#[actix_web::test]
async fn what_is_not_http_is_refused() {
    let server = Server::start();
    let mut stream = server.stream().await;
    stream
        .write_all(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
    read.expect("the connection ends in time").unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 400"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

/// The watches that the server counts as open.
async fn open_watches(client: &mut SendRequest<Full<Bytes>>) -> u64 {
    let (_, body) = read(send(client, request("GET", "/metrics", "")).await).await;
    let text = String::from_utf8(body.to_vec()).unwrap();
    let mut lines = text
        .lines()
        .filter(|line| line.starts_with("apiserver_longrunning_requests{"));
    let value = lines.next().and_then(|line| line.rsplit(' ').next());
    value.map_or(0, |value| value.parse().unwrap())
}

#[actix_web::test]
async fn a_quiet_watch_ends_with_its_client() {
    let server = Server::start();
    let mut observer = server.client().await;
    let mut client = server.client().await;
    let watch = request("GET", "/api/v1/namespaces?watch=true", "");
    let response = send(&mut client, watch).await;
    assert_eq!(
        response.status(),
        200,
        "the head comes before the first event"
    );
    assert_eq!(open_watches(&mut observer).await, 1);
    drop((client, response));
    let gone = async { while open_watches(&mut observer).await > 0 {} };
    tokio::time::timeout(DEADLINE, gone)
        .await
        .expect("the watch ends with its client");
}

#[actix_web::test]
async fn a_watch_whose_client_reads_nothing_ends_all_the_same() {
    let server = Server::start();
    let mut observer = server.client().await;
    // More than what fits between the two, so that the server cannot get rid of it.
    for n in 0..20 {
        let notes = json!({"a": "x".repeat(100_000)});
        let body = json!({"metadata": {"name": format!("n{n}"), "annotations": notes}});
        let create = request("POST", "/api/v1/namespaces", body.to_string());
        assert_eq!(read(send(&mut observer, create).await).await.0, 201);
    }
    let mut stream = server.stream().await;
    let head = "GET /api/v1/namespaces?watch=true&timeoutSeconds=1 HTTP/1.1\r\nhost: test\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let opened = async { while open_watches(&mut observer).await == 0 {} };
    tokio::time::timeout(DEADLINE, opened).await.unwrap();
    let ended = async { while open_watches(&mut observer).await > 0 {} };
    tokio::time::timeout(DEADLINE, ended)
        .await
        .expect("the watch ends though nobody reads it");
}

#[actix_web::test]
async fn events_arrive_as_they_happen() {
    let server = Server::start();
    let mut watcher = server.client().await;
    let watch = request("GET", "/api/v1/namespaces?watch=true", "");
    let mut events = send(&mut watcher, watch).await.into_body();
    let mut writer = server.client().await;
    for name in ["a", "b"] {
        let body = json!({"metadata": {"name": name}}).to_string();
        let (code, _) =
            read(send(&mut writer, request("POST", "/api/v1/namespaces", body)).await).await;
        assert_eq!(code, 201);
        let frame = tokio::time::timeout(DEADLINE, events.frame())
            .await
            .expect("an event in time");
        let line = frame.unwrap().unwrap().into_data().unwrap();
        assert_eq!(json_of(&line)["object"]["metadata"]["name"], name);
    }
}
