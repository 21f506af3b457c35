//! From a body to an object of a known type: defaults of apiVersion and kind, the check of fields, and a normal form.
//!
//! The normal form is what Kubernetes' typed decoding would leave: no nulls, no unknown fields, no zeros
//! that say nothing, no managedFields, quantities as strings, times in UTC, base64 on one line.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::super::json::{bytes_at_least, filled_text, remove};
use super::super::prune::prune;
use super::super::registry::Kind;
use super::super::request::Status;
use super::super::schema::{self, Leaf, Shape, Type};
use super::super::strict::{self, ProblemKind};
use super::super::validate::Causes;
use super::Job;

/// An object as a client meant it, and what to warn it of.
pub(super) struct Decoded {
    pub object: Value,
    pub warnings: Vec<String>,
}

/// What a body must be.
pub(super) struct Wanted<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
}

impl Job<'_> {
    /// Decodes a body of the job's own kind.
    pub(super) fn decode(&self, body: &Value) -> Result<Decoded, Status> {
        let api_version = self.kind.api_version();
        let wanted = Wanted {
            api_version: &api_version,
            kind: self.kind.kind,
        };
        let decoded = decode(body, &wanted, &self.request.options.field_validation)?;
        // Before the rules of its kind are looked at: what cannot be stored is not worth that work.
        super::bounded(bytes_at_least(&decoded.object))?;
        Ok(decoded)
    }

    /// The object is the one that the path names. A missing name or namespace is taken from the path.
    pub(super) fn match_path(&self, object: &mut Value) -> Result<(), Status> {
        let metadata = &mut object["metadata"];
        let name = self.name()?;
        match filled_text(&metadata["name"]) {
            None => metadata["name"] = name.into(),
            Some(given) if given == name => {}
            Some(given) => {
                return Err(Status::bad_request(format!(
                    "the name of the object ({given}) does not match the name on the URL ({name})"
                )));
            }
        }
        self.match_namespace(object)
    }

    /// The object's namespace is the path's.
    pub(super) fn match_namespace(&self, object: &mut Value) -> Result<(), Status> {
        let metadata = &mut object["metadata"];
        let given = filled_text(&metadata["namespace"]);
        match (self.namespace(), given) {
            (None, _) => remove(metadata, "namespace"),
            (Some(namespace), Some(given)) if given != namespace => {
                return Err(Status::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
            (Some(namespace), _) => metadata["namespace"] = namespace.into(),
        }
        Ok(())
    }
}

/// Decodes a body. `validation` is the query's `fieldValidation`.
pub(super) fn decode(
    body: &Value,
    wanted: &Wanted<'_>,
    validation: &str,
) -> Result<Decoded, Status> {
    let mut object = body.clone();
    let Some(members) = object.as_object_mut() else {
        let message = "the object provided is unrecognized: the body must be a JSON object";
        return Err(Status::bad_request(message));
    };
    said(members, "apiVersion", wanted.api_version, wanted)?;
    said(members, "kind", wanted.kind, wanted)?;
    let mut warnings = Vec::new();
    if let Some(ty) = schema::root(wanted.api_version, wanted.kind) {
        warnings = check(&object, ty, wanted, validation)?;
        normalize_fields(&mut object, ty);
        prune(&mut object, ty);
    }
    if object["metadata"].is_null() {
        object["metadata"] = json!({});
    }
    remove(&mut object["metadata"], "managedFields");
    remove(&mut object["metadata"], "selfLink");
    Ok(Decoded { object, warnings })
}

/// `apiVersion` or `kind`: filled in, or as expected.
fn said(
    members: &mut Map<String, Value>,
    field: &str,
    expected: &str,
    wanted: &Wanted<'_>,
) -> Result<(), Status> {
    match members.get(field) {
        Some(Value::String(text)) if text == expected => Ok(()),
        Some(Value::String(text)) if !text.is_empty() => Err(Status::bad_request(format!(
            "{field} {text:?} in the data does not match the expected {}, {}",
            wanted.api_version, wanted.kind
        ))),
        None | Some(Value::Null | Value::String(_)) => {
            members.insert(field.to_owned(), expected.into());
            Ok(())
        }
        Some(other) => Err(Status::bad_request(format!(
            "{field} must be a string, not {other}"
        ))),
    }
}

/// Unknown fields are an error, a warning or nothing, as the client chose; a value of the wrong type is an error.
fn check(
    object: &Value,
    ty: &Type,
    wanted: &Wanted<'_>,
    validation: &str,
) -> Result<Vec<String>, Status> {
    if !matches!(validation, "" | "Ignore" | "Warn" | "Strict") {
        let mut causes = Causes::default();
        causes.not_supported(
            "fieldValidation",
            &json!(validation),
            &["Ignore", "Strict", "Warn"],
        );
        return Err(Status::invalid_as(
            "meta.k8s.io",
            "CreateOptions",
            "",
            &causes,
        ));
    }
    let problems = strict::check(object, ty);
    let (kind, version) = (
        wanted.kind,
        wanted.api_version.rsplit('/').next().unwrap_or_default(),
    );
    let refuse = |why: &str| {
        let message = format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}");
        Err(Status::bad_request(message))
    };
    if let Some(wrong) = problems
        .iter()
        .find(|problem| problem.kind == ProblemKind::WrongType)
    {
        return refuse(&wrong.message);
    }
    let unknown: Vec<String> = problems
        .into_iter()
        .map(|problem| problem.message)
        .collect();
    match validation {
        "Strict" if !unknown.is_empty() => {
            refuse(&format!("strict decoding error: {}", unknown.join(", ")))
        }
        "Ignore" => Ok(Vec::new()),
        _ => Ok(unknown),
    }
}

