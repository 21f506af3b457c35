//! POST: a new object.

use serde_json::{Value, json};

use super::super::codec;
use super::super::json::{filled_text, remove};
use super::super::names;
use super::super::registry;
use super::super::request::{Plan, Splice, Stamp, Status};
use super::super::time;
use super::super::unserved;
use super::super::validate::{self, Causes};
use super::Job;
use crate::store::{Compare, Operation, Transaction};

/// Draws of a generated name before the client is told to try again, as in Kubernetes.
const GENERATE_ATTEMPTS_MAX: usize = 8;

pub(super) fn plan(job: &Job<'_>, body: &Value, stamp: &mut Stamp<'_>) -> Result<Plan, Status> {
    let decoded = job.decode(body)?;
    let mut object = decoded.object;
    job.match_namespace(&mut object)?;
    if filled_text(&object["metadata"]["resourceVersion"]).is_some() {
        let message = "resourceVersion should not be set on objects to be created";
        return Err(Status::bad_request(message));
    }
    name(job, &mut object, stamp);
    let mut compare = namespace_is_open(job, &object)?;
    stamp_metadata(job, &mut object, stamp);
    let rules = &job.kind.rules;
    if !rules.status_on_create {
        remove(&mut object, "status");
    }
    (rules.default)(&mut object);
    (rules.prepare)(&mut object);
    let mut causes = Causes::default();
    validate::metadata(&object, rules.name, &mut causes);
    (rules.validate)(&object, &mut causes);
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if !causes.is_empty() {
        return Err(Status::invalid(job.kind, name, &causes));
    }
    account_exists(job, &object, name)?;
    let key = job.kind.key(job.namespace(), name);
    if job.view.get(&key).is_some() {
        return Err(Status::already_exists(job.kind, name));
    }
    let value = codec::encode(&object);
    super::bounded(value.len())?;
    compare.push(Compare {
        key: key.clone(),
        mod_revision: 0,
    });
    let transaction = Transaction {
        compare,
        operations: vec![Operation::Put {
            key,
            value: value.clone(),
        }],
    };
    let mut reply = super::reply(201, value, Some(Splice::Committed));
    reply.warnings = decoded.warnings;
    reply
        .warnings
        .extend(unserved::warnings(job.kind, &object, None));
    reply.warnings.extend(absent_account(job, &object));
    // A retry finds the name taken or the namespace gone, and says so.
    Ok(job.finish(vec![transaction], reply, None, true))
}

/// A missing name is drawn from `generateName`, one that is free if possible.
fn name(job: &Job<'_>, object: &mut Value, stamp: &mut Stamp<'_>) {
    let metadata = &mut object["metadata"];
    if filled_text(&metadata["name"]).is_some() {
        return;
    }
    let Some(base) = filled_text(&metadata["generateName"]).map(str::to_owned) else {
        return;
    };
    let mut drawn = names::generate(&base, stamp.entropy);
    for _ in 1..GENERATE_ATTEMPTS_MAX {
        if job
            .view
            .get(&job.kind.key(job.namespace(), &drawn))
            .is_none()
        {
            break;
        }
        drawn = names::generate(&base, stamp.entropy);
    }
    metadata["name"] = drawn.into();
}

/// The namespace is there and not terminating, now and, by the comparison returned, at the commit.
fn namespace_is_open(job: &Job<'_>, object: &Value) -> Result<Vec<Compare>, Status> {
    let Some(namespace) = job.namespace() else {
        return Ok(Vec::new());
    };
    let kind = registry::find("", "v1", "namespaces").expect("namespaces are in the registry");
    let key = kind.key(None, namespace);
    let Some(record) = job.view.get(&key) else {
        return Err(Status::not_found(kind, namespace));
    };
    let current = super::parse(&record.value)?;
    let terminating = current["status"]["phase"] == "Terminating"
        || !current["metadata"]["deletionTimestamp"].is_null();
    if terminating {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        return Err(Status::namespace_terminating(job.kind, name, namespace));
    }
    Ok(vec![Compare {
        key,
        mod_revision: record.mod_revision,
    }])
}

/// The name of the ServiceAccount that the object's pods run as, if there is none of that name. `default` counts as
/// there: a controller makes it in every namespace, and a pod must not lose a race with that.
fn missing_account<'a>(job: &Job<'_>, object: &'a Value) -> Option<&'a str> {
    let spec = object.pointer(job.kind.rules.pod_spec?)?;
    let account = filled_text(&spec["serviceAccountName"])?;
    let kind = registry::find("", "v1", "serviceaccounts")?;
    let there = account == "default" || job.view.get(&kind.key(job.namespace(), account)).is_some();
    (!there).then_some(account)
}

/// A pod's ServiceAccount exists, as Kubernetes' admission has it.
fn account_exists(job: &Job<'_>, object: &Value, name: &str) -> Result<(), Status> {
    let Some(account) = missing_account(job, object).filter(|_| job.kind.kind == "Pod") else {
        return Ok(());
    };
    let namespace = job.namespace().unwrap_or_default();
    let why = format!(
        "error looking up service account {namespace}/{account}: serviceaccount {account:?} not found"
    );
    Err(Status::forbidden(job.kind, name, &why))
}

/// A template may come before the account that its pods run as; its author is told why there are none so far.
fn absent_account(job: &Job<'_>, object: &Value) -> Option<String> {
    let account = missing_account(job, object)?;
    let path = job.kind.rules.pod_spec?.trim_start_matches('/');
    let path = path.replace('/', ".");
    Some(format!(
        "{path}.serviceAccountName: serviceaccount {account:?} not found; pods are refused until it exists"
    ))
}

/// What only the server says of an object.
fn stamp_metadata(job: &Job<'_>, object: &mut Value, stamp: &mut Stamp<'_>) {
    let metadata = &mut object["metadata"];
    for field in [
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "generation",
        "resourceVersion",
    ] {
        remove(metadata, field);
    }
    metadata["uid"] = names::uid(stamp.entropy).into();
    metadata["creationTimestamp"] = time::text(stamp.now).into();
    if job.kind.rules.generation {
        metadata["generation"] = json!(1);
    }
}
