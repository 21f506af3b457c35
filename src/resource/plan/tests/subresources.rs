//! Status, scale, binding, eviction, finalize.

use super::*;

#[test]
fn the_status_alone_changes() {
    let mut cluster = Cluster::new();
    let made = cluster.create("deployments", deployment("web"));
    let mut sent = made.clone();
    sent["spec"]["replicas"] = json!(9);
    sent["metadata"]["labels"] = json!({"a": "b"});
    sent["status"] = json!({"replicas": 1, "observedGeneration": 1});
    let new = body(
        &cluster
            .send(&put("deployments", "web/status", sent))
            .unwrap(),
    );
    assert_eq!(
        new["status"],
        json!({"replicas": 1, "observedGeneration": 1})
    );
    assert_eq!(new["spec"], made["spec"]);
    assert_eq!(new["metadata"]["generation"], 1);
    assert!(new["metadata"].get("labels").is_none());
    let patch = merge(
        "deployments",
        "web/status",
        json!({"status": {"replicas": 2}}),
    );
    let new = body(&cluster.send(&patch).unwrap());
    assert_eq!(
        new["status"],
        json!({"replicas": 2, "observedGeneration": 1})
    );
    assert!(
        cluster.plan(&patch).unwrap().transactions.is_empty(),
        "the same again"
    );
}

#[test]
fn a_status_for_another_incarnation_is_refused() {
    let mut cluster = Cluster::new();
    cluster.create("pods", pod("p"));
    let patch = merge(
        "pods",
        "p/status",
        json!({"metadata": {"uid": "old"}, "status": {"phase": "Running"}}),
    );
    assert_eq!(cluster.send(&patch).expect_err("another uid").code, 409);
    let wrong = merge("pods", "p/status", json!({"status": {"phase": 1}}));
    assert_eq!(cluster.send(&wrong).expect_err("a number").code, 400);
}

