//! Pieces of the patches that controllers write.
//!
//! Deliberately only pieces; `resource::Writer` makes requests of them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::{Map, Value, json};

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
