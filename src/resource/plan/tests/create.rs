//! POST.

use super::*;
use crate::resource::registry::{Kind, kinds};

#[test]
fn an_object_is_stamped_defaulted_and_answered_as_stored() {
    let mut cluster = Cluster::new();
    let sent = json!({
        "metadata": {"name": "web", "creationTimestamp": null, "managedFields": [{"manager": "x"}], "generation": 9},
        "spec": deployment("web")["spec"],
        "status": {"replicas": 7},
    });
    let answer = cluster.create("deployments", sent);
    assert_eq!(Some(&answer), cluster.get("deployments", "web").as_ref());
    let metadata = &answer["metadata"];
    assert_eq!(metadata["creationTimestamp"], "2026-01-02T03:04:05Z");
    assert_eq!(metadata["namespace"], "default");
    assert_eq!(metadata["generation"], 1);
    assert_eq!(metadata["resourceVersion"], "2");
    assert_eq!(metadata["uid"].as_str().unwrap().len(), 36);
    assert!(metadata.get("managedFields").is_none());
    assert_eq!(
        (&answer["apiVersion"], &answer["kind"]),
        (&json!("apps/v1"), &json!("Deployment"))
    );
    assert_eq!(answer["spec"]["replicas"], 1);
    assert!(answer.get("status").is_none());
}

#[test]
fn every_kind_can_be_made_and_read_by_the_typed_cache() {
    let mut cluster = Cluster::new();
    let named = json!({"metadata": {"name": "x"}});
    let mut replica_set = deployment("x");
    replica_set["spec"]["replicas"] = json!(2);
    for (plural, object) in [
        ("nodes", named.clone()),
        ("pods", pod("x")),
        ("configmaps", named.clone()),
        (
            "secrets",
            json!({"metadata": {"name": "x"}, "stringData": {"a": "b"}}),
        ),
        ("serviceaccounts", named.clone()),
        ("replicasets", replica_set),
        ("deployments", deployment("x")),
        (
            "leases",
            json!({"metadata": {"name": "x"}, "spec": {"holderIdentity": "n", "renewTime": "2026-01-01T00:00:00.000000Z"}}),
        ),
        (
            "events",
            json!({"metadata": {"name": "x"}, "involvedObject": {"kind": "Pod", "name": "x", "namespace": "default"}}),
        ),
    ] {
        cluster.create(plural, object);
    }
    let (cache, unreadable) = crate::resource::Cache::fill(&cluster.store.view());
    assert!(unreadable.is_empty(), "{unreadable:?}");
    assert_eq!(cache.list::<k8s_openapi::api::core::v1::Pod>().count(), 1);
}

