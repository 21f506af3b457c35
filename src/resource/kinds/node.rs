//! Node: a machine that runs pods. Registers itself, status included.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{AGE, NAME, VERBS, status, text, wide};
use crate::resource::registry::{Kind, Rules, SelectableField};
use crate::resource::table::{NONE, age, name, or};
use crate::resource::validate_node;

pub(super) const KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    categories: &[],
    namespaced: false,
    verbs: VERBS,
    subresources: &[status("", "Node")],
    columns: &[
        NAME,
        text("Status", "Whether it is ready and takes pods"),
        text("Roles", "From its labels node-role.kubernetes.io/*"),
        AGE,
        text("Version", "Of its agent"),
        wide("Internal-IP", "Address within the cluster"),
        wide("External-IP", "Address from outside"),
        wide("OS-Image", "Its operating system"),
        wide("Kernel-Version", "Its kernel"),
        wide("Container-Runtime", "What runs its containers"),
    ],
    cells,
    fields: &[SelectableField {
        label: "spec.unschedulable",
        pointers: &["/spec/unschedulable"],
        absent: "false",
    }],
    rules: Rules {
        status_on_create: true,
        validate: validate_node::node,
        ..Rules::NONE
    },
};

fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    const UNKNOWN: &str = "<unknown>";
    let info = &object["status"]["nodeInfo"];
    vec![
        name(object),
        json!(readiness(object)),
        json!(roles(object)),
        age(object, now),
        or(&info["kubeletVersion"], ""),
        json!(address(object, "InternalIP")),
        json!(address(object, "ExternalIP")),
        or(&info["osImage"], UNKNOWN),
        or(&info["kernelVersion"], UNKNOWN),
        or(&info["containerRuntimeVersion"], UNKNOWN),
    ]
}

fn readiness(object: &Value) -> String {
    let conditions = object["status"]["conditions"].as_array();
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|c| c["type"] == "Ready");
    let mut text = match ready {
        Some(condition) if condition["status"] == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if object["spec"]["unschedulable"] == true {
        text.push_str(",SchedulingDisabled");
    }
    text
}

fn roles(object: &Value) -> String {
    let labels = object["metadata"]["labels"].as_object();
    let role = |(key, value): (&String, &Value)| {
        let value = value.as_str().unwrap_or_default();
        match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) if !role.is_empty() => Some(role.to_owned()),
            _ if key == "kubernetes.io/role" && !value.is_empty() => Some(value.to_owned()),
            _ => None,
        }
    };
    let roles: BTreeSet<String> = labels.into_iter().flatten().filter_map(role).collect();
    if roles.is_empty() {
        return NONE.to_owned();
    }
    roles.into_iter().collect::<Vec<_>>().join(",")
}

fn address<'a>(object: &'a Value, kind: &str) -> &'a str {
    let addresses = object["status"]["addresses"].as_array();
    let address = addresses.into_iter().flatten().find(|a| a["type"] == kind);
    address.and_then(|a| a["address"].as_str()).unwrap_or(NONE)
}
