//! Request bodies: read whole within a bound, then decoded by content type into one JSON value.
//!
//! JSON, YAML and Kubernetes' protobuf envelope; no content type means JSON. Content encodings (gzip) are not taken:
//! no client was seen to send one.

use std::time::Duration;

use actix_web::http::header::{CONTENT_TYPE, HeaderMap};
use actix_web::web;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde_json::json;

use super::document::{self, Document};
use super::{failure, query};
use crate::resource::strict::{self, ProblemKind};
use crate::resource::{Deletion, PatchType, Status, protobuf, schema};

/// Longest body, in bytes (Kubernetes' own bound: twice etcd's, so that a patch of a largest object fits).
pub(super) const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Bytes of an overlong body that are read and thrown away so that the client gets to read the refusal; a client
/// that sends more sees its connection closed.
const DRAIN_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A body that takes longer is given up (a stuck client must not keep its request open).
const BODY_SECONDS_MAX: u64 = 60;

const OBJECT_TYPES: &str =
    "application/json, application/yaml, application/vnd.kubernetes.protobuf";
const PATCH_TYPES: &str = "application/json-patch+json, application/merge-patch+json, \
                           application/strategic-merge-patch+json, application/apply-patch+yaml";

/// Reads a body, up to [`BODY_BYTES_MAX`].
pub(super) async fn read(payload: web::Payload) -> Result<Bytes, Status> {
    let deadline = Duration::from_secs(BODY_SECONDS_MAX);
    let read = tokio::time::timeout(deadline, read_all(payload));
    read.await
        .unwrap_or_else(|_| Err(failure::timeout(BODY_SECONDS_MAX)))
}

async fn read_all(mut payload: web::Payload) -> Result<Bytes, Status> {
    let (mut body, mut read) = (BytesMut::new(), 0);
    while let Some(chunk) = payload.next().await {
        let chunk =
            chunk.map_err(|error| Status::bad_request(format!("body cut short: {error}")))?;
        read += chunk.len();
        if read <= BODY_BYTES_MAX {
            body.extend_from_slice(&chunk);
        } else if read > DRAIN_BYTES_MAX {
            break;
        }
    }
    if read > BODY_BYTES_MAX {
        return Err(failure::too_large(BODY_BYTES_MAX));
    }
    Ok(body.freeze())
}

/// The media type of a body, lower case, without parameters; "" when absent.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    let text = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let media_type = text.unwrap_or_default().split(';').next();
    media_type.unwrap_or_default().trim().to_ascii_lowercase()
}

/// Decodes an object.
pub(super) fn object(media_type: &str, body: &[u8]) -> Result<Document, Status> {
    let document = match media_type {
        "" | "application/json" => json(body)?,
        "application/yaml" | "text/yaml" | "application/x-yaml" => yaml(body)?,
        "application/vnd.kubernetes.protobuf" => protobuf(body)?,
        _ => return Err(failure::unsupported_media_type(OBJECT_TYPES)),
    };
    if document.value.is_object() {
        return Ok(document);
    }
    Err(Status::bad_request(
        "the body of the request is not an object",
    ))
}

/// Decodes a patch.
pub(super) fn patch(media_type: &str, body: &[u8]) -> Result<(PatchType, Document), Status> {
    match media_type {
        "application/json-patch+json" => Ok((PatchType::Json, json(body)?)),
        "application/merge-patch+json" => Ok((PatchType::Merge, json(body)?)),
        "application/strategic-merge-patch+json" => Ok((PatchType::StrategicMerge, json(body)?)),
        "application/apply-patch+yaml" => Ok((PatchType::Apply, yaml(body)?)),
        _ => Err(failure::unsupported_media_type(PATCH_TYPES)),
    }
}

/// Decodes `DeleteOptions` from the body and, where that is silent, from the query. The second value is whether it is
/// a dry run.
pub(super) fn deletion(
    media_type: &str,
    body: &[u8],
    query: &query::Query,
) -> Result<(Deletion, bool), Status> {
    let said = match body {
        [] => json!({}),
        body => object(media_type, body)?.value,
    };
    let ty = schema::root("v1", "DeleteOptions").expect("the schema table has DeleteOptions");
    let mut problems = strict::check(&said, ty).into_iter();
    if let Some(wrong) = problems.find(|p| p.kind == ProblemKind::WrongType) {
        return Err(Status::bad_request(wrong.message));
    }
    let dry_runs = said["dryRun"].as_array().map_or(&[][..], Vec::as_slice);
    for value in dry_runs {
        query::check_dry_run(value.as_str().unwrap_or_default())?;
    }
    let (mut deletion, dry_run) = Deletion::from_options(&said);
    if deletion.grace_period_seconds.is_none() {
        deletion.grace_period_seconds = query.signed("gracePeriodSeconds")?;
    }
    if deletion.propagation_policy.is_none() {
        let policy = query.get("propagationPolicy").filter(|v| !v.is_empty());
        deletion.propagation_policy = policy.map(str::to_owned);
    }
    Ok((deletion, dry_run))
}

fn json(body: &[u8]) -> Result<Document, Status> {
    document::from_json(body)
        .map_err(|error| Status::bad_request(format!("the body is not valid JSON: {error}")))
}

fn yaml(body: &[u8]) -> Result<Document, Status> {
    document::from_yaml(body)
        .map_err(|error| Status::bad_request(format!("the body is not valid YAML: {error}")))
}

fn protobuf(body: &[u8]) -> Result<Document, Status> {
    let value = protobuf::decode(body).map_err(|error| match error.code() {
        415 => Status::unsupported_media_type(error.to_string()),
        _ => Status::bad_request(error.to_string()),
    })?;
    Ok(Document {
        value,
        duplicates: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delete_options_come_from_body_first_and_query_second() {
        let query = query::Query::parse("gracePeriodSeconds=3&propagationPolicy=Orphan").unwrap();
        let body = br#"{"gracePeriodSeconds":0,"preconditions":{"uid":"u"},"delete_options":null}"#;
        let (deletion, dry_run) = deletion("application/json", body, &query).unwrap();
        assert_eq!(deletion.grace_period_seconds, Some(0));
        assert_eq!(deletion.propagation_policy.as_deref(), Some("Orphan"));
        assert_eq!(deletion.precondition.uid.as_deref(), Some("u"));
        assert!(!dry_run);
    }

    #[test]
    fn delete_options_may_be_absent_or_dry() {
        let query = query::Query::default();
        let (absent, _) = deletion("", b"", &query).unwrap();
        assert_eq!(absent, Deletion::default());
        let (_, dry_run) = deletion("", br#"{"dryRun":["All"]}"#, &query).unwrap();
        assert!(dry_run);
        assert_eq!(
            deletion("", br#"{"dryRun":["x"]}"#, &query)
                .unwrap_err()
                .code,
            400
        );
    }

    #[test]
    fn content_types_decide() {
        assert_eq!(object("text/html", b"{}").unwrap_err().code, 415);
        assert_eq!(object("", b"[]").unwrap_err().code, 400);
        assert_eq!(object("application/yaml", b"a: 1").unwrap().value["a"], 1);
        assert_eq!(patch("application/json", b"{}").unwrap_err().code, 415);
        let (how, document) = patch("application/json-patch+json", b"[]").unwrap();
        assert_eq!(how, PatchType::Json);
        assert!(document.value.is_array());
    }
}
