//! What a pod may say and no part of Kagero does: one table, out of which clients are warned.
//!
//! A test holds the schema against this table: every field is either here or in the test's list of what is served, so
//! that none is ignored in silence. Deliberately warnings, not refusals: manifests written for Kubernetes are full of
//! such fields, and most pods run well without. What only one runtime lacks is not here; nobody knows it so early.

use serde_json::Value;

use super::json::filled_text;
use super::registry::Kind;

/// When a field asks for something that it does not get.
#[derive(Clone, Copy)]
enum When {
    /// It says anything: it is neither absent nor false, and not empty.
    Filled,
    /// It is false.
    False,
    /// It is one of these texts.
    Is(&'static [&'static str]),
    /// It is a text that is none of these.
    IsNot(&'static [&'static str]),
}

type Row = (&'static str, When);

use When::{False, Filled, Is, IsNot};

/// Fields of `PodSpec`.
const POD: [Row; 33] = [
    ("affinity.podAffinity", Filled),
    ("affinity.podAntiAffinity", Filled),
    ("automountServiceAccountToken", Filled),
    ("dnsConfig", Filled),
    ("dnsPolicy", Is(&["ClusterFirstWithHostNet", "None"])),
    ("ephemeralContainers", Filled),
    ("hostIPC", Filled),
    ("hostUsers", False),
    ("imagePullSecrets", Filled),
    ("os.name", IsNot(&["linux"])),
    ("preemptionPolicy", Is(&["PreemptLowerPriority"])),
    ("priorityClassName", Filled),
    ("resourceClaims", Filled),
    ("resources", Filled),
    ("runtimeClassName", Filled),
    ("schedulingGates", Filled),
    ("securityContext.appArmorProfile.type", IsNot(&[RUNTIME])),
    ("securityContext.fsGroupChangePolicy", Filled),
    ("securityContext.seLinuxChangePolicy", Filled),
    ("securityContext.seLinuxOptions", Filled),
    ("securityContext.seccompProfile.type", IsNot(&[RUNTIME])),
    (
        "securityContext.supplementalGroupsPolicy",
        IsNot(&["Merge"]),
    ),
    ("securityContext.sysctls", Filled),
    ("securityContext.windowsOptions", Filled),
    ("setHostnameAsFQDN", Filled),
    ("shareProcessNamespace", Filled),
    ("subdomain", Filled),
    ("topologySpreadConstraints", Filled),
    ("volumes[].emptyDir.medium", IsNot(&["Memory"])),
    ("volumes[].emptyDir.sizeLimit", Filled),
    ("volumes[].projected.sources[].clusterTrustBundle", Filled),
    ("volumes[].projected.sources[].serviceAccountToken", Filled),
    // Checked by itself, in `root_is_unknown`: only the image knows.
    ("securityContext.runAsNonRoot", Is(&[])),
];

/// Fields of `Container`.
const CONTAINER: [Row; 24] = [
    ("lifecycle.postStart", Filled),
    ("lifecycle.preStop", Filled),
    ("lifecycle.stopSignal", Filled),
    ("livenessProbe", Filled),
    ("readinessProbe", Filled),
    ("resizePolicy", Filled),
    ("resources.claims", Filled),
    ("resources.limits.ephemeral-storage", Filled),
    ("resources.requests.ephemeral-storage", Filled),
    ("securityContext.allowPrivilegeEscalation", False),
    ("securityContext.appArmorProfile.type", IsNot(&[RUNTIME])),
    ("securityContext.procMount", IsNot(&["Default"])),
    ("securityContext.seLinuxOptions", Filled),
    ("securityContext.seccompProfile.type", IsNot(&[RUNTIME])),
    ("securityContext.windowsOptions", Filled),
    ("startupProbe", Filled),
    ("stdinOnce", Filled),
    ("terminationMessagePath", IsNot(&["/dev/termination-log"])),
    ("terminationMessagePolicy", IsNot(&["File"])),
    ("volumeDevices", Filled),
    ("volumeMounts[].mountPropagation", IsNot(&["None"])),
    ("volumeMounts[].recursiveReadOnly", Is(&["Enabled"])),
    // Checked by itself, in `root_is_unknown`.
    ("securityContext.runAsNonRoot", Is(&[])),
    // A main container's own policy; an init container's makes it a sidecar.
    ("restartPolicy", Is(&["Never", "OnFailure"])),
];

/// The profile that a container engine gives its containers by itself.
const RUNTIME: &str = "RuntimeDefault";
/// The volumes that an agent can make.
const VOLUMES: [&str; 6] = [
    "configMap",
    "downwardAPI",
    "emptyDir",
    "hostPath",
    "projected",
    "secret",
];
const IGNORED: &str = "not served by Kagero yet; ignored";

/// What to warn of in an object, by its kind; nothing if its pod is as it was before.
pub(super) fn warnings(kind: &Kind, object: &Value, before: Option<&Value>) -> Vec<String> {
    let Some(pointer) = kind.rules.pod_spec else {
        return Vec::new();
    };
    let spec = object.pointer(pointer).unwrap_or(&Value::Null);
    if before.is_some_and(|before| before.pointer(pointer) == Some(spec)) {
        return Vec::new();
    }
    let path = pointer.trim_start_matches('/').replace('/', ".");
    let mut told = Vec::new();
    rows(spec, &path, &POD, &mut told);
    volumes(spec, &path, &mut told);
    for list in ["initContainers", "containers"] {
        let containers = spec[list].as_array().into_iter().flatten().enumerate();
        for (at, container) in containers {
            let path = format!("{path}.{list}[{at}]");
            rows(container, &path, &CONTAINER, &mut told);
            root_is_unknown(spec, container, &path, &mut told);
        }
    }
    told
}

fn rows(object: &Value, path: &str, rows: &[Row], told: &mut Vec<String>) {
    for (field, when) in rows {
        follow(object, path, field, *when, told);
    }
}

/// Goes one step of `field` down from `value`, whose path is `path`.
fn follow(value: &Value, path: &str, field: &str, when: When, told: &mut Vec<String>) {
    let (step, rest) = field.split_once('.').unwrap_or((field, ""));
    let Some(list) = step.strip_suffix("[]") else {
        let path = format!("{path}.{step}");
        let value = &value[step];
        if !rest.is_empty() {
            follow(value, &path, rest, when, told);
        } else if when.holds(value) {
            told.push(format!("{path}: {IGNORED}"));
        }
        return;
    };
    let items = value[list].as_array().into_iter().flatten();
    for (at, item) in items.enumerate() {
        follow(item, &format!("{path}.{list}[{at}]"), rest, when, told);
    }
}

impl When {
    fn holds(self, value: &Value) -> bool {
        match self {
            Filled => match value {
                Value::Null | Value::Bool(false) => false,
                Value::String(text) => !text.is_empty(),
                Value::Array(items) => !items.is_empty(),
                Value::Object(members) => !members.is_empty(),
                Value::Bool(true) | Value::Number(_) => true,
            },
            False => *value == false,
            Is(texts) => texts.iter().any(|text| value == text),
            IsNot(texts) => filled_text(value).is_some_and(|text| !texts.contains(&text)),
        }
    }
}

/// Volumes of a sort that no agent can make: their pod never starts.
fn volumes(spec: &Value, path: &str, told: &mut Vec<String>) {
    let volumes = spec["volumes"].as_array().into_iter().flatten();
    for (at, volume) in volumes.enumerate() {
        let sources = volume.as_object().into_iter().flatten();
        for (source, _) in sources.filter(|(key, _)| *key != "name") {
            if !VOLUMES.contains(&source.as_str()) {
                told.push(format!(
                    "{path}.volumes[{at}].{source}: not served by Kagero yet; the pod will not start"
                ));
            }
        }
    }
}

/// Kubernetes looks whom the image runs as, where the pod does not say.
fn root_is_unknown(spec: &Value, container: &Value, path: &str, told: &mut Vec<String>) {
    let said = |field: &str| {
        let own = &container["securityContext"][field];
        let of_pod = &spec["securityContext"][field];
        if own.is_null() { of_pod } else { own }
    };
    if *said("runAsNonRoot") == true && said("runAsUser").is_null() {
        told.push(format!(
            "{path}.securityContext.runAsNonRoot: the image's own user is not checked by Kagero yet; set runAsUser"
        ));
    }
}

#[cfg(test)]
mod tests;
