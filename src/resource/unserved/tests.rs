//! What is warned of, and that no field of the schema is forgotten.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::resource::registry::find;
use crate::resource::schema;

fn of_pod(spec: Value) -> Vec<String> {
    let kind = find("", "v1", "pods").unwrap();
    let mut object = json!({"spec": spec});
    (kind.rules.default)(&mut object);
    warnings(kind, &object, None)
}

fn of_container(mut container: Value) -> Vec<String> {
    container["name"] = json!("c");
    container["image"] = json!("i");
    of_pod(json!({"containers": [container]}))
}

#[test]
fn a_set_field_that_nobody_serves_is_named_by_its_path() {
    let probe = json!({"httpGet": {"port": 80}});
    let cases = [
        (
            json!({"livenessProbe": probe}),
            "spec.containers[0].livenessProbe: not served by Kagero yet; ignored",
        ),
        (
            json!({"lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}),
            "spec.containers[0].lifecycle.preStop: not served by Kagero yet; ignored",
        ),
        (
            json!({"securityContext": {"allowPrivilegeEscalation": false}}),
            "spec.containers[0].securityContext.allowPrivilegeEscalation: not served by Kagero yet; ignored",
        ),
        (
            json!({"resources": {"limits": {"ephemeral-storage": "1Gi"}}}),
            "spec.containers[0].resources.limits.ephemeral-storage: not served by Kagero yet; ignored",
        ),
        (
            json!({"securityContext": {"runAsNonRoot": true}}),
            "spec.containers[0].securityContext.runAsNonRoot: the image's own user is not checked by Kagero yet; set runAsUser",
        ),
    ];
    for (container, expected) in cases {
        let told = of_container(container);
        assert_eq!(told.first().map(String::as_str), Some(expected));
    }
    let term = json!({"labelSelector": {}, "topologyKey": "kubernetes.io/hostname"});
    let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]});
    let told = of_pod(json!({
        "affinity": {"podAntiAffinity": required, "nodeAffinity": {}},
        "dnsPolicy": "None",
        "priorityClassName": "high",
        "volumes": [
            {"name": "a", "emptyDir": {"sizeLimit": "1Gi"}},
            {"name": "b", "nfs": {"server": "s", "path": "/"}},
            {"name": "c", "projected": {"sources": [{"configMap": {}}, {"serviceAccountToken": {"path": "t"}}]}},
        ],
    }));
    let paths: Vec<&str> = told.iter().map(|t| t.split(": ").next().unwrap()).collect();
    assert_eq!(
        paths,
        [
            "spec.affinity.podAntiAffinity",
            "spec.dnsPolicy",
            "spec.priorityClassName",
            "spec.volumes[0].emptyDir.sizeLimit",
            "spec.volumes[2].projected.sources[1].serviceAccountToken",
            "spec.volumes[1].nfs",
        ]
    );
}

#[test]
fn what_is_served_or_says_nothing_is_not_warned_of() {
    let silent = [
        json!({"securityContext": {"allowPrivilegeEscalation": true, "seccompProfile": {"type": "RuntimeDefault"}}}),
        json!({"securityContext": {"runAsNonRoot": true, "runAsUser": 7}}),
        json!({"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}, "stdinOnce": false}),
        json!({"volumeMounts": [{"name": "v", "mountPath": "/v", "mountPropagation": "None"}]}),
    ];
    for container in silent {
        assert_eq!(of_container(container.clone()), [""; 0], "{container}");
    }
    let spec = json!({
        "containers": [{"name": "c", "image": "i"}],
        "dnsPolicy": "ClusterFirst",
        "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}},
        "volumes": [{"name": "e", "emptyDir": {"medium": "Memory"}}, {"name": "h", "hostPath": {"path": "/"}}],
    });
    assert_eq!(of_pod(spec), [""; 0]);
}

#[test]
fn templates_are_looked_at_and_only_when_they_change() {
    let probed = |image: &str| {
        let container = json!({"name": "c", "image": image, "startupProbe": {"exec": {}}});
        json!({"spec": {"replicas": 1, "template": {"spec": {"containers": [container]}}}})
    };
    for plural in ["deployments", "replicasets"] {
        let kind = find("apps", "v1", plural).unwrap();
        let told = warnings(kind, &probed("a"), None);
        let expected =
            "spec.template.spec.containers[0].startupProbe: not served by Kagero yet; ignored";
        assert_eq!(told, [expected]);
        assert_eq!(warnings(kind, &probed("b"), Some(&probed("a"))), [expected]);
        let mut scaled = probed("a");
        scaled["spec"]["replicas"] = json!(2);
        assert_eq!(warnings(kind, &scaled, Some(&probed("a"))), [""; 0]);
    }
    let maps = find("", "v1", "configmaps").unwrap();
    assert!(warnings(maps, &probed("a"), None).is_empty());
}

/// Fields that some part of Kagero reads, or that are right as they always are, by type.
const SERVED: [(&str, &str); 9] = [
    (
        "PodSpec",
        "activeDeadlineSeconds containers enableServiceLinks hostAliases hostNetwork hostPID hostname initContainers \
         nodeName nodeSelector overhead priority readinessGates restartPolicy schedulerName serviceAccount \
         serviceAccountName terminationGracePeriodSeconds tolerations",
    ),
    ("Affinity", "nodeAffinity"),
    (
        "PodSecurityContext",
        "fsGroup runAsGroup runAsUser supplementalGroups",
    ),
    ("EmptyDirVolumeSource", ""),
    ("VolumeProjection", "configMap downwardAPI secret"),
    (
        "Container",
        "args command env envFrom image imagePullPolicy name ports stdin tty workingDir",
    ),
    (
        "SecurityContext",
        "capabilities privileged readOnlyRootFilesystem runAsGroup runAsUser",
    ),
    ("VolumeMount", "mountPath name readOnly subPath subPathExpr"),
    ("Lifecycle", ""),
];

/// Where the types of [`SERVED`] stand in the rows' paths.
const PLACES: [(&str, &[Row], &str); 9] = [
    ("PodSpec", &POD, ""),
    ("Affinity", &POD, "affinity."),
    ("PodSecurityContext", &POD, "securityContext."),
    ("EmptyDirVolumeSource", &POD, "volumes[].emptyDir."),
    ("VolumeProjection", &POD, "volumes[].projected.sources[]."),
    ("Container", &CONTAINER, ""),
    ("SecurityContext", &CONTAINER, "securityContext."),
    ("VolumeMount", &CONTAINER, "volumeMounts[]."),
    ("Lifecycle", &CONTAINER, "lifecycle."),
];

#[test]
fn every_field_of_the_schema_is_served_or_warned_of() {
    for (name, rows, prefix) in PLACES {
        let ty = schema::find(&format!("api.core.v1.{name}")).unwrap();
        let served = SERVED.iter().find(|(of, _)| *of == name).unwrap().1;
        let served: BTreeSet<&str> = served.split_whitespace().collect();
        let told: BTreeSet<&str> = rows
            .iter()
            .filter_map(|(path, _)| path.strip_prefix(prefix))
            .map(|path| path.split(['.', '[']).next().unwrap())
            .collect();
        for field in ty.fields() {
            assert!(
                served.contains(field.name) || told.contains(field.name),
                "{name}.{} is ignored in silence",
                field.name
            );
        }
        for field in served {
            assert!(ty.field(field).is_some(), "{name} has no {field}");
        }
        for field in told {
            assert!(ty.field(field).is_some(), "{name} has no {field}");
        }
    }
}
