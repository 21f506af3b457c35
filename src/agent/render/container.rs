//! Sandboxes and containers of a pod as specs for a runtime.

use k8s_openapi::api::core::v1::{Container, ContainerPort, ResourceRequirements, SecurityContext};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use serde::Serialize;

use super::super::types::{
    Assignment, CPU_PERIOD_US, ContainerSpec, GRACE_DEFAULT, Limits, PodRef, PortMapping,
    SandboxSpec,
};
use super::expand::expand;
use super::{ConfigError, Context, env, volumes};
use crate::resource::quantity::Quantity;

/// The fewest `cpu.shares` that the kernel takes.
const SHARES_MIN: u64 = 2;
/// The most.
const SHARES_MAX: u64 = 262_144;
/// The least quota that the kernel takes, microseconds.
const QUOTA_MIN_US: u64 = 1_000;
/// The longest host name, bytes (Linux' `HOST_NAME_MAX` less one, as the kubelet cuts it).
const HOSTNAME_BYTES_MAX: usize = 63;

/// Init containers in order; sidecars (init containers that always restart) are among them.
pub fn init_containers(assignment: &Assignment) -> impl Iterator<Item = &Container> {
    let spec = assignment.pod.spec.as_ref();
    spec.and_then(|spec| spec.init_containers.as_ref())
        .into_iter()
        .flatten()
}

/// The containers proper.
pub fn main_containers(assignment: &Assignment) -> impl Iterator<Item = &Container> {
    let spec = assignment.pod.spec.as_ref();
    spec.into_iter().flat_map(|spec| &spec.containers)
}

/// An init container that runs beside the others until the pod ends.
pub fn is_sidecar(init: &Container) -> bool {
    init.restart_policy.as_deref() == Some("Always")
}

/// A fingerprint of a container's definition; the same over releases.
pub fn spec_hash(container: &Container) -> String {
    format!("{:016x}", fingerprint(container))
}

/// FNV-1a of a value's JSON (<http://www.isthe.com/chongo/tech/comp/fnv/>): not against malice, only to notice change.
pub fn fingerprint(value: &impl Serialize) -> u64 {
    let json = serde_json::to_vec(value).expect("plain data serialises into memory");
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    json.iter().fold(0xcbf2_9ce4_8422_2325, mix)
}

/// The sandbox of a pod.
pub fn sandbox(context: &Context<'_>, pod: &PodRef, attempt: u32) -> SandboxSpec {
    let spec = context.spec();
    let host_network = spec.host_network == Some(true);
    let name = spec.hostname.as_deref().filter(|name| !name.is_empty());
    let hostname: String = name
        .unwrap_or(&pod.name)
        .chars()
        .take(HOSTNAME_BYTES_MAX)
        .collect();
    let containers = main_containers(context.assignment);
    let sidecars = init_containers(context.assignment).filter(|c| is_sidecar(c));
    let ports = containers
        .chain(sidecars)
        .flat_map(|c| c.ports.iter().flatten());
    let aliases = spec.host_aliases.iter().flatten();
    SandboxSpec {
        pod: pod.clone(),
        attempt,
        hostname: hostname.trim_end_matches(['-', '.']).to_owned(),
        host_network,
        host_pid: spec.host_pid == Some(true),
        ports: ports
            .filter(|_| !host_network)
            .filter_map(port_mapping)
            .collect(),
        host_aliases: aliases
            .map(|alias| {
                (
                    alias.ip.clone(),
                    alias.hostnames.clone().unwrap_or_default(),
                )
            })
            .collect(),
        grace_seconds: grace_seconds(context),
    }
}

fn grace_seconds(context: &Context<'_>) -> u64 {
    let seconds = context.spec().termination_grace_period_seconds;
    seconds
        .and_then(|s| u64::try_from(s).ok())
        .unwrap_or(GRACE_DEFAULT.as_secs())
}

fn port_mapping(port: &ContainerPort) -> Option<PortMapping> {
    let host_port = u16::try_from(port.host_port?).ok().filter(|p| *p != 0)?;
    Some(PortMapping {
        container_port: u16::try_from(port.container_port).ok()?,
        host_port,
        host_ip: port.host_ip.as_deref().and_then(|ip| ip.parse().ok()),
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
    })
}

