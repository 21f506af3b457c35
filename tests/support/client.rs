//! A client of the application in the same process, without a connection.

use std::pin::Pin;

use actix::Addr;
use actix_http::Request as HttpRequest;
use actix_service::Service;
use actix_web::Error;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::ServiceResponse;
use actix_web::http::header::HeaderMap;
use actix_web::test::{TestRequest, init_service};
use bytes::Bytes;
use kagero::actors::messages::Submit;
use kagero::resource::{Options, Request, ResourceName, Verb};
use serde_json::{Value, json};

use super::{Backend, state};

pub const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
pub const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    /// Asserts a `Status` body of this code and reason.
    pub fn fails(&self, code: u16, reason: &str) -> Value {
        let body = self.json();
        assert_eq!(self.code, code, "{body}");
        assert_eq!(body["kind"], "Status", "{body}");
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["reason"], reason, "{body}");
        body
    }
}

pub trait Api: Service<HttpRequest, Response = ServiceResponse<BoxBody>, Error = Error> {}

impl<T> Api for T where T: Service<HttpRequest, Response = ServiceResponse<BoxBody>, Error = Error> {}

pub async fn send(api: &impl Api, request: TestRequest) -> Answer {
    let response = api.call(request.to_request()).await.unwrap();
    let (code, headers) = (response.status().as_u16(), response.headers().clone());
    let body = actix_web::body::to_bytes(response.into_body())
        .await
        .unwrap();
    Answer {
        code,
        headers,
        body,
    }
}

pub async fn get(api: &impl Api, uri: &str) -> Answer {
    send(api, TestRequest::get().uri(uri)).await
}

pub async fn get_as(api: &impl Api, uri: &str, accept: &'static str) -> Answer {
    send(
        api,
        TestRequest::get()
            .uri(uri)
            .insert_header(("accept", accept)),
    )
    .await
}

pub async fn post(api: &impl Api, uri: &str, body: &Value) -> Answer {
    send(api, TestRequest::post().uri(uri).set_json(body)).await
}

pub async fn patch(api: &impl Api, uri: &str, content_type: &'static str, body: &Value) -> Answer {
    let request = TestRequest::patch().uri(uri).set_payload(body.to_string());
    send(api, request.insert_header(("content-type", content_type))).await
}

pub fn config_map(name: &str, labels: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": {"k": "v"}})
}

pub async fn start() -> (Addr<Backend>, impl Api) {
    let backend = Backend::start_new();
    let api = init_service(kagero::http::app(state(&backend))).await;
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}});
    let made = post(&api, "/api/v1/namespaces", &namespace).await;
    assert_eq!(made.code, 201, "{}", made.text());
    (backend, api)
}

/// Creates many ConfigMaps `c-00000`, `c-00001`, … without HTTP.
pub async fn fill(backend: &Addr<Backend>, count: usize) {
    let request = |number: usize| Request {
        resource: ResourceName::new("", "v1", "configmaps"),
        namespace: Some("default".into()),
        name: None,
        subresource: None,
        verb: Verb::Create(config_map(
            &format!("c-{number:05}"),
            &json!({"n": (number % 2).to_string()}),
        )),
        options: Options::default(),
        user: "test".into(),
    };
    let requests: Vec<Request> = (0..count).map(request).collect();
    for some in requests.chunks(1_000) {
        for reply in backend.send(Submit(some.to_vec())).await.unwrap() {
            reply.unwrap();
        }
    }
}

pub fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap();
    let name = |item: &Value| item["metadata"]["name"].as_str().unwrap().to_owned();
    items.iter().map(name).collect()
}

/// An open watch, read line by line.
pub struct Lines {
    pub body: BoxBody,
    pub read: Vec<u8>,
}

impl Lines {
    pub async fn open(api: &impl Api, uri: &str, accept: &'static str) -> Self {
        let request = TestRequest::get()
            .uri(uri)
            .insert_header(("accept", accept));
        let response = api.call(request.to_request()).await.unwrap();
        assert_eq!(response.status(), 200);
        Self {
            body: response.into_body(),
            read: Vec::new(),
        }
    }

    /// The next line, `None` at the end.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let body = &mut self.body;
            let piece = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_next(cx));
            let deadline = std::time::Duration::from_secs(10);
            let piece = tokio::time::timeout(deadline, piece)
                .await
                .expect("a line or an end in time");
            self.read.extend_from_slice(&piece?.unwrap());
        }
    }

    /// The next line's type and object's name.
    pub async fn event(&mut self) -> (String, String) {
        let line = self.next().await.expect("one more event");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (
            text(&line["type"]),
            text(&line["object"]["metadata"]["name"]),
        )
    }
}

pub fn event(what: &str, name: &str) -> (String, String) {
    (what.to_owned(), name.to_owned())
}
