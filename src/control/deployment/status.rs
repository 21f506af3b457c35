//! What a Deployment says of itself: counts, and the conditions Available and Progressing.
//!
//! Deliberately computed from the ReplicaSets as they are now; what this step changes is counted once it is seen.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::{Rollout, Step, WRITER, existing, total, wanted};
use crate::control::patches::omit_zero;
use crate::resource::time::whole_second;

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";
/// Looks again this long after the deadline, so that it has passed for certain (Kubernetes does the same).
const DEADLINE_SLACK: Duration = Duration::from_secs(1);

impl<'a> Rollout<'a> {
    /// Whether the last status says that the roll-out has come to its end.
    pub(super) fn is_complete(&self) -> bool {
        self.ends_with(&self.counts())
    }

    fn ends_with(&self, counts: &DeploymentStatus) -> bool {
        let all = |count: Option<i32>| count.unwrap_or_default() == self.replicas;
        all(counts.updated_replicas) && all(counts.replicas) && all(counts.available_replicas)
    }

    fn counts(&self) -> DeploymentStatus {
        let status = |set: &'a ReplicaSet| set.status.as_ref();
        let serving = |set| status(set).and_then(|s| s.available_replicas).unwrap_or(0);
        let ready = |set| status(set).and_then(|s| s.ready_replicas).unwrap_or(0);
        let available = total(self.all().map(|(_, set)| serving(set)));
        let asked = total(self.all().map(|(_, set)| wanted(set)));
        DeploymentStatus {
            observed_generation: self.deployment.metadata.generation,
            replicas: Some(total(self.all().map(|(_, set)| existing(set)))),
            updated_replicas: Some(self.new.map_or(0, |(_, set)| existing(set))),
            ready_replicas: Some(total(self.all().map(|(_, set)| ready(set)))),
            available_replicas: Some(available),
            unavailable_replicas: Some((asked - available).max(0)),
            ..DeploymentStatus::default()
        }
    }

    /// Writes the status if it changed.
    pub(super) fn update_status(&self, step: &mut Step<'_>) {
        let before = self.deployment.status.clone().unwrap_or_default();
        let counts = self.counts();
        let mut conditions = before.conditions.clone().unwrap_or_default();
        self.judge_progress(&before, &counts, &mut conditions, step);
        self.judge_availability(&counts, &mut conditions, step);
        let count = |of: Option<i32>| of.unwrap_or_default();
        let unchanged = self.deployment.status.is_some()
            && before.observed_generation == counts.observed_generation
            && count(before.replicas) == count(counts.replicas)
            && count(before.updated_replicas) == count(counts.updated_replicas)
            && count(before.ready_replicas) == count(counts.ready_replicas)
            && count(before.available_replicas) == count(counts.available_replicas)
            && count(before.unavailable_replicas) == count(counts.unavailable_replicas)
            && before.conditions.unwrap_or_default() == conditions;
        if unchanged {
            return;
        }
        let shown = |of: Option<i32>| omit_zero(of.unwrap_or_default());
        let status = json!({
            "observedGeneration": counts.observed_generation,
            "replicas": shown(counts.replicas),
            "updatedReplicas": shown(counts.updated_replicas),
            "readyReplicas": shown(counts.ready_replicas),
            "availableReplicas": shown(counts.available_replicas),
            "unavailableReplicas": shown(counts.unavailable_replicas),
            "conditions": if conditions.is_empty() { Value::Null } else { json!(conditions) },
        });
        step.outcome
            .write(WRITER.patch_status::<Deployment>(self.key, status));
    }

    fn judge_availability(
        &self,
        counts: &DeploymentStatus,
        conditions: &mut Vec<DeploymentCondition>,
        step: &Step<'_>,
    ) {
        let available = counts.available_replicas.unwrap_or_default();
        let (status, reason, message) = if available >= self.replicas - self.max_unavailable {
            (
                "True",
                "MinimumReplicasAvailable",
                "Deployment has minimum availability.",
            )
        } else {
            (
                "False",
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
            )
        };
        set(conditions, AVAILABLE, status, reason, message.into(), step);
    }

