//! Writes to a part of an object: status, scale, binding, eviction, finalize.

use serde_json::{Value, json};

use super::super::codec;
use super::super::json::{carry, filled_text};
use super::super::registry::Kind;
use super::super::request::{Deletion, Plan, Stamp, Status, Verb};
use super::super::schema;
use super::super::selector;
use super::super::time;
use super::super::validate::{Causes, non_negative};
use super::decode::{self, Decoded, Wanted};
use super::update::{count_generation, expect_current, put_or_remove};
use super::{Job, Stored, delete, patch};

pub(super) fn plan(job: &Job<'_>, name: &str, stamp: &mut Stamp<'_>) -> Result<Plan, Status> {
    match (name, &job.request.verb) {
        ("status", _) => status(job),
        ("scale", _) => scale(job),
        ("finalize", _) => finalize(job),
        ("binding", Verb::Create(body)) => binding(job, body, stamp),
        ("eviction", Verb::Create(body)) => eviction(job, body, stamp),
        _ => Err(Status::method_not_allowed()),
    }
}

/// The body of a PUT or a PATCH as an object of the job's kind, and whether it names a revision.
fn body(job: &Job<'_>, stored: &Stored) -> Result<(Decoded, bool), Status> {
    let (mut decoded, conditional) = match &job.request.verb {
        Verb::Update(body) => (job.decode(body)?, None),
        Verb::Patch(how, body) => {
            let patched = patch::patched(job, stored, *how, body)?;
            (
                job.decode(&patched)?,
                Some(patch::is_conditional(*how, body)),
            )
        }
        _ => return Err(Status::method_not_allowed()),
    };
    job.match_path(&mut decoded.object)?;
    let named = expect_current(job, stored, &decoded.object)?;
    Ok((decoded, conditional.unwrap_or(named)))
}

/// The status alone changes.
fn status(job: &Job<'_>) -> Result<Plan, Status> {
    let stored = job.load()?;
    let (decoded, conditional) = body(job, &stored)?;
    let mut object = stored.object.clone();
    carry(&mut object, &decoded.object, "status");
    let mut plan = job.put(stored, &object, conditional)?;
    plan.reply.warnings = decoded.warnings;
    Ok(plan)
}

/// A namespace's finalizers alone change; it goes with the last of them.
fn finalize(job: &Job<'_>) -> Result<Plan, Status> {
    let stored = job.load()?;
    let (decoded, conditional) = body(job, &stored)?;
    let mut object = stored.object.clone();
    carry(&mut object, &decoded.object, "spec");
    let mut plan = put_or_remove(job, stored, &object, conditional)?;
    plan.reply.warnings = decoded.warnings;
    Ok(plan)
}

const SCALE: Wanted<'_> = Wanted {
    api_version: "autoscaling/v1",
    kind: "Scale",
};

/// An object's `autoscaling/v1 Scale`. Its metadata, resourceVersion included, is the object's.
///
/// # Panics
/// If the kind has no subresource `scale`.
pub fn scale_of(kind: &Kind, object: &Value) -> Value {
    assert!(
        kind.subresource("scale").is_some(),
        "{} cannot be scaled",
        kind.kind
    );
    let mut metadata = json!({});
    for field in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        carry(&mut metadata, &object["metadata"], field);
    }
    json!({
        "kind": SCALE.kind,
        "apiVersion": SCALE.api_version,
        "metadata": metadata,
        "spec": {"replicas": object["spec"]["replicas"].as_i64().unwrap_or(0)},
        "status": {
            "replicas": object["status"]["replicas"].as_i64().unwrap_or(0),
            "selector": selector::text(&object["spec"]["selector"]),
        },
    })
}

