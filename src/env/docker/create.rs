//! Specs as the bodies that the engine's `POST /containers/create` takes.

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount as EngineMount, MountType,
    PortBinding, PortMap,
};

use super::labels::Identity;
use crate::agent::{CPU_PERIOD_US, ContainerSpec, SandboxSpec};

/// The longest log file; the engine keeps two, so that one container holds at most twice this.
const LOG_SIZE_MAX: &str = "10m";

/// A pause container: holds the network and carries the pod's published ports.
pub(super) fn sandbox(
    spec: &SandboxSpec,
    scope: &str,
    image: &str,
    entrypoint: Vec<String>,
) -> ContainerCreateBody {
    let key = |port: u16, protocol: &str| format!("{port}/{}", protocol.to_lowercase());
    // One port of the container may have several of the host.
    let mut bindings = PortMap::new();
    for port in &spec.ports {
        let name = key(port.container_port, &port.protocol);
        let of_port = bindings.entry(name).or_default();
        of_port.get_or_insert_default().push(PortBinding {
            host_ip: port.host_ip.map(|ip| ip.to_string()),
            host_port: Some(port.host_port.to_string()),
        });
    }
    let mut exposed: Vec<String> = bindings.keys().cloned().collect();
    exposed.sort();
    let aliases = spec.host_aliases.iter();
    let hosts = aliases.flat_map(|(ip, names)| names.iter().map(move |n| format!("{n}:{ip}")));
    let mode = if spec.host_network { "host" } else { "bridge" };
    let host = HostConfig {
        network_mode: Some(mode.to_owned()),
        port_bindings: Some(bindings),
        extra_hosts: Some(hosts.collect()),
        ipc_mode: Some("shareable".to_owned()),
        cap_drop: Some(vec!["ALL".to_owned()]),
        readonly_rootfs: Some(true),
        cpu_shares: Some(2),
        log_config: Some(log_config()),
        ..HostConfig::default()
    };
    ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: Some(entrypoint),
        hostname: Some(spec.hostname.clone()),
        exposed_ports: Some(exposed),
        labels: Some(labels(&Identity::of_sandbox(spec), scope)),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}

/// A container that joins its sandbox; `sources` are the host's paths behind its mounts, in order.
pub(super) fn container(
    spec: &ContainerSpec,
    scope: &str,
    host_pid: bool,
    sources: &[String],
) -> ContainerCreateBody {
    let mounts = spec.mounts.iter().zip(sources);
    let mounts = mounts.map(|(mount, source)| EngineMount {
        target: Some(mount.target.clone()),
        source: Some(source.clone()),
        typ: Some(MountType::BIND),
        read_only: Some(mount.read_only),
        ..EngineMount::default()
    });
    let joined = format!("container:{}", spec.sandbox_id);
    let memory = spec.limits.memory_bytes.map(|bytes| bytes as i64);
    let host = HostConfig {
        network_mode: Some(joined.clone()),
        ipc_mode: Some(joined),
        pid_mode: host_pid.then(|| "host".to_owned()),
        cpu_shares: Some(spec.limits.cpu_shares as i64),
        cpu_period: spec.limits.cpu_quota_us.map(|_| CPU_PERIOD_US as i64),
        cpu_quota: spec.limits.cpu_quota_us.map(|quota| quota as i64),
        memory,
        // As much as the memory itself: no swap on top.
        memory_swap: memory,
        mounts: Some(mounts.collect()),
        privileged: Some(spec.privileged),
        readonly_rootfs: Some(spec.read_only_root),
        cap_add: Some(spec.capabilities_add.clone()),
        cap_drop: Some(spec.capabilities_drop.clone()),
        group_add: Some(spec.groups.iter().map(ToString::to_string).collect()),
        log_config: Some(log_config()),
        ..HostConfig::default()
    };
    let words = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
    let env = spec.env.iter();
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        entrypoint: words(&spec.command),
        cmd: words(&spec.args),
        env: Some(env.map(|(name, value)| format!("{name}={value}")).collect()),
        working_dir: spec.working_dir.clone(),
        user: spec.user.clone(),
        open_stdin: Some(spec.stdin),
        tty: Some(spec.tty),
        labels: Some(labels(&Identity::of_container(spec), scope)),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}

fn labels<M: FromIterator<(String, String)>>(identity: &Identity, scope: &str) -> M {
    identity.labels(scope).into_iter().collect()
}

fn log_config() -> HostConfigLogConfig {
    let config = [("max-size", LOG_SIZE_MAX), ("max-file", "2")];
    let owned = config.map(|(key, value)| (key.to_owned(), value.to_owned()));
    HostConfigLogConfig {
        typ: Some("json-file".to_owned()),
        config: Some(owned.into_iter().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{PodRef, PortMapping};

    #[test]
    fn one_port_has_all_of_its_host_ports() {
        let port = |host_port, protocol: &str| PortMapping {
            container_port: 80,
            host_port,
            host_ip: None,
            protocol: protocol.to_owned(),
        };
        let spec = SandboxSpec {
            pod: PodRef {
                namespace: "default".to_owned(),
                name: "p".to_owned(),
                uid: "u".to_owned(),
                unique: false,
            },
            attempt: 0,
            hostname: "p".to_owned(),
            host_network: false,
            host_pid: false,
            ports: vec![port(8080, "TCP"), port(9090, "TCP"), port(8080, "UDP")],
            host_aliases: Vec::new(),
            grace_seconds: 1,
        };
        let body = sandbox(&spec, "scope", "pause", Vec::new());
        assert_eq!(body.exposed_ports.unwrap(), ["80/tcp", "80/udp"]);
        let bindings = body.host_config.unwrap().port_bindings.unwrap();
        let of = |name: &str| {
            let bindings = bindings[name].iter().flatten();
            let ports = bindings.filter_map(|binding| binding.host_port.as_deref());
            ports.collect::<Vec<_>>()
        };
        assert_eq!(of("80/tcp"), ["8080", "9090"]);
        assert_eq!(of("80/udp"), ["8080"]);
    }
}
