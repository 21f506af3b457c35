//! A node's description as Kubernetes' `NodeStatus` and as figures for the dashboards.
//!
//! Pure. A heartbeat's time is written only with a condition that changes: heartbeats come every two seconds and are not
//! replicated, so `lastHeartbeatTime` is when the node's word was last news, not when it was last heard. Usage goes to metrics only: it changes all the time and is nobody's state (DESIGN.md, Store).

use serde_json::{Value, json};
use tokio::time::Instant;

use super::metrics::ClusterMetrics;
use super::node_messages::NodeDescription;

/// Which machine a node is, from the contact that it registered with.
#[derive(Clone, Debug, Default)]
pub(super) struct Machine {
    /// The same over restarts.
    pub(super) id: String,
    /// The same until the machine restarts.
    pub(super) boot: String,
}

/// The status, without conditions' times.
pub(super) fn node_status(name: &str, machine: &Machine, description: &NodeDescription) -> Value {
    let resources = json!({
        "cpu": format!("{}m", description.cpu_millis),
        "memory": description.memory_bytes.to_string(),
        "pods": description.pods_max.to_string(),
    });
    let addresses = description
        .addresses
        .iter()
        .map(|ip| json!({ "type": "InternalIP", "address": ip.to_string() }));
    let host_name = json!({ "type": "Hostname", "address": name });
    json!({
        "capacity": resources,
        "allocatable": resources,
        "addresses": addresses.chain([host_name]).collect::<Vec<_>>(),
        "conditions": [ready_condition(description)],
        "nodeInfo": {
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "bootID": machine.boot,
            "containerRuntimeVersion": description.container_runtime_version,
            "kernelVersion": description.kernel_version,
            "kubeProxyVersion": "",
            "kubeletVersion": concat!("v", env!("CARGO_PKG_VERSION")),
            "machineID": machine.id,
            "operatingSystem": "linux",
            "osImage": description.os_image,
            "systemUUID": "",
        },
    })
}

fn ready_condition(description: &NodeDescription) -> Value {
    match &description.problem {
        None => json!({
            "type": "Ready", "status": "True", "reason": "AgentReady", "message": "the agent answers its leader",
        }),
        Some(problem) => json!({
            "type": "Ready", "status": "False", "reason": "RuntimeNotReady", "message": problem,
        }),
    }
}

/// Turns the CPU time that a node's pods have used into a rate.
#[derive(Default)]
pub(super) struct UsageMeter {
    last: Option<(Instant, u64)>,
}

impl UsageMeter {
    /// Drops a node's figures: it is gone, or another link counts from now on.
    pub(super) fn forget(node: &str, metrics: &ClusterMetrics) {
        // One that was never observed has no figures.
        let _ = metrics.cpu.remove_label_values(&[node]);
        let _ = metrics.memory.remove_label_values(&[node]);
    }

    /// Takes a description over into the metrics.
    pub(super) fn observe(
        &mut self,
        node: &str,
        description: &NodeDescription,
        metrics: &ClusterMetrics,
    ) {
        let containers = || {
            description
                .usage
                .iter()
                .flat_map(|pod| pod.containers.values())
        };
        let cpu: u64 = containers().map(|usage| usage.cpu_nanos).sum();
        let memory: u64 = containers().map(|usage| usage.memory_bytes).sum();
        metrics.memory.with_label_values(&[node]).set(memory as i64);
        let now = Instant::now();
        if let Some((then, before)) = self.last.replace((now, cpu)) {
            let seconds = (now - then).as_secs_f64();
            // A pod that ended takes its past with it; then there is no rate to tell this time.
            if let (Some(used), true) = (cpu.checked_sub(before), seconds > 0.0) {
                metrics
                    .cpu
                    .with_label_values(&[node])
                    .set(used as f64 / 1e9 / seconds);
            }
        }
    }
}
