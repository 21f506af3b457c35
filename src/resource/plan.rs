//! The one write path: a request and a view become a transaction and the reply to send once it has committed.
//!
//! Every transaction compares the revision of each object it read in order to change it, and a creation also that of
//! its namespace: an object can never appear in a namespace that was absent or terminating at the commit.
//!
//! Deliberately not kept: `metadata.managedFields`. Clients may send them; they are dropped.

use serde_json::Value;

use super::codec;
use super::registry::{self, Kind};
use super::request::{Plan, PlannedReply, Reply, Request, Splice, Stamp, Status, Verb};
use crate::store::{Compare, Operation, Revision, Transaction, View};

mod create;
mod decode;
mod delete;
mod patch;
mod retell;
mod subresources;
#[cfg(test)]
mod tests;

mod update;

pub use delete::{FOREGROUND, ORPHAN};
pub use retell::retell;
pub use subresources::scale_of;

/// Largest object as stored, bytes: etcd's own limit, which clients of Kubernetes live with.
const OBJECT_BYTES_MAX: usize = 3 << 19;

/// Plans a write against a view.
///
/// # Errors
/// What Kubernetes would answer: 400 for what makes no sense, 404, 405, 409 for names taken and revisions passed,
/// 413 for too much at once, 415 for server-side apply (not served), 422 for broken rules.
pub fn plan(view: &View, request: &Request, stamp: &mut Stamp<'_>) -> Result<Plan, Status> {
    plan_again(view, request, stamp, view.revision())
}

/// Plans a write that was planned before, first at the revision `began`, because another write came between. What came
/// into being since is none of a request's business that concerns many objects: it would delete what its own first
/// part had deleted and somebody has made anew.
///
/// # Errors
/// As [`plan`].
pub fn plan_again(
    view: &View,
    request: &Request,
    stamp: &mut Stamp<'_>,
    began: Revision,
) -> Result<Plan, Status> {
    let resource = &request.resource;
    let kind = registry::find(&resource.group, &resource.version, &resource.plural);
    let kind = kind.ok_or_else(|| Status::not_served(&resource.group, &resource.plural, None))?;
    let job = Job {
        view,
        request,
        kind,
        began,
    };
    job.check()?;
    match (&request.verb, request.subresource.as_deref()) {
        (Verb::Create(body), None) => create::plan(&job, body, stamp),
        (Verb::Update(body), None) => update::plan(&job, body),
        (Verb::Patch(how, body), None) => patch::plan(&job, *how, body),
        (Verb::Delete(deletion), None) => delete::plan(&job, deletion, stamp.now),
        (Verb::DeleteCollection { .. }, None) => delete::plan_collection(&job, stamp.now),
        (_, Some(name)) => subresources::plan(&job, name, stamp),
    }
}

impl PlannedReply {
    /// The reply, now that the transaction has committed (or that there was none: then the view's revision).
    pub fn finish(self, committed: Revision) -> Reply {
        let body = match self.splice {
            None => self.object,
            Some(Splice::Committed) => codec::serve(&self.object, committed),
            Some(Splice::Known(revision)) => codec::serve(&self.object, revision),
        };
        Reply {
            code: self.code,
            body,
            warnings: self.warnings,
            revision: committed,
        }
    }
}

/// A request under way.
struct Job<'a> {
    view: &'a View,
    request: &'a Request,
    kind: &'static Kind,
    /// The revision that the request was first planned at.
    began: Revision,
}

/// An object as it was read.
struct Stored {
    key: String,
    /// Without its resourceVersion.
    object: Value,
    revision: Revision,
}

impl Stored {
    fn compare(&self) -> Compare {
        Compare {
            key: self.key.clone(),
            mod_revision: self.revision,
        }
    }
}

