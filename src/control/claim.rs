//! Whose is it: the objects a controller manages, those it may adopt and those it must let go.
//!
//! Deliberately the same for ReplicaSets' pods and Deployments' ReplicaSets, as in Kubernetes'
//! `controller_ref_manager`.

use std::sync::Arc;

use k8s_openapi::Resource;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::patches::{controller_reference, set_owners};
use super::{Outcome, ReconcileError};
use crate::resource::cache::{Cached, Change, controller_of};
use crate::resource::selector::Labels;
use crate::resource::{Cache, ObjectKey, Writer};

/// Objects with their keys, as the cache hands them out.
pub(crate) type Claimed<'a, T> = Vec<(&'a ObjectKey, &'a Arc<T>)>;

/// A kind whose objects manage others, picked by labels.
pub(crate) trait Claims: Cached + Resource {
    /// `spec.selector`.
    fn selector(&self) -> Option<&LabelSelector>;
}

impl Claims for ReplicaSet {
    fn selector(&self) -> Option<&LabelSelector> {
        self.spec.as_ref().map(|spec| &spec.selector)
    }
}

impl Claims for Deployment {
    fn selector(&self) -> Option<&LabelSelector> {
        self.spec.as_ref().map(|spec| &spec.selector)
    }
}

/// Keys of the `T` that manages a changed `D`, or of those that may adopt it.
pub(crate) fn claimants<T: Claims, D: Cached>(change: &Change, cache: &Cache) -> Vec<ObjectKey> {
    let namespace = &change.key.namespace;
    let owners = change.owners.iter();
    let mut keys: Vec<_> = owners
        .filter(|owner| owner.controller && owner.kind == T::KIND)
        .map(|owner| ObjectKey::new(namespace, &owner.name))
        .collect();
    let meta = cache.get::<D>(&change.key).map(|object| object.meta());
    if let Some(meta) = meta.filter(|meta| controller_of(meta).is_none()) {
        let wants = |object: &T| {
            let selector = object.selector().and_then(|s| Labels::of(s).ok());
            selector.is_some_and(|s| s.matches(meta.labels.as_ref()))
        };
        let objects = cache.in_namespace::<T>(namespace);
        let wanting = objects.filter(|(_, object)| wants(object));
        keys.extend(wanting.map(|(key, _)| key.clone()));
    }
    keys
}

/// Who claims.
pub(crate) struct Claimant<'a> {
    writer: Writer,
    api_version: &'static str,
    kind: &'static str,
    namespace: &'a str,
    meta: &'a ObjectMeta,
    selector: Labels,
}

impl<'a> Claimant<'a> {
    /// An object that writes its claims by `writer`.
    pub(crate) fn of<T: Claims>(
        writer: Writer,
        key: &'a ObjectKey,
        object: &'a T,
    ) -> Result<Self, ReconcileError> {
        let selector = object.selector();
        let selector = selector.ok_or_else(|| ReconcileError::no_spec::<T>(key))?;
        let selector = Labels::of(selector).map_err(|reason| ReconcileError::InvalidSelector {
            kind: T::KIND,
            key: key.clone(),
            reason,
        })?;
        Ok(Self {
            writer,
            api_version: T::API_VERSION,
            kind: T::KIND,
            namespace: &key.namespace,
            meta: object.meta(),
            selector,
        })
    }

    /// The objects that are the claimant's: those it owns and whose labels match. Writes the release of what it owns
    /// but no longer matches, and the adoption of what matches, nobody manages and `may_adopt` allows.
    pub(crate) fn claim<'c, T: Cached>(
        &self,
        cache: &'c Cache,
        may_adopt: fn(&T) -> bool,
        outcome: &mut Outcome,
    ) -> Claimed<'c, T> {
        let uid = self.meta.uid.as_deref().unwrap_or_default();
        let matches = |object: &T| self.selector.matches(object.meta().labels.as_ref());
        let mut claimed = Vec::new();
        for (key, object) in cache.owned_by::<T>(uid) {
            let meta = object.meta();
            if controller_of(meta).is_none_or(|owner| owner.uid != uid) {
                continue;
            }
            if matches(object) {
                claimed.push((key, object));
            } else if meta.deletion_timestamp.is_none() {
                let owners = meta.owner_references.iter().flatten();
                let others: Vec<_> = owners.filter(|o| o.uid != uid).cloned().collect();
                outcome.write(self.writer.patch::<T>(key, set_owners(meta, &others)));
            }
        }
        if self.meta.deletion_timestamp.is_some() {
            return claimed;
        }
        for (key, object) in cache.unmanaged_in::<T>(self.namespace) {
            let meta = object.meta();
            if meta.deletion_timestamp.is_none() && may_adopt(object) && matches(object) {
                let mut owners = meta.owner_references.clone().unwrap_or_default();
                owners.retain(|owner| owner.uid != uid);
                owners.push(controller_reference(self.api_version, self.kind, self.meta));
                outcome.write(self.writer.patch::<T>(key, set_owners(meta, &owners)));
            }
        }
        claimed
    }
}
