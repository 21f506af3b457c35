//! Sizes of ReplicaSets: setting one, and sharing a change of `spec.replicas` out over several.
//!
//! Scaling in the middle of a roll-out, or while paused, keeps the proportions between old and new, so that a broken
//! new template does not get all the new pods.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use serde_json::{Map, json};

use super::revision::{DESIRED, MAX};
use super::{Rollout, Step, WRITER, available, total, wanted};
use crate::control::patches::at_this_version;
use crate::resource::ObjectKey;

impl Rollout<'_> {
    /// Asks a ReplicaSet for so many pods, and notes for which size of the Deployment.
    pub(super) fn set_size(
        &self,
        key: &ObjectKey,
        set: &ReplicaSet,
        size: i32,
        step: &mut Step<'_>,
    ) {
        let before = wanted(set);
        let annotations = self.size_annotations();
        let noted = annotations
            .iter()
            .all(|(n, v)| annotation(set, n) == Some(v));
        if size == before && noted {
            return;
        }
        let annotations: Map<_, _> = annotations
            .into_iter()
            .map(|(name, size)| (name.to_owned(), json!(size)))
            .collect();
        let mut meta = at_this_version(&set.metadata);
        meta.insert("annotations".into(), annotations.into());
        let patch = json!({"metadata": meta, "spec": {"replicas": size}});
        let patch = WRITER.patch::<ReplicaSet>(key, patch);
        if size == before {
            return step.outcome.write(patch);
        }
        let way = if size > before { "up" } else { "down" };
        let message = format!(
            "Scaled {way} replica set {} from {before} to {size}",
            key.name
        );
        let event = self.tell(step, &message);
        step.outcome.write_and_tell(patch, event);
    }

    /// Whether `spec.replicas` changed since the ReplicaSets were last sized.
    pub(super) fn is_scaling(&self) -> bool {
        let mut active = self.all().filter(|(_, set)| wanted(set) > 0);
        active.any(|(_, set)| {
            let noted = annotation(set, DESIRED).and_then(|size| size.parse::<i32>().ok());
            noted.is_some_and(|size| size != self.replicas)
        })
    }

    /// Brings the ReplicaSets to the size of the Deployment without moving pods from old to new.
    pub(super) fn scale_proportionally(&self, step: &mut Step<'_>) {
        let active: Vec<_> = self.all().filter(|(_, set)| wanted(set) > 0).collect();
        let only = match active.as_slice() {
            [] => self.new.or(self.old.last().copied()),
            [only] => Some(*only),
            _ => None,
        };
        if let Some((key, set)) = only {
            return self.set_size(key, set, self.replicas, step);
        }
        if self.new.is_some_and(|(_, set)| self.is_saturated(set)) {
            for (key, set) in self.old.iter().filter(|(_, set)| wanted(set) > 0) {
                self.set_size(key, set, 0, step);
            }
        } else if !super::is_recreate(self.spec) {
            self.share_out(active, step);
        }
    }

    fn is_saturated(&self, set: &ReplicaSet) -> bool {
        wanted(set) == self.replicas
            && available(set) == self.replicas
            && annotation(set, DESIRED) == Some(&self.replicas.to_string())
    }

    /// Each ReplicaSet grows or shrinks by its share, the largest first; what rounding leaves goes to that one.
    fn share_out(&self, mut sets: Vec<(&ObjectKey, &Arc<ReplicaSet>)>, step: &mut Step<'_>) {
        let total = total(sets.iter().map(|(_, set)| wanted(set)));
        let allowed = if self.replicas > 0 {
            self.replicas + self.max_surge
        } else {
            0
        };
        let change = allowed - total;
        sets.sort_by_key(|(_, set)| wanted(set));
        // `all` has the oldest first. When growing, the younger of two equals goes first; when shrinking, the older.
        if change > 0 {
            sets.reverse();
        } else {
            sets.sort_by_key(|(_, set)| -wanted(set));
        }
        let mut left = change;
        let mut sizes = Vec::new();
        for (_, set) in &sets {
            let share = self.share_of(set, allowed);
            let share = if change > 0 {
                share.clamp(0, left)
            } else {
                share.clamp(left, 0)
            };
            left -= share;
            sizes.push(wanted(set) + share);
        }
        if let Some(first) = sizes.first_mut() {
            *first = (*first + left).max(0);
        }
        for ((key, set), size) in sets.into_iter().zip(sizes) {
            self.set_size(key, set, size, step);
        }
    }

    /// What one ReplicaSet's part of the change is, before the whole change bounds it.
    fn share_of(&self, set: &ReplicaSet, allowed: i32) -> i32 {
        let size = wanted(set);
        if self.replicas == 0 {
            return -size;
        }
        let noted = annotation(set, MAX).and_then(|max| max.parse::<i32>().ok());
        let before = noted.filter(|max| *max > 0);
        let Some(before) = before.or_else(|| self.deployment.status.as_ref()?.replicas) else {
            return 0;
        };
        let (size, allowed, before) = (
            i64::from(size),
            i64::from(allowed),
            i64::from(before.max(1)),
        );
        // Rounded to the nearest whole pod.
        let scaled = (2 * size * allowed + before) / (2 * before);
        i32::try_from(scaled - size).unwrap_or(i32::MAX)
    }
}

fn annotation<'a>(set: &'a ReplicaSet, name: &str) -> Option<&'a String> {
    set.metadata.annotations.as_ref()?.get(name)
}
