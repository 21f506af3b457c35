//! Deployment: rolls a template out over ReplicaSets, one step a reconciliation.
//!
//! Follows Kubernetes' deployment controller in arithmetic, annotations and words. Deliberately without touching a
//! pod: ReplicaSets do that.

mod revision;
mod rollout;
mod scale;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rand::RngCore;

use super::claim::{Claimant, Claimed, claimants};
use super::{Controller, EventSource, Level, Outcome, ReconcileError, event, keys_of};
use crate::resource::cache::{Cached, Change, controller_of};
use crate::resource::{Cache, ObjectKey, Request, Writer};

const KIND: &str = "Deployment";
const API_VERSION: &str = "apps/v1";
const COMPONENT: &str = "deployment-controller";
const WRITER: Writer = Writer {
    user: "system:kagero:deployment-controller",
};

/// The controller of Deployments.
#[derive(Debug, Default)]
pub struct Deployments;

impl Controller for Deployments {
    fn name(&self) -> &'static str {
        COMPONENT
    }

    fn keys_for(&self, change: &Change, cache: &Cache) -> Vec<ObjectKey> {
        match change.prefix.as_str() {
            Deployment::PREFIX => vec![change.key.clone()],
            ReplicaSet::PREFIX => claimants::<Deployment, ReplicaSet>(change, cache),
            Pod::PREFIX => of_pod(change, cache),
            _ => Vec::new(),
        }
    }

    fn all_keys(&self, cache: &Cache) -> Vec<ObjectKey> {
        keys_of::<Deployment>(cache)
    }

    fn reconcile(
        &self,
        cache: &Cache,
        key: &ObjectKey,
        now: Timestamp,
        entropy: &mut dyn RngCore,
    ) -> Result<Outcome, ReconcileError> {
        let mut outcome = Outcome::default();
        let Some(deployment) = cache.get::<Deployment>(key) else {
            return Ok(outcome);
        };
        let spec = deployment.spec.as_ref();
        let spec = spec.ok_or_else(|| ReconcileError::no_spec::<Deployment>(key))?;
        let claimant = Claimant::of(WRITER, key, &**deployment)?;
        let sets = claimant.claim::<ReplicaSet>(cache, |_| true, &mut outcome);
        if !outcome.writes.is_empty() {
            // Whose the ReplicaSets are comes first: a second write to the same version would conflict.
            return Ok(outcome);
        }
        let view = Rollout::new(key, deployment, spec, sets);
        let mut step = Step {
            now,
            entropy,
            outcome,
            created: None,
        };
        if deployment.metadata.deletion_timestamp.is_none() {
            view.advance(cache, &mut step);
        }
        view.update_status(&mut step);
        Ok(step.outcome)
    }
}

/// The Deployment behind a pod, if it waits for the last old pod to go (strategy Recreate).
fn of_pod(change: &Change, cache: &Cache) -> Vec<ObjectKey> {
    let namespace = &change.key.namespace;
    let sets = change.owners.iter().filter(|owner| owner.controller);
    let sets = sets.filter_map(|o| cache.get::<ReplicaSet>(&ObjectKey::new(namespace, &o.name)));
    let owners = sets.filter_map(|set| controller_of(&set.metadata));
    let keys = owners.map(|owner| ObjectKey::new(namespace, &owner.name));
    keys.filter(|key| {
        let spec = cache.get::<Deployment>(key).and_then(|d| d.spec.as_ref());
        spec.is_some_and(is_recreate)
    })
    .collect()
}

fn is_recreate(spec: &DeploymentSpec) -> bool {
    let strategy = spec.strategy.as_ref().and_then(|s| s.type_.as_deref());
    strategy == Some("Recreate")
}

/// One reconciliation's effects and inputs of time and chance.
struct Step<'a> {
    now: Timestamp,
    entropy: &'a mut dyn RngCore,
    outcome: Outcome,
    /// The ReplicaSet that this step creates.
    created: Option<String>,
}

/// A Deployment with its ReplicaSets, old ones from the oldest to the youngest.
struct Rollout<'a> {
    key: &'a ObjectKey,
    deployment: &'a Deployment,
    spec: &'a DeploymentSpec,
    /// Pods wanted.
    replicas: i32,
    /// Pods more than wanted that may exist meanwhile.
    max_surge: i32,
    /// Pods fewer than wanted that may be available meanwhile.
    max_unavailable: i32,
    new: Option<(&'a ObjectKey, &'a Arc<ReplicaSet>)>,
    old: Claimed<'a, ReplicaSet>,
}

