//! A client of etcd's v3 API: gRPC over one HTTP/2 connection, its four messages written by hand.
//!
//! Deliberately not a gRPC library: the requests are a few protobuf fields each, and the client's own weight, which runs
//! on the same cores as the store, stays comparable with the other client's. Field numbers: etcd 3.4, `rpc.proto`.

use std::cell::Cell;
use std::rc::Rc;

use anyhow::{Context as _, Result, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::Request;

use super::load::{Local, Store};

/// Flow-control window: large, so that it is the store that is measured.
const WINDOW_BYTES: u32 = 16 << 20;
/// A gRPC message's header: compression flag and length.
const PREFIX_BYTES: usize = 5;

/// One connection.
pub struct Etcd {
    requests: SendRequest<Bytes>,
    address: String,
}

impl Etcd {
    /// Connects to a member's client address.
    #[expect(
        clippy::disallowed_types,
        reason = "a benchmark's client of a real server"
    )]
    pub async fn connect(address: &str) -> Result<Self> {
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (requests, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_concurrent_reset_streams(16)
            .handshake(stream)
            .await?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                eprintln!("etcd's connection ended: {error}");
            }
        });
        let address = address.to_owned();
        Ok(Self { requests, address })
    }

    async fn open(&self, path: &str) -> Result<(h2::client::ResponseFuture, SendStream<Bytes>)> {
        let request = Request::post(format!("http://{}{path}", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let mut ready = self.requests.clone().ready().await?;
        Ok(ready.send_request(request, false)?)
    }

    /// One message there, one back.
    async fn call(&self, path: &str, message: &[u8]) -> Result<Bytes> {
        let (response, mut body) = self.open(path).await?;
        body.send_data(framed(message), true)?;
        let mut received = response.await?.into_body();
        let mut answer = BytesMut::new();
        while let Some(data) = received.data().await {
            let data = data?;
            received.flow_control().release_capacity(data.len())?;
            answer.extend_from_slice(&data);
        }
        let trailers = received
            .trailers()
            .await?
            .context("a gRPC answer has trailers")?;
        let status = trailers.get("grpc-status").map(http::HeaderValue::as_bytes);
        ensure!(status == Some(b"0"), "etcd refused: {trailers:?}");
        ensure!(answer.len() >= PREFIX_BYTES, "an empty gRPC answer");
        answer.advance(PREFIX_BYTES);
        Ok(answer.freeze())
    }

    /// Whether this member leads: its own id is the leader's (`StatusResponse`: header 1 with member id 2, leader 4).
    pub async fn leads(&self) -> Result<bool> {
        let answer = self.call("/etcdserverpb.Maintenance/Status", &[]).await?;
        let (mut own, mut leader) = (0, 0);
        for field in fields(&answer)? {
            match field {
                (1, Field::Bytes(header)) => {
                    for inner in fields(&header)? {
                        if let (2, Field::Number(id)) = inner {
                            own = id;
                        }
                    }
                }
                (4, Field::Number(id)) => leader = id,
                _ => {}
            }
        }
        Ok(leader != 0 && own == leader)
    }
}

impl Store for Etcd {
    /// `PutRequest`: key 1, value 2.
    fn put(&self, key: String, value: Bytes) -> Local<'_, ()> {
        Box::pin(async move {
            let mut message = BytesMut::with_capacity(key.len() + value.len() + 16);
            put_bytes(&mut message, 1, key.as_bytes());
            put_bytes(&mut message, 2, &value);
            self.call("/etcdserverpb.KV/Put", &message).await.map(drop)
        })
    }

    /// `RangeRequest`: key 1; linearizable unless `serializable` is set. `RangeResponse`: kvs 2, in it value 5.
    fn get(&self, key: String) -> Local<'_, usize> {
        Box::pin(async move {
            let mut message = BytesMut::new();
            put_bytes(&mut message, 1, key.as_bytes());
            let answer = self.call("/etcdserverpb.KV/Range", &message).await?;
            for field in fields(&answer)? {
                if let (2, Field::Bytes(pair)) = field {
                    for inner in fields(&pair)? {
                        if let (5, Field::Bytes(value)) = inner {
                            return Ok(value.len());
                        }
                    }
                }
            }
            Ok(0)
        })
    }

    /// One stream, so many `WatchCreateRequest`s (1: key 1, range_end 2). `WatchResponse`: events 11.
    fn watch(&self, watches: usize, seen: Rc<Cell<u64>>) -> Local<'_, ()> {
        Box::pin(async move {
            let (response, mut body) = self.open("/etcdserverpb.Watch/Watch").await?;
            let mut create = BytesMut::new();
            put_bytes(&mut create, 1, b"bench/");
            put_bytes(&mut create, 2, b"bench0");
            let mut message = BytesMut::new();
            put_bytes(&mut message, 1, &create);
            for _ in 0..watches {
                body.send_data(framed(&message), false)?;
            }
            let received = response.await?.into_body();
            tokio::task::spawn_local(async move {
                // The stream is open for as long as its sending half is.
                let _body = body;
                if let Err(error) = count_events(received, &seen).await {
                    eprintln!("etcd's watch ended: {error}");
                }
            });
            Ok(())
        })
    }
}

async fn count_events(mut received: RecvStream, seen: &Cell<u64>) -> Result<()> {
    let mut buffer = BytesMut::new();
    while let Some(data) = received.data().await {
        let data = data?;
        received.flow_control().release_capacity(data.len())?;
        buffer.extend_from_slice(&data);
        while let Some(message) = next_message(&mut buffer) {
            let events = fields(&message)?
                .into_iter()
                .filter(|(number, _)| *number == 11);
            seen.set(seen.get() + events.count() as u64);
        }
    }
    Ok(())
}

fn next_message(buffer: &mut BytesMut) -> Option<Bytes> {
    let header = buffer.get(..PREFIX_BYTES)?;
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    if buffer.len() < PREFIX_BYTES + length {
        return None;
    }
    buffer.advance(PREFIX_BYTES);
    Some(buffer.split_to(length).freeze())
}

fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.extend_from_slice(message);
    frame.freeze()
}

fn put_bytes(out: &mut BytesMut, number: u8, bytes: &[u8]) {
    out.put_u8(number << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        out.put_u8(length as u8 | 0x80);
        length >>= 7;
    }
    out.put_u8(length as u8);
    out.extend_from_slice(bytes);
}

/// A protobuf field's value.
enum Field {
    Number(u64),
    Bytes(Bytes),
}

/// The fields of a message, by number.
fn fields(message: &Bytes) -> Result<Vec<(u64, Field)>> {
    let mut rest = message.clone();
    let mut found = Vec::new();
    while rest.has_remaining() {
        let tag = varint(&mut rest)?;
        let value = match tag & 7 {
            0 => Field::Number(varint(&mut rest)?),
            2 => {
                let length = varint(&mut rest)? as usize;
                ensure!(length <= rest.len(), "a cut-off field");
                Field::Bytes(rest.split_to(length))
            }
            kind => anyhow::bail!("wire type {kind}"),
        };
        found.push((tag >> 3, value));
    }
    Ok(found)
}

fn varint(rest: &mut Bytes) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        ensure!(rest.has_remaining(), "a cut-off number");
        let byte = rest.get_u8();
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    anyhow::bail!("a number of more than 64 bits")
}
