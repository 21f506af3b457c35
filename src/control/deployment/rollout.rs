//! From the old ReplicaSets to the new one: rolling, or all at once.
//!
//! Counts what ReplicaSets were asked for or were seen to have, whichever is more, so that the bounds hold for pods
//! and not only for specs. Deliberately one step at a time; the next change of a ReplicaSet brings the next.

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;

use super::{Rollout, Step, available, existing, total, wanted};
use crate::resource::Cache;
use crate::resource::pods::is_terminated;

impl Rollout<'_> {
    /// One step of a rolling update. Returns whether anything was to be moved.
    pub(super) fn roll(&self, cache: &Cache, step: &mut Step<'_>) -> bool {
        let grown = self.new_size();
        let Some((key, set)) = self.new else {
            self.create_new(self.name_is_taken(cache), grown, step);
            return true;
        };
        if grown != wanted(set) {
            self.set_size(key, set, grown, step);
            return true;
        }
        self.shrink_old(set, step)
    }

    /// How large the new ReplicaSet may be now (`NewRSNewReplicas`).
    ///
    /// It does not grow before every ReplicaSet has seen its present size: one that was asked for fewer pods a moment
    /// ago may just have made some that its status does not count yet.
    fn new_size(&self) -> i32 {
        let now = self.new.map_or(0, |(_, set)| wanted(set));
        if now <= self.replicas && self.all().any(|(_, set)| is_behind(set)) {
            return now;
        }
        let total = total(self.all().map(|(_, set)| wanted(set).max(existing(set))));
        if now > self.replicas {
            return self.replicas;
        }
        let room = (self.replicas + self.max_surge - total).max(0);
        now + room.min(self.replicas - now)
    }

    /// Takes pods from the old ReplicaSets: first those that do not serve anyway, then as many as may be missing.
    fn shrink_old(&self, new: &ReplicaSet, step: &mut Step<'_>) -> bool {
        let total = total(self.all().map(|(_, set)| wanted(set)));
        let least = self.replicas - self.max_unavailable;
        let unavailable_new = wanted(new) - available(new);
        let removable = total - unavailable_new - least;
        let mut sizes: Vec<_> = self.old.iter().map(|(_, set)| wanted(set)).collect();
        let mut left = removable;
        for (size, (_, set)) in sizes.iter_mut().zip(&self.old) {
            let useless = (*size - available(set)).clamp(0, left.max(0));
            *size -= useless;
            left -= useless;
        }
        let serving = super::total(self.all().map(|(_, set)| available(set)));
        let mut spare = (serving - least).min(left);
        for size in &mut sizes {
            let taken = (*size).clamp(0, spare.max(0));
            *size -= taken;
            spare -= taken;
        }
        let mut moved = false;
        for (size, (key, set)) in sizes.into_iter().zip(&self.old) {
            if size != wanted(set) {
                self.set_size(key, set, size, step);
                moved = true;
            }
        }
        moved
    }

    /// One step of strategy Recreate: the new pods start when the last old one has gone.
    pub(super) fn recreate(&self, cache: &Cache, step: &mut Step<'_>) -> bool {
        let mut moved = false;
        for (key, set) in self.old.iter().filter(|(_, set)| wanted(set) > 0) {
            self.set_size(key, set, 0, step);
            moved = true;
        }
        if moved || self.old.iter().any(|(_, set)| has_pods(cache, set)) {
            return true;
        }
        match self.new {
            None => self.create_new(self.name_is_taken(cache), self.replicas, step),
            Some((key, set)) if wanted(set) != self.replicas => {
                self.set_size(key, set, self.replicas, step);
            }
            Some(_) => return false,
        }
        true
    }
}

/// Whether its own controller has yet to see its present spec.
fn is_behind(set: &ReplicaSet) -> bool {
    let seen = set.status.as_ref().and_then(|s| s.observed_generation);
    seen < set.metadata.generation
}

fn has_pods(cache: &Cache, set: &ReplicaSet) -> bool {
    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    let mut pods = cache.owned_by::<Pod>(uid);
    pods.any(|(_, pod)| !is_terminated(pod))
}
