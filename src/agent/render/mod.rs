//! Pods into what a runtime is asked for: sandboxes, containers with their environment, files.
//!
//! Pure: the same assignment, node and addresses give the same specs. Deliberately forgiving where Kubernetes is
//! (`optional` references, unknown `$(VAR)`s), and typed where it holds a container back ([`ConfigError`]).

mod container;
mod env;
mod expand;
mod field;
mod volumes;

#[cfg(test)]
mod tests;

pub use container::{
    container, fingerprint, init_containers, is_sidecar, main_containers, sandbox, spec_hash,
};
pub use volumes::volumes;

use std::net::IpAddr;
use std::sync::LazyLock;

use k8s_openapi::api::core::v1::{ConfigMap, Container, PodSpec, Secret};

use super::types::Assignment;
use crate::resource::quantity::QuantityError;

/// What the agent knows of its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its name.
    pub name: String,
    /// Its addresses, the preferred one first.
    pub addresses: Vec<IpAddr>,
    /// CPU that pods may use, millicores.
    pub cpu_millis: u64,
    /// Memory that pods may use, bytes.
    pub memory_bytes: u64,
    /// Most pods it takes.
    pub pods_max: u64,
    /// The runtime's name, the scheme of container ids.
    pub runtime: &'static str,
}

/// What a pod is rendered from.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The pod and what it refers to.
    pub assignment: &'a Assignment,
    /// Where it runs.
    pub node: &'a NodeInfo,
    /// Its addresses, once it has a sandbox.
    pub ips: &'a [IpAddr],
}

/// Why a container's configuration cannot be rendered now; the words are the kubelet's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A ConfigMap or Secret does not exist.
    #[error("{kind} {name:?} not found")]
    Missing {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// It exists without that key.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    MissingKey {
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// A `fieldRef` or `resourceFieldRef` names what cannot be referred to.
    #[error("field path {0:?} is not supported")]
    Field(String),
    /// A volume of a kind that this node cannot make, or one that the pod does not have.
    #[error("volume {0:?} is not defined or its type is not supported")]
    Volume(String),
    /// A path leads out of its volume.
    #[error("path {0:?} must stay inside its volume")]
    Path(String),
    /// A resource's amount is malformed.
    #[error(transparent)]
    Quantity(#[from] QuantityError),
    /// `runAsNonRoot` without a user, or with root.
    #[error("container has runAsNonRoot and runs as root")]
    Root,
}

static EMPTY_SPEC: LazyLock<PodSpec> = LazyLock::new(PodSpec::default);

impl<'a> Context<'a> {
    /// The pod's spec, empty if it has none.
    pub fn spec(&self) -> &'a PodSpec {
        self.assignment.pod.spec.as_ref().unwrap_or(&EMPTY_SPEC)
    }

    fn namespace(&self) -> &'a str {
        let namespace = self.assignment.pod.metadata.namespace.as_deref();
        namespace.unwrap_or_default()
    }

    fn container(&self, name: &str) -> Option<&'a Container> {
        let spec = self.spec();
        let init = spec.init_containers.iter().flatten();
        init.chain(&spec.containers).find(|c| c.name == name)
    }

    /// The node's addresses as text.
    pub fn host_ips(&self) -> Vec<String> {
        let addresses = self.node.addresses.iter();
        addresses.map(ToString::to_string).collect()
    }

    /// The pod's addresses as text; the node's own on its network.
    pub fn pod_ips(&self) -> Vec<String> {
        if self.ips.is_empty() {
            return self.host_ips();
        }
        self.ips.iter().map(ToString::to_string).collect()
    }

    fn config_map(&self, name: &str) -> Result<&'a ConfigMap, ConfigError> {
        let missing = || ConfigError::Missing {
            kind: "configmap",
            name: name.to_owned(),
        };
        self.assignment.config_maps.get(name).ok_or_else(missing)
    }

    fn secret(&self, name: &str) -> Result<&'a Secret, ConfigError> {
        let missing = || ConfigError::Missing {
            kind: "secret",
            name: name.to_owned(),
        };
        self.assignment.secrets.get(name).ok_or_else(missing)
    }

    fn missing_key(&self, kind: &'static str, name: &str, key: &str) -> ConfigError {
        ConfigError::MissingKey {
            kind,
            namespace: self.namespace().to_owned(),
            name: name.to_owned(),
            key: key.to_owned(),
        }
    }

    fn config_map_key(&self, name: &str, key: &str) -> Result<Vec<u8>, ConfigError> {
        let map = self.config_map(name)?;
        let text = map.data.as_ref().and_then(|data| data.get(key));
        text.map(|text| text.clone().into_bytes())
            .ok_or_else(|| self.missing_key("ConfigMap", name, key))
    }

    fn secret_key(&self, name: &str, key: &str) -> Result<Vec<u8>, ConfigError> {
        let secret = self.secret(name)?;
        let value = secret.data.as_ref().and_then(|data| data.get(key));
        value
            .map(|value| value.0.clone())
            .ok_or_else(|| self.missing_key("Secret", name, key))
    }
}
