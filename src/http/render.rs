//! Stored values in the form a client accepts: whole objects without parsing, Table rows, or metadata alone.

use serde_json::{Value, json};

use super::accept::Form;
use super::query::Query;
use crate::resource::registry::Kind;
use crate::resource::table::{self, IncludeObject};
use crate::resource::{Status, codec};
use crate::store::Revision;

/// Renders objects of one kind in one form, as of one time (rows tell ages).
#[derive(Clone, Copy, Debug)]
pub(super) struct Renderer {
    kind: &'static Kind,
    form: Form,
    include: IncludeObject,
}

impl Renderer {
    /// A renderer for a form and the query's `includeObject`.
    pub(super) fn new(kind: &'static Kind, form: Form, query: &Query) -> Result<Self, Status> {
        let asked = query.text("includeObject");
        let include = IncludeObject::parse(asked).ok_or_else(|| {
            Status::bad_request(format!(
                "includeObject: Unsupported value: {asked:?}: supported values: \"Metadata\", \
                 \"None\", \"Object\""
            ))
        })?;
        Ok(Self {
            kind,
            form,
            include,
        })
    }

    /// Appends one item of a list: an object or a row.
    pub(super) fn item(
        &self,
        out: &mut Vec<u8>,
        value: &[u8],
        revision: Revision,
        now: jiff::Timestamp,
    ) {
        match self.form {
            Form::Whole => codec::serve_into(out, value, revision),
            Form::Table => put(out, &self.row(value, revision, now)),
            Form::Partial => put(out, &partial(value, revision)),
        }
    }

    /// Appends an object that stands alone: in a Table, it is a Table of one row. `columns` says whether the Table
    /// heads its columns; in a watch only the first does.
    pub(super) fn alone(
        &self,
        out: &mut Vec<u8>,
        value: &[u8],
        revision: Revision,
        now: jiff::Timestamp,
        columns: bool,
    ) {
        if self.form != Form::Table {
            return self.item(out, value, revision, now);
        }
        let row = self.row(value, revision, now);
        put(out, &self.table(&[row], revision, columns));
    }

    /// Appends a bookmark's object: nothing but a revision.
    pub(super) fn bookmark(&self, out: &mut Vec<u8>, revision: Revision, annotations: Value) {
        if self.form == Form::Table {
            return put(out, &self.table(&[], revision, false));
        }
        let (kind, api_version) = match self.form {
            Form::Partial => ("PartialObjectMetadata", "meta.k8s.io/v1".to_owned()),
            _ => (self.kind.kind, self.kind.api_version()),
        };
        let mut metadata =
            json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if !annotations.is_null() {
            metadata["annotations"] = annotations;
        }
        let object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        put(out, &object);
    }

    /// What stands before and after the items of a list with this metadata.
    pub(super) fn frame(&self, metadata: &Value) -> (String, &'static str) {
        let (kind, api_version, items) = match self.form {
            Form::Whole => (
                format!("{}List", self.kind.kind),
                self.kind.api_version(),
                "\"items\":[".to_owned(),
            ),
            Form::Partial => (
                "PartialObjectMetadataList".to_owned(),
                "meta.k8s.io/v1".to_owned(),
                "\"items\":[".to_owned(),
            ),
            Form::Table => (
                "Table".to_owned(),
                "meta.k8s.io/v1".to_owned(),
                format!(
                    "\"columnDefinitions\":{},\"rows\":[",
                    table::column_definitions(self.kind)
                ),
            ),
        };
        let head = format!(
            "{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},{items}"
        );
        (head, "]}\n")
    }

    fn row(&self, value: &[u8], revision: Revision, now: jiff::Timestamp) -> Value {
        table::row(self.kind, &decode(value, revision), now, self.include)
    }

    fn table(&self, rows: &[Value], revision: Revision, columns: bool) -> Value {
        let columns = columns.then(|| table::column_definitions(self.kind));
        json!({
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": {"resourceVersion": revision.to_string()},
            "columnDefinitions": columns,
            "rows": rows,
        })
    }
}

/// Decodes a stored value, resourceVersion included.
pub(super) fn decode(value: &[u8], revision: Revision) -> Value {
    codec::decode(value, revision).expect("the write path stores nothing but JSON objects")
}

fn partial(value: &[u8], revision: Revision) -> Value {
    let mut object = decode(value, revision);
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object["metadata"].take(),
    })
}

fn put(out: &mut Vec<u8>, value: &Value) {
    serde_json::to_writer(out, value).expect("a JSON value always has a JSON form");
}
