//! ReplicaSet: its row.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::workload::{containers, number, selector};
use super::{AGE, NAME, SCALE, VERBS, count, status, wide};
use crate::resource::registry::{Kind, Rules, SelectableField};
use crate::resource::table::{age, name};
use crate::resource::{default, validate_workload};

pub(super) const KIND: Kind = Kind {
    group: "apps",
    version: "v1",
    kind: "ReplicaSet",
    plural: "replicasets",
    singular: "replicaset",
    short_names: &["rs"],
    categories: &["all"],
    namespaced: true,
    verbs: VERBS,
    subresources: &[SCALE, status("apps", "ReplicaSet")],
    columns: &[
        NAME,
        count("Desired", "Pods wanted"),
        count("Current", "Pods there are"),
        count("Ready", "Pods that are ready"),
        AGE,
        wide("Containers", "Names of the template's containers"),
        wide("Images", "Images of the template's containers"),
        wide("Selector", "Which pods are its own"),
    ],
    cells,
    fields: &[SelectableField {
        label: "status.replicas",
        pointers: &["/status/replicas"],
        absent: "0",
    }],
    rules: Rules {
        generation: true,
        pod_spec: Some("/spec/template/spec"),
        default: default::replica_set,
        validate: validate_workload::replica_set,
        validate_update: validate_workload::selector_is_immutable,
        ..Rules::NONE
    },
};

fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let status = &object["status"];
    vec![
        name(object),
        json!(number(&object["spec"]["replicas"])),
        json!(number(&status["replicas"])),
        json!(number(&status["readyReplicas"])),
        age(object, now),
        json!(containers(object, "name")),
        json!(containers(object, "image")),
        json!(selector(object)),
    ]
}
