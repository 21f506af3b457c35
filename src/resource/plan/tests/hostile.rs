//! Bodies that no client means: whatever comes, there is an answer, and what is stored can be read.

use proptest::prelude::*;

use super::*;
use crate::resource::table::{IncludeObject, row};
use crate::resource::{Cache, registry, schema};

/// Values that tempt a reader to assume too much.
fn odd_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        Just(json!(true)),
        Just(json!(-1)),
        Just(json!(i64::MAX)),
        Just(json!(1e300)),
        Just(json!("")),
        Just(json!("25%")),
        Just(json!("2026-01-01T00:00:00+00:00")),
        "[a-zA-Z0-9./ -]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{0,4}", inner, 0..3)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// Every place in a value, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                places(value, &format!("{at}/{}", key.replace('/', "~1")), found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                places(value, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// One object of each kind, with as many members as there are rules.
fn rich(plural: &str) -> Value {
    let mut pod = pod("x");
    pod["spec"]["containers"][0] = json!({
        "name": "c", "image": "i", "args": ["a"], "env": [{"name": "A", "value": "b"}],
        "envFrom": [{"secretRef": {"name": "s"}}],
        "ports": [{"containerPort": 80, "name": "http"}],
        "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
        "livenessProbe": {"httpGet": {"port": 80}}, "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        "lifecycle": {"preStop": {"httpGet": {"port": 80}}},
    });
    pod["spec"]["volumes"] =
        json!([{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]);
    pod["spec"]["tolerations"] = json!([{"key": "k", "operator": "Exists"}]);
    let mut owner = deployment("x");
    owner["spec"]["template"]["spec"] = pod["spec"].clone();
    owner["spec"]["strategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}});
    let meta = json!({"name": "x", "labels": {"a": "b"}, "annotations": {"a": "b"}, "finalizers": ["a.b/c"],
        "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}]});
    let mut object = match plural {
        "pods" => pod,
        "deployments" => owner,
        "replicasets" => {
            owner["spec"].as_object_mut().unwrap().remove("strategy");
            owner
        }
        "secrets" => json!({"data": {"a": "eA=="}, "stringData": {"b": "c"}, "type": "Opaque"}),
        "configmaps" => json!({"data": {"a": "b"}, "binaryData": {"c": "eA=="}, "immutable": true}),
        "nodes" => json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]},
            "status": {"capacity": {"cpu": "1"}, "conditions": [{"type": "Ready", "status": "True"}]}}),
        "events" => json!({"involvedObject": {"namespace": "default"}, "type": "Normal"}),
        "leases" => {
            json!({"spec": {"leaseDurationSeconds": 1, "renewTime": "2026-01-01T00:00:00.000000Z"}})
        }
        _ => json!({"spec": {"finalizers": ["kubernetes"]}}),
    };
    object["metadata"] = meta;
    object
}

#[test]
fn every_kind_and_what_its_subresources_speak_has_a_schema() {
    for kind in registry::kinds() {
        assert!(
            schema::root(&kind.api_version(), kind.kind).is_some(),
            "{}",
            kind.kind
        );
        for sub in kind.subresources {
            let group = if sub.group.is_empty() {
                String::new()
            } else {
                format!("{}/", sub.group)
            };
            let api_version = format!("{group}{}", sub.version);
            assert!(
                schema::root(&api_version, sub.kind).is_some(),
                "{api_version} {}",
                sub.kind
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_is_answered(
        kind in 0..registry::kinds().len(),
        place in any::<prop::sample::Index>(),
        odd in odd_value(),
        validation in prop::sample::select(vec!["", "Ignore", "Strict"]),
    ) {
        let plural = registry::kinds()[kind].plural;
        let mut cluster = Cluster::new();
        let sound = rich(plural);
        let mut found = Vec::new();
        places(&sound, "", &mut found);
        let mut strange = sound.clone();
        let place: &String = place.get(&found);
        *strange.pointer_mut(place).unwrap() = odd.clone();
        let mut requests = vec![post(plural, strange.clone()), post(plural, sound)];
        requests.push(put(plural, "x", strange.clone()));
        requests.push(merge(plural, "x", strange.clone()));
        let operations = json!([{"op": "replace", "path": place, "value": odd}]);
        requests.push(request(plural, Some("x"), Verb::Patch(PatchType::Json, operations)));
        requests.push(request(plural, Some("x"), Verb::Patch(PatchType::StrategicMerge, strange.clone())));
        for sub in registry::kinds()[kind].subresources {
            let path = format!("x/{}", sub.name);
            requests.push(merge(plural, &path, strange.clone()));
            requests.push(request(plural, Some(&path), Verb::Create(strange.clone())));
        }
        requests.push(delete(plural, "x", strange));
        for mut request in requests {
            request.options.field_validation = validation.to_owned();
            let _ = cluster.send(&request);
            let (_, unreadable) = Cache::fill(&cluster.store.view());
            prop_assert!(unreadable.is_empty(), "{unreadable:?} after {request:?}");
            if let Some(object) = cluster.get(plural, "x") {
                row(&registry::kinds()[kind], &object, cluster.now, IncludeObject::default());
            }
        }
    }
}
