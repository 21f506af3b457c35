//! PATCH: the patched object goes the way of a PUT.

use serde_json::Value;

use super::super::json::filled_text;
use super::super::patch;
use super::super::request::{PatchType, Plan, Status};
use super::super::schema;
use super::update::{expect_current, replace};
use super::{Job, Stored};

pub(super) fn plan(job: &Job<'_>, how: PatchType, body: &Value) -> Result<Plan, Status> {
    expect_served(how)?;
    let stored = job.load()?;
    let patched = patched(job, &stored, how, body)?;
    let mut decoded = job.decode(&patched)?;
    job.match_path(&mut decoded.object)?;
    expect_current(job, &stored, &decoded.object)?;
    replace(job, stored, decoded, is_conditional(how, body))
}

/// The stored object, as the client sees it, with the patch applied.
pub(super) fn patched(
    job: &Job<'_>,
    stored: &Stored,
    how: PatchType,
    body: &Value,
) -> Result<Value, Status> {
    let mut current = stored.object.clone();
    current["metadata"]["resourceVersion"] = stored.revision.to_string().into();
    apply(&job.kind.api_version(), job.kind.kind, &current, how, body)
}

/// Applies a patch to an object of the given type.
pub(super) fn apply(
    api_version: &str,
    kind: &str,
    current: &Value,
    how: PatchType,
    body: &Value,
) -> Result<Value, Status> {
    expect_served(how)?;
    Ok(patch::apply(
        schema::root(api_version, kind),
        current,
        how,
        body,
    )?)
}

/// Before anything is looked up: an object that server-side apply would create is not "not found".
fn expect_served(how: PatchType) -> Result<(), Status> {
    if how == PatchType::Apply {
        return Err(Status::unsupported_media_type(
            "server-side apply (application/apply-patch+yaml) is not served; accepted media types include: \
             application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json",
        ));
    }
    Ok(())
}

/// Whether the patch says of which revision the object must be.
pub(super) fn is_conditional(how: PatchType, body: &Value) -> bool {
    match how {
        PatchType::Json => {
            let operations = body.as_array().into_iter().flatten();
            let mut paths = operations.filter_map(|operation| operation["path"].as_str());
            paths.any(|path| path == "/metadata/resourceVersion")
        }
        _ => filled_text(&body["metadata"]["resourceVersion"]).is_some(),
    }
}
