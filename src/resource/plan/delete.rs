//! DELETE: at once, after a grace period, or when the last finalizer is gone; of one object or of many.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::codec;
use super::super::json::{filled_text, is_filled, remove};
use super::super::pods;
use super::super::request::{Deletion, Plan, PlannedReply, Precondition, Splice, Status, Verb};
use super::super::selector::Selector;
use super::super::status::success;
use super::super::time;
use super::super::validate::Causes;
use super::update::is_held;
use super::{Job, Stored};
use crate::store::{Compare, Operation, Transaction};

/// Objects that one delete-collection takes: with pods of 3 KB each, which are first marked and so written once more,
/// a transaction of 6 MB. More are refused, so that no part is silently left over.
pub(super) const DELETE_COLLECTION_OBJECTS_MAX: usize = 2_000;

/// Kubernetes keeps these namespaces for ever.
const IMMORTAL: [&str; 3] = ["default", "kube-public", "kube-system"];
/// The finalizer that holds an owner back until its dependents are gone.
pub const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer that holds an owner back until its dependents no longer name it.
pub const ORPHAN: &str = "orphan";
/// A pod's grace period where its spec says none, seconds.
const GRACE_SECONDS_DEFAULT: i64 = 30;

impl Deletion {
    /// From `meta/v1 DeleteOptions`; the flag says whether it asks for a dry run. Types were checked before.
    pub fn from_options(options: &Value) -> (Self, bool) {
        let text = |value: &Value| filled_text(value).map(str::to_owned);
        let given = &options["preconditions"];
        let deletion = Self {
            grace_period_seconds: options["gracePeriodSeconds"].as_i64(),
            propagation_policy: text(&options["propagationPolicy"]),
            precondition: Precondition {
                uid: text(&given["uid"]),
                resource_version: text(&given["resourceVersion"]),
            },
        };
        (deletion, is_filled(&options["dryRun"]))
    }
}

/// What a deletion does to an object.
enum Removal {
    /// It goes now.
    Now,
    /// It stays, marked, until its grace period or its finalizers end.
    Later(Value),
}

pub(super) fn plan(job: &Job<'_>, deletion: &Deletion, now: Timestamp) -> Result<Plan, Status> {
    check_policy(deletion)?;
    let stored = job.load()?;
    check_preconditions(job, &stored, deletion)?;
    let name = job.name()?;
    if job.kind.kind == "Namespace" && IMMORTAL.contains(&name) {
        let why = "this namespace may not be deleted";
        return Err(Status::forbidden(job.kind, name, why));
    }
    let conditional = deletion.precondition.resource_version.is_some();
    match removal(job, &stored.object, deletion, now) {
        Removal::Now => {
            let reply = reply_to_removal(job, name, &stored.object);
            Ok(job.remove(stored, reply, conditional))
        }
        Removal::Later(object) => job.put(stored, &object, conditional),
    }
}

fn reply_to_removal(job: &Job<'_>, name: &str, object: &Value) -> PlannedReply {
    if job.kind.rules.returns_deleted {
        return super::reply(200, codec::encode(object), Some(Splice::Committed));
    }
    let body = success(job.kind, name, object["metadata"]["uid"].as_str());
    super::reply(200, body, None)
}

pub(super) fn plan_collection(job: &Job<'_>, now: Timestamp) -> Result<Plan, Status> {
    let Verb::DeleteCollection {
        label_selector,
        field_selector,
        deletion,
    } = &job.request.verb
    else {
        return Err(Status::method_not_allowed());
    };
    check_policy(deletion)?;
    let selector = Selector::parse(job.kind, label_selector, field_selector)?;
    // Each object by itself: a watcher goes on after a revision, and would miss the rest of those that shared it.
    let mut transactions = Vec::new();
    let prefix = job
        .kind
        .key_prefix(Some(job.namespace().unwrap_or_default()));
    for (key, record) in job.view.range(&prefix) {
        let object = super::parse(&record.value)?;
        if record.create_revision > job.began || !selector.matches(&object) {
            continue;
        }
        let key = key.to_owned();
        let operation = match removal(job, &object, deletion, now) {
            Removal::Later(marked) if marked == object => continue,
            Removal::Later(marked) => Operation::Put {
                key: key.clone(),
                value: codec::encode(&marked),
            },
            Removal::Now => Operation::Delete { key: key.clone() },
        };
        transactions.push(Transaction {
            compare: vec![Compare {
                key,
                mod_revision: record.mod_revision,
            }],
            operations: vec![operation],
        });
        if transactions.len() > DELETE_COLLECTION_OBJECTS_MAX {
            return Err(Status::too_large(format!(
                "more than {DELETE_COLLECTION_OBJECTS_MAX} objects would be deleted at once; narrow the selectors"
            )));
        }
    }
    let reply = super::reply(200, success(job.kind, "", None), None);
    Ok(job.finish(transactions, reply, None, true))
}

