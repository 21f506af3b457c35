//! Cells that Deployments and ReplicaSets share.

use serde_json::Value;

use crate::resource::selector;
use crate::resource::table::NONE;

/// The containers' `name` or `image`, joined by commas.
pub(super) fn containers(object: &Value, field: &str) -> String {
    let containers = object["spec"]["template"]["spec"]["containers"].as_array();
    let texts = containers.into_iter().flatten();
    let texts: Vec<&str> = texts.filter_map(|c| c[field].as_str()).collect();
    texts.join(",")
}

/// The label selector as kubectl prints it; `<none>` when it names nothing.
pub(super) fn selector(object: &Value) -> String {
    let text = selector::text(&object["spec"]["selector"]);
    if text.is_empty() {
        return NONE.to_owned();
    }
    text
}

/// A count in the status or spec, 0 when it is not there.
pub(super) fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}
