//! What kubectl users see for a manifest with mistakes.

use serde_json::{Value, json};

use super::*;
use crate::resource::schema;

fn problems(api_version: &str, kind: &str, object: &Value) -> Vec<(String, String)> {
    let ty = schema::root(api_version, kind).unwrap();
    let pair = |problem: Problem| (problem.path, problem.message);
    check(object, ty).into_iter().map(pair).collect()
}

fn message(api_version: &str, kind: &str, object: &Value) -> String {
    let mut found = problems(api_version, kind, object);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0).1
}

#[test]
fn a_right_object_has_no_problems() {
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"app": "web"}, "creationTimestamp": null},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [
                {"name": "web", "image": "nginx", "ports": [{"containerPort": 80}],
                 "resources": {"requests": {"cpu": "500m", "memory": 1000}}}]}}}});
    assert_eq!(problems("apps/v1", "Deployment", &object), []);
}

#[test]
fn unknown_fields_carry_their_full_paths() {
    let object = json!({"spec": {"replica": 1, "template": {"spec": {"contaners": [],
        "containers": [{"name": "a"}, {"imag": "x"}]}}}, "metadata": {"labels": {"any": "key"}}});
    let found = problems("apps/v1", "Deployment", &object);
    let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    let expected = [
        "spec.replica",
        "spec.template.spec.containers[1].imag",
        "spec.template.spec.contaners",
    ];
    assert_eq!(paths, expected);
    assert_eq!(found[0].1, "unknown field \"spec.replica\"");
}

#[test]
fn names_are_case_sensitive() {
    let object = json!({"spec": {"Replicas": 1}});
    assert_eq!(
        problems("apps/v1", "Deployment", &object)[0].0,
        "spec.Replicas"
    );
}

#[test]
fn wrong_types_are_said_in_gos_words() {
    let cases = [
        (
            json!({"spec": {"replicas": "3"}}),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"spec": {"replicas": 1.5}}),
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"spec": {"replicas": 3_000_000_000_i64}}),
            "json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": {"name": "a"}}}}}),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"image": 1}]}}}}),
            "json: cannot unmarshal number into Go struct field Container.spec.template.spec.containers.image of type string",
        ),
        (
            json!({"metadata": {"labels": {"a": true}}}),
            "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            json!({"metadata": {"labels": []}}),
            "json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of type map[string]string",
        ),
        (
            json!({"spec": []}),
            "json: cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec",
        ),
        (
            json!([]),
            "json: cannot unmarshal array into Go value of type v1.Deployment",
        ),
    ];
    for (object, expected) in cases {
        assert_eq!(message("apps/v1", "Deployment", &object), expected);
    }
}

#[test]
fn texts_that_are_read_while_decoding_are_checked() {
    let quantity = |text: &str| {
        let requests = json!({"cpu": text});
        let object = json!({"spec": {"hard": requests}});
        problems("v1", "ResourceQuota", &object).is_empty()
    };
    for good in [
        "1", "0.5", ".5", "100m", "1Gi", "1e3", "1E3", "-1", "1E", "12e-3", "5n",
    ] {
        assert!(quantity(good), "{good}");
    }
    for bad in ["", "m", "1gi", "1.2.3", "1 Gi", "1e", "x", "."] {
        assert!(!quantity(bad), "{bad}");
    }
    let object = json!({"data": {"a": "aGVsbG8=", "b": "not base64!"}});
    assert_eq!(
        message("v1", "Secret", &object),
        "illegal base64 data at input byte 3"
    );
    let object = json!({"metadata": {"deletionTimestamp": "yesterday"}});
    assert!(message("v1", "Pod", &object).starts_with("parsing time \"yesterday\""));
    let object = json!({"metadata": {"creationTimestamp": "2026-01-02T03:04:05+00:00"}});
    assert_eq!(problems("v1", "Pod", &object), []);
}

#[test]
fn problems_are_bounded() {
    let many: serde_json::Map<String, Value> =
        (0..500).map(|n| (format!("x{n}"), json!(1))).collect();
    let object = json!({"spec": many});
    assert_eq!(problems("v1", "Pod", &object).len(), MAX_PROBLEMS);
}
