//! The shapes that kubectl sends, and the directives as Kubernetes documents them.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::resource::schema;

fn deployment(spec: Value) -> Value {
    json!({"spec": {"template": {"spec": spec}}})
}

fn patched(
    api_version: &str,
    kind: &str,
    current: &Value,
    patch: &Value,
) -> Result<Value, PatchError> {
    apply(schema::root(api_version, kind).unwrap(), current, patch)
}

/// Patches a Deployment's pod spec.
fn pod_spec(current: Value, patch: Value) -> Result<Value, PatchError> {
    let mut whole = patched(
        "apps/v1",
        "Deployment",
        &deployment(current),
        &deployment(patch),
    )?;
    Ok(whole["spec"]["template"]["spec"].take())
}

#[test]
fn set_image_patches_one_container() {
    let current = json!({"containers": [
        {"name": "web", "image": "nginx:1", "ports": [{"containerPort": 80}]}, {"name": "side", "image": "s"}]});
    let patch = json!({"$setElementOrder/containers": [{"name": "web"}, {"name": "side"}],
        "containers": [{"name": "web", "image": "nginx:2"}]});
    let expected = json!({"containers": [
        {"name": "web", "image": "nginx:2", "ports": [{"containerPort": 80}]}, {"name": "side", "image": "s"}]});
    assert_eq!(pod_spec(current, patch), Ok(expected));
}

#[test]
fn one_element_is_patched_a_few_times_at_most() {
    let current = json!({"containers": [{"name": "web", "image": "nginx:1"}]});
    let image = json!({"name": "web", "image": "nginx:2"});
    let patch = |times: usize| json!({"containers": vec![image.clone(); times]});
    assert!(pod_spec(current.clone(), patch(MAX_SAME_ELEMENT)).is_ok());
    let refused = pod_spec(current, patch(MAX_SAME_ELEMENT + 1)).unwrap_err();
    assert_eq!(refused.code(), 413);
}

#[test]
fn rollout_restart_annotates_a_template_without_metadata() {
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {
        "kubectl.kubernetes.io/restartedAt": "2026-01-02T03:04:05Z"}}}}});
    let current = json!({"spec": {"replicas": 1, "template": {"spec": {"containers": []}}}});
    let result = patched("apps/v1", "Deployment", &current, &patch).unwrap();
    assert_eq!(
        result["spec"]["template"]["metadata"],
        patch["spec"]["template"]["metadata"]
    );
    assert_eq!(result["spec"]["replicas"], 1);
}

#[test]
fn cordon_and_uncordon() {
    let on = patched(
        "v1",
        "Node",
        &json!({"spec": {}}),
        &json!({"spec": {"unschedulable": true}}),
    )
    .unwrap();
    assert_eq!(on, json!({"spec": {"unschedulable": true}}));
    let off = patched("v1", "Node", &on, &json!({"spec": {"unschedulable": null}}));
    assert_eq!(off, Ok(json!({"spec": {}})));
}

#[test]
fn taints_are_replaced_as_a_whole() {
    let current = json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}});
    let patch = json!({"spec": {"taints": [{"key": "b", "effect": "NoExecute"}]}});
    assert_eq!(patched("v1", "Node", &current, &patch), Ok(patch));
}

#[test]
fn labels_merge_and_nulls_delete() {
    let current = json!({"metadata": {"labels": {"a": "1", "b": "2"}}});
    let patch = json!({"metadata": {"labels": {"a": null, "c": "3"}, "annotations": null}});
    assert_eq!(
        patched("v1", "Pod", &current, &patch),
        Ok(json!({"metadata": {"labels": {"b": "2", "c": "3"}}}))
    );
}

#[test]
fn nulls_of_new_objects_are_no_values() {
    let patch = json!({"metadata": {"labels": {"a": null, "b": "1"}, "creationTimestamp": null}});
    assert_eq!(
        patched("v1", "Pod", &json!({}), &patch),
        Ok(json!({"metadata": {"labels": {"b": "1"}}}))
    );
}

#[test]
fn the_patch_directive_deletes_a_container() {
    let current = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    let patch = json!({"$setElementOrder/containers": [{"name": "b"}],
        "containers": [{"name": "a", "$patch": "delete"}]});
    assert_eq!(
        pod_spec(current, patch),
        Ok(json!({"containers": [{"name": "b"}]}))
    );
}