#[test]
fn a_generated_name_is_drawn_until_it_is_free() {
    let mut cluster = Cluster::new();
    let sent = json!({"metadata": {"generateName": "web-"}});
    let first = cluster.create("configmaps", sent.clone());
    let name = first["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("web-") && name.len() == 9, "{name}");
    // The same chance again draws the same name first.
    cluster.entropy = Cluster::new().entropy;
    let second = cluster.create("configmaps", sent);
    assert_ne!(second["metadata"]["name"], name);
}

/// Each object is refused with this code and words, and nothing is stored.
fn refused(cluster: &mut Cluster, table: &[(&str, Value, u16, &str)]) {
    for (plural, object, code, message) in table {
        let mut request = post(plural, object.clone());
        request.options.field_validation = "Strict".to_owned();
        let before = cluster.revision();
        let status = cluster.send(&request).expect_err(message);
        assert_eq!(status.code, *code, "{object}: {status}");
        assert!(status.message.contains(message), "{object}: {status}");
        assert_eq!(cluster.revision(), before);
    }
}

#[test]
fn what_makes_no_sense_is_400() {
    let mut unknown = pod("p");
    unknown["spec"]["foo"] = json!(1);
    let strict = "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: unknown field \"spec.foo\"";
    let mut wrong = pod("p");
    wrong["spec"]["containers"] = json!("none");
    let maps = "configmaps";
    let table = [
        (maps, json!([]), 400, "must be a JSON object"),
        (
            maps,
            json!({"kind": "Pod"}),
            400,
            "does not match the expected v1, ConfigMap",
        ),
        (
            maps,
            json!({"apiVersion": "v2"}),
            400,
            "does not match the expected",
        ),
        (
            maps,
            json!({"metadata": {"name": "a", "resourceVersion": "1"}}),
            400,
            "resourceVersion should not be set",
        ),
        (
            maps,
            json!({"metadata": {"name": "a", "namespace": "b"}}),
            400,
            "does not match the namespace sent",
        ),
        ("pods", unknown, 400, strict),
        ("pods", wrong, 400, "cannot unmarshal string into"),
    ];
    refused(&mut Cluster::new(), &table);
}

#[test]
fn what_breaks_a_rule_is_422_and_a_taken_name_409() {
    let mut cluster = Cluster::new();
    let taken = json!({"metadata": {"name": "taken"}});
    cluster.create("configmaps", taken.clone());
    let nameless = "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required";
    let named = |name: &str| json!({"metadata": {"name": name}});
    let table = [
        (
            "configmaps",
            taken,
            409,
            "configmaps \"taken\" already exists",
        ),
        ("configmaps", json!({}), 422, nameless),
        (
            "configmaps",
            named("A"),
            422,
            "a lowercase RFC 1123 subdomain must consist of",
        ),
        (
            "namespaces",
            named("a.b"),
            422,
            "a lowercase RFC 1123 label must consist of",
        ),
        (
            "pods",
            named("p"),
            422,
            "Pod \"p\" is invalid: spec.containers: Required value",
        ),
    ];
    refused(&mut cluster, &table);
}

#[test]
fn unknown_fields_are_warned_of_or_ignored_and_always_dropped() {
    let mut cluster = Cluster::new();
    for (name, validation, warnings) in [("a", "", 1), ("b", "Warn", 1), ("c", "Ignore", 0)] {
        let mut request = post(
            "configmaps",
            json!({"metadata": {"name": name, "colour": "red"}, "extra": {}}),
        );
        request.options.field_validation = validation.to_owned();
        let reply = cluster.send(&request).unwrap();
        assert_eq!(
            reply.warnings.len(),
            warnings * 2,
            "{validation}: {:?}",
            reply.warnings
        );
        let stored = cluster.get("configmaps", name).unwrap();
        assert!(stored.get("extra").is_none() && stored["metadata"].get("colour").is_none());
    }
    let mut request = post("configmaps", json!({"metadata": {"name": "d"}}));
    request.options.field_validation = "Maybe".to_owned();
    assert_eq!(cluster.send(&request).expect_err("no such mode").code, 422);
}

#[test]
fn what_no_part_serves_is_warned_of_on_create_update_and_patch() {
    let probed = |image: &str| {
        let probe = json!({"exec": {"command": ["true"]}});
        let mut pod = pod("p");
        pod["spec"]["containers"][0]["image"] = json!(image);
        pod["spec"]["containers"][0]["livenessProbe"] = probe;
        pod
    };
    let of = |path: &str| vec![format!("{path}: not served by Kagero yet; ignored")];
    let told = of("spec.containers[0].livenessProbe");
    let mut cluster = Cluster::new();
    assert_eq!(
        cluster.send(&post("pods", probed("a"))).unwrap().warnings,
        told
    );
    let reply = cluster.send(&put("pods", "p", probed("b"))).unwrap();
    assert_eq!(reply.warnings, told);
    cluster.create("deployments", deployment("d"));
    let patch = json!({"spec": {"template": {"spec": {"runtimeClassName": "x"}}}});
    let reply = cluster.send(&merge("deployments", "d", patch)).unwrap();
    assert_eq!(reply.warnings, of("spec.template.spec.runtimeClassName"));
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    let reply = cluster.send(&merge("deployments", "d", label)).unwrap();
    assert_eq!(reply.warnings, [""; 0]);
}

#[test]
fn a_pod_runs_as_an_account_that_exists() {
    let mut cluster = Cluster::new();
    let mut of_robot = pod("p");
    of_robot["spec"]["serviceAccountName"] = json!("robot");
    let refused = cluster.send(&post("pods", of_robot.clone())).unwrap_err();
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.message,
        "pods \"p\" is forbidden: error looking up service account default/robot: serviceaccount \"robot\" not found"
    );
    let mut template = deployment("d");
    template["spec"]["template"]["spec"]["serviceAccountName"] = json!("robot");
    let reply = cluster.send(&post("deployments", template)).unwrap();
    assert_eq!(
        reply.warnings,
        [
            "spec.template.spec.serviceAccountName: serviceaccount \"robot\" not found; pods are refused until it exists"
        ]
    );
    cluster.create("serviceaccounts", json!({"metadata": {"name": "robot"}}));
    cluster.create("pods", of_robot);
}

