//! Deployment: its row.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::workload::{containers, number, selector};
use super::{AGE, NAME, SCALE, VERBS, count, status, text, wide};
use crate::resource::registry::{Kind, Rules};
use crate::resource::table::{age, name};
use crate::resource::{default, validate_workload};

pub(super) const KIND: Kind = Kind {
    group: "apps",
    version: "v1",
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    namespaced: true,
    verbs: VERBS,
    subresources: &[SCALE, status("apps", "Deployment")],
    columns: &[
        NAME,
        text("Ready", "Pods that are ready, of how many wanted"),
        count("Up-to-date", "Pods of the newest template"),
        count("Available", "Pods that have been ready for long enough"),
        AGE,
        wide("Containers", "Names of the template's containers"),
        wide("Images", "Images of the template's containers"),
        wide("Selector", "Which pods are its own"),
    ],
    cells,
    fields: &[],
    rules: Rules {
        generation: true,
        pod_spec: Some("/spec/template/spec"),
        default: default::deployment,
        validate: validate_workload::deployment,
        validate_update: validate_workload::selector_is_immutable,
        ..Rules::NONE
    },
};

fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let status = &object["status"];
    let ready = number(&status["readyReplicas"]);
    let wanted = number(&object["spec"]["replicas"]);
    vec![
        name(object),
        json!(format!("{ready}/{wanted}")),
        json!(number(&status["updatedReplicas"])),
        json!(number(&status["availableReplicas"])),
        age(object, now),
        json!(containers(object, "name")),
        json!(containers(object, "image")),
        json!(selector(object)),
    ]
}
