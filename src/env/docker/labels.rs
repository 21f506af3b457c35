//! What the runtime writes on a container to know it again: labels, and a name that no two may share.

use std::collections::BTreeMap;

use crate::agent::{ContainerSpec, GRACE_DEFAULT, PodRef, SandboxSpec};

/// Whose engine's guest it is: the cluster and the node.
pub(super) const SCOPE: &str = "kagero.dev/scope";
/// On an image made of this program: the name and the entry point that it was made with.
pub(super) const SELF: &str = "kagero.dev/self-image";
/// On such an image: what tells its content from another's.
pub(super) const CONTENT: &str = "kagero.dev/content";
const KIND: &str = "kagero.dev/kind";
const ATTEMPT: &str = "kagero.dev/attempt";
const SANDBOX: &str = "kagero.dev/sandbox";
const SPEC_HASH: &str = "kagero.dev/spec-hash";
const GRACE: &str = "kagero.dev/grace-seconds";
const IMAGE: &str = "kagero.dev/image";
/// Only on what belongs to a unique pod.
const UNIQUE: &str = "kagero.dev/unique";
// The names that the kubelet's runtimes use, so that other tools understand them.
const POD_UID: &str = "io.kubernetes.pod.uid";
const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
const POD_NAME: &str = "io.kubernetes.pod.name";
const CONTAINER: &str = "io.kubernetes.container.name";

/// What the labels of a container say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) pod: PodRef,
    pub(super) attempt: u32,
    pub(super) grace_seconds: u64,
    pub(super) role: Role,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Sandbox,
    Container {
        name: String,
        sandbox_id: String,
        spec_hash: String,
        image: String,
    },
}

impl Identity {
    pub(super) fn of_sandbox(spec: &SandboxSpec) -> Self {
        Self {
            pod: spec.pod.clone(),
            attempt: spec.attempt,
            grace_seconds: spec.grace_seconds,
            role: Role::Sandbox,
        }
    }

    pub(super) fn of_container(spec: &ContainerSpec) -> Self {
        Self {
            pod: spec.pod.clone(),
            attempt: spec.attempt,
            grace_seconds: spec.grace_seconds,
            role: Role::Container {
                name: spec.name.clone(),
                sandbox_id: spec.sandbox_id.clone(),
                spec_hash: spec.spec_hash.clone(),
                image: spec.image.clone(),
            },
        }
    }

    /// The labels to set.
    pub(super) fn labels(&self, scope: &str) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([
            (SCOPE, scope.to_owned()),
            (POD_UID, self.pod.uid.clone()),
            (POD_NAMESPACE, self.pod.namespace.clone()),
            (POD_NAME, self.pod.name.clone()),
            (ATTEMPT, self.attempt.to_string()),
            (GRACE, self.grace_seconds.to_string()),
        ]);
        if self.pod.unique {
            labels.insert(UNIQUE, "true".to_owned());
        }
        match &self.role {
            Role::Sandbox => labels.extend([(KIND, "sandbox".to_owned())]),
            Role::Container {
                name,
                sandbox_id,
                spec_hash,
                image,
            } => labels.extend([
                (KIND, "container".to_owned()),
                (CONTAINER, name.clone()),
                (SANDBOX, sandbox_id.clone()),
                (SPEC_HASH, spec_hash.clone()),
                (IMAGE, image.clone()),
            ]),
        }
        let owned = labels
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value));
        owned.collect()
    }

    /// Reads labels back; none if they are not ours or not whole.
    pub(super) fn parse<'a>(label: impl Fn(&str) -> Option<&'a String>) -> Option<Self> {
        let text = |key: &str| label(key).cloned();
        let role = match text(KIND)?.as_str() {
            "sandbox" => Role::Sandbox,
            "container" => Role::Container {
                name: text(CONTAINER)?,
                sandbox_id: text(SANDBOX)?,
                spec_hash: text(SPEC_HASH)?,
                image: text(IMAGE)?,
            },
            _ => return None,
        };
        let grace = label(GRACE).and_then(|grace| grace.parse().ok());
        Some(Self {
            pod: PodRef {
                namespace: text(POD_NAMESPACE)?,
                name: text(POD_NAME)?,
                uid: text(POD_UID)?,
                unique: label(UNIQUE).is_some(),
            },
            attempt: label(ATTEMPT)?.parse().ok()?,
            grace_seconds: grace.unwrap_or(GRACE_DEFAULT.as_secs()),
            role,
        })
    }

    /// The engine's name for it. It makes a second start of the same attempt collide instead of running twice.
    pub(super) fn name(&self, scope: &str) -> String {
        let scope: String = scope
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let part = match &self.role {
            Role::Sandbox => "POD",
            Role::Container { name, .. } => name,
        };
        let PodRef {
            namespace,
            name,
            uid,
            ..
        } = &self.pod;
        format!(
            "kagero_{scope}_{part}_{name}_{namespace}_{uid}_{}",
            self.attempt
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_read_back_as_written() {
        let pod = PodRef {
            namespace: "ns".to_owned(),
            name: "web-1".to_owned(),
            uid: "u".to_owned(),
            unique: true,
        };
        let container = Role::Container {
            name: "c".to_owned(),
            sandbox_id: "s".to_owned(),
            spec_hash: "h".to_owned(),
            image: "i:1".to_owned(),
        };
        for role in [Role::Sandbox, container] {
            let identity = Identity {
                pod: pod.clone(),
                attempt: 4,
                grace_seconds: 7,
                role,
            };
            let labels = identity.labels("s/n");
            assert_eq!(Identity::parse(|key| labels.get(key)), Some(identity));
        }
        assert_eq!(Identity::parse(|_| None), None);
    }
}
