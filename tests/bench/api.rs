//! A client of the Kubernetes API: ConfigMaps over HTTP/1.1, one request at a time on each of its connections.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use anyhow::{Result, ensure};
use base64::Engine as _;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use kagero::actors::messages::ClusterStatus;
use kagero::env::network::Network;
use kagero::env::tcp::Tcp;

use super::load::{Local, Store};

/// Where the load's ConfigMaps are.
const PATH: &str = "/api/v1/namespaces/default/configmaps";

/// Connections to one node; a request takes an idle one or makes another.
pub struct Api {
    address: String,
    idle: RefCell<Vec<SendRequest<Full<Bytes>>>>,
}

impl Api {
    /// A client of the API at an address.
    pub fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            idle: RefCell::default(),
        }
    }

    async fn connection(&self) -> Result<SendRequest<Full<Bytes>>> {
        if let Some(idle) = self.idle.borrow_mut().pop() {
            return Ok(idle);
        }
        let stream = Tcp.connect(&self.address).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                eprintln!("a connection to the API ended: {error}");
            }
        });
        Ok(sender)
    }

    async fn request(&self, method: &str, path: &str, body: Bytes) -> Result<(u16, Bytes)> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.address)
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        let mut connection = self.connection().await?;
        connection.ready().await?;
        let response = connection.send_request(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        self.idle.borrow_mut().push(connection);
        Ok((status, body))
    }
}

impl Api {
    /// Whether the node at this address leads.
    pub async fn leads(&self) -> Result<bool> {
        let (status, answer) = self
            .request("GET", "/kagero/v1/status", Bytes::new())
            .await?;
        ensure!(status == 200, "{status}");
        let cluster: ClusterStatus = serde_json::from_slice(&answer)?;
        let leader = cluster
            .members
            .iter()
            .find(|member| member.role == "leader");
        Ok(leader.is_some_and(|leader| leader.api == self.address))
    }
}

/// The load's keys as names that Kubernetes allows.
fn name(key: &str) -> String {
    key.replace('/', "-")
}

impl Store for Api {
    fn put(&self, key: String, value: Bytes) -> Local<'_, ()> {
        Box::pin(async move {
            let name = name(&key);
            // A ConfigMap is text; base64 of 3/4 as many bytes is as long as the value.
            let text =
                base64::engine::general_purpose::STANDARD.encode(&value[..value.len() * 3 / 4]);
            let body = format!(
                r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}},"data":{{"value":"{text}"}}}}"#
            );
            let body = Bytes::from(body);
            let (status, answer) = self
                .request("PUT", &format!("{PATH}/{name}"), body.clone())
                .await?;
            if status == 404 {
                let (status, answer) = self.request("POST", PATH, body).await?;
                ensure!(
                    status == 201,
                    "{status}: {}",
                    String::from_utf8_lossy(&answer)
                );
                return Ok(());
            }
            ensure!(
                status == 200,
                "{status}: {}",
                String::from_utf8_lossy(&answer)
            );
            Ok(())
        })
    }

    fn get(&self, key: String) -> Local<'_, usize> {
        Box::pin(async move {
            let path = format!("{PATH}/{}", name(&key));
            let (status, answer) = self.request("GET", &path, Bytes::new()).await?;
            ensure!(
                status == 200,
                "{status}: {}",
                String::from_utf8_lossy(&answer)
            );
            let object: serde_json::Value = serde_json::from_slice(&answer)?;
            Ok(object["data"]["value"].as_str().map_or(0, str::len))
        })
    }

    fn watch(&self, _: usize, _: Rc<Cell<u64>>) -> Local<'_, ()> {
        Box::pin(async { anyhow::bail!("watches are measured at the store's own door") })
    }
}
