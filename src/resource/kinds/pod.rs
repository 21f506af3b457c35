//! Pod: its row.

use serde_json::{Value, json};

use super::{AGE, NAME, VERBS, field, pod_cells, status, text, wide};
use crate::resource::registry::{Kind, Rules, SelectableField, Subresource};
use crate::resource::{default_pod, validate_pod, validate_pod_update};

pub(super) const KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    namespaced: true,
    verbs: VERBS,
    subresources: &[
        Subresource {
            name: "binding",
            group: "",
            version: "v1",
            kind: "Binding",
            verbs: &["create"],
        },
        Subresource {
            name: "eviction",
            group: "policy",
            version: "v1",
            kind: "Eviction",
            verbs: &["create"],
        },
        Subresource {
            name: "log",
            group: "",
            version: "v1",
            kind: "Pod",
            verbs: &["get"],
        },
        status("", "Pod"),
    ],
    columns: &[
        NAME,
        text("Ready", "Containers that are ready, of how many"),
        text("Status", "What it is up to"),
        text("Restarts", "How often its containers were started again"),
        AGE,
        wide("IP", "Its address"),
        wide("Node", "Where it runs"),
        wide(
            "Nominated Node",
            "Where it will run once others have made room",
        ),
        wide(
            "Readiness Gates",
            "Extra conditions that are true, of how many",
        ),
    ],
    cells: pod_cells::cells,
    fields: &[
        field("spec.nodeName", &["/spec/nodeName"]),
        field("spec.restartPolicy", &["/spec/restartPolicy"]),
        field("spec.schedulerName", &["/spec/schedulerName"]),
        field("spec.serviceAccountName", &["/spec/serviceAccountName"]),
        SelectableField {
            label: "spec.hostNetwork",
            pointers: &["/spec/hostNetwork"],
            absent: "false",
        },
        field("status.phase", &["/status/phase"]),
        field("status.podIP", &["/status/podIP"]),
        field("status.podIPs", &["/status/podIPs/0/ip"]),
        field("status.nominatedNodeName", &["/status/nominatedNodeName"]),
    ],
    rules: Rules {
        generation: true,
        returns_deleted: true,
        pod_spec: Some("/spec"),
        default: |object| default_pod::spec(&mut object["spec"]),
        prepare,
        validate: |object, causes| validate_pod::spec(&object["spec"], "spec", causes),
        validate_update: validate_pod_update::check,
        ..Rules::NONE
    },
};

fn prepare(object: &mut Value) {
    let class = default_pod::quality_of_service(&object["spec"]);
    object["status"] = json!({"phase": "Pending", "qosClass": class});
}
