//! Garbage collection by owner references: background, foreground and orphan, as `propagationPolicy` asks.
//!
//! One controller a kind. Each looks at its own objects both as dependents (are their owners gone?) and as owners
//! (may their finalizer go?); deletion of a dependent is always its own kind's to ask for.

#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;

use jiff::Timestamp;
use k8s_openapi::Resource;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use rand::RngCore;
use serde_json::{Value, json};

use super::kinds::{Owner, any_dependent, has_finalizer, is_cluster_scoped, is_waiting, owner};
use super::patches::{at_this_version, set_owners};
use super::{Controller, Outcome, ReconcileError, keys_of};
use crate::resource::cache::{Cached, Change};
use crate::resource::plan::{FOREGROUND, ORPHAN};
use crate::resource::{Cache, Deletion, ObjectKey, Writer};

const WRITER: Writer = Writer {
    user: "system:kagero:generic-garbage-collector",
};

/// The garbage collector of one kind.
pub struct GarbageCollector<T>(PhantomData<T>);

impl<T> Default for GarbageCollector<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T> fmt::Debug for GarbageCollector<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GarbageCollector")
    }
}

impl<T: Cached + Resource> Controller for GarbageCollector<T> {
    fn name(&self) -> &'static str {
        "generic-garbage-collector"
    }

    /// The object itself, the dependents of what changed, and the owners of what changed.
    fn keys_for(&self, change: &Change, cache: &Cache) -> Vec<ObjectKey> {
        let dependents = cache.owned_by::<T>(&change.uid);
        let mut keys: Vec<_> = dependents.map(|(key, _)| key.clone()).collect();
        if change.prefix == T::PREFIX {
            keys.push(change.key.clone());
        }
        let namespace = if is_cluster_scoped(T::KIND) {
            ""
        } else {
            &change.key.namespace
        };
        let owners = change.owners.iter().filter(|owner| owner.kind == T::KIND);
        keys.extend(owners.map(|owner| ObjectKey::new(namespace, &owner.name)));
        keys
    }

    fn all_keys(&self, cache: &Cache) -> Vec<ObjectKey> {
        keys_of::<T>(cache)
    }

    fn reconcile(
        &self,
        cache: &Cache,
        key: &ObjectKey,
        _now: Timestamp,
        _entropy: &mut dyn RngCore,
    ) -> Result<Outcome, ReconcileError> {
        let mut outcome = Outcome::default();
        let Some(object) = cache.get::<T>(key) else {
            return Ok(outcome);
        };
        let meta = object.meta();
        if meta.deletion_timestamp.is_some() {
            release_owner::<T>(cache, key, meta, &mut outcome);
        }
        if outcome.writes.is_empty() {
            collect_dependent::<T>(cache, key, meta, &mut outcome);
        }
        Ok(outcome)
    }
}

/// Takes the finalizer from an owner whose dependents are done with: gone, or free of it.
fn release_owner<T: Cached>(
    cache: &Cache,
    key: &ObjectKey,
    meta: &ObjectMeta,
    outcome: &mut Outcome,
) {
    let uid = meta.uid.as_deref().unwrap_or_default();
    let done = if has_finalizer(meta, ORPHAN) {
        !any_dependent(cache, uid, |_| true)
    } else {
        let blocks = |r: &OwnerReference| r.block_owner_deletion == Some(true);
        has_finalizer(meta, FOREGROUND) && !any_dependent(cache, uid, blocks)
    };
    if !done {
        return;
    }
    let finalizers = meta.finalizers.iter().flatten();
    let others: Vec<_> = finalizers
        .filter(|f| *f != ORPHAN && *f != FOREGROUND)
        .collect();
    let mut metadata = at_this_version(meta);
    let others = if others.is_empty() {
        Value::Null
    } else {
        json!(others)
    };
    metadata.insert("finalizers".into(), others);
    outcome.write(WRITER.patch::<T>(key, json!({ "metadata": metadata })));
}

/// Deletes an object whose owners are all gone or wait for it; frees one of owners that are gone or that orphan it.
fn collect_dependent<T: Cached>(
    cache: &Cache,
    key: &ObjectKey,
    meta: &ObjectMeta,
    outcome: &mut Outcome,
) {
    let references = meta.owner_references.as_deref().unwrap_or_default();
    if references.is_empty() {
        return;
    }
    let owners: Vec<_> = references
        .iter()
        .map(|r| (r, owner(cache, &key.namespace, r)))
        .collect();
    let keeps = |state: &Owner| matches!(state, Owner::Solid | Owner::Orphaning);
    if owners.iter().any(|(_, state)| keeps(state)) {
        let solid = owners.iter().filter(|(_, state)| *state == Owner::Solid);
        let solid: Vec<_> = solid.map(|(r, _)| (*r).clone()).collect();
        if solid.len() < references.len() {
            outcome.write(WRITER.patch::<T>(key, set_owners(meta, &solid)));
        }
        return;
    }
    let uid = meta.uid.as_deref().unwrap_or_default();
    let waited_for = owners.iter().any(|(_, state)| *state == Owner::Waiting);
    let foreground = waited_for && any_dependent(cache, uid, |_| true);
    let going = meta.deletion_timestamp.is_some();
    if going && (!foreground || is_waiting(meta)) {
        return;
    }
    let policy = if foreground {
        "Foreground"
    } else {
        "Background"
    };
    let deletion = Deletion {
        propagation_policy: Some(policy.into()),
        ..Deletion::default()
    };
    outcome.write(WRITER.delete_as::<T>(key, meta, deletion));
}
