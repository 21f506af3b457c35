//! Builds the requests that controllers write with.
//!
//! Deliberately untyped below the metadata: a patch says only what it changes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::{Map, Value, json};

use crate::resource::cache::Cached;
use crate::resource::{
    Deletion, ObjectKey, Options, PatchType, Precondition, Request, ResourceName, Verb,
};

/// Builds requests in one controller's name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer {
    /// Who asks, e.g. `system:kagero:replicaset-controller`.
    pub(crate) user: &'static str,
}

impl Writer {
    /// POST of an object into its namespace ("" if cluster-scoped).
    pub(crate) fn create(self, resource: ResourceName, namespace: &str, object: Value) -> Request {
        self.request(resource, namespace, None, Verb::Create(object))
    }

    /// Merge patch of an object. Give `metadata.resourceVersion` in it where a lost race must not overwrite.
    pub(crate) fn patch<T: Cached>(self, key: &ObjectKey, patch: Value) -> Request {
        let verb = Verb::Patch(PatchType::Merge, patch);
        self.request(resource::<T>(), &key.namespace, Some(&key.name), verb)
    }

    /// Merge patch of an object's status.
    pub(crate) fn patch_status<T: Cached>(self, key: &ObjectKey, status: Value) -> Request {
        let mut request = self.patch::<T>(key, json!({ "status": status }));
        request.subresource = Some("status".into());
        request
    }

    /// Strategic merge patch of an object's status, for lists whose other members are not the writer's.
    pub(crate) fn merge_status<T: Cached>(self, key: &ObjectKey, status: Value) -> Request {
        let verb = Verb::Patch(PatchType::StrategicMerge, json!({ "status": status }));
        let mut request = self.request(resource::<T>(), &key.namespace, Some(&key.name), verb);
        request.subresource = Some("status".into());
        request
    }

    /// DELETE of exactly this incarnation of an object.
    pub(crate) fn delete<T: Cached>(self, key: &ObjectKey, meta: &ObjectMeta) -> Request {
        self.delete_as::<T>(key, meta, Deletion::default())
    }

    /// The same, with these options.
    pub(crate) fn delete_as<T: Cached>(
        self,
        key: &ObjectKey,
        meta: &ObjectMeta,
        deletion: Deletion,
    ) -> Request {
        let precondition = Precondition {
            uid: meta.uid.clone(),
            resource_version: None,
        };
        let verb = Verb::Delete(Deletion {
            precondition,
            ..deletion
        });
        self.request(resource::<T>(), &key.namespace, Some(&key.name), verb)
    }

    /// Any other request.
    pub(crate) fn request(
        self,
        resource: ResourceName,
        namespace: &str,
        name: Option<&str>,
        verb: Verb,
    ) -> Request {
        Request {
            resource,
            namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
            name: name.map(str::to_owned),
            subresource: None,
            verb,
            options: Options {
                field_validation: "Strict".into(),
                field_manager: self.user.rsplit(':').next().unwrap_or_default().to_owned(),
                ..Options::default()
            },
            user: self.user.to_owned(),
        }
    }
}

/// A cached kind's resource name, out of its store prefix. Every cached kind is served as `v1`.
pub(crate) fn resource<T: Cached>() -> ResourceName {
    let (plural, group) = T::PREFIX.split_once('.').unwrap_or((T::PREFIX, ""));
    ResourceName::new(group, "v1", plural)
}

/// `metadata` of a patch that holds only for this very state of the object.
pub(crate) fn at_this_version(meta: &ObjectMeta) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("uid".into(), json!(meta.uid));
    map.insert("resourceVersion".into(), json!(meta.resource_version));
    map
}

/// The reference by which a controller owns what it makes.
pub(crate) fn controller_reference(
    api_version: &str,
    kind: &str,
    owner: &ObjectMeta,
) -> OwnerReference {
    OwnerReference {
        api_version: api_version.into(),
        kind: kind.into(),
        name: owner.name.clone().unwrap_or_default(),
        uid: owner.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The reference to the controller that manages an object.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    let references = meta.owner_references.as_deref().unwrap_or_default();
    references.iter().find(|r| r.controller == Some(true))
}

/// The patch that gives an object these owners and nothing else, if it is still as it was read.
pub(crate) fn set_owners(meta: &ObjectMeta, owners: &[OwnerReference]) -> Value {
    let mut metadata = at_this_version(meta);
    let owners = if owners.is_empty() {
        Value::Null
    } else {
        json!(owners)
    };
    metadata.insert("ownerReferences".into(), owners);
    json!({ "metadata": metadata })
}

/// A count as Kubernetes writes it: absent when 0, so that a merge patch removes it.
pub(crate) fn omit_zero(count: i32) -> Value {
    if count == 0 {
        Value::Null
    } else {
        json!(count)
    }
}

/// The suffix that Kubernetes gives generated names: 5 characters out of 27 that spell no words.
pub(crate) fn name_suffix(entropy: &mut dyn rand::RngCore) -> String {
    use rand::Rng;
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    const LENGTH: usize = 5;
    (0..LENGTH)
        .map(|_| char::from(ALPHABET[entropy.random_range(0..ALPHABET.len())]))
        .collect()
}