/// Brings the values to one form; what says nothing is `prune`'s to drop.
fn normalize(value: &mut Value, shape: Shape) {
    match (shape, value) {
        (Shape::One(leaf), value) => normalize_leaf(value, leaf),
        (shape, Value::Array(items)) => {
            items.retain(|item| !item.is_null());
            for item in items {
                normalize(item, shape.element());
            }
        }
        (shape, Value::Object(members)) => {
            members.retain(|_, value| !value.is_null());
            for (_, value) in members.iter_mut() {
                normalize(value, shape.element());
            }
        }
        _ => {}
    }
}

fn normalize_fields(object: &mut Value, ty: &Type) {
    for (name, value) in object.as_object_mut().into_iter().flatten() {
        if let Some(field) = ty.field(name) {
            normalize(value, field.shape);
        }
    }
}

fn normalize_leaf(value: &mut Value, leaf: Leaf) {
    match (leaf, value) {
        (Leaf::Object(id), value) => normalize_fields(value, id.get()),
        (Leaf::Quantity, value @ Value::Number(_)) => *value = value.to_string().into(),
        (Leaf::Bytes, Value::String(text)) => text.retain(|c| c != '\n' && c != '\r'),
        (Leaf::Time | Leaf::MicroTime, Value::String(text)) if !text.ends_with('Z') => {
            if let Ok(time) = text.parse::<Timestamp>() {
                *text = time.to_string();
            }
        }
        _ => {}
    }
}

/// The status of a failed patch.
impl From<super::super::patch::PatchError> for Status {
    fn from(error: super::super::patch::PatchError) -> Self {
        let reason = match error.code() {
            413 => "RequestEntityTooLarge",
            415 => "UnsupportedMediaType",
            422 => "Invalid",
            _ => "BadRequest",
        };
        Self::new(error.code(), reason, error.to_string())
    }
}

/// The revision that a client's object claims to be of, if it claims one.
pub(super) fn claimed_revision<'a>(
    kind: &Kind,
    name: &str,
    object: &'a Value,
) -> Result<Option<&'a str>, Status> {
    let text = match filled_text(&object["metadata"]["resourceVersion"]) {
        None | Some("0") => return Ok(None),
        Some(text) => text,
    };
    if text.parse::<u64>().is_err() {
        let mut causes = Causes::default();
        causes.invalid(
            "metadata.resourceVersion",
            &json!(text),
            "must be a decimal number",
        );
        return Err(Status::invalid(kind, name, &causes));
    }
    Ok(Some(text))
}
