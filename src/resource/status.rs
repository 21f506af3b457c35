//! Failed requests in Kubernetes' words: one constructor for each `reason` that this API answers with.
//!
//! The messages are Kubernetes' own, since clients and people match on them. Source: meta/v1 `Status` in the API
//! reference. Deliberately without the HTTP response around it.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::registry::Kind;
use super::request::Status;
use super::validate::Causes;

impl Status {
    /// A status without details.
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.to_owned(),
            message: message.into(),
            details: String::new(),
        }
    }

    fn with_details(mut self, details: Map<String, Value>) -> Self {
        self.details = Value::Object(details).to_string();
        self
    }

    /// 400: the request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 403: `why` completes "… is forbidden: ".
    pub fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("{} is forbidden: {why}", named(kind, name));
        Self::new(403, "Forbidden", message).with_details(details(kind, name))
    }

    /// 403 for a creation in a namespace that is going away.
    pub fn namespace_terminating(kind: &Kind, name: &str, namespace: &str) -> Self {
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        let mut details = details(kind, name);
        let message = format!("namespace {namespace} is being terminated");
        let cause = json!({"reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace"});
        details.insert("causes".into(), json!([cause]));
        Self::forbidden(kind, name, &why).with_details(details)
    }

    /// 404: no such object.
    pub fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} not found", named(kind, name));
        Self::new(404, "NotFound", message).with_details(details(kind, name))
    }

    /// 404: no such path. `what` completes "Kagero does not serve … (yet)".
    ///
    /// The details are those that Kubernetes' clients make up where nobody knows the path: some of them read the
    /// details of every 404 without looking whether there are any.
    pub fn unknown_resource(what: &str) -> Self {
        Self::unknown(what, Map::new())
    }

    /// 404: no such resource, or no such part of one.
    pub fn not_served(group: &str, plural: &str, subresource: Option<&str>) -> Self {
        let dot = if group.is_empty() { "" } else { "." };
        let (slash, part) = subresource.map_or(("", ""), |part| ("/", part));
        let mut details = Map::new();
        if !group.is_empty() {
            details.insert("group".into(), group.into());
        }
        details.insert("kind".into(), plural.into());
        Self::unknown(&format!("{plural}{dot}{group}{slash}{part}"), details)
    }

    fn unknown(what: &str, mut details: Map<String, Value>) -> Self {
        let cause = json!({"reason": "UnexpectedServerResponse", "message": "404 page not found"});
        details.insert("causes".into(), json!([cause]));
        let message = format!(
            "the server could not find the requested resource: Kagero does not serve {what} (yet)"
        );
        Self::new(404, "NotFound", message).with_details(details)
    }

    /// 405: the resource has no such verb.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message)
    }

    /// 409: the name is taken.
    pub fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} already exists", named(kind, name));
        Self::new(409, "AlreadyExists", message).with_details(details(kind, name))
    }

    /// 409: `why` completes "Operation cannot be fulfilled on …: ".
    pub fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {}: {why}",
            named(kind, name)
        );
        Self::new(409, "Conflict", message).with_details(details(kind, name))
    }

    /// 409: the object changed since the client read it.
    pub fn modified(kind: &Kind, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, why)
    }

    /// 410: the watch history no longer reaches back so far; list again.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 413: more than the server is willing to take at once.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// 415: the body is of a type that this path does not take.
    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 422: the object breaks rules; `causes` says which, field by field.
    pub fn invalid(kind: &Kind, name: &str, causes: &Causes) -> Self {
        Self::invalid_as(kind.group, kind.kind, name, causes)
    }

    /// The same for an object that has no row of its own, such as `Scale.autoscaling`.
    pub fn invalid_as(group: &str, kind: &str, name: &str, causes: &Causes) -> Self {
        let dot = if group.is_empty() { "" } else { "." };
        let message = format!("{kind}{dot}{group} {name:?} is invalid: {causes}");
        let mut details = Map::new();
        if !group.is_empty() {
            details.insert("group".into(), group.into());
        }
        details.insert("kind".into(), kind.into());
        if !name.is_empty() {
            details.insert("name".into(), name.into());
        }
        details.insert("causes".into(), causes.to_json());
        Self::new(422, "Invalid", message).with_details(details)
    }

    /// 429: try again after so many seconds.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        let mut details = Map::new();
        details.insert("retryAfterSeconds".into(), retry_after_seconds.into());
        Self::new(429, "TooManyRequests", message).with_details(details)
    }

    /// 500: a broken promise inside the server.
    pub fn internal(message: impl Into<String>) -> Self {
        let message = format!("Internal error occurred: {}", message.into());
        Self::new(500, "InternalError", message)
    }

    /// 503: no leader, or it is changing; try again.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// 504: the answer did not come in time; whether a write happened is unknown.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(504, "Timeout", message)
    }

    /// The full `meta/v1 Status`.
    pub fn to_json(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        });
        if !self.details.is_empty() {
            status["details"] = serde_json::from_str(&self.details).unwrap_or_default();
        }
        status
    }
}

