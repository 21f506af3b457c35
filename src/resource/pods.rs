//! What scheduler, controllers and node links ask of a typed Pod: is it active, ready, over, and what does it request.
//!
//! Deliberately without any judgement on what to do about it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use super::cache::controller_of;
use super::quantity::{Quantity, QuantityError};

/// What a pod asks of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Thousandths of a CPU.
    pub cpu_millis: u64,
    /// Bytes.
    pub memory_bytes: u64,
}

/// Has run to its end, whether well or badly.
pub fn is_terminated(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Has been asked to go.
pub fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Counts for its owner: neither over nor asked to go.
pub fn is_active(pod: &Pod) -> bool {
    !is_terminated(pod) && !is_terminating(pod)
}

/// Its condition `Ready` is true.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

/// Whether it has been given a node.
pub fn is_bound(pod: &Pod) -> bool {
    node_name(pod).is_some()
}

/// The node that it was given.
pub fn node_name(pod: &Pod) -> Option<&str> {
    let name = pod.spec.as_ref()?.node_name.as_deref()?;
    (!name.is_empty()).then_some(name)
}

/// Whether at most one pod of its name may run at any moment: whoever manages it is a StatefulSet.
pub fn is_unique(pod: &Pod) -> bool {
    let manager = controller_of(&pod.metadata);
    manager.is_some_and(|owner| makes_unique(&owner.api_version, &owner.kind))
}

/// Whether pods that such an object manages are unique.
pub fn makes_unique(api_version: &str, kind: &str) -> bool {
    (api_version, kind) == ("apps/v1", "StatefulSet")
}

/// `status.phase`, "" when unset.
pub fn phase(pod: &Pod) -> &str {
    status(pod)
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

/// A condition by its type.
pub fn condition<'a>(
    pod: &'a Pod,
    kind: &str,
) -> Option<&'a k8s_openapi::api::core::v1::PodCondition> {
    let conditions = status(pod)?.conditions.as_deref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

fn status(pod: &Pod) -> Option<&PodStatus> {
    pod.status.as_ref()
}

/// What the pod requests, by Kubernetes' rule: the containers and sidecars run together; an init container runs
/// beside the sidecars started before it, so the larger of the two counts; `overhead` comes on top. A sum beyond
/// `u64::MAX` is that.
pub fn requests(pod: &Pod) -> Result<Requests, QuantityError> {
    let Some(spec) = &pod.spec else {
        return Ok(Requests::default());
    };
    Ok(Requests {
        cpu_millis: request(spec, "cpu")?,
        memory_bytes: request(spec, "memory")?,
    })
}

/// What the pod requests of devices and huge pages, by name, where that is anything: resources that no node has unless
/// somebody says so in its status (`nvidia.com/gpu`).
pub fn extended_requests(pod: &Pod) -> Result<BTreeMap<String, u64>, QuantityError> {
    let mut wanted = BTreeMap::new();
    let Some(spec) = &pod.spec else {
        return Ok(wanted);
    };
    let containers = spec.containers.iter();
    let containers = containers.chain(spec.init_containers.iter().flatten());
    let requests =
        containers.filter_map(|container| container.resources.as_ref()?.requests.as_ref());
    for name in requests
        .flat_map(BTreeMap::keys)
        .filter(|name| is_extended(name))
    {
        let amount = request(spec, name)?;
        if amount > 0 {
            wanted.insert(name.clone(), amount);
        }
    }
    Ok(wanted)
}

/// A name with a domain that is not Kubernetes' own, or huge pages.
fn is_extended(name: &str) -> bool {
    let foreign = |domain: &str| domain != "kubernetes.io" && !domain.ends_with(".kubernetes.io");
    name.starts_with("hugepages-")
        || name
            .split_once('/')
            .is_some_and(|(domain, _)| foreign(domain))
}

/// What the pod requests of one resource, in all.
fn request(spec: &PodSpec, name: &str) -> Result<u64, QuantityError> {
    let (mut sidecars, mut peak) = (0_u64, 0_u64);
    for container in spec.init_containers.iter().flatten() {
        let wanted = request_of(container, name)?;
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars = wanted.saturating_add(sidecars);
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(wanted.saturating_add(sidecars));
        }
    }
    let mut together = sidecars;
    for container in &spec.containers {
        together = together.saturating_add(request_of(container, name)?);
    }
    let overhead = spec.overhead.as_ref().and_then(|map| map.get(name));
    let overhead = overhead.map_or(Ok(0), |text| amount(name, text))?;
    Ok(together.max(peak).saturating_add(overhead))
}

fn request_of(container: &Container, name: &str) -> Result<u64, QuantityError> {
    let resources = container.resources.as_ref();
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    requests
        .and_then(|map| map.get(name))
        .map_or(Ok(0), |text| amount(name, text))
}

/// CPU in thousandths, everything else in whole units.
fn amount(name: &str, text: &Text) -> Result<u64, QuantityError> {
    let quantity = Quantity::parse(&text.0)?;
    Ok(if name == "cpu" {
        quantity.millis()
    } else {
        quantity.value()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: Value, status: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec, "status": status}))
            .unwrap()
    }

    fn container(cpu: &str, memory: &str) -> Value {
        json!({"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}})
    }

    #[test]
    fn sums_containers() {
        let spec =
            json!({"containers": [container("100m", "1Mi"), container("1", "1k"), {"name": "d"}]});
        let wanted = Requests {
            cpu_millis: 1_100,
            memory_bytes: (1 << 20) + 1_000,
        };
        assert_eq!(requests(&pod(spec, json!({}))), Ok(wanted));
    }

    #[test]
    fn takes_the_largest_init_container_if_that_is_more() {
        let spec = json!({
            "containers": [container("100m", "10")],
            "initContainers": [container("300m", "5"), container("200m", "7")],
        });
        let wanted = Requests {
            cpu_millis: 300,
            memory_bytes: 10,
        };
        assert_eq!(requests(&pod(spec, json!({}))), Ok(wanted));
    }

    #[test]
    fn adds_sidecars_and_overhead() {
        let mut sidecar = container("50m", "1");
        sidecar["restartPolicy"] = json!("Always");
        let spec = json!({
            "containers": [container("100m", "1")],
            "initContainers": [sidecar, container("200m", "1")],
            "overhead": {"cpu": "1m"},
        });
        let wanted = Requests {
            cpu_millis: 251,
            memory_bytes: 2,
        };
        assert_eq!(requests(&pod(spec, json!({}))), Ok(wanted));
    }

    #[test]
    fn more_than_can_be_counted_is_the_most() {
        let spec = json!({"containers": [container("9E", "7Ei"), container("9E", "7Ei"), container("1", "7Ei")]});
        let wanted = Requests {
            cpu_millis: u64::MAX,
            memory_bytes: u64::MAX,
        };
        assert_eq!(requests(&pod(spec, json!({}))), Ok(wanted));
    }

    #[test]
    fn says_which_quantity_it_cannot_read() {
        let spec = json!({"containers": [container("much", "1")]});
        assert_eq!(requests(&pod(spec, json!({}))), Err(QuantityError::Syntax));
    }

    #[test]
    fn tells_active_ready_and_over_apart() {
        let ready = pod(
            json!({"containers": [], "nodeName": "n1"}),
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}),
        );
        assert!(is_active(&ready) && is_ready(&ready) && is_bound(&ready));
        let over = pod(json!({"containers": []}), json!({"phase": "Failed"}));
        assert!(!is_active(&over) && is_terminated(&over) && !is_ready(&over) && !is_bound(&over));
        let mut going = ready;
        going.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        assert!(!is_active(&going) && is_terminating(&going));
    }
}
