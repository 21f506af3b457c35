//! PUT.

use super::*;

#[test]
fn a_change_of_the_spec_counts_and_the_rest_is_carried() {
    let mut cluster = Cluster::new();
    let made = cluster.create("deployments", deployment("web"));
    let mut sent = deployment("web");
    sent["metadata"]["labels"] = json!({"a": "b"});
    sent["metadata"]["creationTimestamp"] = json!("2001-01-01T00:00:00Z");
    sent["spec"]["replicas"] = json!(3);
    sent["status"] = json!({"replicas": 3});
    let reply = cluster.send(&put("deployments", "web", sent)).unwrap();
    let new = body(&reply);
    assert_eq!(reply.code, 200);
    assert_eq!(new["metadata"]["generation"], 2);
    for field in ["uid", "creationTimestamp"] {
        assert_eq!(new["metadata"][field], made["metadata"][field], "{field}");
    }
    assert_eq!(new["spec"]["replicas"], 3);
    assert!(new.get("status").is_none());
    assert_eq!(Some(new.clone()), cluster.get("deployments", "web"));
    let mut labelled = new;
    labelled["metadata"]["labels"] = json!({"a": "c"});
    let newer = body(&cluster.send(&put("deployments", "web", labelled)).unwrap());
    assert_eq!(
        newer["metadata"]["generation"], 2,
        "labels are no change of the spec"
    );
}

#[test]
fn the_same_again_keeps_its_revision() {
    let mut cluster = Cluster::new();
    let made = cluster.create("deployments", deployment("web"));
    cluster.create("configmaps", json!({"metadata": {"name": "other"}}));
    let before = cluster.revision();
    for sent in [made.clone(), deployment("web")] {
        let request = put("deployments", "web", sent);
        assert!(cluster.plan(&request).unwrap().transactions.is_empty());
        assert_eq!(body(&cluster.send(&request).unwrap()), made);
    }
    assert_eq!(cluster.revision(), before);
}

#[test]
fn a_passed_revision_or_another_uid_is_a_conflict() {
    let mut cluster = Cluster::new();
    let made = cluster.create("configmaps", json!({"metadata": {"name": "c"}}));
    let mut newer = made.clone();
    newer["data"] = json!({"a": "1"});
    let request = put("configmaps", "c", newer.clone());
    assert!(
        !cluster.plan(&request).unwrap().retry_on_conflict,
        "the client named a revision"
    );
    cluster.send(&request).unwrap();
    let status = cluster.send(&request).expect_err("stale");
    assert_eq!(status.code, 409);
    assert_eq!(
        status.message,
        "Operation cannot be fulfilled on configmaps \"c\": the object has been modified; please apply your \
         changes to the latest version and try again"
    );
    newer["metadata"]["resourceVersion"] = json!("");
    newer["data"] = json!({"a": "2"});
    let request = put("configmaps", "c", newer.clone());
    assert!(
        cluster.plan(&request).unwrap().retry_on_conflict,
        "it named none"
    );
    cluster.send(&request).unwrap();
    newer["metadata"]["uid"] = json!("another");
    let status = cluster
        .send(&put("configmaps", "c", newer.clone()))
        .expect_err("another uid");
    assert!(
        status.code == 409 && status.message.contains("UID in precondition: another"),
        "{status}"
    );
    newer["metadata"] = json!({"name": "c", "resourceVersion": "new"});
    assert_eq!(
        cluster
            .send(&put("configmaps", "c", newer))
            .expect_err("no number")
            .code,
        422
    );
}

#[test]
fn what_is_not_there_or_named_otherwise_is_refused() {
    let mut cluster = Cluster::new();
    let object = json!({"metadata": {"name": "c"}});
    let status = cluster
        .send(&put("configmaps", "c", object.clone()))
        .expect_err("absent");
    assert_eq!(
        (status.code, status.message.as_str()),
        (404, "configmaps \"c\" not found")
    );
    cluster.create("configmaps", object.clone());
    let status = cluster
        .send(&put("configmaps", "d", object))
        .expect_err("another name");
    assert_eq!(
        status.message,
        "the name of the object (c) does not match the name on the URL (d)"
    );
}

#[test]
fn what_is_immutable_is_named() {
    let mut cluster = Cluster::new();
    let mut made = cluster.create("deployments", deployment("web"));
    made["spec"]["selector"] = json!({"matchLabels": {"app": "api"}});
    made["spec"]["template"]["metadata"]["labels"] = json!({"app": "api"});
    let status = cluster
        .send(&put("deployments", "web", made))
        .expect_err("selector");
    assert_eq!(status.code, 422);
    assert_eq!(
        status.to_json()["details"]["causes"][0]["field"],
        "spec.selector"
    );

    let mut made = cluster.create("pods", pod("p"));
    made["spec"]["containers"][0]["image"] = json!("i:2");
    let made = body(&cluster.send(&put("pods", "p", made)).unwrap());
    let mut moved = made;
    moved["spec"]["nodeName"] = json!("n1");
    let status = cluster
        .send(&put("pods", "p", moved))
        .expect_err("not by an update");
    assert!(
        status
            .message
            .starts_with("Pod \"p\" is invalid: spec: Forbidden: pod updates may not"),
        "{status}"
    );
}

#[test]
fn the_last_finalizer_lets_go() {
    let mut cluster = Cluster::new();
    let object = json!({"metadata": {"name": "c", "finalizers": ["example.com/a"]}});
    cluster.create("configmaps", object);
    let held = body(&cluster.send(&delete("configmaps", "c", json!({}))).unwrap());
    assert_eq!(
        held["metadata"]["deletionTimestamp"],
        "2026-01-02T03:04:05Z"
    );
    let mut more = held.clone();
    more["metadata"]["finalizers"] = json!(["example.com/a", "example.com/b"]);
    let status = cluster
        .send(&put("configmaps", "c", more))
        .expect_err("no new ones");
    assert!(
        status.message.contains("no new finalizers can be added"),
        "{status}"
    );
    let mut freed = held;
    freed["metadata"]["finalizers"] = json!([]);
    let reply = cluster.send(&put("configmaps", "c", freed)).unwrap();
    assert_eq!(reply.code, 200);
    assert_eq!(cluster.get("configmaps", "c"), None);
}

#[test]
fn a_dry_run_says_the_revision_that_stays() {
    let mut cluster = Cluster::new();
    let mut made = cluster.create("configmaps", json!({"metadata": {"name": "c"}}));
    made["data"] = json!({"a": "b"});
    let mut request = put("configmaps", "c", made.clone());
    request.options.dry_run = true;
    assert_eq!(body(&cluster.send(&request).unwrap()), made);
    assert!(
        cluster
            .get("configmaps", "c")
            .unwrap()
            .get("data")
            .is_none()
    );
}

#[test]
fn a_namespace_keeps_its_finalizers_and_its_label() {
    let mut cluster = Cluster::new();
    let sent =
        json!({"metadata": {"name": "default", "labels": {"a": "b"}}, "spec": {"finalizers": []}});
    let new = body(&cluster.send(&put("namespaces", "default", sent)).unwrap());
    assert_eq!(new["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(new["status"]["phase"], "Active");
    assert_eq!(
        new["metadata"]["labels"],
        json!({"a": "b", "kubernetes.io/metadata.name": "default"})
    );
}
