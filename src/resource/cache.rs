//! A typed, indexed copy of the objects that controllers, scheduler and node links read (an informer's store).
//!
//! Fed with the store's events in order; each object is decoded once and shared. Persistent, like the store's view:
//! a clone costs nothing and stays as it was. Deliberately read-only for its readers and without any queue: what to
//! do about a change is decided elsewhere.

mod index;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Secret, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::store::{Event, Record, Revision, View};
use index::Index;

/// Namespace ("" for cluster-scoped objects) and name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// Namespace, "" if cluster-scoped.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// A key from its parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A kind that the cache holds.
pub trait Cached: DeserializeOwned + Send + Sync + 'static {
    /// The store's prefix, `<plural>[.<group>]`, as in `deployments.apps`.
    const PREFIX: &'static str;
    /// The object's metadata.
    fn meta(&self) -> &ObjectMeta;
    /// The same, to stamp the resourceVersion in.
    fn meta_mut(&mut self) -> &mut ObjectMeta;
    /// The kind's table in a cache.
    fn table(cache: &Cache) -> &Table<Self>;
    /// The same, to fill it.
    fn table_mut(cache: &mut Cache) -> &mut Table<Self>;
}

/// One kind's objects, by key and by owner. Cheap to clone: clones share all but what changed since.
#[derive(Clone, Debug)]
pub struct Table<T> {
    /// The keys are shared with all indexes, so that copying a node of one copies pointers.
    objects: OrdMap<Arc<ObjectKey>, Arc<T>>,
    owned: Index,
    /// Objects that no controller manages.
    unmanaged: OrdSet<Arc<ObjectKey>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            objects: OrdMap::new(),
            owned: Index::default(),
            unmanaged: OrdSet::new(),
        }
    }
}

/// One change of one object, as controllers' key functions see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The store's prefix of its kind, e.g. `pods`.
    pub prefix: String,
    /// Its key.
    pub key: ObjectKey,
    /// Its UID, even if it is gone.
    pub uid: String,
    /// UIDs of its owners before and after, without repeats.
    pub owners: Vec<Owner>,
}

/// An owner reference, as far as key functions need it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// Its kind, e.g. `ReplicaSet`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Whether it is the managing controller.
    pub controller: bool,
}

macro_rules! tables {
    ($($field:ident: $kind:ty = $prefix:literal),+ $(,)?) => {
        /// All tables, at one revision. Cheap to clone; a clone never changes.
        ///
        /// Invariant: equal to a fresh fill from the view of that revision, but for an object whose newest value
        /// cannot be read: it stays as it was last read.
        #[derive(Clone, Debug, Default)]
        pub struct Cache {
            revision: Revision,
            pods_by_node: Index,
            $($field: Table<$kind>,)+
        }

        $(impl Cached for $kind {
            const PREFIX: &'static str = $prefix;
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
            fn table(cache: &Cache) -> &Table<Self> {
                &cache.$field
            }
            fn table_mut(cache: &mut Cache) -> &mut Table<Self> {
                &mut cache.$field
            }
        })+

        impl Cache {
            /// Sets (`Some`) or removes (`None`) the object of a store key; kinds that are not cached are ignored.
            /// Returns what changed, or the reason why the value could not be read.
            fn set(&mut self, key: &str, record: Option<&Record>) -> Result<Option<Change>, serde_json::Error> {
                let Some((prefix, key)) = split_key(key) else { return Ok(None) };
                match prefix {
                    $($prefix => self.replace::<$kind>(key, record).map(Some),)+
                    _ => Ok(None),
                }
            }
        }
    };
}

tables! {
    namespaces: Namespace = "namespaces",
    nodes: Node = "nodes",
    pods: Pod = "pods",
    config_maps: ConfigMap = "configmaps",
    secrets: Secret = "secrets",
    service_accounts: ServiceAccount = "serviceaccounts",
    replica_sets: ReplicaSet = "replicasets.apps",
    deployments: Deployment = "deployments.apps",
    leases: Lease = "leases.coordination.k8s.io",
}

/// Splits a store key `<prefix>/<namespace>/<name>`.
pub fn split_key(key: &str) -> Option<(&str, ObjectKey)> {
    let mut parts = key.splitn(3, '/');
    let (prefix, namespace, name) = (parts.next()?, parts.next()?, parts.next()?);
    Some((prefix, ObjectKey::new(namespace, name)))
}

impl Cache {
    /// Fills a cache from a view. Values that cannot be read are left out and returned with the reason.
    pub fn fill(view: &View) -> (Self, Vec<(String, serde_json::Error)>) {
        let mut cache = Self {
            revision: view.revision(),
            ..Self::default()
        };
        let mut unreadable = Vec::new();
        for (key, record) in view.range("") {
            if let Err(error) = cache.set(key, Some(record)) {
                unreadable.push((key.to_owned(), error));
            }
        }
        (cache, unreadable)
    }

    /// Takes the events of one or more transactions, in order.
    pub fn apply(&mut self, events: &[Event]) -> (Vec<Change>, Vec<(String, serde_json::Error)>) {
        let mut changes = Vec::new();
        let mut unreadable = Vec::new();
        for event in events {
            assert!(
                event.revision >= self.revision,
                "events come in order of revision"
            );
            self.revision = event.revision;
            match self.set(&event.key, event.current.as_ref()) {
                Ok(change) => changes.extend(change),
                Err(error) => unreadable.push((event.key.to_string(), error)),
            }
        }
        (changes, unreadable)
    }

    /// The revision of the last change taken.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// One object.
    pub fn get<T: Cached>(&self, key: &ObjectKey) -> Option<&Arc<T>> {
        T::table(self).objects.get(key)
    }