    /// `Progressing`, as in Kubernetes' `syncRolloutStatus` and `checkPausedConditions`.
    fn judge_progress(
        &self,
        before: &DeploymentStatus,
        counts: &DeploymentStatus,
        conditions: &mut Vec<DeploymentCondition>,
        step: &mut Step<'_>,
    ) {
        // The API's greatest number stands for "no deadline".
        let deadline = self
            .spec
            .progress_deadline_seconds
            .filter(|s| *s != i32::MAX);
        let Some(deadline) = deadline else {
            conditions.retain(|c| c.type_ != PROGRESSING);
            return;
        };
        let current = find(conditions, PROGRESSING).cloned();
        let reason = current.as_ref().and_then(|c| c.reason.as_deref());
        let paused = self.spec.paused == Some(true);
        if paused != (reason == Some(PAUSED)) && reason != Some(TIMED_OUT) {
            let (reason, text) = if paused {
                (PAUSED, "Deployment is paused")
            } else {
                ("DeploymentResumed", "Deployment is resumed")
            };
            return set(
                conditions,
                PROGRESSING,
                "Unknown",
                reason,
                text.into(),
                step,
            );
        }
        if paused {
            return;
        }
        let subject = self.subject(step);
        if let Some(name) = &step.created {
            let text = format!("Created new replica set {name:?}");
            return replace(conditions, "True", "NewReplicaSetCreated", text, step);
        }
        let settled = reason == Some(NEW_SET_AVAILABLE);
        if settled && counts.replicas == counts.updated_replicas {
            return;
        }
        if self.ends_with(counts) {
            let text = format!("{subject} has successfully progressed.");
            replace(conditions, "True", NEW_SET_AVAILABLE, text, step);
        } else if progressed(before, counts) || current.is_none() {
            let text = format!("{subject} is progressing.");
            replace(conditions, "True", "ReplicaSetUpdated", text, step);
        } else if let Some(current) = current.filter(|_| !settled) {
            judge_deadline(&current, deadline, &subject, conditions, step);
        }
    }

    fn subject(&self, step: &Step<'_>) -> String {
        let name = self.new.map(|(key, _)| key.name.as_str());
        let name = name.or(step.created.as_deref());
        name.map_or_else(
            || format!("Deployment {:?}", self.key.name),
            |name| format!("ReplicaSet {name:?}"),
        )
    }
}

/// Says so when nothing has moved for longer than the deadline, and else asks to look again then.
fn judge_deadline(
    current: &DeploymentCondition,
    deadline: i32,
    subject: &str,
    conditions: &mut Vec<DeploymentCondition>,
    step: &mut Step<'_>,
) {
    if reason_is(Some(current), TIMED_OUT) {
        return;
    }
    let deadline = Duration::from_secs(u64::try_from(deadline).unwrap_or_default());
    let since = current
        .last_update_time
        .as_ref()
        .map_or(step.now, |time| time.0);
    let elapsed = Duration::try_from(step.now.duration_since(since)).unwrap_or_default();
    if elapsed > deadline {
        let text = format!("{subject} has timed out progressing.");
        set(conditions, PROGRESSING, "False", TIMED_OUT, text, step);
    } else {
        step.outcome
            .requeue_within(deadline.saturating_sub(elapsed) + DEADLINE_SLACK);
    }
}

/// Whether any count moved in the direction of the end since the last status.
fn progressed(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    let count = |of: Option<i32>| of.unwrap_or_default();
    let old = |s: &DeploymentStatus| count(s.replicas) - count(s.updated_replicas);
    count(after.updated_replicas) > count(before.updated_replicas)
        || old(after) < old(before)
        || count(after.ready_replicas) > count(before.ready_replicas)
        || count(after.available_replicas) > count(before.available_replicas)
}

fn find<'a>(conditions: &'a [DeploymentCondition], kind: &str) -> Option<&'a DeploymentCondition> {
    conditions.iter().find(|c| c.type_ == kind)
}

fn reason_is(condition: Option<&DeploymentCondition>, reason: &str) -> bool {
    condition.and_then(|c| c.reason.as_deref()) == Some(reason)
}

/// Sets a condition unless it says the same already.
fn set(
    conditions: &mut Vec<DeploymentCondition>,
    kind: &str,
    status: &str,
    reason: &str,
    message: String,
    step: &Step<'_>,
) {
    let current = find(conditions, kind);
    if current.is_some_and(|c| c.status == status) && reason_is(current, reason) {
        return;
    }
    put(conditions, kind, status, reason, message, step);
}

/// Sets Progressing even if it says the same already: its update time is what the deadline counts from.
fn replace(
    conditions: &mut Vec<DeploymentCondition>,
    status: &str,
    reason: &str,
    message: String,
    step: &Step<'_>,
) {
    put(conditions, PROGRESSING, status, reason, message, step);
}

fn put(
    conditions: &mut Vec<DeploymentCondition>,
    kind: &str,
    status: &str,
    reason: &str,
    message: String,
    step: &Step<'_>,
) {
    let now = Some(Time(whole_second(step.now)));
    let current = find(conditions, kind).filter(|c| c.status == status);
    let since = current.and_then(|c| c.last_transition_time.clone());
    conditions.retain(|c| c.type_ != kind);
    conditions.push(DeploymentCondition {
        type_: kind.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_update_time: now.clone(),
        last_transition_time: since.or(now),
    });
}
