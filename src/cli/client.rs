//! A small HTTP client for the Kubernetes API over any [`Network`]: JSON in, JSON out, watches line by line.
//!
//! One connection per request: a dead node is noticed when connecting, and no request ever goes down a half-dead
//! connection, so nothing here retries. Deliberately without TLS, redirects and compression.

use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::env::network::Network;

/// Longest a request may take, unless [`Client::with_deadline`] says otherwise: more than an election, less than a
/// human's patience.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(10);

/// Bytes of an answer that is read whole; a list of 150,000 pods is for other clients.
pub const RESPONSE_BYTES_MAX: usize = 64 << 20;

/// Bytes of one line of a watch: an object is at most 1.5 MB.
pub const WATCH_LINE_BYTES_MAX: usize = 4 << 20;

/// Why a request gave no object.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there, or the network is broken.
    #[error("cannot connect to {address}: {error}")]
    Connect {
        /// `host:port` asked for.
        address: String,
        /// The reason.
        error: std::io::Error,
    },
    /// No whole answer in time. The request may have been carried out.
    #[error("no answer from {address} within {deadline:?}")]
    Deadline {
        /// `host:port` asked.
        address: String,
        /// How long it had.
        deadline: Duration,
    },
    /// The connection broke or spoke no HTTP. The request may have been carried out.
    #[error("the connection to {address} failed: {error}")]
    Broken {
        /// `host:port` asked.
        address: String,
        /// The reason.
        error: hyper::Error,
    },
    /// A path or header that HTTP does not allow.
    #[error("not a valid request: {0}")]
    Request(#[from] hyper::http::Error),
    /// An answer longer than this client's bound.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// The server refused.
    #[error("{message} ({reason}, HTTP {code})")]
    Refused {
        /// HTTP status code.
        code: u16,
        /// `reason` of the Status, or "".
        reason: String,
        /// `message` of the Status, or the body's beginning.
        message: String,
    },
    /// The answer is not JSON.
    #[error("the answer is not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
}

impl ClientError {
    /// The HTTP status code, if the server answered at all.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// What a PATCH body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patch {
    /// RFC 7386.
    Merge,
    /// Kubernetes' strategic merge.
    Strategic,
    /// RFC 6902.
    Json,
}

impl Patch {
    fn content_type(self) -> &'static str {
        match self {
            Self::Merge => "application/merge-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
            Self::Json => "application/json-patch+json",
        }
    }
}

/// Speaks to one API address.
#[derive(Clone)]
pub struct Client {
    network: Rc<dyn Network>,
    address: String,
    deadline: Duration,
}

impl Client {
    /// A client of the API at `address` (`host:port`).
    pub fn new(network: Rc<dyn Network>, address: impl Into<String>) -> Self {
        Self {
            network,
            address: address.into(),
            deadline: DEADLINE_DEFAULT,
        }
    }

