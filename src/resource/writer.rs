//! Builds the requests that controllers, scheduler and node links write with.
//!
//! Deliberately untyped below the metadata: a patch says only what it changes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::cache::{Cached, ObjectKey};
use super::request::{Deletion, Options, PatchType, Precondition, Request, ResourceName, Verb};

/// Builds requests in one component's name.
#[derive(Clone, Copy, Debug)]
pub struct Writer {
    /// Who asks, e.g. `system:kagero:replicaset-controller`.
    pub user: &'static str,
}

impl Writer {
    /// POST of an object into its namespace ("" if cluster-scoped).
    pub fn create(self, resource: ResourceName, namespace: &str, object: Value) -> Request {
        self.request(resource, namespace, None, Verb::Create(object))
    }

    /// Merge patch of an object. Give `metadata.resourceVersion` in it where a lost race must not overwrite.
    pub fn patch<T: Cached>(self, key: &ObjectKey, patch: Value) -> Request {
        let verb = Verb::Patch(PatchType::Merge, patch);
        self.request(
            ResourceName::of::<T>(),
            &key.namespace,
            Some(&key.name),
            verb,
        )
    }

    /// Merge patch of an object's status.
    pub fn patch_status<T: Cached>(self, key: &ObjectKey, status: Value) -> Request {
        let patch = json!({ "status": status });
        self.patch::<T>(key, patch).on("status")
    }

    /// Strategic merge patch of an object's status, for lists whose other members are not the writer's.
    pub fn merge_status<T: Cached>(self, key: &ObjectKey, status: Value) -> Request {
        let verb = Verb::Patch(PatchType::StrategicMerge, json!({ "status": status }));
        let resource = ResourceName::of::<T>();
        let request = self.request(resource, &key.namespace, Some(&key.name), verb);
        request.on("status")
    }

    /// DELETE of exactly this incarnation of an object.
    pub fn delete<T: Cached>(self, key: &ObjectKey, meta: &ObjectMeta) -> Request {
        self.delete_as::<T>(key, meta, Deletion::default())
    }

    /// The same, with these options.
    pub fn delete_as<T: Cached>(
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
        self.request(
            ResourceName::of::<T>(),
            &key.namespace,
            Some(&key.name),
            verb,
        )
    }

    /// Any other request.
    pub fn request(
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

impl ResourceName {
    /// A cached kind's resource name, out of its store prefix. Every cached kind is served as `v1`.
    pub fn of<T: Cached>() -> Self {
        let (plural, group) = T::PREFIX.split_once('.').unwrap_or((T::PREFIX, ""));
        Self::new(group, "v1", plural)
    }
}

impl Request {
    /// The same request, of a subresource.
    #[must_use]
    pub fn on(mut self, subresource: &str) -> Self {
        self.subresource = Some(subresource.to_owned());
        self
    }
}
