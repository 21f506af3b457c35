//! What a validator says: causes, each with its field path, and the checks of metadata that every kind shares.
//!
//! Words and order follow Kubernetes' `field.ErrorList`. Rules of one kind stand in that kind's own file.

use std::fmt;

use serde_json::{Value, json};

use super::names;

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// E.g. `FieldValueInvalid`.
    pub reason: &'static str,
    /// For people, without the path.
    pub message: String,
    /// E.g. `spec.containers[0].image`.
    pub field: String,
}

/// Broken rules told of, in number: as many as strict decoding tells. An object of some megabytes can break a rule a
/// hundred thousand times, and who mends a hundred of them asks again.
const CAUSES_MAX: usize = 100;

/// The rules an object breaks, in the order they were found: the first [`CAUSES_MAX`], and how many more there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Causes {
    told: Vec<Cause>,
    untold: usize,
}

impl Causes {
    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// What is wrong, the first [`CAUSES_MAX`].
    pub fn iter(&self) -> impl Iterator<Item = &Cause> {
        self.told.iter()
    }

    /// The field must have a value.
    pub fn required(&mut self, field: impl Into<String>, detail: &str) {
        self.push(
            "FieldValueRequired",
            field,
            "Required value".to_owned(),
            detail,
        );
    }

    /// The value is not of the form it must have.
    pub fn invalid(&mut self, field: impl Into<String>, value: &Value, detail: &str) {
        self.push(
            "FieldValueInvalid",
            field,
            format!("Invalid value: {value}"),
            detail,
        );
    }

    /// The value is none of those it may be.
    pub fn not_supported(&mut self, field: impl Into<String>, value: &Value, supported: &[&str]) {
        let supported: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        let detail = format!("supported values: {}", supported.join(", "));
        self.push(
            "FieldValueNotSupported",
            field,
            format!("Unsupported value: {value}"),
            &detail,
        );
    }

    /// The value must be unique and is not.
    pub fn duplicate(&mut self, field: impl Into<String>, value: &Value) {
        self.push(
            "FieldValueDuplicate",
            field,
            format!("Duplicate value: {value}"),
            "",
        );
    }

    /// The value names something that is not there.
    pub fn not_found(&mut self, field: impl Into<String>, value: &Value) {
        self.push(
            "FieldValueNotFound",
            field,
            format!("Not found: {value}"),
            "",
        );
    }

    /// The field may not be set, or not be changed.
    pub fn forbidden(&mut self, field: impl Into<String>, detail: &str) {
        self.push("FieldValueForbidden", field, "Forbidden".to_owned(), detail);
    }

    /// More than `bytes_max` bytes.
    pub fn too_long(&mut self, field: impl Into<String>, bytes_max: usize) {
        self.push(
            "FieldValueTooLong",
            field,
            "Too long".to_owned(),
            &format!("may not be more than {bytes_max} bytes"),
        );
    }

    /// As `Status.details.causes`.
    pub fn to_json(&self) -> Value {
        let cause = |c: &Cause| json!({"reason": c.reason, "message": c.message, "field": c.field});
        self.told.iter().map(cause).collect()
    }

    fn push(
        &mut self,
        reason: &'static str,
        field: impl Into<String>,
        mut message: String,
        detail: &str,
    ) {
        if self.told.len() == CAUSES_MAX {
            self.untold += 1;
            return;
        }
        if !detail.is_empty() {
            message.push_str(": ");
            message.push_str(detail);
        }
        self.told.push(Cause {
            reason,
            message,
            field: field.into(),
        });
    }
}

/// A validator of one kind.
pub(super) type Check = fn(&Value, &mut Causes);

impl fmt::Display for Causes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.told.as_slice() else {
            return Ok(());
        };
        if rest.is_empty() {
            return write!(f, "{}: {}", first.field, first.message);
        }
        write!(f, "[{}: {}", first.field, first.message)?;
        for cause in rest {
            write!(f, ", {}: {}", cause.field, cause.message)?;
        }
        if self.untold > 0 {
            write!(f, ", and {} more", self.untold)?;
        }
        f.write_str("]")
    }
}

/// All annotations of an object together, keys and values, as in Kubernetes.
const ANNOTATIONS_BYTES_MAX: usize = 256 << 10;

/// The rules that every object's metadata must keep.
pub(super) fn metadata(object: &Value, name_rule: names::Rule, causes: &mut Causes) {
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        causes.required("metadata.name", "name or generateName is required");
    } else {
        complain(causes, "metadata.name", name, name_rule);
    }
    labels(&metadata["labels"], "metadata.labels", causes);
    annotations(&metadata["annotations"], "metadata.annotations", causes);
    owners(&metadata["ownerReferences"], causes);
    for finalizer in metadata["finalizers"].as_array().into_iter().flatten() {
        let text = finalizer.as_str().unwrap_or_default();
        complain(causes, "metadata.finalizers", text, names::qualified);
    }
}

/// Label keys and values under `path`.
pub(super) fn labels(labels: &Value, path: &str, causes: &mut Causes) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        complain(causes, path, key, names::qualified);
        let value = value.as_str().unwrap_or_default();
        complain(causes, path, value, names::label_value);
    }
}