impl<'a> Rollout<'a> {
    fn new(
        key: &'a ObjectKey,
        deployment: &'a Deployment,
        spec: &'a DeploymentSpec,
        mut sets: Claimed<'a, ReplicaSet>,
    ) -> Self {
        sets.sort_by_key(|(key, set)| (set.metadata.creation_timestamp.clone(), *key));
        let new = sets
            .iter()
            .position(|(_, set)| revision::has_template(set, &spec.template))
            .map(|at| sets.remove(at));
        let replicas = spec.replicas.unwrap_or(1).max(0);
        let (max_surge, max_unavailable) = bounds(spec, replicas);
        Self {
            key,
            deployment,
            spec,
            replicas,
            max_surge,
            max_unavailable,
            new,
            old: sets,
        }
    }

    /// All ReplicaSets, the new one last.
    fn all(&self) -> impl Iterator<Item = (&'a ObjectKey, &'a Arc<ReplicaSet>)> + Clone + '_ {
        self.old.iter().copied().chain(self.new)
    }

    /// One step towards the spec.
    fn advance(&self, cache: &Cache, step: &mut Step<'_>) {
        if self.sync_revision(step) {
            // Sizing a ReplicaSet waits for its new version, or the two writes would conflict.
            return;
        }
        if self.spec.paused == Some(true) || self.is_scaling() {
            self.scale_proportionally(step);
            return self.clean_up(step);
        }
        let moved = if is_recreate(self.spec) {
            self.recreate(cache, step)
        } else {
            self.roll(cache, step)
        };
        if !moved && self.is_complete() {
            self.clean_up(step);
        }
    }

    fn tell(&self, step: &mut Step<'_>, message: &str) -> Request {
        let source = EventSource {
            component: COMPONENT,
            api_version: API_VERSION,
            kind: KIND,
            meta: &self.deployment.metadata,
        };
        event(
            source,
            Level::Normal,
            "ScalingReplicaSet",
            message,
            step.now,
            step.entropy,
        )
    }
}

/// `maxSurge` (percentages rounded up) and `maxUnavailable` (rounded down), as numbers of pods; never both 0, or
/// nothing could move (`ResolveFenceposts`).
fn bounds(spec: &DeploymentSpec, replicas: i32) -> (i32, i32) {
    if is_recreate(spec) {
        return (0, 0);
    }
    let rolling = spec
        .strategy
        .as_ref()
        .and_then(|s| s.rolling_update.as_ref());
    let surge = rolling.and_then(|r| r.max_surge.as_ref());
    let unavailable = rolling.and_then(|r| r.max_unavailable.as_ref());
    let surge = share(surge, replicas, true);
    let unavailable = share(unavailable, replicas, false);
    if surge == 0 && unavailable == 0 {
        return (0, 1.min(replicas));
    }
    (surge.min(i32::MAX - replicas), unavailable.min(replicas))
}

/// A number or a percentage of `replicas`; Kubernetes' default is 25 %.
fn share(value: Option<&IntOrString>, replicas: i32, round_up: bool) -> i32 {
    const DEFAULT_PERCENT: i64 = 25;
    let percent = match value {
        Some(IntOrString::Int(number)) => return (*number).max(0),
        Some(IntOrString::String(text)) => text.trim_end_matches('%').parse().unwrap_or(0),
        None => DEFAULT_PERCENT,
    };
    let hundredths = i64::from(replicas).saturating_mul(percent.max(0));
    let whole = hundredths / 100 + i64::from(round_up && hundredths % 100 != 0);
    i32::try_from(whole).unwrap_or(i32::MAX)
}

/// The sum of counts of pods, at most `i32::MAX`: a spec may ask for that many, though nobody gets them.
fn total(counts: impl Iterator<Item = i32>) -> i32 {
    counts.fold(0, i32::saturating_add)
}

/// Pods a ReplicaSet is asked to keep.
fn wanted(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}

/// Pods a ReplicaSet was last seen to have.
fn existing(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |s| s.replicas)
}

/// Pods of a ReplicaSet that serve and will stay: its status may still count some that it is about to delete.
fn available(set: &ReplicaSet) -> i32 {
    let available = set.status.as_ref().and_then(|s| s.available_replicas);
    available.unwrap_or(0).min(wanted(set))
}