/// The number of replicas alone changes.
fn scale(job: &Job<'_>) -> Result<Plan, Status> {
    let stored = job.load()?;
    let mut current = scale_of(job.kind, &stored.object);
    current["metadata"]["resourceVersion"] = stored.revision.to_string().into();
    let validation = &job.request.options.field_validation;
    let (mut decoded, conditional) = match &job.request.verb {
        Verb::Update(body) => (decode::decode(body, &SCALE, validation)?, None),
        Verb::Patch(how, body) => {
            let patched = patch::apply(SCALE.api_version, SCALE.kind, &current, *how, body)?;
            let decoded = decode::decode(&patched, &SCALE, validation)?;
            (decoded, Some(patch::is_conditional(*how, body)))
        }
        _ => return Err(Status::method_not_allowed()),
    };
    job.match_path(&mut decoded.object)?;
    let named = expect_current(job, &stored, &decoded.object)?;
    let mut causes = Causes::default();
    non_negative(&decoded.object["spec"], "spec", "replicas", &mut causes);
    if !causes.is_empty() {
        let name = job.name()?;
        return Err(Status::invalid_as("autoscaling", SCALE.kind, name, &causes));
    }
    let mut object = stored.object.clone();
    object["spec"]["replicas"] = json!(decoded.object["spec"]["replicas"].as_i64().unwrap_or(0));
    count_generation(job, &mut object, &stored.object);
    let mut plan = job.put(stored, &object, conditional.unwrap_or(named))?;
    plan.reply.object = codec::encode(&scale_of(job.kind, &object));
    plan.reply.warnings = decoded.warnings;
    Ok(plan)
}

/// Gives a pod its node, once.
fn binding(job: &Job<'_>, body: &Value, stamp: &Stamp<'_>) -> Result<Plan, Status> {
    let mut decoded = typed(job, body, "v1", "Binding")?;
    job.match_path(&mut decoded.object)?;
    let stored = job.load()?;
    let conditional = expect_current(job, &stored, &decoded.object)?;
    let name = job.name()?;
    let target = &decoded.object["target"];
    let mut causes = Causes::default();
    if !matches!(target["kind"].as_str(), None | Some("" | "Node")) {
        causes.not_supported("target.kind", &target["kind"], &["Node", "<empty>"]);
    }
    let Some(node) = filled_text(&target["name"]) else {
        causes.required("target.name", "");
        return Err(Status::invalid_as("", "Binding", name, &causes));
    };
    if !causes.is_empty() {
        return Err(Status::invalid_as("", "Binding", name, &causes));
    }
    let mut object = stored.object.clone();
    if let Some(bound) = filled_text(&object["spec"]["nodeName"]) {
        let why = format!("pod {name} is already assigned to node {bound:?}");
        return Err(Status::conflict(job.kind, name, &why));
    }
    if !object["metadata"]["deletionTimestamp"].is_null() {
        let why = format!("pod {name} is being deleted, cannot be assigned to a host");
        return Err(Status::conflict(job.kind, name, &why));
    }
    object["spec"]["nodeName"] = node.into();
    for (key, value) in decoded.object["metadata"]["annotations"]
        .as_object()
        .into_iter()
        .flatten()
    {
        object["metadata"]["annotations"][key] = value.clone();
    }
    let condition = json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": time::text(stamp.now)});
    set_condition(&mut object["status"], condition);
    let mut plan = job.put(stored, &object, conditional)?;
    created(&mut plan);
    Ok(plan)
}

/// Sets a condition in a status, in the place of the one of its type.
fn set_condition(status: &mut Value, condition: Value) {
    let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|other| other["type"] != condition["type"]);
    conditions.push(condition);
    status["conditions"] = conditions.into();
}

/// Deletes a pod, with whatever grace it is due. Disruption budgets are not served yet, so none is asked.
fn eviction(job: &Job<'_>, body: &Value, stamp: &Stamp<'_>) -> Result<Plan, Status> {
    let mut decoded = typed(job, body, "policy/v1", "Eviction")?;
    job.match_path(&mut decoded.object)?;
    let (deletion, dry_run) = Deletion::from_options(&decoded.object["deleteOptions"]);
    let mut plan = delete::plan(job, &deletion, stamp.now)?;
    if dry_run {
        plan.transactions.clear();
    }
    created(&mut plan);
    Ok(plan)
}

fn typed(job: &Job<'_>, body: &Value, api_version: &str, kind: &str) -> Result<Decoded, Status> {
    let wanted = Wanted { api_version, kind };
    debug_assert!(
        schema::root(api_version, kind).is_some(),
        "{kind} is in the schema"
    );
    decode::decode(body, &wanted, &job.request.options.field_validation)
}

/// The answer to a POST that makes no object of its own.
fn created(plan: &mut Plan) {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    plan.reply.code = 201;
    plan.reply.object = body.to_string().into();
    plan.reply.splice = None;
}
