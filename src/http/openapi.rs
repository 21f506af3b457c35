//! OpenAPI: the v3 documents that kubectl explains and validates by, and just enough v2.
//!
//! Documents are built on first use and kept encoded. v2 is an empty protobuf document: kubectl takes that as "no
//! schema here" and goes on, where it would fail on a 404 or on JSON.

use std::rc::Rc;

use actix_web::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;

use super::answer;
use super::context::{Context, Document};
use super::resources::header;
use crate::resource::openapi::{self, Served};
use crate::resource::{Status, registry};

/// `/openapi/v2`.
pub(super) async fn v2() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
        .body(Bytes::new())
}

/// `/openapi/v3`: where each group version's document is; the hash in its address lets clients keep it.
pub(super) async fn index() -> HttpResponse {
    answer::value(&openapi::index(&served()))
}

/// `/openapi/v3/<path>`.
pub(super) async fn document(
    request: HttpRequest,
    path: web::Path<String>,
    context: web::Data<Context>,
) -> HttpResponse {
    let Some(document) = find(&context, path.trim_matches('/')) else {
        return answer::failure(&Status::unknown_resource(request.path()));
    };
    let tag = format!("\"{}\"", document.hash);
    if header(request.headers(), IF_NONE_MATCH).contains(&tag) {
        return HttpResponse::NotModified()
            .insert_header((ETAG, tag))
            .finish();
    }
    let mut builder = HttpResponse::Ok();
    if request.query_string().contains(&document.hash) {
        builder.insert_header((CACHE_CONTROL, "public, immutable"));
    }
    builder
        .insert_header((ETAG, tag))
        .content_type("application/json")
        .body(document.body.clone())
}

/// The document of `api/v1` or `apis/<group>/<version>`, built if this is the first time.
fn find(context: &Context, path: &str) -> Option<Rc<Document>> {
    let known = context.documents.borrow().get(path).cloned();
    if known.is_some() {
        return known;
    }
    let (group, version) = match path.split('/').collect::<Vec<_>>()[..] {
        ["api", version] => ("", version),
        ["apis", group, version] => (group, version),
        _ => return None,
    };
    let served = served();
    let value = openapi::document(&served, group, version)?;
    let index = openapi::index(&served);
    let address = index["paths"][path]["serverRelativeURL"].as_str()?;
    let document = Rc::new(Document {
        body: Bytes::from(value.to_string()),
        hash: address.rsplit('=').next()?.to_owned(),
    });
    let mut documents = context.documents.borrow_mut();
    documents.insert(path.to_owned(), document.clone());
    Some(document)
}

/// The registry's rows as OpenAPI wants them.
fn served() -> Vec<Served<'static>> {
    let served = |kind: &'static registry::Kind| Served {
        group: kind.group,
        version: kind.version,
        plural: kind.plural,
        kind: kind.kind,
        namespaced: kind.namespaced,
    };
    registry::kinds().iter().map(served).collect()
}