impl Job<'_> {
    /// The verb is served here, and the path fits the resource's scope.
    fn check(&self) -> Result<(), Status> {
        let request = self.request;
        let verbs = match &request.subresource {
            None => self.kind.verbs,
            Some(name) => {
                let sub = self.kind.subresource(name);
                let (group, plural) = (self.kind.group, self.kind.plural);
                sub.ok_or_else(|| Status::not_served(group, plural, Some(name)))?
                    .verbs
            }
        };
        if !verbs.contains(&verb(&request.verb)) {
            return Err(Status::method_not_allowed());
        }
        if self.kind.namespaced != request.namespace.is_some() {
            return Err(Status::bad_request(if self.kind.namespaced {
                "an empty namespace may not be set when a resource is namespaced"
            } else {
                "namespace may not be set for a resource that is not namespaced"
            }));
        }
        Ok(())
    }

    fn namespace(&self) -> Option<&str> {
        self.request.namespace.as_deref()
    }

    /// The name in the path.
    fn name(&self) -> Result<&str, Status> {
        let name = self.request.name.as_deref();
        name.ok_or_else(|| Status::bad_request("name must be provided"))
    }

    fn load(&self) -> Result<Stored, Status> {
        let name = self.name()?;
        let key = self.kind.key(self.namespace(), name);
        let record = self.view.get(&key);
        let record = record.ok_or_else(|| Status::not_found(self.kind, name))?;
        Ok(Stored {
            object: parse(&record.value)?,
            revision: record.mod_revision,
            key,
        })
    }

    /// The plan that stores `object` in place of `stored`, or stores nothing if they are equal.
    fn put(&self, stored: Stored, object: &Value, conditional: bool) -> Result<Plan, Status> {
        let value = codec::encode(object);
        bounded(value.len())?;
        let revision = stored.revision;
        let changed = *object != stored.object;
        let transaction = Transaction {
            compare: vec![stored.compare()],
            operations: vec![Operation::Put {
                key: stored.key,
                value: value.clone(),
            }],
        };
        let reply = reply(200, value, Some(Splice::Committed));
        let transactions = changed.then_some(transaction).into_iter().collect();
        Ok(self.finish(transactions, reply, Some(revision), !conditional))
    }

    /// The plan that removes `stored`.
    fn remove(&self, stored: Stored, mut reply: PlannedReply, conditional: bool) -> Plan {
        let revision = stored.revision;
        let transaction = Transaction {
            compare: vec![stored.compare()],
            operations: vec![Operation::Delete { key: stored.key }],
        };
        reply.warnings.clear();
        self.finish(vec![transaction], reply, Some(revision), !conditional)
    }

    /// Leaves the writing out if it is a dry run, and lets the reply say the revision that then stays.
    fn finish(
        &self,
        mut transactions: Vec<Transaction>,
        mut reply: PlannedReply,
        current: Option<Revision>,
        retry_on_conflict: bool,
    ) -> Plan {
        if self.request.options.dry_run {
            transactions.clear();
        }
        if transactions.is_empty() && reply.splice == Some(Splice::Committed) {
            reply.splice = current.map(Splice::Known);
        }
        Plan {
            transactions,
            reply,
            retry_on_conflict,
        }
    }
}

/// The verb as the registry names it.
fn verb(verb: &Verb) -> &'static str {
    match verb {
        Verb::Create(_) => "create",
        Verb::Update(_) => "update",
        Verb::Patch(..) => "patch",
        Verb::Delete(_) => "delete",
        Verb::DeleteCollection { .. } => "deletecollection",
    }
}

fn parse(value: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(value)
        .map_err(|error| Status::internal(format!("a stored object cannot be read: {error}")))
}

fn bounded(bytes: usize) -> Result<(), Status> {
    if bytes > OBJECT_BYTES_MAX {
        return Err(Status::too_large(format!(
            "the object would take at least {bytes} bytes; the limit is {OBJECT_BYTES_MAX}"
        )));
    }
    Ok(())
}

fn reply(code: u16, object: bytes::Bytes, splice: Option<Splice>) -> PlannedReply {
    PlannedReply {
        code,
        object,
        splice,
        warnings: Vec::new(),
    }
}
