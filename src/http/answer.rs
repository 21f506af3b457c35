//! Responses out of replies and failures, as Kubernetes shapes them: full `Status` bodies, `Warning` and
//! `Retry-After` headers.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use bytes::Bytes;
use serde_json::Value;

use crate::resource::{Reply, Status};

/// Longest text of one `Warning` header, in bytes; longer ones are cut, as clients refuse huge header blocks.
const WARNING_BYTES_MAX: usize = 1_024;
/// `Warning` headers in one response; the rest are dropped for the same reason.
const WARNINGS_MAX: usize = 32;

/// 200 with this JSON text.
pub(super) fn json(body: impl Into<Bytes>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body(body.into())
}

/// 200 with this JSON value.
pub(super) fn value(value: &Value) -> HttpResponse {
    json(value.to_string())
}

/// 200 with this text.
pub(super) fn text(body: impl Into<Bytes>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .body(body.into())
}

/// The reply of a write.
pub(super) fn reply(reply: Reply, more_warnings: Vec<String>) -> HttpResponse {
    let mut builder = HttpResponse::build(code(reply.code));
    let warnings = more_warnings.iter().chain(&reply.warnings);
    for warning in warnings.take(WARNINGS_MAX) {
        builder.append_header((header::WARNING, warning_value(warning)));
    }
    builder.content_type("application/json").body(reply.body)
}

/// A failure as a `Status` body.
pub(super) fn failure(status: &Status) -> HttpResponse {
    failure_with(status, status.to_json())
}

/// The same with a body that says more than the status does.
pub(super) fn failure_with(status: &Status, body: Value) -> HttpResponse {
    let mut builder = HttpResponse::build(code(status.code));
    if let Some(seconds) = retry_after(status, &body) {
        builder.insert_header((header::RETRY_AFTER, seconds));
    }
    builder
        .content_type("application/json")
        .body(body.to_string())
}

fn code(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Clients repeat a request, writes included, whenever this header is there. So it is set only where the request
/// certainly had no effect: 429, and where the details say so.
fn retry_after(status: &Status, body: &Value) -> Option<u64> {
    let said = body["details"]["retryAfterSeconds"].as_u64();
    said.or_else(|| (status.code == 429).then_some(1))
}

/// `299 - "text"` (RFC 7234, 5.5), with quotes and line breaks escaped.
fn warning_value(text: &str) -> HeaderValue {
    let mut quoted = String::from("299 - \"");
    for c in text.chars() {
        if quoted.len() >= WARNING_BYTES_MAX {
            break;
        }
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    HeaderValue::from_bytes(quoted.as_bytes())
        .expect("a header may hold any bytes but control characters, which were replaced")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_stay_one_quoted_line() {
        let value = warning_value("unknown field \"spec.x\"\nand\\more");
        let expected = r#"299 - "unknown field \"spec.x\" and\\more""#;
        assert_eq!(value.as_bytes(), expected.as_bytes());
        assert!(warning_value(&"ä".repeat(5_000)).len() <= WARNING_BYTES_MAX + 8);
    }
}
