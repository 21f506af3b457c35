//! What an operator takes from `deploy/`: the unit is one that systemd accepts, the manifests are what they claim.
//!
//! The sample configuration is tested where settings are parsed (`src/cli/settings.rs`); that the manifests run, in the
//! end-to-end suites.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

use std::fs;
use std::process::Command;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use serde::de::{Deserialize, DeserializeOwned};
use serde_json::Value;

/// The documents of a manifest.
fn documents(file: &str) -> Vec<Value> {
    let text = fs::read_to_string(format!("deploy/manifests/{file}")).unwrap();
    let documents = serde_yaml_ng::Deserializer::from_str(&text);
    documents
        .map(|document| Value::deserialize(document).unwrap())
        .collect()
}

/// Asserts that the type knows every field: those it does not are missing when it is written again.
fn known<T: DeserializeOwned + serde::Serialize>(document: &Value) {
    let typed: T = serde_json::from_value(document.clone()).unwrap();
    let again = serde_json::to_value(typed).unwrap();
    let missing = lost(document, &again, "");
    assert!(missing.is_none(), "unknown field {}", missing.unwrap());
}

/// The path of the first thing in `given` that `kept` lacks.
fn lost(given: &Value, kept: &Value, path: &str) -> Option<String> {
    match given {
        Value::Object(fields) => fields
            .iter()
            .find_map(|(name, value)| lost(value, &kept[name], &format!("{path}.{name}"))),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| lost(item, &kept[index], &format!("{path}[{index}]"))),
        one => (one != kept).then(|| path.to_owned()),
    }
}

#[test]
fn the_web_manifest_is_a_deployment() {
    let documents = documents("web.yaml");
    assert_eq!(documents.len(), 1);
    known::<Deployment>(&documents[0]);
}

#[test]
fn the_settings_manifest_is_a_config_map_a_secret_and_a_pod() {
    let documents = documents("settings.yaml");
    assert_eq!(documents.len(), 3);
    known::<ConfigMap>(&documents[0]);
    known::<Secret>(&documents[1]);
    known::<Pod>(&documents[2]);
}

#[test]
#[should_panic(expected = "unknown field .spec.replica")]
fn an_unknown_field_is_noticed() {
    known::<Deployment>(&serde_json::json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replica": 3, "selector": {}, "template": {}},
    }));
}

/// By systemd's own check.
#[test]
fn systemd_accepts_the_unit() {
    let unit = fs::read_to_string("deploy/kagero.service").unwrap();
    let installed = "/usr/local/bin/kagero";
    assert!(unit.contains(&format!(
        "ExecStart={installed} run --config /etc/kagero/config.yaml"
    )));
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("kagero.service");
    fs::write(&copy, unit.replace(installed, env!("CARGO_BIN_EXE_kagero"))).unwrap();
    let said = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&copy)
        .output();
    let said = said.expect("systemd-analyze is here: tests/run installs it");
    let said = (
        said.status.success(),
        String::from_utf8_lossy(&said.stderr).into_owned(),
    );
    assert_eq!(said, (true, String::new()));
}