#[test]
fn what_other_libraries_send_is_brought_to_one_form() {
    let mut cluster = Cluster::new();
    let mut object = pod("p");
    object["metadata"]["labels"] = json!({"a": null, "b": "c"});
    object["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": 2}});
    object["spec"]["volumes"] = json!(null);
    let stored = cluster.create("pods", object);
    assert_eq!(stored["metadata"]["labels"], json!({"b": "c"}));
    let resources = json!({"limits": {"cpu": "2"}, "requests": {"cpu": "2"}});
    assert_eq!(stored["spec"]["containers"][0]["resources"], resources);
    assert!(stored["spec"].get("volumes").is_none());
    let lease = json!({"metadata": {"name": "l"}, "spec": {"renewTime": "2026-01-01T01:00:00.000000+01:00"}});
    let lease = cluster.create("leases", lease);
    assert_eq!(lease["spec"]["renewTime"], "2026-01-01T00:00:00Z");
}

#[test]
fn a_namespace_must_be_there_and_stay() {
    let mut cluster = Cluster::new();
    let mut request = post("configmaps", json!({"metadata": {"name": "a"}}));
    request.namespace = Some("gone".to_owned());
    let status = cluster.send(&request).expect_err("no such namespace");
    assert_eq!(
        (status.code, status.message.as_str()),
        (404, "namespaces \"gone\" not found")
    );

    let made = cluster.create("namespaces", json!({"metadata": {"name": "gone"}}));
    assert_eq!(made["spec"], json!({"finalizers": ["kubernetes"]}));
    assert_eq!(made["status"], json!({"phase": "Active"}));
    assert_eq!(
        made["metadata"]["labels"],
        json!({"kubernetes.io/metadata.name": "gone"})
    );

    let planned = cluster.plan(&request).unwrap();
    cluster
        .send(&delete("namespaces", "gone", json!({})))
        .unwrap();
    assert!(
        matches!(cluster.commit(&planned), Outcome::Conflict { .. }),
        "it began to go in between"
    );
    assert!(planned.retry_on_conflict);
    let status = cluster.send(&request).expect_err("terminating");
    assert_eq!(status.code, 403);
    assert_eq!(
        status.to_json()["details"]["causes"][0]["reason"],
        "NamespaceTerminating"
    );
}

#[test]
fn a_dry_run_answers_and_writes_nothing() {
    let mut cluster = Cluster::new();
    let mut request = post("pods", pod("p"));
    request.options.dry_run = true;
    let before = cluster.revision();
    let reply = cluster.send(&request).unwrap();
    assert_eq!(reply.code, 201);
    assert_eq!(body(&reply)["spec"]["restartPolicy"], "Always");
    assert!(body(&reply)["metadata"].get("resourceVersion").is_none());
    assert_eq!(cluster.revision(), before);
}

