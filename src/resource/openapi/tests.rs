//! What kubectl looks for in the documents.

use super::*;

const SERVED: [Served<'static>; 4] = [
    served("", "v1", "pods", "Pod", true),
    served("", "v1", "nodes", "Node", false),
    served("apps", "v1", "deployments", "Deployment", true),
    served("stable.example.com", "v1", "crontabs", "CronTab", true),
];

const fn served(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
    namespaced: bool,
) -> Served<'static> {
    Served {
        group,
        version,
        plural,
        kind,
        namespaced,
    }
}

#[test]
fn the_index_names_each_group_and_version_once() {
    let index = index(&SERVED);
    let paths = index["paths"].as_object().unwrap();
    let keys: Vec<&str> = paths.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        ["api/v1", "apis/apps/v1", "apis/stable.example.com/v1"]
    );
    let url = paths["api/v1"]["serverRelativeURL"].as_str().unwrap();
    assert!(url.starts_with("/openapi/v3/api/v1?hash="), "{url}");
    let fewer = super::index(&SERVED[1..]);
    assert_ne!(
        fewer["paths"]["api/v1"], paths["api/v1"],
        "the address changes with what is served"
    );
    assert_eq!(fewer["paths"]["apis/apps/v1"], paths["apis/apps/v1"]);
}

#[test]
fn every_kind_has_a_patch_operation_with_field_validation() {
    for kind in &SERVED {
        let document = document(&SERVED, kind.group, kind.version).unwrap();
        let path = format!("{}/{{name}}", kind.collection_path());
        let operation = &document["paths"][path]["patch"];
        assert_eq!(
            operation["x-kubernetes-group-version-kind"],
            kind.group_version_kind()
        );
        let parameters = operation["parameters"].as_array().unwrap();
        assert!(
            parameters
                .iter()
                .any(|p| p["name"] == "fieldValidation" && p["in"] == "query")
        );
    }
}

#[test]
fn references_lead_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    for (group, version) in [("", "v1"), ("apps", "v1")] {
        let document = document(&SERVED, group, version).unwrap();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 100);
        for reference in found {
            let name = reference.strip_prefix("#/components/schemas/").unwrap();
            assert!(
                document["components"]["schemas"].get(name).is_some(),
                "{name}"
            );
        }
    }
}

#[test]
fn schemas_say_how_lists_merge() {
    let document = document(&SERVED, "apps", "v1").unwrap();
    let schemas = &document["components"]["schemas"];
    let deployment = &schemas["io.k8s.api.apps.v1.Deployment"];
    assert_eq!(
        deployment["x-kubernetes-group-version-kind"],
        json!([{"group": "apps", "version": "v1", "kind": "Deployment"}])
    );
    let container = &schemas["io.k8s.api.core.v1.Container"];
    assert_eq!(container["required"], json!(["name"]));
    let ports = json!({
        "type": "array",
        "items": {"allOf": [{"$ref": "#/components/schemas/io.k8s.api.core.v1.ContainerPort"}]},
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
        "x-kubernetes-patch-strategy": "merge",
        "x-kubernetes-patch-merge-key": "containerPort",
    });
    assert_eq!(container["properties"]["ports"], ports);
    let volumes = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["volumes"];
    assert_eq!(volumes["x-kubernetes-patch-strategy"], "merge,retainKeys");
    assert_eq!(
        schemas["io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"]["x-kubernetes-map-type"],
        "atomic"
    );
}

#[test]
fn kinds_without_a_type_may_hold_anything() {
    let document = document(&SERVED, "stable.example.com", "v1").unwrap();
    let schema = &document["components"]["schemas"]["com.example.stable.v1.CronTab"];
    assert_eq!(schema["x-kubernetes-preserve-unknown-fields"], true);
}

#[test]
fn nothing_is_served_elsewhere() {
    assert_eq!(document(&SERVED, "apps", "v2"), None);
    assert_eq!(document(&[], "", "v1"), None);
}
