//! Which ReplicaSet bears which template: the template's hash, revisions, their annotations and their history.
//!
//! A roll-back needs nothing special: kubectl puts the old template back, and the ReplicaSet that has it is new again.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::{Value, json};

use super::{API_VERSION, KIND, Rollout, Step, WRITER, wanted};
use crate::control::patches::{at_this_version, controller_reference};
use crate::resource::names::ALPHABET;
use crate::resource::{Cache, ObjectKey, ResourceName};

pub(super) const HASH_LABEL: &str = "pod-template-hash";
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of a Deployment that are not its ReplicaSets'.
const NOT_COPIED: [&str; 5] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
];
/// Old ReplicaSets kept if the spec does not say (Kubernetes' default).
const HISTORY_DEFAULT: i32 = 10;

/// Whether a ReplicaSet bears this template, the hash label aside.
pub(super) fn has_template(set: &ReplicaSet, template: &PodTemplateSpec) -> bool {
    let own = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
    own.is_some_and(|own| bare(own) == bare(template))
}

/// The template as canonical JSON without its hash label, so that absent and empty maps are equal.
fn bare(template: &PodTemplateSpec) -> Value {
    let mut value = json!(template);
    if let Some(meta) = value["metadata"].as_object_mut() {
        if let Some(labels) = meta.get_mut("labels").and_then(Value::as_object_mut) {
            labels.remove(HASH_LABEL);
        }
        meta.remove("creationTimestamp");
        meta.retain(|_, v| !v.as_object().is_some_and(serde_json::Map::is_empty));
    }
    value
}

/// FNV-1a (32 bits) of the template and the count of collisions, in characters that spell no words.
pub(super) fn hash(template: &PodTemplateSpec, collisions: i32) -> String {
    const OFFSET: u32 = 0x811c_9dc5;
    const PRIME: u32 = 0x0100_0193;
    let text = format!("{}{collisions}", bare(template));
    let hash = text.bytes().fold(OFFSET, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(PRIME)
    });
    let digits = hash.to_string();
    let safe = digits
        .bytes()
        .map(|digit| ALPHABET[usize::from(digit) % ALPHABET.len()]);
    safe.map(char::from).collect()
}

/// A ReplicaSet's revision, 0 if it has none.
pub(super) fn revision(set: &ReplicaSet) -> i64 {
    let annotations = set.metadata.annotations.as_ref();
    let text = annotations.and_then(|a| a.get(REVISION));
    text.and_then(|t| t.parse().ok()).unwrap_or_default()
}