#[test]
fn a_pod_starts_pending_and_a_node_keeps_its_status() {
    let mut cluster = Cluster::new();
    let mut object = pod("p");
    object["status"] = json!({"phase": "Running"});
    let made = cluster.create("pods", object);
    assert_eq!(
        made["status"],
        json!({"phase": "Pending", "qosClass": "BestEffort"})
    );
    assert_eq!(made["spec"]["serviceAccountName"], "default");
    let node = json!({"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "2"}}});
    let made = cluster.create("nodes", node);
    assert_eq!(made["status"]["allocatable"]["cpu"], "2");
}

#[test]
fn what_is_too_large_is_refused_before_its_rules_are_looked_at() {
    let mut cluster = Cluster::new();
    let labels: serde_json::Map<String, Value> = (0..200_000)
        .map(|n| (format!("-{n}"), json!("-")))
        .collect();
    let object = json!({"metadata": {"name": "x", "labels": labels}});
    let refused = cluster.send(&post("configmaps", object)).unwrap_err();
    assert_eq!(refused.code, 413);
}

#[test]
fn an_object_has_a_largest_size() {
    let mut cluster = Cluster::new();
    let mut object = pod("p");
    object["spec"]["containers"][0]["args"] =
        json!(["x".repeat(crate::resource::plan::OBJECT_BYTES_MAX)]);
    assert_eq!(
        cluster
            .send(&post("pods", object))
            .expect_err("too large")
            .code,
        413
    );
}

#[test]
fn paths_and_verbs_that_are_not_served_are_refused() {
    let mut cluster = Cluster::new();
    let object = json!({"metadata": {"name": "a"}});
    let mut unknown = post("pods", object.clone());
    unknown.resource.plural = "podlings".to_owned();
    assert_eq!(
        cluster.send(&unknown).expect_err("no such resource").code,
        404
    );
    let sub = request("pods", Some("p/colour"), Verb::Create(object.clone()));
    assert_eq!(
        cluster.send(&sub).expect_err("no such subresource").code,
        404
    );
    let log = put("pods", "p/log", object.clone());
    assert_eq!(cluster.send(&log).expect_err("only read").code, 405);
    let mut nowhere = post("pods", object.clone());
    nowhere.namespace = None;
    assert_eq!(cluster.send(&nowhere).expect_err("no namespace").code, 400);
    let mut somewhere = post("nodes", object);
    somewhere.namespace = Some("default".to_owned());
    assert_eq!(
        cluster.send(&somewhere).expect_err("not namespaced").code,
        400
    );
}

#[test]
fn the_same_chance_and_time_give_the_same_bytes() {
    let run = || {
        let mut cluster = Cluster::new();
        cluster.create(
            "pods",
            json!({"metadata": {"generateName": "p-"}, "spec": pod("p")["spec"]}),
        )
    };
    assert_eq!(run(), run());
}

/// Bodies as kubectl 1.33 sends them (see the file's head).
const RECORDED: &str = include_str!("../../protobuf/fixtures.txt");

#[test]
fn what_kubectl_creates_is_taken_under_strict_validation() {
    let mut cluster = Cluster::new();
    let lines = RECORDED
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines: Vec<&str> = lines.collect();
    let mut taken = std::collections::BTreeSet::new();
    for recorded in lines.chunks_exact(3) {
        let object: Value = serde_json::from_str(recorded[2]).unwrap();
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let (api_version, name) = (text("apiVersion"), text("kind"));
        let is = |row: &&Kind| row.kind == name && row.api_version() == api_version;
        let Some(kind) = kinds().iter().find(is) else {
            continue;
        };
        let mut request = post(kind.plural, object.clone());
        request.options.field_validation = "Strict".to_owned();
        let body = crate::resource::protobuf::decode(&bytes_of(recorded[1])).unwrap();
        request.verb = Verb::Create(body);
        let reply = cluster
            .send(&request)
            .unwrap_or_else(|status| panic!("{}: {status}", recorded[0]));
        // No field is unknown; that some are not served is another thing.
        assert!(
            reply.warnings.iter().all(|w| w.contains("by Kagero yet")),
            "{}: {:?}",
            recorded[0],
            reply.warnings
        );
        taken.insert(kind.plural);
    }
    let served = [
        "configmaps",
        "deployments",
        "namespaces",
        "secrets",
        "serviceaccounts",
    ];
    assert!(
        served.iter().all(|plural| taken.contains(plural)),
        "{taken:?}"
    );
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let pair = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(pair).collect()
}