#[test]
fn the_patch_directive_replaces_a_list() {
    let current = json!({"containers": [{"name": "a"}, {"name": "b"}]});
    let patch = json!({"containers": [{"name": "c", "image": "x"}, {"$patch": "replace"}]});
    assert_eq!(
        pod_spec(current, patch),
        Ok(json!({"containers": [{"name": "c", "image": "x"}]}))
    );
}

#[test]
fn the_patch_directive_replaces_or_empties_an_object() {
    let current = json!({"securityContext": {"runAsUser": 1, "fsGroup": 2}});
    let replace = json!({"securityContext": {"$patch": "replace", "runAsUser": 3}});
    assert_eq!(
        pod_spec(current.clone(), replace),
        Ok(json!({"securityContext": {"runAsUser": 3}}))
    );
    let delete = json!({"securityContext": {"$patch": "delete"}});
    assert_eq!(
        pod_spec(current, delete),
        Ok(json!({"securityContext": {}}))
    );
}

#[test]
fn a_directive_without_meaning_is_refused() {
    let error = pod_spec(json!({}), json!({"securityContext": {"$patch": "frob"}})).unwrap_err();
    assert_eq!(error.code(), 400);
    assert!(
        error
            .to_string()
            .contains("spec.template.spec.securityContext"),
        "{error}"
    );
}

#[test]
fn retain_keys_switch_a_strategy() {
    let current = json!({"spec": {"replicas": 1, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    let expected = json!({"spec": {"replicas": 1, "strategy": {"type": "Recreate"}}});
    assert_eq!(
        patched("apps/v1", "Deployment", &current, &patch),
        Ok(expected)
    );
    let stray = json!({"spec": {"strategy": {"$retainKeys": ["type"], "rollingUpdate": {}}}});
    assert_eq!(
        patched("apps/v1", "Deployment", &current, &stray)
            .unwrap_err()
            .code(),
        400
    );
}

#[test]
fn retain_keys_switch_a_volume() {
    let current =
        json!({"volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "emptyDir": {}}]});
    let patch = json!({"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}}]});
    let expected = json!({"volumes": [{"name": "v", "configMap": {"name": "c"}}, {"name": "w", "emptyDir": {}}]});
    assert_eq!(pod_spec(current, patch), Ok(expected));
}

#[test]
fn finalizers_merge_and_are_deleted_by_value() {
    let current = json!({"metadata": {"finalizers": ["a", "b"]}});
    let patch = json!({"metadata": {"finalizers": ["b", "c"]}});
    let result = patched("v1", "Pod", &current, &patch).unwrap();
    assert_eq!(result["metadata"]["finalizers"], json!(["a", "b", "c"]));
    let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["c", "b"]}});
    let result = patched("v1", "Pod", &result, &patch).unwrap();
    assert_eq!(result["metadata"]["finalizers"], json!(["c", "b"]));
}

#[test]
fn element_order_keeps_what_only_the_server_has_in_its_place() {
    let names =
        |names: &[&str]| -> Vec<Value> { names.iter().map(|n| json!({"name": n})).collect() };
    // live, patch, order, result
    let cases: [[&[&str]; 4]; 4] = [
        [&["a", "x", "b"], &[], &["b", "a"], &["x", "b", "a"]],
        [&["x", "a", "b"], &[], &["a", "b"], &["x", "a", "b"]],
        [&["a", "b"], &["c"], &["a", "c", "b"], &["a", "c", "b"]],
        [&["a", "x"], &["c"], &["a", "c"], &["a", "c", "x"]],
    ];
    for [live, patch, order, expected] in cases {
        let current = json!({"containers": names(live)});
        let patch =
            json!({"$setElementOrder/containers": names(order), "containers": names(patch)});
        assert_eq!(
            pod_spec(current, patch),
            Ok(json!({"containers": names(expected)}))
        );
    }
}

#[test]
fn a_patch_against_its_own_element_order_is_refused() {
    let patch = json!({"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}],
        "containers": [{"name": "b"}, {"name": "a"}]});
    assert_eq!(
        pod_spec(json!({"containers": []}), patch)
            .unwrap_err()
            .code(),
        400
    );
}

#[test]
fn ports_merge_by_number_alone() {
    let container = |ports: Value| json!({"containers": [{"name": "dns", "ports": ports}]});
    let both =
        json!([{"containerPort": 53, "protocol": "TCP"}, {"containerPort": 53, "protocol": "UDP"}]);
    // New containers keep both; in an existing list the first of that number is taken for either.
    let created = pod_spec(json!({}), container(both.clone()));
    assert_eq!(created, Ok(container(both.clone())));
    let merged = pod_spec(
        created.unwrap(),
        container(json!([{"containerPort": 53, "protocol": "UDP", "name": "n"}])),
    );
    let expected = json!([{"containerPort": 53, "protocol": "UDP", "name": "n"}, {"containerPort": 53, "protocol": "UDP"}]);
    assert_eq!(merged, Ok(container(expected)));
}

#[test]
fn conditions_merge_by_type() {
    let current = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "Other", "status": "True"}]}});
    let patch = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let result = patched("v1", "Pod", &current, &patch).unwrap();
    assert_eq!(
        result["status"]["conditions"][0],
        json!({"type": "Ready", "status": "True"})
    );
    assert_eq!(
        result["status"]["conditions"].as_array().map(Vec::len),
        Some(2)
    );
}

