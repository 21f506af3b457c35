//! Whose is it: the objects a controller manages, those it may adopt and those it must let go.
//!
//! Deliberately the same for ReplicaSets' pods and Deployments' ReplicaSets, as in Kubernetes'
//! `controller_ref_manager`.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Outcome;
use super::requests::{Writer, controller_of, controller_reference, set_owners};
use super::selector::Selector;
use crate::resource::cache::Cached;
use crate::resource::{Cache, ObjectKey};

/// Objects with their keys, as the cache hands them out.
pub(crate) type Claimed<'a, T> = Vec<(&'a ObjectKey, &'a Arc<T>)>;

/// Who claims.
pub(crate) struct Claimant<'a> {
    pub(crate) writer: Writer,
    pub(crate) api_version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) namespace: &'a str,
    pub(crate) meta: &'a ObjectMeta,
    pub(crate) selector: &'a Selector,
}

impl Claimant<'_> {
    /// The objects that are the claimant's: those it owns and whose labels match. Writes the release of what it owns
    /// but no longer matches, and the adoption of what matches, nobody manages and `may_adopt` allows.
    pub(crate) fn claim<'a, T: Cached>(
        &'a self,
        cache: &'a Cache,
        may_adopt: fn(&T) -> bool,
        outcome: &mut Outcome,
    ) -> Claimed<'a, T> {
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
