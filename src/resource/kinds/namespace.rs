//! Namespace: goes in two steps, first terminating, then finalized by whoever emptied it.

use serde_json::{Value, json};

use super::{AGE, NAME, field, status, text};
use crate::resource::json::carry;
use crate::resource::names;
use crate::resource::registry::{Kind, Rules, Subresource};
use crate::resource::table::{age, name, or};

pub(super) const KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    categories: &[],
    namespaced: false,
    // As in Kubernetes, no deletecollection: emptying a cluster is not one request.
    verbs: &[
        "create", "delete", "get", "list", "patch", "update", "watch",
    ],
    subresources: &[
        Subresource {
            name: "finalize",
            group: "",
            version: "v1",
            kind: "Namespace",
            verbs: &["update"],
        },
        status("", "Namespace"),
    ],
    columns: &[NAME, text("Status", "Active or Terminating"), AGE],
    cells: |object, now| {
        let phase = or(&object["status"]["phase"], "");
        vec![name(object), phase, age(object, now)]
    },
    fields: &[field("status.phase", &["/status/phase"])],
    rules: Rules {
        name: names::dns_label,
        returns_deleted: true,
        default: label_with_name,
        prepare,
        carry: |new, current| carry(new, current, "spec"),
        ..Rules::NONE
    },
};

/// The finalizer that `/finalize` takes away once the namespace is empty.
const FINALIZER: &str = "kubernetes";

/// So that selectors can pick namespaces by name.
fn label_with_name(object: &mut Value) {
    let name = object["metadata"]["name"].clone();
    if name.is_string() {
        object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
    }
}

fn prepare(object: &mut Value) {
    object["status"] = json!({"phase": "Active"});
    let finalizers = &object["spec"]["finalizers"];
    let mut finalizers: Vec<Value> = finalizers.as_array().cloned().unwrap_or_default();
    if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        finalizers.push(FINALIZER.into());
    }
    object["spec"] = json!({"finalizers": finalizers});
}