#[test]
fn an_element_without_its_merge_key_is_refused() {
    let current = json!({"containers": [{"name": "a"}]});
    let error = pod_spec(current, json!({"containers": [{"image": "x"}]})).unwrap_err();
    assert_eq!(error.code(), 422);
    assert!(
        error
            .to_string()
            .ends_with("does not contain declared merge key: name"),
        "{error}"
    );
}

#[test]
fn atomic_lists_are_replaced() {
    let current =
        json!({"containers": [{"name": "a", "args": ["x", "y"]}], "tolerations": [{"key": "a"}]});
    let patch =
        json!({"containers": [{"name": "a", "args": ["z"]}], "tolerations": [{"key": "b"}]});
    assert_eq!(pod_spec(current, patch.clone()), Ok(patch));
}

#[test]
fn config_map_data_merges_key_by_key() {
    let current = json!({"data": {"a": "1", "b": "2"}});
    let result = patched(
        "v1",
        "ConfigMap",
        &current,
        &json!({"data": {"b": "3", "a": null}}),
    );
    assert_eq!(result, Ok(json!({"data": {"b": "3"}})));
}

#[test]
fn a_patch_is_an_object() {
    assert_eq!(
        patched("v1", "Pod", &json!({}), &json!([]))
            .unwrap_err()
            .code(),
        400
    );
}

/// JSON made of the words that matter to a pod spec's patch, right and wrong.
fn patch_like() -> impl Strategy<Value = Value> {
    let words = vec![
        "containers",
        "name",
        "volumes",
        "tolerations",
        "$patch",
        "$retainKeys",
        "spec",
        "metadata",
        "finalizers",
        "$setElementOrder/containers",
        "$setElementOrder/finalizers",
        "$deleteFromPrimitiveList/finalizers",
        "ports",
    ];
    let word = proptest::sample::select(words).prop_map(str::to_owned);
    let texts = proptest::sample::select(vec!["a", "b", "delete", "replace", "merge"]);
    let leaf = prop_oneof![
        Just(Value::Null),
        (0..3).prop_map(Value::from),
        texts.prop_map(Value::from)
    ];
    leaf.prop_recursive(6, 64, 5, move |inner| {
        let list = proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array);
        let object = proptest::collection::btree_map(word.clone(), inner, 0..5)
            .prop_map(|map| Value::Object(map.into_iter().collect()));
        prop_oneof![list, object]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_patch_gives_an_object_without_its_directives_or_an_error(current in patch_like(), patch in patch_like()) {
        let current = plain(&json!({"metadata": current.clone(), "spec": current}));
        let patch = json!({"metadata": patch.clone(), "spec": patch});
        if let Ok(result) = patched("v1", "Pod", &current, &patch) {
            let keys = ["\"$patch\":", "\"$retainKeys\":", "\"$setElementOrder/", "\"$deleteFrom"];
            let text = result.to_string();
            prop_assert!(keys.iter().all(|key| !text.contains(key)), "{}", text);
        }
    }

    #[test]
    fn an_empty_patch_changes_nothing(current in patch_like()) {
        let current = plain(&json!({"metadata": current.clone(), "spec": current}));
        prop_assert_eq!(patched("v1", "Pod", &current, &json!({})), Ok(current));
    }
}