    /// The same with another deadline for each request, connecting included.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The `host:port` it speaks to.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// GET of an object or list.
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.json(Method::GET, path, None).await
    }

    /// GET of whatever is there, as text (`/readyz`, `/metrics`, logs).
    pub async fn text(&self, path: &str) -> Result<String, ClientError> {
        let body = self.whole(Method::GET, path, None).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// POST of an object.
    pub async fn post(&self, path: &str, object: &Value) -> Result<Value, ClientError> {
        let body = Some(("application/json", object));
        self.json(Method::POST, path, body).await
    }

    /// PUT of an object.
    pub async fn put(&self, path: &str, object: &Value) -> Result<Value, ClientError> {
        let body = Some(("application/json", object));
        self.json(Method::PUT, path, body).await
    }

    /// PATCH of an object.
    pub async fn patch(
        &self,
        path: &str,
        how: Patch,
        change: &Value,
    ) -> Result<Value, ClientError> {
        let body = Some((how.content_type(), change));
        self.json(Method::PATCH, path, body).await
    }

    /// DELETE of an object.
    pub async fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.json(Method::DELETE, path, None).await
    }

    /// Opens a watch: `path` carries `watch=true` and what else is wanted. The deadline covers the answer's head
    /// only; how long to wait for each line is [`Lines::next`]'s argument.
    pub async fn watch(&self, path: &str) -> Result<Lines, ClientError> {
        let until = Instant::now() + self.deadline;
        let answer = timeout_at(until, self.send(Method::GET, path, None));
        let answer = answer.await.map_err(|_| self.too_late())??;
        if !answer.status().is_success() {
            let code = answer.status().as_u16();
            let body = timeout_at(until, self.collect(answer.into_body()));
            return Err(refusal(code, &body.await.map_err(|_| self.too_late())??));
        }
        Ok(Lines {
            address: self.address.clone(),
            body: answer.into_body(),
            read: BytesMut::new(),
        })
    }

    async fn json(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, &Value)>,
    ) -> Result<Value, ClientError> {
        let bytes = self.whole(method, path, body).await?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    async fn whole(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, &Value)>,
    ) -> Result<Bytes, ClientError> {
        let work = async {
            let answer = self.send(method, path, body).await?;
            let status = answer.status();
            let bytes = self.collect(answer.into_body()).await?;
            if status.is_success() {
                Ok(bytes)
            } else {
                Err(refusal(status.as_u16(), &bytes))
            }
        };
        let answer = tokio::time::timeout(self.deadline, work).await;
        answer.map_err(|_| self.too_late())?
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, &Value)>,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.address)
            .header(ACCEPT, "application/json");
        let mut bytes = Bytes::new();
        if let Some((content_type, value)) = body {
            request = request.header(CONTENT_TYPE, content_type);
            bytes = Bytes::from(value.to_string());
        }
        let request = request.body(Full::new(bytes))?;
        let stream = self.network.connect(&self.address).await;
        let stream = stream.map_err(|error| ClientError::Connect {
            address: self.address.clone(),
            error,
        })?;
        let broken = |error| self.broken(error);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        // Ends by itself when the answer was read or dropped; its error also reaches whoever reads the answer.
        tokio::task::spawn_local(connection);
        sender.send_request(request).await.map_err(broken)
    }

    async fn collect(&self, mut body: Incoming) -> Result<Bytes, ClientError> {
        let mut read = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.broken(error))?;
            let Ok(data) = frame.into_data() else {
                continue; // trailers
            };
            if read.len() + data.len() > RESPONSE_BYTES_MAX {
                return Err(ClientError::TooLong(RESPONSE_BYTES_MAX));
            }
            read.extend_from_slice(&data);
        }
        Ok(read.freeze())
    }

    fn broken(&self, error: hyper::Error) -> ClientError {
        ClientError::Broken {
            address: self.address.clone(),
            error,
        }
    }

    fn too_late(&self) -> ClientError {
        ClientError::Deadline {
            address: self.address.clone(),
            deadline: self.deadline,
        }
    }
}

/// An open watch's lines. Dropping it closes the connection.
#[derive(Debug)]
pub struct Lines {
    address: String,
    body: Incoming,
    read: BytesMut,
}

impl Lines {
    /// The next event (`{"type", "object"}`), `None` when the server ended the watch, [`ClientError::Deadline`] when
    /// none came for `patience` (the watch stays usable).
    pub async fn next(&mut self, patience: Duration) -> Result<Option<Value>, ClientError> {
        let until = Instant::now() + patience;
        loop {
            if let Some(line) = take_line(&mut self.read) {
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            if self.read.len() > WATCH_LINE_BYTES_MAX {
                return Err(ClientError::TooLong(WATCH_LINE_BYTES_MAX));
            }
            let frame = timeout_at(until, self.body.frame()).await;
            let frame = frame.map_err(|_| ClientError::Deadline {
                address: self.address.clone(),
                deadline: patience,
            })?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => {
                    let address = self.address.clone();
                    return Err(ClientError::Broken { address, error });
                }
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.read.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}

/// Takes the first whole, non-empty line, without its end.
fn take_line(read: &mut BytesMut) -> Option<Bytes> {
    loop {
        let end = read.iter().position(|byte| *byte == b'\n')?;
        let line = read.split_to(end + 1).freeze();
        let line = line.slice(..end);
        if !line.iter().all(u8::is_ascii_whitespace) {
            return Some(line);
        }
    }
}

/// Reads a refusal's Status, or makes do with the body's beginning.
fn refusal(code: u16, body: &[u8]) -> ClientError {
    const SHOWN_CHARS_MAX: usize = 200;
    let status: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |member: &str| status[member].as_str().map(str::to_owned);
    let beginning = || {
        let text = String::from_utf8_lossy(body);
        text.trim().chars().take(SHOWN_CHARS_MAX).collect()
    };
    ClientError::Refused {
        code,
        reason: text("reason").unwrap_or_default(),
        message: text("message").unwrap_or_else(beginning),
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
