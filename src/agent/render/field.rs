//! The downward API: a pod's own fields and resources as strings.

use k8s_openapi::api::core::v1::{Container, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use super::{ConfigError, Context};
use crate::resource::quantity::Quantity;

/// The value of a `fieldRef`. `spec.serviceAccountName` and the like are "" when unset, as in Kubernetes.
pub(super) fn field(context: &Context<'_>, path: &str) -> Result<String, ConfigError> {
    let pod = &context.assignment.pod;
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let all_ips = |ips: Vec<String>| ips.join(",");
    let text = |value: Option<&String>| value.cloned().unwrap_or_default();
    Ok(match path {
        "metadata.name" => text(meta.name.as_ref()),
        "metadata.namespace" => text(meta.namespace.as_ref()),
        "metadata.uid" => text(meta.uid.as_ref()),
        "metadata.labels" => lines(meta.labels.iter().flatten()),
        "metadata.annotations" => lines(meta.annotations.iter().flatten()),
        "spec.nodeName" => context.node.name.clone(),
        "spec.serviceAccountName" => text(spec.and_then(|s| s.service_account_name.as_ref())),
        "status.hostIP" => context.host_ips().into_iter().next().unwrap_or_default(),
        "status.hostIPs" => all_ips(context.host_ips()),
        "status.podIP" => context.pod_ips().into_iter().next().unwrap_or_default(),
        "status.podIPs" => all_ips(context.pod_ips()),
        _ => {
            let subscript = subscript(path).ok_or_else(|| ConfigError::Field(path.to_owned()))?;
            match subscript {
                ("metadata.labels", key) => text(meta.labels.as_ref().and_then(|l| l.get(key))),
                ("metadata.annotations", key) => {
                    text(meta.annotations.as_ref().and_then(|a| a.get(key)))
                }
                _ => return Err(ConfigError::Field(path.to_owned())),
            }
        }
    })
}

/// `metadata.labels['a/b']` → (`metadata.labels`, `a/b`).
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (base, key) = path.strip_suffix("']")?.split_once("['")?;
    Some((base, key))
}

/// `key="value"` lines with Go's quoting of the common characters.
fn lines<'a>(pairs: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    let lines: Vec<String> = pairs
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    lines.join("\n")
}

/// The value of a `resourceFieldRef`; a limit that is not set is the node's whole capacity.
pub(super) fn resource(
    context: &Context<'_>,
    own: Option<&Container>,
    selector: &ResourceFieldSelector,
) -> Result<String, ConfigError> {
    let container = match selector.container_name.as_deref().filter(|n| !n.is_empty()) {
        Some(name) => context.container(name),
        None => own,
    };
    let container = container.ok_or_else(|| ConfigError::Field(selector.resource.clone()))?;
    let resources = container.resources.as_ref();
    let limit = |name: &str| resources.and_then(|r| r.limits.as_ref()?.get(name).cloned());
    let request = |name: &str| resources.and_then(|r| r.requests.as_ref()?.get(name).cloned());
    let (kind, name) = selector
        .resource
        .split_once('.')
        .ok_or_else(|| ConfigError::Field(selector.resource.clone()))?;
    let capacity = match name {
        "cpu" => Text(format!("{}m", context.node.cpu_millis)),
        "memory" => Text(context.node.memory_bytes.to_string()),
        "ephemeral-storage" => Text("0".to_owned()),
        _ => return Err(ConfigError::Field(selector.resource.clone())),
    };
    let value = match kind {
        "limits" => limit(name).unwrap_or(capacity),
        "requests" => request(name)
            .or_else(|| limit(name))
            .unwrap_or_else(|| Text("0".to_owned())),
        _ => return Err(ConfigError::Field(selector.resource.clone())),
    };
    let value = Quantity::parse(&value.0)?;
    let divisor = selector
        .divisor
        .as_ref()
        .map(|text| Quantity::parse(&text.0));
    let divisor = divisor.transpose()?.unwrap_or_default();
    Ok(value.divided_by(divisor).to_string())
}
