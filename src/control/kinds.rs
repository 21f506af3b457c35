//! What garbage collection and namespace deletion ask of every cached kind at once.
//!
//! Deliberately over cached kinds only: of others (Events) nobody is owner or dependent.

use std::sync::Arc;

use k8s_openapi::Resource;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::resource::cache::Cached;
use crate::resource::plan::{FOREGROUND, ORPHAN};
use crate::resource::{Cache, ObjectKey};

/// Evaluates an expression of the type `T` for each cached kind in turn: `each_kind!(T => …)`.
macro_rules! each_kind {
    ($t:ident => $body:expr) => {{
        macro_rules! one {
            ($kind:ty) => {{
                type $t = $kind;
                $body
            }};
        }
        one!(k8s_openapi::api::core::v1::Namespace);
        one!(k8s_openapi::api::core::v1::Node);
        one!(k8s_openapi::api::core::v1::Pod);
        one!(k8s_openapi::api::core::v1::ConfigMap);
        one!(k8s_openapi::api::core::v1::Secret);
        one!(k8s_openapi::api::core::v1::ServiceAccount);
        one!(k8s_openapi::api::apps::v1::ReplicaSet);
        one!(k8s_openapi::api::apps::v1::Deployment);
        one!(k8s_openapi::api::coordination::v1::Lease);
    }};
}

pub(crate) use each_kind;

/// Whether a kind's objects live in no namespace.
pub(crate) fn is_cluster_scoped(kind: &str) -> bool {
    matches!(kind, "Namespace" | "Node")
}

/// What an owner reference comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// It exists, or is of a kind that cannot be judged.
    Solid,
    /// It exists and waits for its dependents to go first.
    Waiting,
    /// It exists and waits for its dependents to be freed of it.
    Orphaning,
    /// It is gone, or its name is now another's.
    Gone,
}

/// Looks an owner up.
pub(crate) fn owner(cache: &Cache, namespace: &str, reference: &OwnerReference) -> Owner {
    let namespace = if is_cluster_scoped(&reference.kind) {
        ""
    } else {
        namespace
    };
    let key = ObjectKey::new(namespace, &reference.name);
    each_kind!(T => {
        if reference.kind == T::KIND && reference.api_version == T::API_VERSION {
            return judge(cache.get::<T>(&key), &reference.uid);
        }
    });
    Owner::Solid
}

fn judge<T: Cached>(object: Option<&Arc<T>>, uid: &str) -> Owner {
    let meta = object.map(|object| object.meta());
    match meta.filter(|meta| meta.uid.as_deref() == Some(uid)) {
        None => Owner::Gone,
        Some(meta) if is_waiting(meta) => Owner::Waiting,
        Some(meta) if meta.deletion_timestamp.is_some() && has_finalizer(meta, ORPHAN) => {
            Owner::Orphaning
        }
        Some(_) => Owner::Solid,
    }
}

/// Whether an object is being deleted in the foreground.
pub(crate) fn is_waiting(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some() && has_finalizer(meta, FOREGROUND)
}

/// Whether an object is held by this finalizer.
pub(crate) fn has_finalizer(meta: &ObjectMeta, name: &str) -> bool {
    meta.finalizers.iter().flatten().any(|f| f == name)
}

/// Whether any object of any kind names this UID among its owners and passes the test.
pub(crate) fn any_dependent(
    cache: &Cache,
    uid: &str,
    test: impl Fn(&OwnerReference) -> bool,
) -> bool {
    each_kind!(T => {
        let mut dependents = cache.owned_by::<T>(uid);
        if dependents.any(|(_, object)| reference_to(object.meta(), uid).is_some_and(&test)) {
            return true;
        }
    });
    false
}

/// The reference to this owner.
pub(crate) fn reference_to<'a>(meta: &'a ObjectMeta, uid: &str) -> Option<&'a OwnerReference> {
    meta.owner_references
        .iter()
        .flatten()
        .find(|r| r.uid == uid)
}
