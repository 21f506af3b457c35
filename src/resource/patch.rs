//! PATCH: from the current object and a patch to the object that is wanted.
//!
//! Three formats, one file each: JSON patch, merge patch, strategic merge patch. Deliberately not here: server-side
//! apply (it needs managed fields), and whether the result is a right object (strict validation looks at that).

mod json;
mod merge;
mod strategic;

use serde_json::Value;

use super::request::PatchType;
use super::schema::Type;

/// Why a patch gives no object. [`PatchError::code`] is Kubernetes' HTTP status for each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch itself is not of its format.
    #[error("error decoding patch: {0}")]
    Malformed(String),
    /// A list of objects is merged by a key that one of the patch's objects lacks.
    #[error("map: {element} does not contain declared merge key: {key}")]
    NoMergeKey {
        /// The patch's object, as JSON.
        element: String,
        /// The field that is missing.
        key: &'static str,
    },
    /// A directive says something that there is no meaning for.
    #[error("invalid patch directive at {path:?}: {reason}")]
    BadDirective {
        /// Where, as `spec.template`; "" at the top.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The patch is right but does not fit the current object: a failed `test`, a path that is not there.
    #[error("the server rejected our request due to an error in our request: {0}")]
    Rejected(String),
    /// The patch asks for more work than one request may.
    #[error("{0}")]
    TooLarge(String),
    /// This format is not served for this kind.
    #[error(
        "the body of the request was in an unknown format - accepted media types include: {accepted}"
    )]
    Unsupported {
        /// Content types that are served.
        accepted: &'static str,
    },
}

impl PatchError {
    /// The HTTP status code that Kubernetes answers with.
    pub fn code(&self) -> u16 {
        match self {
            Self::Malformed(_) | Self::BadDirective { .. } => 400,
            Self::TooLarge(_) => 413,
            Self::Unsupported { .. } => 415,
            Self::Rejected(_) | Self::NoMergeKey { .. } => 422,
        }
    }
}

/// The object that a patch makes of `current`.
///
/// `ty` is `None` for kinds without a type (custom resources): they know no strategic merge, as in Kubernetes.
pub fn apply(
    ty: Option<&Type>,
    current: &Value,
    how: PatchType,
    patch: &Value,
) -> Result<Value, PatchError> {
    let patched = match (how, ty) {
        (PatchType::Json, _) => json::apply(current, patch)?,
        (PatchType::Merge, _) => merge::apply(current, patch)?,
        (PatchType::StrategicMerge, Some(ty)) => strategic::apply(ty, current, patch)?,
        (PatchType::StrategicMerge, None) | (PatchType::Apply, _) => {
            return Err(PatchError::Unsupported {
                accepted: "application/json-patch+json, application/merge-patch+json",
            });
        }
    };
    if !patched.is_object() {
        return Err(PatchError::Rejected(
            "the result is not an object".to_owned(),
        ));
    }
    Ok(patched)
}

/// The beginning of a value's JSON, for messages.
fn excerpt(value: &Value) -> String {
    /// In characters: enough to recognise a value, little enough for one line.
    const MAX_CHARS: usize = 120;
    let text = value.to_string();
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::schema;

    #[test]
    fn kinds_without_a_type_know_no_strategic_merge() {
        let object = json!({"spec": {"a": 1}});
        let refused = apply(None, &object, PatchType::StrategicMerge, &object).unwrap_err();
        assert_eq!(refused.code(), 415);
        assert_eq!(
            apply(None, &object, PatchType::Merge, &json!({"spec": {"a": 2}})).unwrap()["spec"]["a"],
            2
        );
    }

    #[test]
    fn the_result_is_an_object() {
        let patch = json!([{"op": "replace", "path": "", "value": 1}]);
        let pod = schema::root("v1", "Pod");
        assert_eq!(
            apply(pod, &json!({}), PatchType::Json, &patch)
                .unwrap_err()
                .code(),
            422
        );
    }

    #[test]
    fn messages_show_the_beginning_of_long_values() {
        let current = json!({"spec": {"containers": []}});
        let patch = json!({"spec": {"containers": [{"image": "é".repeat(1000)}]}});
        let error = apply(
            schema::root("v1", "Pod"),
            &current,
            PatchType::StrategicMerge,
            &patch,
        )
        .unwrap_err();
        assert!(error.to_string().len() < 400);
    }
}
