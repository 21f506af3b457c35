//! DELETE.

use super::*;

impl Cluster {
    /// A pod that is bound, with a grace period of 30 s.
    fn bound(&mut self, name: &str) -> Value {
        self.bound_as(name, pod(name))
    }

    fn bound_as(&mut self, name: &str, pod: Value) -> Value {
        self.create("pods", pod);
        let target = json!({"target": {"kind": "Node", "name": "n1"}});
        let binding = request(
            "pods",
            Some(&format!("{name}/binding")),
            Verb::Create(target),
        );
        self.send(&binding).unwrap();
        self.get("pods", name).unwrap()
    }
}

#[test]
fn an_ordinary_object_goes_at_once() {
    let mut cluster = Cluster::new();
    let made = cluster.create("configmaps", json!({"metadata": {"name": "c"}}));
    let reply = cluster.send(&delete("configmaps", "c", json!({}))).unwrap();
    assert_eq!(reply.code, 200);
    assert_eq!(body(&reply)["status"], "Success");
    assert_eq!(body(&reply)["details"]["uid"], made["metadata"]["uid"]);
    assert_eq!(cluster.get("configmaps", "c"), None);
    assert_eq!(
        cluster
            .send(&delete("configmaps", "c", json!({})))
            .expect_err("gone")
            .code,
        404
    );
}

#[test]
fn a_bound_pod_is_given_its_grace() {
    let mut cluster = Cluster::new();
    let made = cluster.bound("p");
    let marked = body(&cluster.send(&delete("pods", "p", json!({}))).unwrap());
    assert_eq!(
        marked["metadata"]["deletionTimestamp"],
        "2026-01-02T03:04:35Z"
    );
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(marked["metadata"]["uid"], made["metadata"]["uid"]);
    assert_eq!(Some(&marked), cluster.get("pods", "p").as_ref());

    let again = cluster.plan(&delete("pods", "p", json!({}))).unwrap();
    assert!(
        again.transactions.is_empty(),
        "asking twice changes nothing"
    );
    let longer = cluster
        .plan(&delete("pods", "p", json!({"gracePeriodSeconds": 60})))
        .unwrap();
    assert!(longer.transactions.is_empty(), "no one can prolong it");
    let sooner = body(
        &cluster
            .send(&delete("pods", "p", json!({"gracePeriodSeconds": 5})))
            .unwrap(),
    );
    assert_eq!(
        sooner["metadata"]["deletionTimestamp"],
        "2026-01-02T03:04:10Z"
    );
    assert_eq!(sooner["metadata"]["deletionGracePeriodSeconds"], 5);

    let reply = cluster
        .send(&delete("pods", "p", json!({"gracePeriodSeconds": 0})))
        .unwrap();
    assert_eq!(
        body(&reply)["kind"],
        "Pod",
        "the answer is the pod that went"
    );
    assert_eq!(cluster.get("pods", "p"), None);
}

#[test]
fn a_pod_that_runs_nowhere_goes_at_once() {
    let mut cluster = Cluster::new();
    cluster.create("pods", pod("unbound"));
    cluster.send(&delete("pods", "unbound", json!({}))).unwrap();
    assert_eq!(cluster.get("pods", "unbound"), None);
    for phase in ["Succeeded", "Failed"] {
        cluster.bound("over");
        cluster
            .send(&merge(
                "pods",
                "over/status",
                json!({"status": {"phase": phase}}),
            ))
            .unwrap();
        cluster.send(&delete("pods", "over", json!({}))).unwrap();
        assert_eq!(cluster.get("pods", "over"), None, "{phase}");
    }
}

#[test]
fn a_unique_pod_that_wants_no_grace_still_waits_for_its_node_unless_it_is_forced() {
    for (owner, left) in [("StatefulSet", Some(1)), ("ReplicaSet", None)] {
        let mut cluster = Cluster::new();
        let mut db = pod("db-0");
        db["spec"]["terminationGracePeriodSeconds"] = json!(0);
        db["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "apps/v1", "kind": owner, "name": "db", "uid": "u", "controller": true,
        }]);
        cluster.bound_as("db-0", db);
        cluster.send(&delete("pods", "db-0", json!({}))).unwrap();
        let there = cluster.get("pods", "db-0");
        let grace = there.map(|pod| pod["metadata"]["deletionGracePeriodSeconds"].clone());
        assert_eq!(grace, left.map(Value::from), "{owner}");
        if left.is_some() {
            let forced = delete("pods", "db-0", json!({"gracePeriodSeconds": 0}));
            cluster.send(&forced).unwrap();
            assert_eq!(cluster.get("pods", "db-0"), None);
        }
    }
}

