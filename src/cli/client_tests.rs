//! The client against scripted servers on in-memory pipes: answers, refusals, silence, watches cut anywhere.

use std::cell::RefCell;
use std::io;

use async_trait::async_trait;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::LocalSet;

use super::*;
use crate::env::network::{BoxStream, Listener};

/// Hands out one pipe, whose other end the test holds.
struct OnePipe(RefCell<Option<DuplexStream>>);

#[async_trait(?Send)]
impl Network for OnePipe {
    async fn listen(&self, _address: &str) -> io::Result<Box<dyn Listener>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn connect(&self, _address: &str) -> io::Result<BoxStream> {
        let pipe = self.0.borrow_mut().take();
        let pipe = pipe.ok_or(io::ErrorKind::ConnectionRefused)?;
        Ok(Box::new(pipe))
    }
}

fn pair() -> (Client, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let network = Rc::new(OnePipe(RefCell::new(Some(ours))));
    (Client::new(network, "api:6443"), theirs)
}

/// Reads one request's head and the announced body.
async fn read_request(server: &mut DuplexStream) -> String {
    let mut read = Vec::new();
    loop {
        let mut piece = [0; 1_024];
        let count = server.read(&mut piece).await.unwrap();
        read.extend_from_slice(&piece[..count]);
        let text = String::from_utf8(read.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return text;
        }
    }
}

async fn answer(server: &mut DuplexStream, status: &str, body: &str) {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
    server.write_all(text.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_patch_carries_its_type_and_returns_the_object() {
    let work = async {
        let (client, mut server) = pair();
        let path = "/api/v1/namespaces/default/configmaps/a";
        let serve = async {
            let request = read_request(&mut server).await;
            answer(&mut server, "200 OK", r#"{"data":{"k":"w"}}"#).await;
            request
        };
        let change = json!({"data": {"k": "w"}});
        let (request, object) = tokio::join!(serve, client.patch(path, Patch::Merge, &change));
        assert!(request.starts_with(&format!("PATCH {path} HTTP/1.1\r\n")));
        assert!(request.contains("content-type: application/merge-patch+json\r\n"));
        assert!(request.contains("host: api:6443\r\n"));
        assert!(request.ends_with(r#"{"data":{"k":"w"}}"#));
        assert_eq!(object.unwrap()["data"]["k"], "w");
    };
    LocalSet::new().run_until(work).await;
}

#[tokio::test]
async fn a_refusal_tells_the_status() {
    let work = async {
        let (client, mut server) = pair();
        let serve = async {
            read_request(&mut server).await;
            let status =
                r#"{"kind":"Status","reason":"NotFound","message":"pods \"a\" not found"}"#;
            answer(&mut server, "404 Not Found", status).await;
        };
        let ((), refused) = tokio::join!(serve, client.get("/api/v1/namespaces/x/pods/a"));
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Some(404));
        let said = refused.to_string();
        assert_eq!(said, "pods \"a\" not found (NotFound, HTTP 404)");
    };
    LocalSet::new().run_until(work).await;
}

#[tokio::test]
async fn nobody_there_names_the_address() {
    let work = async {
        let (client, _server) = pair();
        client.network.connect("once").await.unwrap();
        let error = client.get("/").await.unwrap_err().to_string();
        assert!(error.starts_with("cannot connect to api:6443"), "{error}");
    };
    LocalSet::new().run_until(work).await;
}

#[tokio::test(start_paused = true)]
async fn silence_ends_at_the_deadline() {
    let work = async {
        let (client, _server) = pair();
        let client = client.with_deadline(Duration::from_secs(3));
        let begun = Instant::now();
        let error = client.get("/readyz").await.unwrap_err();
        assert!(matches!(error, ClientError::Deadline { .. }), "{error}");
        assert_eq!(begun.elapsed().as_secs(), 3);
    };
    LocalSet::new().run_until(work).await;
}

#[tokio::test]
async fn a_watch_survives_any_cut_and_ends_with_the_server() {
    let work = async {
        let (client, mut server) = pair();
        let serve = async {
            read_request(&mut server).await;
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            server.write_all(head.as_bytes()).await.unwrap();
            let events = "{\"type\":\"ADDED\"}\n\n{\"type\":\"DELETED\"}\n";
            for piece in events.as_bytes().chunks(7) {
                let size = format!("{:x}\r\n", piece.len());
                server.write_all(size.as_bytes()).await.unwrap();
                server.write_all(piece).await.unwrap();
                server.write_all(b"\r\n").await.unwrap();
                tokio::task::yield_now().await;
            }
            server.write_all(b"0\r\n\r\n").await.unwrap();
        };
        let watch = async {
            let mut lines = client.watch("/api/v1/pods?watch=true").await.unwrap();
            let mut types = Vec::new();
            while let Some(event) = lines.next(DEADLINE_DEFAULT).await.unwrap() {
                types.push(event["type"].as_str().unwrap().to_owned());
            }
            types
        };
        let ((), types) = tokio::join!(serve, watch);
        assert_eq!(types, ["ADDED", "DELETED"]);
    };
    LocalSet::new().run_until(work).await;
}

#[tokio::test]
async fn a_refused_watch_is_an_error() {
    let work = async {
        let (client, mut server) = pair();
        let serve = async {
            read_request(&mut server).await;
            let status = r#"{"kind":"Status","reason":"Expired","message":"too old"}"#;
            answer(&mut server, "410 Gone", status).await;
        };
        let path = "/api/v1/pods?watch=true&resourceVersion=1";
        let ((), refused) = tokio::join!(serve, client.watch(path));
        assert_eq!(refused.unwrap_err().code(), Some(410));
    };
    LocalSet::new().run_until(work).await;
}
