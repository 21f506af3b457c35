//! The rows of the registry, a file a kind or a few alike.
//!
//! A row says what is served and shown and which rules apply; longer rules stand in `default*.rs` and `validate*.rs`.

mod config;
mod deployment;
mod event;
mod lease;
mod namespace;
mod node;
mod pod;
mod pod_cells;
mod replica_set;
mod workload;

use super::registry::{Column, Kind, SelectableField, Subresource};

/// Every row. Core first, as clients list it.
pub(super) static ALL: [Kind; 10] = [
    config::CONFIG_MAP,
    event::KIND,
    namespace::KIND,
    node::KIND,
    pod::KIND,
    config::SECRET,
    config::SERVICE_ACCOUNT,
    deployment::KIND,
    replica_set::KIND,
    lease::KIND,
];

/// What clients may do with an ordinary resource.
const VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// What clients may do with an ordinary subresource.
const SUB_VERBS: &[&str] = &["get", "patch", "update"];

const SCALE: Subresource = Subresource {
    name: "scale",
    group: "autoscaling",
    version: "v1",
    kind: "Scale",
    verbs: SUB_VERBS,
};

const fn status(group: &'static str, kind: &'static str) -> Subresource {
    Subresource {
        name: "status",
        group,
        version: "v1",
        kind,
        verbs: SUB_VERBS,
    }
}

const NAME: Column = text("Name", "Unique within its namespace");
const AGE: Column = text("Age", "Time since the object was created");

/// A column that `get` shows.
const fn text(name: &'static str, description: &'static str) -> Column {
    Column {
        name,
        type_: "string",
        description,
        wide: false,
    }
}

/// A column that only `get -o wide` shows.
const fn wide(name: &'static str, description: &'static str) -> Column {
    Column {
        wide: true,
        ..text(name, description)
    }
}

/// A column of numbers.
const fn count(name: &'static str, description: &'static str) -> Column {
    Column {
        type_: "integer",
        ..text(name, description)
    }
}

/// A field that a selector may name; "" when it is absent.
const fn field(label: &'static str, pointers: &'static [&'static str]) -> SelectableField {
    SelectableField {
        label,
        pointers,
        absent: "",
    }
}