#[test]
fn a_negative_grace_is_one_second() {
    let mut cluster = Cluster::new();
    cluster.bound("p");
    let marked = body(
        &cluster
            .send(&delete("pods", "p", json!({"gracePeriodSeconds": -5})))
            .unwrap(),
    );
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 1);
}

#[test]
fn a_finalizer_outlives_the_grace() {
    let mut cluster = Cluster::new();
    cluster.bound("p");
    cluster
        .send(&merge(
            "pods",
            "p",
            json!({"metadata": {"finalizers": ["example.com/x"]}}),
        ))
        .unwrap();
    cluster
        .send(&delete("pods", "p", json!({"gracePeriodSeconds": 5})))
        .unwrap();
    let held = body(
        &cluster
            .send(&delete("pods", "p", json!({"gracePeriodSeconds": 0})))
            .unwrap(),
    );
    assert_eq!(held["metadata"]["deletionGracePeriodSeconds"], 0);
    cluster
        .send(&merge(
            "pods",
            "p",
            json!({"metadata": {"finalizers": null}}),
        ))
        .unwrap();
    assert_eq!(cluster.get("pods", "p"), None);
}

#[test]
fn a_finalizer_that_goes_first_leaves_the_grace() {
    let mut cluster = Cluster::new();
    cluster.bound("p");
    cluster
        .send(&merge(
            "pods",
            "p",
            json!({"metadata": {"finalizers": ["example.com/x"]}}),
        ))
        .unwrap();
    cluster.send(&delete("pods", "p", json!({}))).unwrap();
    cluster
        .send(&merge(
            "pods",
            "p",
            json!({"metadata": {"finalizers": null}}),
        ))
        .unwrap();
    assert!(
        cluster.get("pods", "p").is_some(),
        "the node has not stopped it yet"
    );
}

#[test]
fn propagation_is_a_finalizer() {
    let mut cluster = Cluster::new();
    for (policy, finalizers) in [
        ("Foreground", json!(["foregroundDeletion"])),
        ("Orphan", json!(["orphan"])),
    ] {
        cluster.create("deployments", deployment("web"));
        let marked = body(
            &cluster
                .send(&delete(
                    "deployments",
                    "web",
                    json!({"propagationPolicy": policy}),
                ))
                .unwrap(),
        );
        assert_eq!(marked["metadata"]["finalizers"], finalizers);
        assert_eq!(marked["metadata"]["generation"], 2);
        assert!(!marked["metadata"]["deletionTimestamp"].is_null());
        let plain = cluster
            .plan(&delete("deployments", "web", json!({})))
            .unwrap();
        assert!(
            plain.transactions.is_empty(),
            "without a policy the one in force stays"
        );
        cluster
            .send(&delete(
                "deployments",
                "web",
                json!({"propagationPolicy": "Background"}),
            ))
            .unwrap();
        assert_eq!(cluster.get("deployments", "web"), None, "{policy}");
    }
    let status = cluster.send(&delete(
        "deployments",
        "web",
        json!({"propagationPolicy": "Sideways"}),
    ));
    assert_eq!(status.expect_err("no such policy").code, 422);
}

#[test]
fn preconditions_are_conflicts() {
    let mut cluster = Cluster::new();
    let made = cluster.create("configmaps", json!({"metadata": {"name": "c"}}));
    for given in [json!({"uid": "another"}), json!({"resourceVersion": "1"})] {
        let status = cluster.send(&delete("configmaps", "c", json!({"preconditions": given})));
        let status = status.expect_err("not this one");
        assert!(
            status.code == 409 && status.message.contains("Precondition failed"),
            "{status}"
        );
    }
    let right = json!({"uid": made["metadata"]["uid"], "resourceVersion": made["metadata"]["resourceVersion"]});
    let request = delete("configmaps", "c", json!({"preconditions": right}));
    assert!(!cluster.plan(&request).unwrap().retry_on_conflict);
    cluster.send(&request).unwrap();
}

#[test]
fn a_namespace_goes_when_it_is_finalized() {
    let mut cluster = Cluster::new();
    cluster.create("namespaces", json!({"metadata": {"name": "n"}}));
    let marked = body(&cluster.send(&delete("namespaces", "n", json!({}))).unwrap());
    assert_eq!(marked["status"]["phase"], "Terminating");
    assert_eq!(marked["spec"]["finalizers"], json!(["kubernetes"]));
    assert!(
        cluster
            .plan(&delete("namespaces", "n", json!({})))
            .unwrap()
            .transactions
            .is_empty()
    );
    let finalized = json!({"metadata": {"name": "n"}, "spec": {"finalizers": []}});
    cluster
        .send(&put("namespaces", "n/finalize", finalized))
        .unwrap();
    assert_eq!(cluster.get("namespaces", "n"), None);
    let status = cluster
        .send(&delete("namespaces", "default", json!({})))
        .expect_err("immortal");
    assert_eq!(
        status.message,
        "namespaces \"default\" is forbidden: this namespace may not be deleted"
    );
}