/// The `Status` of a write whose answer is no object.
pub fn success(kind: &Kind, name: &str, uid: Option<&str>) -> Bytes {
    let mut details = details(kind, name);
    if let Some(uid) = uid {
        details.insert("uid".into(), uid.into());
    }
    let status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    });
    Bytes::from(status.to_string())
}

/// `pods "x"`, `deployments.apps "x"`.
fn named(kind: &Kind, name: &str) -> String {
    format!("{} {name:?}", kind.prefix())
}

fn details(kind: &Kind, name: &str) -> Map<String, Value> {
    let mut details = Map::new();
    if !name.is_empty() {
        details.insert("name".into(), name.into());
    }
    if !kind.group.is_empty() {
        details.insert("group".into(), kind.group.into());
    }
    details.insert("kind".into(), kind.plural.into());
    details
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::registry::find;

    #[test]
    fn speaks_as_kubernetes_does() {
        let pods = find("", "v1", "pods").unwrap();
        let deployments = find("apps", "v1", "deployments").unwrap();
        let mut one = Causes::default();
        one.required("spec.x", "");
        let cases = [
            (Status::not_found(pods, "a"), 404, r#"pods "a" not found"#),
            (
                Status::already_exists(deployments, "a"),
                409,
                r#"deployments.apps "a" already exists"#,
            ),
            (
                Status::modified(deployments, "a"),
                409,
                "Operation cannot be fulfilled on deployments.apps \"a\": the object has been modified; \
                 please apply your changes to the latest version and try again",
            ),
            (
                Status::invalid(deployments, "a", &one),
                422,
                r#"Deployment.apps "a" is invalid: spec.x: Required value"#,
            ),
            (
                Status::namespace_terminating(pods, "a", "n"),
                403,
                "pods \"a\" is forbidden: unable to create new content in namespace n because it is being terminated",
            ),
        ];
        for (status, code, message) in cases {
            assert_eq!((status.code, status.message.as_str()), (code, message));
            let json = status.to_json();
            assert_eq!(json["code"], code);
            assert_eq!(json["details"]["name"], "a");
        }
    }

    #[test]
    fn what_is_not_served_is_named() {
        let cases = [
            (Status::not_served("", "pods", Some("exec")), "pods/exec"),
            (
                Status::not_served("autoscaling", "horizontalpodautoscalers", None),
                "horizontalpodautoscalers.autoscaling",
            ),
            (Status::unknown_resource("/apis/x"), "/apis/x"),
        ];
        for (status, what) in cases {
            assert_eq!(
                status.message,
                format!(
                    "the server could not find the requested resource: Kagero does not serve {what} (yet)"
                )
            );
            let details = &status.to_json()["details"];
            assert_eq!(details["causes"][0]["reason"], "UnexpectedServerResponse");
            // kubectl debug takes a 404 without a name for one of the part, not of the pod.
            assert_eq!(details["name"], Value::Null);
        }
    }

    #[test]
    fn invalid_lists_its_causes() {
        let mut causes = Causes::default();
        causes.required("spec.a", "say it");
        causes.invalid("spec.b", &json!(7), "too odd");
        let status = Status::invalid(find("", "v1", "pods").unwrap(), "p", &causes).to_json();
        assert_eq!(
            status["message"],
            "Pod \"p\" is invalid: [spec.a: Required value: say it, spec.b: Invalid value: 7: too odd]"
        );
        assert_eq!(
            status["details"]["causes"][1],
            json!({"reason": "FieldValueInvalid", "message": "Invalid value: 7: too odd", "field": "spec.b"})
        );
    }

    #[test]
    fn a_success_names_what_went() {
        let body = success(find("", "v1", "configmaps").unwrap(), "c", Some("u"));
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body["details"],
            json!({"name": "c", "kind": "configmaps", "uid": "u"})
        );
        assert_eq!(body["status"], "Success");
    }
}
