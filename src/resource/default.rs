//! What Kubernetes fills in where a client said nothing: workloads and secrets. Pods have a file of their own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::default_pod;
use super::json::{member, set_default};

/// `apps/v1 Deployment`.
pub(super) fn deployment(object: &mut Value) {
    let spec = member(object, "spec");
    set_default(spec, "replicas", 1);
    set_default(spec, "revisionHistoryLimit", 10);
    set_default(spec, "progressDeadlineSeconds", 600);
    let strategy = member(spec, "strategy");
    set_default(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        let rolling = member(strategy, "rollingUpdate");
        set_default(rolling, "maxUnavailable", "25%");
        set_default(rolling, "maxSurge", "25%");
    }
    template(spec);
}

/// `apps/v1 ReplicaSet`.
pub(super) fn replica_set(object: &mut Value) {
    let spec = member(object, "spec");
    set_default(spec, "replicas", 1);
    template(spec);
}

fn template(spec: &mut Value) {
    let template = member(spec, "template");
    member(template, "metadata");
    default_pod::template(member(template, "spec"));
}

/// `v1 Secret`: the type, and `stringData` moved into `data`.
pub(super) fn secret(object: &mut Value) {
    set_default(object, "type", "Opaque");
    let members = object.as_object_mut();
    let Some(Value::Object(texts)) = members.and_then(|members| members.remove("stringData"))
    else {
        return;
    };
    for (key, text) in texts {
        let text = text.as_str().unwrap_or_default();
        member(object, "data")[key] = STANDARD.encode(text).into();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_deployment_gets_kubernetes_defaults() {
        let mut object =
            json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        deployment(&mut object);
        let spec = &object["spec"];
        assert_eq!(spec["replicas"], 1);
        assert_eq!(spec["revisionHistoryLimit"], 10);
        assert_eq!(spec["progressDeadlineSeconds"], 600);
        assert_eq!(
            spec["strategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
        );
        let pod = &spec["template"]["spec"];
        assert_eq!(pod["restartPolicy"], "Always");
        assert!(
            pod.get("serviceAccountName").is_none(),
            "an admission of pods, not of templates"
        );
    }

    #[test]
    fn what_the_client_said_stays() {
        let mut object = json!({"spec": {"replicas": 0, "strategy": {"type": "Recreate"}, "revisionHistoryLimit": 0}});
        deployment(&mut object);
        assert_eq!(object["spec"]["replicas"], 0);
        assert_eq!(object["spec"]["revisionHistoryLimit"], 0);
        assert_eq!(object["spec"]["strategy"], json!({"type": "Recreate"}));
        let mut object = json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": 1}}}});
        deployment(&mut object);
        assert_eq!(
            object["spec"]["strategy"]["rollingUpdate"],
            json!({"maxSurge": 1, "maxUnavailable": "25%"})
        );
    }

    #[test]
    fn defaulting_twice_changes_nothing() {
        let mut once = json!({"metadata": {"name": "d"}});
        deployment(&mut once);
        let mut twice = once.clone();
        deployment(&mut twice);
        assert_eq!(once, twice);
    }

    #[test]
    fn a_secret_s_plain_texts_become_data() {
        let mut object = json!({"data": {"a": "eA==", "b": "eQ=="}, "stringData": {"b": "new"}});
        secret(&mut object);
        assert_eq!(
            object,
            json!({"type": "Opaque", "data": {"a": "eA==", "b": "bmV3"}})
        );
    }
}