fn collection(plural: &str, label_selector: &str, field_selector: &str) -> Request {
    let verb = Verb::DeleteCollection {
        label_selector: label_selector.to_owned(),
        field_selector: field_selector.to_owned(),
        deletion: Deletion::default(),
    };
    request(plural, None, verb)
}

#[test]
fn a_collection_planned_again_leaves_what_came_into_being_since() {
    let mut cluster = Cluster::new();
    let named = |name: &str| json!({"metadata": {"name": name}});
    cluster.create("configmaps", named("old"));
    cluster.create("configmaps", named("anew"));
    let began = cluster.revision();
    cluster
        .send(&delete("configmaps", "anew", json!({})))
        .unwrap();
    cluster.create("configmaps", named("anew"));
    let mut stamp = Stamp {
        now: cluster.now,
        entropy: &mut cluster.entropy,
    };
    let everything = collection("configmaps", "", "");
    let again = plan_again(&cluster.store.view(), &everything, &mut stamp, began).unwrap();
    cluster.commit(&again);
    let left = ["old", "anew"].map(|name| cluster.get("configmaps", name).is_some());
    assert_eq!(left, [false, true]);
}

#[test]
fn a_collection_goes_by_its_selectors_each_object_at_a_revision_of_its_own() {
    let mut cluster = Cluster::new();
    for (name, app) in [("a", "x"), ("b", "x"), ("c", "y")] {
        cluster.create(
            "configmaps",
            json!({"metadata": {"name": name, "labels": {"app": app}}}),
        );
    }
    let before = cluster.revision();
    let reply = cluster
        .send(&collection("configmaps", "app=x", "metadata.name!=b"))
        .unwrap();
    assert_eq!(body(&reply)["status"], "Success");
    assert_eq!(cluster.revision(), before + 1);
    let left = ["a", "b", "c"].map(|name| cluster.get("configmaps", name).is_some());
    assert_eq!(left, [false, true, true]);
    cluster.send(&collection("configmaps", "", "")).unwrap();
    assert!(cluster.get("configmaps", "b").is_none() && cluster.get("configmaps", "c").is_none());
    assert_eq!(cluster.revision(), before + 3);
    assert!(
        cluster
            .plan(&collection("configmaps", "", ""))
            .unwrap()
            .transactions
            .is_empty()
    );
    assert_eq!(
        cluster
            .send(&collection("configmaps", "a b", ""))
            .expect_err("no selector")
            .code,
        400
    );
    assert_eq!(
        cluster
            .send(&collection("namespaces", "", ""))
            .expect_err("not served")
            .code,
        405
    );
}

#[test]
fn a_collection_of_pods_is_given_its_grace() {
    let mut cluster = Cluster::new();
    cluster.bound("bound");
    cluster.create("pods", pod("unbound"));
    cluster.send(&collection("pods", "", "")).unwrap();
    assert_eq!(cluster.get("pods", "unbound"), None);
    let bound = cluster.get("pods", "bound").unwrap();
    assert_eq!(bound["metadata"]["deletionGracePeriodSeconds"], 30);
}

#[test]
fn a_collection_has_a_bound() {
    let mut cluster = Cluster::new();
    for index in 0..=crate::resource::plan::delete::DELETE_COLLECTION_OBJECTS_MAX {
        cluster.create(
            "configmaps",
            json!({"metadata": {"name": format!("c{index}")}}),
        );
    }
    assert_eq!(
        cluster
            .send(&collection("configmaps", "", ""))
            .expect_err("too many")
            .code,
        413
    );
    cluster
        .send(&collection("configmaps", "", "metadata.name!=c7"))
        .unwrap();
    assert!(cluster.get("configmaps", "c7").is_some());
}

#[test]
fn a_dry_run_deletes_nothing() {
    let mut cluster = Cluster::new();
    cluster.create("configmaps", json!({"metadata": {"name": "c"}}));
    let mut request = delete("configmaps", "c", json!({}));
    request.options.dry_run = true;
    assert_eq!(cluster.send(&request).unwrap().code, 200);
    assert!(cluster.get("configmaps", "c").is_some());
}
