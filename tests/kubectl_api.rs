//! kubectl, unmodified, against the API: what it prints and how it ends.
//!
//! No controllers run here, so what they would write (statuses, ReplicaSets) is written by the test. Each test runs
//! every kubectl it finds: the one in `PATH`, or `kubectl.1.28` and `kubectl.1.33` beside it. None found is a failure.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use bytes::Bytes;
use serde_json::{Value, json};
use support::SetLog;
use support::kubectl::{Kubectl, programs, write_program};

fn deployment(image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": image}]},
            },
        },
    })
}

/// The ReplicaSet of one revision of `deployment/web`, as its controller would write it.
fn replica_set(of: &Value, revision: u32, image: &str) -> Value {
    let hash = format!("hash{revision}");
    let labels = json!({"app": "web", "pod-template-hash": hash});
    let owner = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "controller": true,
        "uid": of["metadata"]["uid"]});
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": format!("web-{hash}"), "namespace": "default", "labels": labels, "ownerReferences": [owner],
            "annotations": {"deployment.kubernetes.io/revision": revision.to_string()},
        },
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": image}]}},
        },
    })
}

fn rolled_out(generation: &Value, replicas: u32) -> Value {
    json!({
        "observedGeneration": generation, "replicas": replicas, "updatedReplicas": replicas,
        "readyReplicas": replicas, "availableReplicas": replicas,
        "conditions": [{"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "message": "ok"}],
    })
}

#[actix_web::test]
async fn a_config_map_from_cradle_to_grave() {
    for program in programs() {
        let kubectl = Kubectl::new(&program).await;
        kubectl
            .run("create configmap a --from-literal=k=v")
            .await
            .says("configmap/a created");
        kubectl
            .run("create configmap a --from-literal=k=v")
            .await
            .fails();
        kubectl.run("get cm").await.says("a      1");
        kubectl.run("get configmaps -A").await.says("default");
        kubectl.run("get cm a -o yaml").await.says("k: v");
        kubectl.run("get cm -o name").await.says("configmap/a");
        kubectl.run("get cm a -o wide").await.says("NAME");
        kubectl.run("label cm a tier=front").await.says("labeled");
        kubectl
            .run("get cm -l tier=front --show-labels")
            .await
            .says("tier=front");
        kubectl.run("annotate cm a note=x").await.says("annotated");
        for (how, patch) in [
            ("merge", r#"{"data":{"m":"1"}}"#),
            ("strategic", r#"{"data":{"s":"2"}}"#),
            ("json", r#"[{"op":"add","path":"/data/j","value":"3"}]"#),
        ] {
            let kind = format!("--type={how}");
            kubectl
                .feed(&["patch", "cm", "a", &kind, "-p", patch], "")
                .await
                .says("patched");
        }
        let data = kubectl.get("cm a").await["data"].clone();
        assert_eq!(data, json!({"k": "v", "m": "1", "s": "2", "j": "3"}));

        let editor = "#!/bin/sh\nsed -i 's/k: v/k: edited/' \"$1\"\n";
        write_program(&kubectl.file("editor"), editor);
        kubectl.run("edit cm a").await.says("edited");
        assert_eq!(kubectl.get("cm a").await["data"]["k"], "edited");

        let mut object = kubectl.get("cm a").await;
        object["data"] = json!({"k": "replaced"});
        kubectl
            .feed(&["replace", "-f", "-"], &object.to_string())
            .await
            .says("replaced");
        object["data"] = json!({"k": "late"});
        let err = kubectl
            .feed(&["replace", "-f", "-"], &object.to_string())
            .await
            .fails();
        assert!(err.contains("the object has been modified"), "{err}");

        kubectl.run("delete cm a").await.says("deleted");
        let err = kubectl.run("get cm a").await.fails();
        assert!(err.contains(r#"configmaps "a" not found"#), "{err}");
        kubectl
            .run("create secret generic s --from-literal=k=v")
            .await
            .succeeds();
        kubectl.run("create serviceaccount robot").await.succeeds();
        kubectl
            .run("delete cm,secret,sa --all")
            .await
            .says("deleted");
    }
}

#[actix_web::test]
async fn manifests_are_applied_diffed_and_checked() {
    for program in programs() {
        let kubectl = Kubectl::new(&program).await;
        kubectl
            .apply(&deployment("i:1"))
            .await
            .says("deployment.apps/web created");
        kubectl.apply(&deployment("i:1")).await.says("unchanged");
        let diff = ["diff", "-f", "-"];
        let ran = kubectl.feed(&diff, &deployment("i:2").to_string()).await;
        assert!(ran.out.contains("+      - image: i:2"), "{ran:#?}");
        assert_eq!(
            kubectl
                .feed(&diff, &deployment("i:1").to_string())
                .await
                .succeeds(),
            ""
        );
        let dry = ["apply", "--dry-run=server", "-f", "-"];
        kubectl
            .feed(&dry, &deployment("i:2").to_string())
            .await
            .says("(server dry run)");
        kubectl.apply(&deployment("i:2")).await.says("configured");
        let image =
            &kubectl.get("deploy web").await["spec"]["template"]["spec"]["containers"][0]["image"];
        assert_eq!(image, "i:2");

        let mut unknown = deployment("i:2");
        unknown["spec"]["replics"] = 3.into();
        let err = kubectl.apply(&unknown).await.fails();
        assert!(err.contains(r#"unknown field "spec.replics""#), "{err}");
        let mut wrong = deployment("i:2");
        wrong["metadata"]["name"] = "other".into();
        wrong["spec"]["replicas"] = "three".into();
        let err = kubectl.apply(&wrong).await.fails();
        assert!(err.contains("replicas"), "{err}");
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [deployment("i:3"),
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "default"}}]});
        kubectl.apply(&list).await.says("configmap/c created");
        kubectl.run("delete deployment web").await.says("deleted");
    }
}

#[actix_web::test]
async fn a_deployment_is_scaled() {
    for program in programs() {
        let kubectl = Kubectl::new(&program).await;
        kubectl
            .run("create deployment web --image=i:1 --replicas=2")
            .await
            .says("created");
        kubectl.run("get deploy -o wide").await.says("i:1");
        kubectl
            .run("scale deploy web --replicas=3")
            .await
            .says("scaled");
        kubectl
            .run("scale deploy web --current-replicas=3 --replicas=5")
            .await
            .says("scaled");
        assert!(
            !kubectl
                .run("scale deploy web --current-replicas=3 --replicas=9")
                .await
                .ok
        );
        assert_eq!(kubectl.get("deploy web").await["spec"]["replicas"], 5);
    }
}

#[actix_web::test]
async fn a_deployment_is_changed_and_the_change_undone() {
    for program in programs() {
        let kubectl = Kubectl::new(&program).await;
        kubectl
            .run("create deployment web --image=i:1 --replicas=5")
            .await
            .says("created");
        let web = kubectl.get("deploy web").await;
        kubectl
            .run("set image deploy/web i=i:2")
            .await
            .says("image updated");
        kubectl
            .run("set env deploy/web KEY=value")
            .await
            .says("env updated");
        kubectl
            .run("rollout restart deploy/web")
            .await
            .says("restarted");
        kubectl
            .run("annotate deploy web deployment.kubernetes.io/revision=2")
            .await
            .succeeds();
        for (revision, image) in [(1, "i:1"), (2, "i:2")] {
            kubectl
                .apply(&replica_set(&web, revision, image))
                .await
                .succeeds();
        }
        kubectl.run("get rs").await.says("web-hash1");
        kubectl.run("rollout history deploy/web").await.says("2 ");
        kubectl
            .run("rollout history deploy/web --revision=1")
            .await
            .says("i:1");
        kubectl
            .run("rollout undo deploy/web")
            .await
            .says("rolled back");
        let web = kubectl.get("deploy web").await;
        assert_eq!(
            web["spec"]["template"]["spec"]["containers"][0]["image"],
            "i:1"
        );
    }
}

#[actix_web::test]
async fn a_rollout_is_awaited_paused_and_resumed() {
    for program in programs() {
        let kubectl = Kubectl::new(&program).await;
        kubectl
            .run("create deployment web --image=i:1 --replicas=5")
            .await
            .says("created");
        let web = kubectl.get("deploy web").await;
        let mut rollout = kubectl.start("rollout status deploy/web");
        rollout.line("Waiting for deployment").await;
        kubectl
            .set_status("deploy web", &rolled_out(&web["metadata"]["generation"], 5))
            .await;
        rollout.line("successfully rolled out").await;
        rollout.ends_well().await;
        kubectl
            .run("wait deploy/web --for=condition=Available --timeout=10s")
            .await
            .says("condition met");
        kubectl.run("rollout pause deploy/web").await.says("paused");
        kubectl
            .run("rollout resume deploy/web")
            .await
            .says("resumed");
        kubectl.run("get deploy").await.says("5/5");
        kubectl.run("describe deploy web").await.says("5 available");
        kubectl.run("get all").await.says("deployment.apps/web");
    }
}

/// The status of a pod that runs on node `n1`.
fn running() -> Value {
    json!({
        "phase": "Running", "podIP": "10.0.0.5", "hostIP": "10.0.0.1",
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{"name": "web", "image": "i:1", "imageID": "sha256:0", "ready": true, "restartCount": 2,
            "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}],
    })
}

/// Binds a pod to node `n1`, as the scheduler would.
async fn bind(kubectl: &Kubectl, pod: &str) {
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod},
        "target": {"kind": "Node", "name": "n1"}});
    std::fs::write(kubectl.file("binding"), binding.to_string()).unwrap();
    let uri = format!("/api/v1/namespaces/default/pods/{pod}/binding");
    kubectl
        .run(&format!("create --raw {uri} -f binding"))
        .await
        .succeeds();
}

#[actix_web::test]
async fn a_pod_is_watched_described_and_its_log_read() {
    for program in programs() {
        let kubectl = Kubectl::new(&program).await;
        let mut all = kubectl.start("get pods -w");
        kubectl
            .run("run web --image=i:1")
            .await
            .says("pod/web created");
        all.line("Pending").await;
        let mut one = kubectl.start("get pod web -w");
        one.line("Pending").await;
        bind(&kubectl, "web").await;
        let err = kubectl.run("logs web").await.fails();
        assert!(err.contains("web"), "{err}");
        kubectl.set_status("pod web", &running()).await;
        all.line("Running").await;
        one.line("Running").await;
        kubectl.run("get pod web -o wide").await.says("10.0.0.5");
        kubectl
            .run("get pods --field-selector=status.phase=Running")
            .await
            .says("web");
        kubectl
            .run("wait pod/web --for=condition=Ready --timeout=10s")
            .await
            .says("condition met");
        kubectl.run("describe pod web").await.says("n1/10.0.0.1");

        let pieces = ["first\n", "second\n"].map(Bytes::from).to_vec();
        kubectl
            .backend
            .send(SetLog("default/web/web".into(), pieces))
            .await
            .unwrap();
        assert_eq!(kubectl.run("logs web").await.succeeds(), "first\nsecond\n");
        assert_eq!(
            kubectl.run("logs -f web --tail=1").await.succeeds(),
            "second\n"
        );

        let mut deleting = kubectl.start("delete pod web");
        deleting.line("deleted").await;
        kubectl.run("get pods").await.says("Terminating");
        remove(&kubectl, "web").await;
        deleting.ends_well().await;
        let err = kubectl.run("get pod web").await.fails();
        assert!(err.contains(r#"pods "web" not found"#), "{err}");
    }
}

/// Removes a pod for good, as its node would once its containers have ended.
async fn remove(kubectl: &Kubectl, pod: &str) {
    let delete = format!("delete pod {pod} --grace-period=0 --force");
    kubectl.run(&delete).await.says("deleted");
}

#[actix_web::test]
async fn a_node_is_cordoned_tainted_and_drained() {
    for program in programs() {
        let kubectl = Kubectl::new(&program).await;
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
        kubectl.apply(&node).await.says("created");
        let status = json!({"capacity": {"cpu": "2"}, "allocatable": {"cpu": "2"},
            "conditions": [{"type": "Ready", "status": "True"}]});
        kubectl.set_status("node n1", &status).await;
        kubectl.run("get nodes -o wide").await.says("Ready");
        kubectl
            .run("taint node n1 a=b:NoSchedule")
            .await
            .says("tainted");
        kubectl.run("describe node n1").await.says("a=b:NoSchedule");
        kubectl.run("run web --image=i:1").await.succeeds();
        bind(&kubectl, "web").await;
        kubectl.set_status("pod web", &running()).await;
        let mut draining = kubectl.start("drain n1 --force");
        draining.line("evicting pod default/web").await;
        // The node ends a pod after it was told to, so not before the eviction is in force.
        let uri = "get --raw /api/v1/namespaces/default/pods/web";
        let evicted = async {
            while !kubectl
                .run(uri)
                .await
                .succeeds()
                .contains("deletionTimestamp")
            {}
        };
        let deadline = std::time::Duration::from_secs(60);
        tokio::time::timeout(deadline, evicted)
            .await
            .expect("evicted in time");
        remove(&kubectl, "web").await;
        draining.line("node/n1 drained").await;
        draining.ends_well().await;
        kubectl.run("get nodes").await.says("SchedulingDisabled");
        kubectl.run("uncordon n1").await.says("uncordoned");
    }
}

#[actix_web::test]
async fn the_api_explains_itself() {
    for program in programs() {
        let kubectl = Kubectl::new(&program).await;
        kubectl.run("version").await.says("v1.33.0+kagero.");
        kubectl.run("api-resources").await.says("deployments");
        kubectl.run("api-versions").await.says("apps/v1");
        kubectl
            .run("explain deployment.spec.replicas")
            .await
            .says("integer");
        kubectl
            .run("explain pod.spec.containers")
            .await
            .says("image");
        kubectl
            .run("get --raw /readyz?verbose")
            .await
            .says("readyz check passed");
        kubectl
            .run("get --raw /metrics")
            .await
            .says("apiserver_request_total");
        kubectl.run("get ns,nodes,leases -A").await.says("default");
        let err = kubectl.run("get frogs").await.fails();
        assert!(
            err.contains(r#"doesn't have a resource type "frogs""#),
            "{err}"
        );
        kubectl.run("create namespace other").await.says("created");
        kubectl
            .run("-n other create configmap c")
            .await
            .says("created");
        kubectl.run("get cm -A").await.says("other");
        kubectl.run("get events").await.succeeds();
    }
}

#[actix_web::test]
async fn what_is_not_served_is_named_and_what_is_ignored_is_warned_of() {
    for program in programs() {
        let kubectl = Kubectl::new(&program).await;
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "c", "image": "i", "livenessProbe": {"exec": {"command": ["true"]}}}]},
        });
        let applied = kubectl.apply(&pod).await;
        let warning =
            "Warning: spec.containers[0].livenessProbe: not served by Kagero yet; ignored";
        assert!(applied.err.contains(warning), "{applied:#?}");
        applied.says("pod/p created");
        bind(&kubectl, "p").await;
        kubectl.set_status("pod p", &running()).await;
        kubectl.apply(&deployment("a")).await.succeeds();
        let cases = [
            ("exec p -- ls", "pods/exec"),
            ("attach p", "pods/attach"),
            ("port-forward p 18181:80", "pods/portforward"),
            ("debug p --image=busybox", "pods/ephemeralcontainers"),
            (
                "auth can-i get pods",
                "selfsubjectaccessreviews.authorization.k8s.io",
            ),
            (
                "autoscale deployment web --max=3",
                "horizontalpodautoscalers.autoscaling",
            ),
            (
                "create role r --verb=get --resource=pods",
                "roles.rbac.authorization.k8s.io",
            ),
            ("create token default", "serviceaccounts/token"),
        ];
        for (command, what) in cases {
            let err = kubectl.run(command).await.fails();
            let told = format!("Kagero does not serve {what} (yet)");
            assert!(err.contains(&told), "{command}: {err}");
            assert!(!err.contains("panic"), "{command}: {err}");
        }
    }
}
