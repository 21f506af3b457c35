//! ReplicaSet: keeps so many pods of one template, adopts those that match and releases those that no longer do. A pod
//! whose machine's end is announced goes on until another serves in its place.
//!
//! Deliberately without expectations of what was just created: the host does not reconcile a key again before the
//! cache has seen its writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rand::RngCore;
use serde_json::{Value, json};

use super::claim::{Claimant, claimants};
use super::notice::{announced, grace_seconds};
use super::patches::{controller_reference, omit_zero};
use super::replicas::{available_in, deletion_order};
use super::{Controller, EventSource, Level, Outcome, ReconcileError, event, keys_of};
use crate::resource::cache::{Cached, Change, controller_of};
use crate::resource::pods::{is_active, is_ready, node_name};
use crate::resource::{Cache, Deletion, ObjectKey, Request, ResourceName, Writer, names};

const KIND: &str = "ReplicaSet";
const API_VERSION: &str = "apps/v1";
const COMPONENT: &str = "replicaset-controller";
const WRITER: Writer = Writer {
    user: "system:kagero:replicaset-controller",
};
/// Pods created or deleted in one reconciliation; Kubernetes' `BurstReplicas`. The rest follows in the next.
const BURST_PODS_MAX: usize = 500;

/// The controller of ReplicaSets.
#[derive(Debug, Default)]
pub struct ReplicaSets;

impl Controller for ReplicaSets {
    fn name(&self) -> &'static str {
        COMPONENT
    }

    fn keys_for(&self, change: &Change, cache: &Cache) -> Vec<ObjectKey> {
        match change.prefix.as_str() {
            ReplicaSet::PREFIX => vec![change.key.clone()],
            Pod::PREFIX => claimants::<ReplicaSet, Pod>(change, cache),
            // Its end may have been announced, or not be announced any more.
            Node::PREFIX => owners_on(cache, &change.key.name),
            _ => Vec::new(),
        }
    }

    fn all_keys(&self, cache: &Cache) -> Vec<ObjectKey> {
        keys_of::<ReplicaSet>(cache)
    }

    fn reconcile(
        &self,
        cache: &Cache,
        key: &ObjectKey,
        now: Timestamp,
        entropy: &mut dyn RngCore,
    ) -> Result<Outcome, ReconcileError> {
        let mut outcome = Outcome::default();
        let Some(set) = cache.get::<ReplicaSet>(key) else {
            return Ok(outcome);
        };
        let spec = set.spec.as_ref();
        let spec = spec.ok_or_else(|| ReconcileError::no_spec::<ReplicaSet>(key))?;
        let claimant = Claimant::of(WRITER, key, &**set)?;
        let mut pods = claimant.claim::<Pod>(cache, is_active, &mut outcome);
        if !outcome.writes.is_empty() {
            // Whose the pods are comes first: a second write to the same version would conflict.
            return Ok(outcome);
        }
        pods.retain(|(_, pod)| is_active(pod));
        let mut doomed = BTreeSet::new();
        if set.metadata.deletion_timestamp.is_none() && !is_ending(cache, &key.namespace) {
            doomed = scale(cache, key, set, spec, &pods, now, entropy, &mut outcome);
        }
        update_status(key, set, spec, &pods, &doomed, now, &mut outcome);
        Ok(outcome)
    }
}

/// The ReplicaSets whose pods are on a node.
fn owners_on(cache: &Cache, node: &str) -> Vec<ObjectKey> {
    let owners: BTreeSet<ObjectKey> = cache
        .pods_on(node)
        .filter_map(|(key, pod)| {
            let owner = controller_of(&pod.metadata).filter(|owner| owner.kind == KIND)?;
            Some(ObjectKey::new(&key.namespace, &owner.name))
        })
        .collect();
    owners.into_iter().collect()
}

fn is_ending(cache: &Cache, namespace: &str) -> bool {
    let namespace = cache.get::<Namespace>(&ObjectKey::new("", namespace));
    namespace.is_some_and(|n| n.metadata.deletion_timestamp.is_some())
}

/// Creates or deletes pods until there are as many as wanted that will stay; pods whose machine's end is announced go as
/// others become ready. Returns the names of those it deletes.
#[expect(
    clippy::too_many_arguments,
    reason = "one step of `reconcile`, with all it was given"
)]
fn scale<'a>(
    cache: &Cache,
    key: &ObjectKey,
    set: &ReplicaSet,
    spec: &ReplicaSetSpec,
    pods: &[(&'a ObjectKey, &'a Arc<Pod>)],
    now: Timestamp,
    entropy: &mut dyn RngCore,
    outcome: &mut Outcome,
) -> BTreeSet<&'a ObjectKey> {
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or_default();
    let source = EventSource {
        component: COMPONENT,
        api_version: API_VERSION,
        kind: KIND,
        meta: &set.metadata,
    };
    let leaves = |pod: &Pod| announced(cache, pod).is_some();
    let (leaving, staying): (Vec<_>, Vec<_>) =
        pods.iter().copied().partition(|(_, pod)| leaves(pod));
    for _ in 0..wanted.saturating_sub(staying.len()).min(BURST_PODS_MAX) {
        let name = free_name(cache, key, entropy);
        let create = WRITER.create(
            ResourceName::of::<Pod>(),
            &key.namespace,
            new_pod(set, spec, &name),
        );
        let told = tell_pod(source, "SuccessfulCreate", "Created", &name, now, entropy);
        outcome.write_and_tell(create, told);
    }
    let serving = staying.iter().filter(|(_, pod)| is_ready(pod)).count();
    let spare = (serving + leaving.len()).saturating_sub(wanted);
    let excess = staying.len().saturating_sub(wanted).min(BURST_PODS_MAX);
    let going = first_to_go(&leaving).into_iter().take(spare);
    let going = going.chain(first_to_go(&staying).into_iter().take(excess));
    let mut doomed = BTreeSet::new();
    for (pod_key, pod) in going.take(BURST_PODS_MAX) {
        doomed.insert(pod_key);
        let eviction = announced(cache, pod);
        let deletion = Deletion {
            grace_period_seconds: eviction.map(|eviction| grace_seconds(pod, &eviction, now)),
            ..Deletion::default()
        };
        let delete = WRITER.delete_as::<Pod>(pod_key, &pod.metadata, deletion);
        let told = tell_pod(
            source,
            "SuccessfulDelete",
            "Deleted",
            &pod_key.name,
            now,
            entropy,
        );
        outcome.write_and_tell(delete, told);
    }
    doomed
}

