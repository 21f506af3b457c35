//! As much of an S3 server as a [`super::Bucket`] speaks to, for tests: conditional PUT, GET, LIST, bulk DELETE.
//!
//! Deliberately checks no signature, only whose key it is: what is tested is the conversation, not cryptography.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use actix_web::dev::ServerHandle;
use actix_web::http::{Method, header};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use bytes::Bytes;

/// What is kept: a bucket's objects.
#[derive(Debug, Default)]
struct Kept {
    bucket: &'static str,
    owner: &'static str,
    objects: Mutex<BTreeMap<String, Bytes>>,
}

/// A server that ends with this.
pub(super) struct Server {
    kept: Arc<Kept>,
    address: SocketAddr,
    handle: ServerHandle,
}

impl Server {
    /// Serves a bucket on loopback to the owner of this key.
    pub(super) fn start(bucket: &'static str, owner: &'static str) -> Self {
        let kept = Arc::new(Kept {
            bucket,
            owner,
            ..Kept::default()
        });
        let data = web::Data::from(kept.clone());
        let app = move || {
            let all = web::to(answer);
            App::new().app_data(data.clone()).default_service(all)
        };
        let server = HttpServer::new(app).workers(1).disable_signals();
        let server = server.bind("127.0.0.1:0").expect("a free port");
        let address = server.addrs()[0];
        let running = server.run();
        let handle = running.handle();
        actix::spawn(running);
        Self {
            kept,
            address,
            handle,
        }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// All objects' names.
    pub(super) fn keys(&self) -> Vec<String> {
        let objects = self.kept.objects.lock().expect("nobody panicked");
        objects.keys().cloned().collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

async fn answer(request: HttpRequest, body: Bytes, kept: web::Data<Kept>) -> HttpResponse {
    let header = |name| request.headers().get(name).and_then(|h| h.to_str().ok());
    let credential = format!("Credential={}/", kept.owner);
    if !header(header::AUTHORIZATION).is_some_and(|who| who.contains(&credential)) {
        let denied = "<Error><Code>AccessDenied</Code><Message>who are you?</Message></Error>";
        return HttpResponse::Forbidden().body(denied);
    }
    let path = request.path().trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    if bucket != kept.bucket {
        return HttpResponse::NotFound().body("<Error><Code>NoSuchBucket</Code></Error>");
    }
    let mut objects = kept.objects.lock().expect("nobody panicked");
    match (request.method(), key) {
        (&Method::PUT, _)
            if header(header::IF_NONE_MATCH) == Some("*") && objects.contains_key(key) =>
        {
            HttpResponse::PreconditionFailed()
                .body("<Error><Code>PreconditionFailed</Code></Error>")
        }
        (&Method::PUT, _) => {
            objects.insert(key.to_owned(), body);
            HttpResponse::Ok()
                .insert_header((header::ETAG, "\"1\""))
                .finish()
        }
        (&Method::POST, "") => {
            let text = String::from_utf8_lossy(&body);
            let named = text.split("<Key>").skip(1);
            let mut answer = String::from("<DeleteResult>");
            for key in named.filter_map(|rest| rest.split("</Key>").next()) {
                objects.remove(key);
                write!(answer, "<Deleted><Key>{key}</Key></Deleted>").expect("a string takes all");
            }
            HttpResponse::Ok().body(answer + "</DeleteResult>")
        }
        (&Method::GET, "") => HttpResponse::Ok().body(listed(&objects, request.query_string())),
        (&Method::GET, _) => match objects.get(key) {
            Some(object) => HttpResponse::Ok()
                .insert_header((header::ETAG, "\"1\""))
                .insert_header((header::LAST_MODIFIED, "Sun, 22 Nov 2026 16:00:00 GMT"))
                .body(object.clone()),
            None => HttpResponse::NotFound().body("<Error><Code>NoSuchKey</Code></Error>"),
        },
        _ => HttpResponse::NotImplemented().finish(),
    }
}

/// The objects with a prefix.
fn listed(objects: &BTreeMap<String, Bytes>, query: &str) -> String {
    let asked = web::Query::<BTreeMap<String, String>>::from_query(query);
    let asked = asked.expect("a query that can be read");
    let prefix = asked.get("prefix").map_or("", String::as_str);
    let mut answer = String::from("<ListBucketResult><IsTruncated>false</IsTruncated>");
    for (key, object) in objects.iter().filter(|(key, _)| key.starts_with(prefix)) {
        let size = object.len();
        write!(
            answer,
            "<Contents><Key>{key}</Key><LastModified>2026-11-22T16:00:00.000Z</LastModified>\
             <ETag>\"1\"</ETag><Size>{size}</Size></Contents>"
        )
        .expect("a string takes all");
    }
    answer + "</ListBucketResult>"
}