impl Rollout<'_> {
    fn next_revision(&self) -> i64 {
        let old = self.old.iter().map(|(_, set)| revision(set));
        old.max().unwrap_or_default() + 1
    }

    /// Gives the new ReplicaSet the highest revision and the Deployment's annotations, and the Deployment the
    /// revision of its new ReplicaSet. Returns whether the ReplicaSet is written.
    pub(super) fn sync_revision(&self, step: &mut Step<'_>) -> bool {
        let Some((key, set)) = self.new else {
            return false;
        };
        let current = revision(set);
        let next = current.max(self.next_revision());
        let before = set.metadata.annotations.clone().unwrap_or_default();
        let mut after = before.clone();
        after.extend(self.copied_annotations());
        if next != current {
            after.insert(REVISION.into(), next.to_string());
            if current > 0 {
                let history = before.get(REVISION_HISTORY);
                let history =
                    history.map_or_else(|| current.to_string(), |h| format!("{h},{current}"));
                after.insert(REVISION_HISTORY.into(), history);
            }
        }
        let min_ready = self.spec.min_ready_seconds.unwrap_or_default();
        let min_ready_before = set.spec.as_ref().and_then(|s| s.min_ready_seconds);
        let changed = after != before || min_ready_before.unwrap_or_default() != min_ready;
        if changed {
            let mut meta = at_this_version(&set.metadata);
            // What `scale` sets is its own to patch, at the same version.
            after.retain(|name, _| name != DESIRED && name != MAX);
            meta.insert("annotations".into(), json!(after));
            let patch = json!({"metadata": meta, "spec": {"minReadySeconds": min_ready}});
            step.outcome.write(WRITER.patch::<ReplicaSet>(key, patch));
        }
        self.set_own_revision(next, step);
        changed
    }

    fn set_own_revision(&self, revision: i64, step: &mut Step<'_>) {
        let annotations = self.deployment.metadata.annotations.as_ref();
        let revision = revision.to_string();
        if annotations.and_then(|a| a.get(REVISION)) != Some(&revision) {
            let patch = json!({"metadata": {"annotations": {REVISION: revision}}});
            let patch = WRITER.patch::<Deployment>(self.key, patch);
            step.outcome.write(patch);
        }
    }

    fn copied_annotations(&self) -> BTreeMap<String, String> {
        let mut annotations = self
            .deployment
            .metadata
            .annotations
            .clone()
            .unwrap_or_default();
        annotations.retain(|name, _| !NOT_COPIED.contains(&name.as_str()));
        annotations
    }

    /// The annotations by which scaling is recognised and shared out.
    pub(super) fn size_annotations(&self) -> [(&'static str, String); 2] {
        let max = if self.replicas == 0 {
            0
        } else {
            self.replicas + self.max_surge
        };
        [(DESIRED, self.replicas.to_string()), (MAX, max.to_string())]
    }

    /// Creates the ReplicaSet of the present template with so many replicas. If its name is taken by another
    /// template, the collision is counted in the status instead, and the next step tries the next name.
    pub(super) fn create_new(&self, taken: bool, replicas: i32, step: &mut Step<'_>) {
        let name = self.new_name();
        if taken {
            let collisions = json!({"collisionCount": self.collisions() + 1});
            let status = WRITER.patch_status::<Deployment>(self.key, collisions);
            return step.outcome.write(status);
        }
        let hash = hash(&self.spec.template, self.collisions());
        let labels = |value: &mut Value| value[HASH_LABEL] = json!(hash);
        let mut template = json!(self.spec.template);
        labels(&mut template["metadata"]["labels"]);
        let mut selector = json!(self.spec.selector);
        labels(&mut selector["matchLabels"]);
        let mut annotations = self.copied_annotations();
        let revision = self.next_revision();
        annotations.insert(REVISION.into(), revision.to_string());
        let sizes = self
            .size_annotations()
            .map(|(name, size)| (name.to_owned(), size));
        annotations.extend(sizes);
        let set = json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": name,
                "namespace": self.key.namespace,
                "labels": template["metadata"]["labels"],
                "annotations": annotations,
                "ownerReferences": [controller_reference(API_VERSION, KIND, &self.deployment.metadata)],
            },
            "spec": {
                "replicas": replicas,
                "minReadySeconds": self.spec.min_ready_seconds.unwrap_or_default(),
                "selector": selector,
                "template": template,
            },
        });
        let create = WRITER.create(ResourceName::of::<ReplicaSet>(), &self.key.namespace, set);
        if replicas > 0 {
            let message = format!("Scaled up replica set {name} from 0 to {replicas}");
            let event = self.tell(step, &message);
            step.outcome.write_and_tell(create, event);
        } else {
            step.outcome.write(create);
        }
        self.set_own_revision(revision, step);
        step.created = Some(name);
    }

    /// The name of the present template's ReplicaSet.
    pub(super) fn new_name(&self) -> String {
        let hash = hash(&self.spec.template, self.collisions());
        format!("{}-{hash}", self.key.name)
    }

    fn collisions(&self) -> i32 {
        let status = self.deployment.status.as_ref();
        status.and_then(|s| s.collision_count).unwrap_or_default()
    }

    /// Deletes the oldest revisions that are empty, beyond the limit of history.
    pub(super) fn clean_up(&self, step: &mut Step<'_>) {
        let limit = self.spec.revision_history_limit.unwrap_or(HISTORY_DEFAULT);
        let limit = usize::try_from(limit).unwrap_or_default();
        let old = self.old.iter();
        let mut alive: Vec<_> = old
            .filter(|(_, set)| set.metadata.deletion_timestamp.is_none())
            .collect();
        alive.sort_by_key(|(_, set)| revision(set));
        let excess = alive.len().saturating_sub(limit);
        let empty = alive.into_iter().take(excess).filter(|(_, s)| is_empty(s));
        for (key, set) in empty {
            step.outcome
                .write(WRITER.delete::<ReplicaSet>(key, &set.metadata));
        }
    }

    /// Whether another object already bears the new ReplicaSet's name.
    pub(super) fn name_is_taken(&self, cache: &Cache) -> bool {
        let key = ObjectKey::new(&self.key.namespace, self.new_name());
        cache.get::<ReplicaSet>(&key).is_some()
    }
}

/// Whether it has no pods and its own controller has seen that it is to have none.
fn is_empty(set: &ReplicaSet) -> bool {
    let seen = set.status.as_ref().and_then(|s| s.observed_generation);
    wanted(set) == 0 && super::existing(set) == 0 && seen >= set.metadata.generation
}