fn tell_pod(
    source: EventSource<'_>,
    reason: &str,
    verb: &str,
    pod: &str,
    now: Timestamp,
    entropy: &mut dyn RngCore,
) -> Request {
    let message = format!("{verb} pod: {pod}");
    event(source, Level::Normal, reason, &message, now, entropy)
}

/// A name that no pod of the namespace bears.
fn free_name(cache: &Cache, key: &ObjectKey, entropy: &mut dyn RngCore) -> String {
    loop {
        let name = names::generate(&format!("{}-", key.name), entropy);
        if cache
            .get::<Pod>(&ObjectKey::new(&key.namespace, &name))
            .is_none()
        {
            return name;
        }
    }
}

fn new_pod(set: &ReplicaSet, spec: &ReplicaSetSpec, name: &str) -> Value {
    let template = spec.template.as_ref();
    let meta = template.and_then(|t| t.metadata.as_ref());
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        generate_name: set.metadata.name.as_ref().map(|set| format!("{set}-")),
        namespace: set.metadata.namespace.clone(),
        labels: meta.and_then(|m| m.labels.clone()),
        annotations: meta.and_then(|m| m.annotations.clone()),
        finalizers: meta.and_then(|m| m.finalizers.clone()),
        owner_references: Some(vec![controller_reference(API_VERSION, KIND, &set.metadata)]),
        ..ObjectMeta::default()
    };
    let spec = template.and_then(|t| t.spec.as_ref());
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec })
}

/// The pods, those first that are deleted first.
fn first_to_go<'a>(pods: &[(&'a ObjectKey, &'a Arc<Pod>)]) -> Vec<(&'a ObjectKey, &'a Arc<Pod>)> {
    let mut mates = BTreeMap::<Option<&str>, usize>::new();
    for (_, pod) in pods {
        *mates.entry(node_name(pod)).or_default() += 1;
    }
    let ranked = |pod: &'a Arc<Pod>| (&**pod, mates[&node_name(pod)]);
    let mut order = pods.to_vec();
    order.sort_by(|a, b| deletion_order(ranked(a.1), ranked(b.1)));
    order
}

/// Counts the pods as they are now, but those just doomed as ready no longer: a Deployment that trusts this status
/// must never think that more pods serve than do.
fn update_status(
    key: &ObjectKey,
    set: &ReplicaSet,
    spec: &ReplicaSetSpec,
    pods: &[(&ObjectKey, &Arc<Pod>)],
    doomed: &BTreeSet<&ObjectKey>,
    now: Timestamp,
    outcome: &mut Outcome,
) {
    let min_ready = u64::try_from(spec.min_ready_seconds.unwrap_or_default()).unwrap_or_default();
    let template = spec.template.as_ref().and_then(|t| t.metadata.as_ref());
    let template_labels = template.and_then(|m| m.labels.clone()).unwrap_or_default();
    let (mut labeled, mut ready, mut available) = (0, 0, 0);
    for (pod_key, pod) in pods {
        let labels = pod.metadata.labels.as_ref();
        let carries = |(k, v): (&String, &String)| labels.and_then(|l| l.get(k)) == Some(v);
        labeled += i32::from(template_labels.iter().all(carries));
        if doomed.contains(pod_key) {
            continue;
        }
        ready += i32::from(is_ready(pod));
        match available_in(pod, Duration::from_secs(min_ready), now) {
            Some(Duration::ZERO) => available += 1,
            Some(left) => outcome.requeue_within(left),
            None => {}
        }
    }
    let replicas = pods.len() as i32;
    let status = set.status.clone().unwrap_or_default();
    let unchanged = set.status.is_some()
        && status.replicas == replicas
        && status.fully_labeled_replicas.unwrap_or_default() == labeled
        && status.ready_replicas.unwrap_or_default() == ready
        && status.available_replicas.unwrap_or_default() == available
        && status.observed_generation == set.metadata.generation;
    if !unchanged {
        let status = json!({
            "replicas": replicas,
            "fullyLabeledReplicas": omit_zero(labeled),
            "readyReplicas": omit_zero(ready),
            "availableReplicas": omit_zero(available),
            "observedGeneration": set.metadata.generation,
        });
        outcome.write(WRITER.patch_status::<ReplicaSet>(key, status));
    }
}

#[cfg(test)]
mod tests;
