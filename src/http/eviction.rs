//! `/kagero/v1/evictions`: an operator's word that a node's machine will be taken away.
//!
//! Deliberately no more than a write to the Node object: what follows is the same as upon the cloud's own word.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use k8s_openapi::api::core::v1::Node;

use super::context::Context;
use super::identity::Identity;
use super::{answer, body};
use crate::actors::messages::{Consistency, EVICT_MS_MAX, Evict, Evicted};
use crate::actors::registration::{announce, registered};
use crate::resource::nodes::Eviction;
use crate::resource::{Request, Status};

/// POST of an [`Evict`]: answered with what was announced.
pub(super) async fn evict(
    request: HttpRequest,
    context: web::Data<Context>,
    payload: web::Payload,
) -> HttpResponse {
    match try_evict(&request, &context, payload).await {
        Ok(evicted) => HttpResponse::Ok().json(evicted),
        Err(status) => answer::failure(&status),
    }
}

async fn try_evict(
    request: &HttpRequest,
    context: &Context,
    payload: web::Payload,
) -> Result<Evicted, Status> {
    let body = body::read(payload).await?;
    let Evict { node, in_ms } = serde_json::from_slice(&body)
        .map_err(|error| Status::bad_request(format!("not an announcement: {error}")))?;
    if in_ms > EVICT_MS_MAX {
        let why = format!("inMs: {in_ms} is more than {EVICT_MS_MAX}, a day");
        return Err(Status::bad_request(why));
    }
    let incarnation = incarnation(context, &node).await?;
    let since = context.wall();
    let eviction = Eviction {
        incarnation,
        since,
        deadline: since + Duration::from_millis(in_ms),
    };
    let write = Request {
        user: Identity::of(request).user,
        ..announce(&node, Some(&eviction))
    };
    context.submit(write).await?;
    tracing::warn!(node, in_ms, "an operator announces the end of a node");
    Ok(Evicted {
        node,
        incarnation: eviction.incarnation,
        since: eviction.since.to_string(),
        deadline: eviction.deadline.to_string(),
    })
}

/// The process behind a node. One that takes its place before the write is not meant, and the announcement void.
async fn incarnation(context: &Context, name: &str) -> Result<String, Status> {
    let view = context.view(Consistency::Linearizable).await?;
    let missing = || Status::new(404, "NotFound", format!("nodes {name:?} not found"));
    let record = view.get(&format!("nodes//{name}")).ok_or_else(missing)?;
    let node: Node = serde_json::from_slice(&record.value)
        .map_err(|error| Status::internal(format!("node {name:?} cannot be read: {error}")))?;
    let (incarnation, _) = registered(&node).ok_or_else(|| {
        let why = format!("no process of Kagero is behind node {name:?}: delete it instead");
        Status::new(409, "Conflict", why)
    })?;
    Ok(incarnation.to_string())
}
