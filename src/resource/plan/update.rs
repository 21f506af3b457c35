//! PUT, and what PATCH shares with it: one object takes another's place.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::codec;
use super::super::json::{carry, filled_text, is_filled, remove};
use super::super::request::{Plan, Splice, Status};
use super::super::unserved;
use super::super::validate::{self, Causes};
use super::decode::{Decoded, claimed_revision};
use super::{Job, Stored};

/// Metadata that no client changes.
const IMMUTABLE: [&str; 8] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generateName",
    "generation",
    "name",
    "namespace",
    "uid",
];

pub(super) fn plan(job: &Job<'_>, body: &Value) -> Result<Plan, Status> {
    let mut decoded = job.decode(body)?;
    job.match_path(&mut decoded.object)?;
    let stored = job.load()?;
    let conditional = expect_current(job, &stored, &decoded.object)?;
    replace(job, stored, decoded, conditional)
}

/// The client's object is of the current revision and UID, as far as it names them; true if it names a revision.
pub(super) fn expect_current(
    job: &Job<'_>,
    stored: &Stored,
    object: &Value,
) -> Result<bool, Status> {
    let name = job.name()?;
    let uid = &stored.object["metadata"]["uid"];
    if let Some(given) = filled_text(&object["metadata"]["uid"])
        && uid != given
    {
        let uid = uid.as_str().unwrap_or_default();
        let why =
            format!("Precondition failed: UID in precondition: {given}, UID in object meta: {uid}");
        return Err(Status::conflict(job.kind, name, &why));
    }
    let claimed = claimed_revision(job.kind, name, object)?;
    if claimed.is_some_and(|claimed| claimed != stored.revision.to_string()) {
        return Err(Status::modified(job.kind, name));
    }
    Ok(claimed.is_some())
}

/// Puts a decoded object in the stored one's place, as far as a client may.
pub(super) fn replace(
    job: &Job<'_>,
    stored: Stored,
    decoded: Decoded,
    conditional: bool,
) -> Result<Plan, Status> {
    let mut object = decoded.object;
    let rules = &job.kind.rules;
    let current = &stored.object;
    carry_metadata(&mut object, current);
    if job.kind.subresource("status").is_some() {
        carry(&mut object, current, "status");
    }
    (rules.carry)(&mut object, current);
    (rules.default)(&mut object);
    let mut causes = Causes::default();
    validate::metadata(&object, rules.name, &mut causes);
    no_new_finalizers(&object, current, &mut causes);
    (rules.validate)(&object, &mut causes);
    (rules.validate_update)(&object, current, &mut causes);
    if !causes.is_empty() {
        return Err(Status::invalid(job.kind, job.name()?, &causes));
    }
    count_generation(job, &mut object, current);
    let mut warnings = decoded.warnings;
    warnings.extend(unserved::warnings(job.kind, &object, Some(current)));
    let mut plan = put_or_remove(job, stored, &object, conditional)?;
    plan.reply.warnings = warnings;
    Ok(plan)
}

/// Stores the object, or removes it if nothing holds it back any more.
pub(super) fn put_or_remove(
    job: &Job<'_>,
    stored: Stored,
    object: &Value,
    conditional: bool,
) -> Result<Plan, Status> {
    if !is_released(object) {
        return job.put(stored, object, conditional);
    }
    let reply = super::reply(200, codec::encode(object), Some(Splice::Committed));
    Ok(job.remove(stored, reply, conditional))
}

/// Asked to go, no grace left, no finalizer left (a namespace has some in its spec too).
fn is_released(object: &Value) -> bool {
    let metadata = &object["metadata"];
    !metadata["deletionTimestamp"].is_null()
        && metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && !is_held(object)
}

/// Whether a finalizer holds the object back.
pub(super) fn is_held(object: &Value) -> bool {
    is_filled(&object["metadata"]["finalizers"]) || is_filled(&object["spec"]["finalizers"])
}

/// One generation more if what is wanted changed.
pub(super) fn count_generation(job: &Job<'_>, object: &mut Value, current: &Value) {
    if job.kind.rules.generation && object["spec"] != current["spec"] {
        let generation = current["metadata"]["generation"].as_i64().unwrap_or(0);
        object["metadata"]["generation"] = json!(generation + 1);
    }
}

fn carry_metadata(object: &mut Value, current: &Value) {
    for field in IMMUTABLE {
        carry(&mut object["metadata"], &current["metadata"], field);
    }
    remove(&mut object["metadata"], "resourceVersion");
}

fn no_new_finalizers(object: &Value, current: &Value, causes: &mut Causes) {
    if current["metadata"]["deletionTimestamp"].is_null() {
        return;
    }
    let list = |object: &Value| -> BTreeSet<String> {
        let finalizers = object["metadata"]["finalizers"].as_array();
        let texts = finalizers.into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    };
    if !list(object).is_subset(&list(current)) {
        let detail = "no new finalizers can be added if the object is being deleted";
        causes.forbidden("metadata.finalizers", detail);
    }
}