#[test]
fn scale_reads_and_writes_replicas() {
    let mut cluster = Cluster::new();
    let made = cluster.create("deployments", deployment("web"));
    let kind = crate::resource::registry::find("apps", "v1", "deployments").unwrap();
    let scale = crate::resource::scale_of(kind, &made);
    assert_eq!(scale["spec"]["replicas"], 1);
    assert_eq!(scale["status"]["selector"], "app=web");
    assert_eq!(
        scale["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );

    let mut sent = scale;
    sent["spec"]["replicas"] = json!(4);
    let request = put("deployments", "web/scale", sent);
    let answer = body(&cluster.send(&request).unwrap());
    assert_eq!(
        (&answer["kind"], &answer["spec"]["replicas"]),
        (&json!("Scale"), &json!(4))
    );
    let stored = cluster.get("deployments", "web").unwrap();
    assert_eq!(stored["spec"]["replicas"], 4);
    assert_eq!(stored["metadata"]["generation"], 2);
    assert_eq!(
        answer["metadata"]["resourceVersion"],
        stored["metadata"]["resourceVersion"]
    );
    assert_eq!(cluster.send(&request).expect_err("stale").code, 409);

    let patch = merge("deployments", "web/scale", json!({"spec": {"replicas": 0}}));
    assert_eq!(body(&cluster.send(&patch).unwrap())["spec"]["replicas"], 0);
    let status = cluster.send(&merge(
        "deployments",
        "web/scale",
        json!({"spec": {"replicas": -1}}),
    ));
    let status = status.expect_err("negative");
    assert_eq!(
        status.message,
        "Scale.autoscaling \"web\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"
    );
    let absent = merge("deployments", "api/scale", json!({"spec": {"replicas": 1}}));
    assert_eq!(cluster.send(&absent).expect_err("absent").code, 404);
}

fn binding(target: Value) -> Request {
    let object = json!({"metadata": {"name": "p", "annotations": {"a": "b"}}, "target": target});
    request("pods", Some("p/binding"), Verb::Create(object))
}

#[test]
fn a_pod_is_bound_once() {
    let mut cluster = Cluster::new();
    cluster.create("pods", pod("p"));
    let status = cluster
        .send(&binding(json!({"kind": "Node"})))
        .expect_err("no node");
    assert_eq!(
        status.message,
        "Binding \"p\" is invalid: target.name: Required value"
    );
    assert_eq!(
        cluster
            .send(&binding(json!({"kind": "Pod", "name": "n1"})))
            .expect_err("no node")
            .code,
        422
    );

    let reply = cluster
        .send(&binding(json!({"kind": "Node", "name": "n1"})))
        .unwrap();
    assert_eq!(
        (reply.code, &body(&reply)["status"]),
        (201, &json!("Success"))
    );
    let bound = cluster.get("pods", "p").unwrap();
    assert_eq!(bound["spec"]["nodeName"], "n1");
    assert_eq!(bound["metadata"]["annotations"]["a"], "b");
    assert_eq!(
        bound["status"]["conditions"],
        json!([{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z"}])
    );
    let status = cluster
        .send(&binding(json!({"name": "n2"})))
        .expect_err("bound");
    assert_eq!(status.code, 409);
    assert!(
        status
            .message
            .ends_with("pod p is already assigned to node \"n1\""),
        "{status}"
    );
}

#[test]
fn a_pod_that_goes_is_not_bound() {
    let mut cluster = Cluster::new();
    let mut object = pod("p");
    object["metadata"]["finalizers"] = json!(["example.com/x"]);
    cluster.create("pods", object);
    cluster.send(&delete("pods", "p", json!({}))).unwrap();
    let status = cluster
        .send(&binding(json!({"name": "n1"})))
        .expect_err("going");
    assert!(
        status.code == 409 && status.message.contains("is being deleted"),
        "{status}"
    );
}

#[test]
fn two_bindings_race_and_one_wins() {
    let mut cluster = Cluster::new();
    cluster.create("pods", pod("p"));
    let plans = ["n1", "n2"].map(|node| cluster.plan(&binding(json!({"name": node}))).unwrap());
    assert!(matches!(
        cluster.commit(&plans[0]),
        Outcome::Committed { .. }
    ));
    assert!(matches!(
        cluster.commit(&plans[1]),
        Outcome::Conflict { .. }
    ));
}

#[test]
fn an_eviction_deletes_with_grace() {
    let mut cluster = Cluster::new();
    cluster.create("pods", pod("p"));
    cluster.send(&binding(json!({"name": "n1"}))).unwrap();
    let evict = |options: Value| {
        let object = json!({"metadata": {"name": "p"}, "deleteOptions": options});
        request("pods", Some("p/eviction"), Verb::Create(object))
    };
    let dry = evict(json!({"dryRun": ["All"]}));
    assert_eq!(cluster.send(&dry).unwrap().code, 201);
    assert!(
        cluster.get("pods", "p").unwrap()["metadata"]
            .get("deletionTimestamp")
            .is_none()
    );
    let reply = cluster
        .send(&evict(json!({"gracePeriodSeconds": 7})))
        .unwrap();
    assert_eq!(
        (reply.code, &body(&reply)["status"]),
        (201, &json!("Success"))
    );
    let marked = cluster.get("pods", "p").unwrap();
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 7);
    let other = json!({"metadata": {"name": "q"}});
    let other = request("pods", Some("p/eviction"), Verb::Create(other));
    assert_eq!(cluster.send(&other).expect_err("another pod").code, 400);
}

#[test]
fn finalizing_leaves_a_live_namespace_alone() {
    let mut cluster = Cluster::new();
    let sent = json!({"metadata": {"name": "default"}, "spec": {"finalizers": []}});
    let new = body(
        &cluster
            .send(&put("namespaces", "default/finalize", sent))
            .unwrap(),
    );
    assert_eq!(new["spec"], json!({}));
    assert!(cluster.get("namespaces", "default").is_some());
}
