//! PATCH.

use super::*;

fn patch(plural: &str, path: &str, how: PatchType, body: Value) -> Request {
    request(plural, Some(path), Verb::Patch(how, body))
}

#[test]
fn every_served_format_changes_the_object() {
    let mut cluster = Cluster::new();
    cluster.create("deployments", deployment("web"));
    let image = |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
    let strategic = patch(
        "deployments",
        "web",
        PatchType::StrategicMerge,
        image("i:2"),
    );
    let new = body(&cluster.send(&strategic).unwrap());
    assert_eq!(
        new["spec"]["template"]["spec"]["containers"][0]["image"],
        "i:2"
    );
    assert_eq!(
        new["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"],
        "IfNotPresent"
    );
    assert_eq!(new["metadata"]["generation"], 2);
    let new = body(
        &cluster
            .send(&merge(
                "deployments",
                "web",
                json!({"metadata": {"labels": {"a": "b"}}}),
            ))
            .unwrap(),
    );
    assert_eq!(new["metadata"]["labels"], json!({"a": "b"}));
    let operations = json!([{"op": "replace", "path": "/spec/replicas", "value": 5}]);
    let new = body(
        &cluster
            .send(&patch("deployments", "web", PatchType::Json, operations))
            .unwrap(),
    );
    assert_eq!(new["spec"]["replicas"], 5);
    assert_eq!(Some(new), cluster.get("deployments", "web"));
}

#[test]
fn a_revision_in_a_patch_is_a_condition() {
    let mut cluster = Cluster::new();
    let made = cluster.create("configmaps", json!({"metadata": {"name": "c"}}));
    let revision = made["metadata"]["resourceVersion"].clone();
    let conditional = merge(
        "configmaps",
        "c",
        json!({"metadata": {"resourceVersion": revision}, "data": {"a": "1"}}),
    );
    assert!(!cluster.plan(&conditional).unwrap().retry_on_conflict);
    cluster.send(&conditional).unwrap();
    assert_eq!(cluster.send(&conditional).expect_err("stale").code, 409);
    let free = merge("configmaps", "c", json!({"data": {"a": "2"}}));
    assert!(cluster.plan(&free).unwrap().retry_on_conflict);
    let tested = json!([{"op": "test", "path": "/metadata/resourceVersion", "value": "1"}]);
    let tested = patch("configmaps", "c", PatchType::Json, tested);
    assert_eq!(cluster.send(&tested).expect_err("the test fails").code, 422);
}

#[test]
fn the_result_keeps_the_rules() {
    let mut cluster = Cluster::new();
    cluster.create("deployments", deployment("web"));
    let cases = [
        (json!({"spec": {"replicas": -1}}), "", 422),
        (json!({"spec": {"replicas": "many"}}), "", 400),
        (json!({"spec": {"colour": "red"}}), "Strict", 400),
        (json!({"metadata": {"name": "other"}}), "", 400),
        (json!({"kind": "Pod"}), "", 400),
        (
            json!({"metadata": null, "spec": {"selector": null}}),
            "",
            422,
        ),
    ];
    for (body, validation, code) in cases {
        let mut request = merge("deployments", "web", body.clone());
        request.options.field_validation = validation.to_owned();
        let status = cluster.send(&request).expect_err("against the rules");
        assert_eq!(status.code, code, "{body}: {status}");
    }
    assert_eq!(
        cluster
            .send(&merge("deployments", "api", json!({})))
            .expect_err("absent")
            .code,
        404
    );
}

#[test]
fn a_patch_that_changes_nothing_writes_nothing() {
    let mut cluster = Cluster::new();
    cluster.create(
        "configmaps",
        json!({"metadata": {"name": "c"}, "data": {"a": "1"}}),
    );
    let plan = cluster
        .plan(&merge(
            "configmaps",
            "c",
            json!({"data": {"a": "1", "b": null}}),
        ))
        .unwrap();
    assert!(plan.transactions.is_empty());
}

#[test]
fn server_side_apply_is_refused_by_name() {
    let mut cluster = Cluster::new();
    cluster.create("configmaps", json!({"metadata": {"name": "c"}}));
    for name in ["c", "absent"] {
        let status = cluster
            .send(&patch("configmaps", name, PatchType::Apply, json!({})))
            .expect_err("not served");
        assert_eq!(
            (status.code, status.reason.as_str()),
            (415, "UnsupportedMediaType")
        );
        assert!(
            status.message.contains("application/apply-patch+yaml"),
            "{status}"
        );
    }
}

#[test]
fn plain_texts_of_a_secret_can_be_patched_in() {
    let mut cluster = Cluster::new();
    cluster.create(
        "secrets",
        json!({"metadata": {"name": "s"}, "data": {"a": "eA=="}}),
    );
    let new = body(
        &cluster
            .send(&merge("secrets", "s", json!({"stringData": {"b": "y"}})))
            .unwrap(),
    );
    assert_eq!(new["data"], json!({"a": "eA==", "b": "eQ=="}));
    assert!(new.get("stringData").is_none());
}
