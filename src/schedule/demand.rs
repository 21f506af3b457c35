//! What one pod takes from a node.
//!
//! Deliberately a summary: filters that need more read the pod itself.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use crate::resource::cache::controller_of;
use crate::resource::pods::{extended_requests, is_terminating, requests};
use crate::resource::quantity::QuantityError;

/// CPU that a pod without a request is taken to use when nodes are compared (Kubernetes' `DefaultMilliCPURequest`).
const CPU_MILLIS_ASSUMED: u64 = 100;
/// The same for memory (Kubernetes' `DefaultMemoryRequest`).
const MEMORY_BYTES_ASSUMED: u64 = 200 << 20;

/// A port on the host: address ("" for all), protocol, number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostPort {
    pub(crate) address: String,
    pub(crate) protocol: String,
    pub(crate) port: i32,
}

impl HostPort {
    /// Whether both cannot be had at once: a port on all addresses meets every address.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        let wild = self.address.is_empty() || other.address.is_empty();
        self.port == other.port
            && self.protocol == other.protocol
            && (wild || self.address == other.address)
    }
}

/// What a pod takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Requested, for the filter.
    pub(crate) cpu_millis: u64,
    /// Requested, for the filter.
    pub(crate) memory_bytes: u64,
    /// Requested or assumed, for the score.
    pub(crate) likely_cpu_millis: u64,
    /// Requested or assumed, for the score.
    pub(crate) likely_memory_bytes: u64,
    /// Devices and huge pages requested, by resource.
    pub(crate) extended: BTreeMap<String, u64>,
    /// Ports on the host.
    pub(crate) ports: Vec<HostPort>,
    /// UID of the controller, unless the pod is going and so makes room for its replacement.
    pub(crate) owner: Option<String>,
}

impl Demand {
    /// Sums a pod up.
    pub(crate) fn of(pod: &Pod) -> Result<Self, QuantityError> {
        let wanted = requests(pod)?;
        let or = |amount: u64, assumed: u64| if amount == 0 { assumed } else { amount };
        Ok(Self {
            cpu_millis: wanted.cpu_millis,
            memory_bytes: wanted.memory_bytes,
            likely_cpu_millis: or(wanted.cpu_millis, CPU_MILLIS_ASSUMED),
            likely_memory_bytes: or(wanted.memory_bytes, MEMORY_BYTES_ASSUMED),
            extended: extended_requests(pod)?,
            ports: ports(pod),
            owner: controller_uid(pod)
                .filter(|_| !is_terminating(pod))
                .map(str::to_owned),
        })
    }
}

/// The UID of the pod's controller.
pub(crate) fn controller_uid(pod: &Pod) -> Option<&str> {
    controller_of(&pod.metadata).map(|controller| controller.uid.as_str())
}

fn ports(pod: &Pod) -> Vec<HostPort> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let ports = containers.flat_map(|c| c.ports.iter().flatten());
    let on_host = ports.filter_map(|port| {
        let number = port.host_port.filter(|&number| number > 0)?;
        let address = port.host_ip.clone().unwrap_or_default();
        let wild = matches!(address.as_str(), "0.0.0.0" | "::");
        Some(HostPort {
            address: if wild { String::new() } else { address },
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
            port: number,
        })
    });
    on_host.collect()
}