    /// All objects of a kind, by key.
    pub fn list<T: Cached>(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<T>)> {
        T::table(self)
            .objects
            .iter()
            .map(|(key, object)| (&**key, object))
    }

    /// A kind's objects in one namespace, by name.
    pub fn in_namespace<'a, T: Cached>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a Arc<T>)> {
        T::table(self)
            .objects
            .range(ObjectKey::new(namespace, "")..)
            .map(|(key, object)| (&**key, object))
            .take_while(move |(key, _)| key.namespace == namespace)
    }

    /// A kind's objects that name this UID among their owners, by key.
    pub fn owned_by<'a, T: Cached>(
        &'a self,
        uid: &str,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a Arc<T>)> {
        let table = T::table(self);
        let keys = table.owned.keys(uid);
        keys.filter_map(|key| table.get(key))
    }

    /// A kind's objects in one namespace that no controller manages, by name: those that may be adopted.
    pub fn unmanaged_in<'a, T: Cached>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a Arc<T>)> {
        let table = T::table(self);
        let keys = table.unmanaged.range(ObjectKey::new(namespace, "")..);
        keys.take_while(move |key| key.namespace == namespace)
            .filter_map(|key| table.get(key))
    }

    /// The pods bound to a node, by key.
    pub fn pods_on<'a>(
        &'a self,
        node: &str,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a Arc<Pod>)> {
        let keys = self.pods_by_node.keys(node);
        keys.filter_map(|key| self.pods.get(key))
    }

    fn replace<T: Cached + NodeName>(
        &mut self,
        key: ObjectKey,
        record: Option<&Record>,
    ) -> Result<Change, serde_json::Error> {
        let new = record.map(decode::<T>).transpose()?.map(Arc::new);
        let (key, old) = T::table_mut(self).replace(key, new.clone());
        let node = |object: &Option<Arc<T>>| object.as_ref()?.node_name().map(str::to_owned);
        let (left, joined) = (node(&old), node(&new));
        if left != joined {
            left.inspect(|node| self.pods_by_node.unlink(node, &key));
            joined.inspect(|node| self.pods_by_node.link(node, &key));
        }
        let either = new.as_deref().or(old.as_deref());
        let uid = either.and_then(|object| object.meta().uid.clone());
        let (before, after) = (owners(old.as_deref()), owners(new.as_deref()));
        let owners: BTreeSet<Owner> = before.into_iter().chain(after).collect();
        Ok(Change {
            prefix: T::PREFIX.to_owned(),
            key: ObjectKey::clone(&key),
            uid: uid.unwrap_or_default(),
            owners: owners.into_iter().collect(),
        })
    }
}

impl<T: Cached> Table<T> {
    fn get(&self, key: &ObjectKey) -> Option<(&ObjectKey, &Arc<T>)> {
        let (key, object) = self.objects.get_key_value(key)?;
        Some((key, object))
    }

    /// Sets or removes an object and its places in the indexes; returns its key as all indexes have it, and what was
    /// there. An index that does not change is not touched: readers go on sharing it.
    fn replace(&mut self, key: ObjectKey, new: Option<Arc<T>>) -> (Arc<ObjectKey>, Option<Arc<T>>) {
        let known = self.objects.get_key_value(&key);
        let key = known.map_or_else(|| Arc::new(key), |(key, _)| key.clone());
        let old = match new.clone() {
            Some(object) => self.objects.insert(key.clone(), object),
            None => self.objects.remove(&key),
        };
        let (before, after) = (owners(old.as_deref()), owners(new.as_deref()));
        if before != after {
            for owner in &before {
                self.owned.unlink(&owner.uid, &key);
            }
            for owner in &after {
                self.owned.link(&owner.uid, &key);
            }
        }
        let unmanaged = |object: Option<&Arc<T>>, owners: &[Owner]| {
            object.is_some() && !owners.iter().any(|owner| owner.controller)
        };
        match (
            unmanaged(old.as_ref(), &before),
            unmanaged(new.as_ref(), &after),
        ) {
            (false, true) => drop(self.unmanaged.insert(key.clone())),
            (true, false) => drop(self.unmanaged.remove(&key)),
            _ => {}
        }
        (key, old)
    }
}

/// Decodes a record; its revision becomes the object's resourceVersion, as a client would see it.
fn decode<T: Cached>(record: &Record) -> Result<T, serde_json::Error> {
    let mut object: T = serde_json::from_slice(&record.value)?;
    object.meta_mut().resource_version = Some(record.mod_revision.to_string());
    Ok(object)
}

/// The reference to the controller that manages an object.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    let references = meta.owner_references.as_deref().unwrap_or_default();
    references.iter().find(|r| r.controller == Some(true))
}

fn owners<T: Cached>(object: Option<&T>) -> Vec<Owner> {
    let references = object
        .and_then(|o| o.meta().owner_references.as_deref())
        .unwrap_or_default();
    let owner = |r: &OwnerReference| Owner {
        kind: r.kind.clone(),
        name: r.name.clone(),
        uid: r.uid.clone(),
        controller: r.controller == Some(true),
    };
    references.iter().map(owner).collect()
}

/// The node an object is bound to, for kinds that can be.
trait NodeName {
    fn node_name(&self) -> Option<&str> {
        None
    }
}

impl NodeName for Pod {
    fn node_name(&self) -> Option<&str> {
        self.spec.as_ref()?.node_name.as_deref()
    }
}

macro_rules! unbound {
    ($($kind:ty),+) => { $(impl NodeName for $kind {})+ };
}
unbound!(
    Namespace,
    Node,
    ConfigMap,
    Secret,
    ServiceAccount,
    ReplicaSet,
    Deployment,
    Lease
);