/// A member that is a number must not be below zero.
pub(super) fn non_negative(object: &Value, path: &str, field: &str, causes: &mut Causes) {
    let value = &object[field];
    if value.as_i64().is_some_and(|number| number < 0) {
        let detail = "must be greater than or equal to 0";
        causes.invalid(format!("{path}.{field}"), value, detail);
    }
}

/// Adds a cause if the text is not of the form that `rule` wants.
pub(super) fn complain(
    causes: &mut Causes,
    path: impl Into<String>,
    text: &str,
    rule: names::Rule,
) {
    if let Some(complaint) = rule(text) {
        causes.invalid(path, &json!(text), &complaint);
    }
}

/// Annotations under `path`: their keys, and how long they are together.
pub(super) fn annotations(annotations: &Value, path: &str, causes: &mut Causes) {
    let mut bytes = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        // As in Kubernetes, annotations' keys may be written with capitals.
        let lower = key.to_lowercase();
        complain(causes, path, &lower, names::qualified);
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        causes.too_long(path, ANNOTATIONS_BYTES_MAX);
    }
}

fn owners(owners: &Value, causes: &mut Causes) {
    let owners = owners.as_array().map_or(&[][..], Vec::as_slice);
    for (index, owner) in owners.iter().enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner[field].as_str().is_none_or(str::is_empty) {
                let path = format!("metadata.ownerReferences[{index}].{field}");
                causes.required(path, "must not be empty");
            }
        }
    }
    if owners
        .iter()
        .filter(|owner| owner["controller"] == true)
        .count()
        > 1
    {
        let detail = "only one reference can have controller set to true";
        causes.invalid("metadata.ownerReferences", &json!(owners), detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_rules_name_their_fields() {
        let owner =
            json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true});
        let table = [
            (json!({"name": "a.b"}), vec![]),
            (json!({}), vec!["metadata.name"]),
            (json!({"name": "A"}), vec!["metadata.name"]),
            (
                json!({"name": "a", "labels": {"-": "ok", "k": "not ok"}}),
                vec!["metadata.labels"; 2],
            ),
            (
                json!({"name": "a", "annotations": {"Capital.example/Key": "any thing"}}),
                vec![],
            ),
            (
                json!({"name": "a", "annotations": {"a b": ""}}),
                vec!["metadata.annotations"],
            ),
            (
                json!({"name": "a", "annotations": {"k": "x".repeat(ANNOTATIONS_BYTES_MAX)}}),
                vec!["metadata.annotations"],
            ),
            (
                json!({"name": "a", "finalizers": ["example.com/x", "a b"]}),
                vec!["metadata.finalizers"],
            ),
            (json!({"name": "a", "ownerReferences": [owner]}), vec![]),
            (
                json!({"name": "a", "ownerReferences": [owner, owner]}),
                vec!["metadata.ownerReferences"],
            ),
            (
                json!({"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]}),
                vec!["metadata.ownerReferences[0].uid"],
            ),
        ];
        for (meta, expected) in table {
            let mut causes = Causes::default();
            metadata(
                &json!({"metadata": meta}),
                names::dns_subdomain,
                &mut causes,
            );
            let fields: Vec<&str> = causes.iter().map(|cause| cause.field.as_str()).collect();
            assert_eq!(fields, expected, "{meta}");
        }
        let mut causes = Causes::default();
        metadata(
            &json!({"metadata": {"name": "a.b"}}),
            names::dns_label,
            &mut causes,
        );
        assert!(!causes.is_empty(), "a namespace's name has no dots");
    }

    #[test]
    fn a_hundred_causes_are_told_and_the_rest_counted() {
        let labels: serde_json::Map<String, Value> =
            (0..50_000).map(|n| (format!("-{n}"), json!("-"))).collect();
        let object = json!({"metadata": {"name": "a", "labels": labels}});
        let mut causes = Causes::default();
        metadata(&object, names::dns_subdomain, &mut causes);
        assert_eq!(causes.iter().count(), CAUSES_MAX);
        assert_eq!(causes.to_json().as_array().unwrap().len(), CAUSES_MAX);
        assert!(
            causes.to_string().ends_with(", and 99900 more]"),
            "{causes}"
        );
        assert!(causes.to_string().len() < 100_000);
    }

    #[test]
    fn causes_read_as_kubernetes_prints_them() {
        let mut causes = Causes::default();
        causes.not_supported("a", &json!("x"), &["y", "z"]);
        assert_eq!(
            causes.to_string(),
            r#"a: Unsupported value: "x": supported values: "y", "z""#
        );
        causes.duplicate("b", &json!("x"));
        causes.not_found("c", &json!("x"));
        causes.forbidden("d", "no");
        assert_eq!(
            causes.to_string(),
            "[a: Unsupported value: \"x\": supported values: \"y\", \"z\", b: Duplicate value: \"x\", c: Not found: \"x\", d: Forbidden: no]"
        );
    }
}
