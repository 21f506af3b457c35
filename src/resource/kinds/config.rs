//! ConfigMap, Secret and ServiceAccount: objects without a spec or a status.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{AGE, NAME, VERBS, count, field, text};
use crate::resource::registry::{Kind, Rules};
use crate::resource::table::{age, name};
use crate::resource::{default, validate_config};

pub(super) const CONFIG_MAP: Kind = Kind {
    group: "",
    version: "v1",
    kind: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    categories: &[],
    namespaced: true,
    verbs: VERBS,
    subresources: &[],
    columns: &[NAME, count("Data", "Number of entries"), AGE],
    cells: |object, now| {
        let entries = members(&object["data"]) + members(&object["binaryData"]);
        vec![name(object), json!(entries), age(object, now)]
    },
    fields: &[],
    rules: Rules {
        validate: validate_config::config_map,
        validate_update: validate_config::config_map_update,
        ..Rules::NONE
    },
};

pub(super) const SECRET: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Secret",
    plural: "secrets",
    singular: "secret",
    short_names: &[],
    categories: &[],
    namespaced: true,
    verbs: VERBS,
    subresources: &[],
    columns: &[
        NAME,
        text("Type", "What the entries mean"),
        count("Data", "Number of entries"),
        AGE,
    ],
    cells: secret_cells,
    fields: &[field("type", &["/type"])],
    rules: Rules {
        default: default::secret,
        validate: validate_config::secret,
        validate_update: validate_config::secret_update,
        ..Rules::NONE
    },
};

pub(super) const SERVICE_ACCOUNT: Kind = Kind {
    group: "",
    version: "v1",
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    categories: &[],
    namespaced: true,
    verbs: VERBS,
    subresources: &[],
    columns: &[NAME, count("Secrets", "Number of secrets it may use"), AGE],
    cells: |object, now| {
        let secrets = object["secrets"].as_array().map_or(0, Vec::len);
        vec![name(object), json!(secrets), age(object, now)]
    },
    fields: &[],
    rules: Rules {
        returns_deleted: true,
        ..Rules::NONE
    },
};

fn secret_cells(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        object["type"].clone(),
        json!(members(&object["data"])),
        age(object, now),
    ]
}

fn members(value: &Value) -> usize {
    value.as_object().map_or(0, serde_json::Map::len)
}
