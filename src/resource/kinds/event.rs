//! Event: what happened to another object. Served at `v1` only.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{NAME, VERBS, field, text, wide};
use crate::resource::registry::{Column, Kind, Rules};
use crate::resource::table::{name, or, since};
use crate::resource::validate_config;

pub(super) const KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    categories: &[],
    namespaced: true,
    verbs: VERBS,
    subresources: &[],
    columns: &[
        text("Last Seen", "Time since it last happened"),
        text("Type", "Normal or Warning"),
        text("Reason", "In one word"),
        text("Object", "What it happened to"),
        wide("Subobject", "Which part of the object"),
        wide("Source", "Who says so"),
        text("Message", "For people"),
        wide("First Seen", "Time since it first happened"),
        wide("Count", "How often it happened"),
        Column { wide: true, ..NAME },
    ],
    cells,
    fields: &[
        field("involvedObject.kind", &["/involvedObject/kind"]),
        field("involvedObject.namespace", &["/involvedObject/namespace"]),
        field("involvedObject.name", &["/involvedObject/name"]),
        field("involvedObject.uid", &["/involvedObject/uid"]),
        field("involvedObject.apiVersion", &["/involvedObject/apiVersion"]),
        field(
            "involvedObject.resourceVersion",
            &["/involvedObject/resourceVersion"],
        ),
        field("involvedObject.fieldPath", &["/involvedObject/fieldPath"]),
        field("reason", &["/reason"]),
        field("reportingComponent", &["/reportingComponent"]),
        field("source", &["/source/component", "/reportingComponent"]),
        field("type", &["/type"]),
    ],
    rules: Rules {
        validate: validate_config::event,
        ..Rules::NONE
    },
};

fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let at = |field: &str| match &object[field] {
        Value::Null => since(&object["eventTime"], now),
        time => since(time, now),
    };
    let involved = &object["involvedObject"];
    let kind = involved["kind"].as_str().unwrap_or_default().to_lowercase();
    let target = match involved["name"].as_str() {
        Some(name) if !name.is_empty() => format!("{kind}/{name}"),
        _ => kind,
    };
    let count = object["series"]["count"]
        .as_i64()
        .or(object["count"].as_i64());
    let last_seen = match &object["series"]["lastObservedTime"] {
        Value::Null => at("lastTimestamp"),
        time => since(time, now),
    };
    vec![
        json!(last_seen),
        or(&object["type"], ""),
        or(&object["reason"], ""),
        json!(target),
        or(&involved["fieldPath"], ""),
        json!(source(object)),
        json!(object["message"].as_str().unwrap_or_default().trim()),
        json!(at("firstTimestamp")),
        json!(count.unwrap_or(1).to_string()),
        name(object),
    ]
}

fn source(object: &Value) -> String {
    let first = |a: &Value, b: &Value| {
        let text = a.as_str().filter(|text| !text.is_empty());
        text.or(b.as_str()).unwrap_or_default().to_owned()
    };
    let component = first(
        &object["source"]["component"],
        &object["reportingComponent"],
    );
    let instance = first(&object["source"]["host"], &object["reportingInstance"]);
    if instance.is_empty() {
        return component;
    }
    format!("{component}, {instance}")
}
