//! What a node must run, from the leader's cache: its pods, each with the ConfigMaps and Secrets that it reads.
//!
//! Pure. Deliberately whole pods, not differences inside them: a pod changes rarely and is small.

use std::collections::BTreeSet;

use bytes::Bytes;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, PodSpec, Secret};
use serde::Serialize;

use super::node_messages::WireAssignment;
use crate::resource::{Cache, ObjectKey};

/// Names of the objects a pod reads, within its namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// ConfigMaps.
    pub(super) config_maps: BTreeSet<String>,
    /// Secrets.
    pub(super) secrets: BTreeSet<String>,
}

/// The assignment of a pod, complete with what it needs. What does not exist is left out; the agent waits for it.
pub(super) fn assignment(cache: &Cache, key: &ObjectKey, pod: &Pod) -> WireAssignment {
    let needs = needs(pod);
    let in_namespace = |name: &String| ObjectKey::new(key.namespace.as_str(), name.as_str());
    let found = |name: &String| cache.get::<ConfigMap>(&in_namespace(name));
    let config_maps = needs.config_maps.iter().filter_map(found);
    let found = |name: &String| cache.get::<Secret>(&in_namespace(name));
    let secrets = needs.secrets.iter().filter_map(found);
    WireAssignment {
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        pod: encode(pod),
        config_maps: config_maps.map(|map| encode(map.as_ref())).collect(),
        secrets: secrets.map(|secret| encode(secret.as_ref())).collect(),
        fresh: false,
    }
}

fn encode<T: Serialize>(object: &T) -> Bytes {
    Bytes::from(serde_json::to_vec(object).expect("API objects have only string keys"))
}

/// The objects a pod reads.
pub(super) fn needs(pod: &Pod) -> Needs {
    let mut needs = Needs::default();
    let Some(spec) = &pod.spec else { return needs };
    for container in spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
    {
        needs.add_container(container);
    }
    needs.add_volumes(spec);
    needs
}

impl Needs {
    fn add_container(&mut self, container: &Container) {
        for source in container.env_from.iter().flatten() {
            self.config_maps
                .extend(source.config_map_ref.as_ref().map(|r| r.name.clone()));
            self.secrets
                .extend(source.secret_ref.as_ref().map(|r| r.name.clone()));
        }
        for source in container
            .env
            .iter()
            .flatten()
            .filter_map(|variable| variable.value_from.as_ref())
        {
            self.config_maps
                .extend(source.config_map_key_ref.as_ref().map(|r| r.name.clone()));
            self.secrets
                .extend(source.secret_key_ref.as_ref().map(|r| r.name.clone()));
        }
    }

    fn add_volumes(&mut self, spec: &PodSpec) {
        for volume in spec.volumes.iter().flatten() {
            self.config_maps
                .extend(volume.config_map.as_ref().map(|source| source.name.clone()));
            self.secrets.extend(
                volume
                    .secret
                    .as_ref()
                    .and_then(|source| source.secret_name.clone()),
            );
            for source in volume
                .projected
                .iter()
                .flat_map(|projected| projected.sources.iter().flatten())
            {
                self.config_maps
                    .extend(source.config_map.as_ref().map(|r| r.name.clone()));
                self.secrets
                    .extend(source.secret.as_ref().map(|r| r.name.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_needs_what_its_environment_and_volumes_name() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "p" },
            "spec": {
                "initContainers": [{ "name": "i", "envFrom": [{ "secretRef": { "name": "s1" } }] }],
                "containers": [{ "name": "c", "env": [
                    { "name": "A", "valueFrom": { "configMapKeyRef": { "name": "m1", "key": "k" } } },
                    { "name": "B", "valueFrom": { "secretKeyRef": { "name": "s2", "key": "k" } } },
                ]}],
                "volumes": [
                    { "name": "v", "configMap": { "name": "m2" } },
                    { "name": "w", "secret": { "secretName": "s3" } },
                    { "name": "x", "projected": { "sources": [{ "configMap": { "name": "m3" } }] } },
                ],
            },
        }))
        .unwrap();
        let set = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<BTreeSet<_>>()
        };
        let expected = Needs {
            config_maps: set(&["m1", "m2", "m3"]),
            secrets: set(&["s1", "s2", "s3"]),
        };
        assert_eq!(needs(&pod), expected);
    }
}