/// A container of a pod, or why it cannot be made now.
pub fn container(
    context: &Context<'_>,
    pod: &PodRef,
    sandbox_id: &str,
    container: &Container,
    attempt: u32,
) -> Result<ContainerSpec, ConfigError> {
    let environment = env::environment(context, container)?;
    let expanded = |words: &Option<Vec<String>>| -> Vec<String> {
        let words = words.iter().flatten();
        words.map(|word| expand(word, &environment.known)).collect()
    };
    let security = container.security_context.clone().unwrap_or_default();
    let capabilities = security.capabilities.clone().unwrap_or_default();
    let pod_security = context.spec().security_context.as_ref();
    Ok(ContainerSpec {
        pod: pod.clone(),
        sandbox_id: sandbox_id.to_owned(),
        name: container.name.clone(),
        attempt,
        spec_hash: spec_hash(container),
        image: container.image.clone().unwrap_or_default(),
        command: expanded(&container.command),
        args: expanded(&container.args),
        working_dir: container.working_dir.clone().filter(|dir| !dir.is_empty()),
        mounts: volumes::mounts(context, container, &environment.known)?,
        env: environment.into_pairs(),
        limits: limits(container.resources.as_ref())?,
        user: user(context, &security)?,
        groups: pod_security.map_or_else(Vec::new, |s| {
            let groups = s.supplemental_groups.iter().flatten().copied();
            groups.chain(s.fs_group).collect()
        }),
        privileged: security.privileged == Some(true),
        read_only_root: security.read_only_root_filesystem == Some(true),
        capabilities_add: capabilities.add.unwrap_or_default(),
        capabilities_drop: capabilities.drop.unwrap_or_default(),
        host_pid: context.spec().host_pid == Some(true),
        stdin: container.stdin == Some(true),
        tty: container.tty == Some(true),
        grace_seconds: grace_seconds(context),
    })
}

/// `uid[:gid]`; the container's own setting before the pod's.
fn user(context: &Context<'_>, own: &SecurityContext) -> Result<Option<String>, ConfigError> {
    let pod = context.spec().security_context.as_ref();
    let user = own.run_as_user.or_else(|| pod?.run_as_user);
    let group = own.run_as_group.or_else(|| pod?.run_as_group);
    let non_root = own.run_as_non_root.or_else(|| pod?.run_as_non_root);
    if non_root == Some(true) && user == Some(0) {
        return Err(ConfigError::Root);
    }
    Ok(match (user, group) {
        (Some(user), Some(group)) => Some(format!("{user}:{group}")),
        (Some(user), None) => Some(user.to_string()),
        (None, Some(group)) => Some(format!("0:{group}")),
        (None, None) => None,
    })
}

/// Shares of the request (of the limit if there is none), quota and memory of the limit: the kubelet's arithmetic.
fn limits(resources: Option<&ResourceRequirements>) -> Result<Limits, ConfigError> {
    let limit = |name: &str| resources.and_then(|r| r.limits.as_ref()?.get(name));
    let request = |name: &str| resources.and_then(|r| r.requests.as_ref()?.get(name));
    let parse = |text: &Text| Quantity::parse(&text.0);
    let cpu_limit = limit("cpu").map(parse).transpose()?.map(Quantity::millis);
    let cpu_request = request("cpu").map(parse).transpose()?;
    let shares = cpu_request.map(Quantity::millis).or(cpu_limit).unwrap_or(0);
    let memory = limit("memory").map(parse).transpose()?;
    Ok(Limits {
        cpu_shares: (shares.saturating_mul(1_024) / 1_000).clamp(SHARES_MIN, SHARES_MAX),
        cpu_quota_us: cpu_limit
            .filter(|millis| *millis > 0)
            .map(|millis| (millis.saturating_mul(CPU_PERIOD_US) / 1_000).max(QUOTA_MIN_US)),
        memory_bytes: memory.map(Quantity::value).filter(|bytes| *bytes > 0),
    })
}