fn check_policy(deletion: &Deletion) -> Result<(), Status> {
    const POLICIES: [&str; 3] = ["Background", "Foreground", "Orphan"];
    match deletion.propagation_policy.as_deref() {
        None | Some("") => Ok(()),
        Some(policy) if POLICIES.contains(&policy) => Ok(()),
        Some(policy) => {
            let mut causes = Causes::default();
            causes.not_supported("propagationPolicy", &json!(policy), &POLICIES);
            Err(Status::invalid_as(
                "meta.k8s.io",
                "DeleteOptions",
                "",
                &causes,
            ))
        }
    }
}

fn check_preconditions(job: &Job<'_>, stored: &Stored, deletion: &Deletion) -> Result<(), Status> {
    let uid = stored.object["metadata"]["uid"]
        .as_str()
        .unwrap_or_default();
    let revision = stored.revision.to_string();
    let given = &deletion.precondition;
    for (what, wanted, found) in [
        ("UID", &given.uid, uid),
        (
            "ResourceVersion",
            &given.resource_version,
            revision.as_str(),
        ),
    ] {
        if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != found) {
            let why = format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
            );
            return Err(Status::conflict(job.kind, job.name()?, &why));
        }
    }
    Ok(())
}

fn removal(job: &Job<'_>, object: &Value, deletion: &Deletion, now: Timestamp) -> Removal {
    let mut marked = object.clone();
    set_policy(&mut marked, deletion.propagation_policy.as_deref());
    let already = !object["metadata"]["deletionTimestamp"].is_null();
    let grace = if job.kind.kind == "Pod" {
        pod_grace(object, deletion)
    } else {
        0
    };
    if grace == 0 && !is_held(&marked) {
        return Removal::Now;
    }
    if already {
        shorten(&mut marked, grace, deletion);
    } else {
        let metadata = &mut marked["metadata"];
        metadata["deletionTimestamp"] = time::text(now + SignedDuration::from_secs(grace)).into();
        metadata["deletionGracePeriodSeconds"] = grace.into();
        if let Some(generation) = metadata["generation"].as_i64() {
            metadata["generation"] = json!(generation + 1);
        }
    }
    if job.kind.kind == "Namespace" {
        marked["status"]["phase"] = "Terminating".into();
    }
    Removal::Later(marked)
}

/// Sets the finalizers that make a propagation policy. `Background` needs none: the garbage collector finds the
/// dependents of an owner that is gone. Without a policy those that are there stay.
fn set_policy(object: &mut Value, policy: Option<&str>) {
    let wanted = match policy {
        Some("Foreground") => Some(FOREGROUND),
        Some("Orphan") => Some(ORPHAN),
        Some("Background") => None,
        _ => return,
    };
    let metadata = &mut object["metadata"];
    let mut finalizers = metadata["finalizers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    finalizers.retain(|finalizer| finalizer != FOREGROUND && finalizer != ORPHAN);
    finalizers.extend(wanted.map(Value::from));
    if finalizers.is_empty() {
        remove(metadata, "finalizers");
    } else {
        metadata["finalizers"] = finalizers.into();
    }
}

/// Seconds that a pod is given. None if it never ran anywhere or is over; but a unique one that is over may still have
/// containers that are being stopped, and its name must not be free before its node has said that all is gone.
fn pod_grace(object: &Value, deletion: &Deletion) -> i64 {
    let unbound = filled_text(&object["spec"]["nodeName"]).is_none();
    let over = matches!(
        object["status"]["phase"].as_str(),
        Some("Succeeded" | "Failed")
    );
    if unbound || over && !is_unique(object) {
        return 0;
    }
    let own = object["spec"]["terminationGracePeriodSeconds"].as_i64();
    // Its node must have ended a unique one before its name is free, however little it wants to be waited for.
    let own = own.map(|own| if is_unique(object) { own.max(1) } else { own });
    let wanted = deletion.grace_period_seconds.or(own);
    match wanted.unwrap_or(GRACE_SECONDS_DEFAULT) {
        // As in Kubernetes: at once, but not without asking the node.
        ..0 => 1,
        // Beyond a day's order of magnitude no one waits, and the end must remain a date.
        seconds => seconds.min(i64::from(i32::MAX)),
    }
}

/// As [`pods::is_unique`].
fn is_unique(pod: &Value) -> bool {
    let owners = pod["metadata"]["ownerReferences"].as_array();
    let manager = owners.and_then(|all| all.iter().find(|owner| owner["controller"] == true));
    let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
    manager
        .is_some_and(|owner| pods::makes_unique(&text(&owner["apiVersion"]), &text(&owner["kind"])))
}

/// A further deletion may end a grace period sooner, never later.
fn shorten(marked: &mut Value, grace: i64, deletion: &Deletion) {
    let metadata = &mut marked["metadata"];
    let before = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    let asked = deletion.grace_period_seconds.is_some() || grace == 0;
    if !asked || grace >= before {
        return;
    }
    let end = metadata["deletionTimestamp"].as_str();
    if let Some(end) = end.and_then(|end| end.parse::<Timestamp>().ok()) {
        let sooner = end - SignedDuration::from_secs(before - grace);
        metadata["deletionTimestamp"] = time::text(sooner).into();
        metadata["deletionGracePeriodSeconds"] = grace.into();
    }
}
