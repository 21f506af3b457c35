//! The registry: one row a resource. Routes, both discoveries and Tables are made from it.
//!
//! Deliberately only data and lookup: how a row's rules are applied is `plan`'s, how it is shown `table`'s and
//! `discovery`'s. The rows themselves stand in `kinds/`.

use jiff::Timestamp;
use serde_json::Value;

use super::kinds;
use super::names;
use super::request::ResourceName;
use super::validate::{Causes, Check};

/// One resource.
#[derive(Debug)]
pub struct Kind {
    /// API group, "" for core.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// `Pod`.
    pub kind: &'static str,
    /// `pods`.
    pub plural: &'static str,
    /// `pod`.
    pub singular: &'static str,
    /// `po`.
    pub short_names: &'static [&'static str],
    /// `all`.
    pub categories: &'static [&'static str],
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// What clients may do.
    pub verbs: &'static [&'static str],
    /// `status`, `scale`, …
    pub subresources: &'static [Subresource],
    /// Columns of its Table.
    pub columns: &'static [Column],
    /// A Table row's cells, as many as there are columns.
    pub(super) cells: fn(&Value, Timestamp) -> Vec<Value>,
    /// Field selectors beside `metadata.name` and `metadata.namespace`: label and path.
    pub(super) fields: &'static [SelectableField],
    /// How its objects are written.
    pub(super) rules: Rules,
}

/// A part of a resource with a path, and often a kind, of its own.
#[derive(Debug)]
pub struct Subresource {
    /// Last part of its path, e.g. `scale`.
    pub name: &'static str,
    /// Group of what it speaks, e.g. `autoscaling`.
    pub group: &'static str,
    /// Version of it, e.g. `v1`.
    pub version: &'static str,
    /// Kind of it, e.g. `Scale`.
    pub kind: &'static str,
    /// What clients may do.
    pub verbs: &'static [&'static str],
}

/// A column of a Table.
#[derive(Debug)]
pub struct Column {
    /// Heading; kubectl prints it in capitals.
    pub name: &'static str,
    /// `string` or `integer`.
    pub type_: &'static str,
    /// For people.
    pub description: &'static str,
    /// Only with `-o wide`.
    pub wide: bool,
}

/// A field that a field selector may name.
#[derive(Debug)]
pub(super) struct SelectableField {
    /// As in the selector, e.g. `source`.
    pub label: &'static str,
    /// JSON pointers to it; the first that is there counts.
    pub pointers: &'static [&'static str],
    /// Its value when it is not there, e.g. `false`.
    pub absent: &'static str,
}

/// How a resource's objects are written.
#[derive(Debug)]
pub(super) struct Rules {
    /// The form of its objects' names.
    pub name: names::Rule,
    /// Whether `metadata.generation` counts changes of the spec.
    pub generation: bool,
    /// Whether the client that creates an object may give it a status.
    pub status_on_create: bool,
    /// Whether the answer to a deletion is the object that went, rather than a `Status`.
    pub returns_deleted: bool,
    /// JSON pointer to the `PodSpec` in its objects.
    pub pod_spec: Option<&'static str>,
    /// Fills in what the client left out.
    pub default: fn(&mut Value),
    /// Sets what a new object starts with, whatever the client said.
    pub prepare: fn(&mut Value),
    /// Carries over what a client may not change by an update (new, current).
    pub carry: fn(&mut Value, &Value),
    /// Checks an object by itself.
    pub validate: Check,
    /// Checks a change (new, current).
    pub validate_update: fn(&Value, &Value, &mut Causes),
}

impl Rules {
    /// No rule at all: the base of every row.
    pub const NONE: Self = Self {
        name: names::dns_subdomain,
        generation: false,
        status_on_create: false,
        returns_deleted: false,
        pod_spec: None,
        default: |_| {},
        prepare: |_| {},
        carry: |_, _| {},
        validate: |_, _| {},
        validate_update: |_, _, _| {},
    };
}

/// Every resource served, in the order of discovery.
pub fn kinds() -> &'static [Kind] {
    &kinds::ALL
}

/// A resource by its place in the URL.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    let is = |kind: &&Kind| kind.plural == plural && kind.group == group && kind.version == version;
    kinds().iter().find(is)
}

impl Kind {
    /// `<plural>[.<group>]`: what its keys start with, and its name in messages.
    pub fn prefix(&self) -> String {
        if self.group.is_empty() {
            return self.plural.to_owned();
        }
        format!("{}.{}", self.plural, self.group)
    }

    /// The store key of one object.
    pub fn key(&self, namespace: Option<&str>, name: &str) -> String {
        format!("{}/{}/{name}", self.prefix(), namespace.unwrap_or_default())
    }

    /// What the keys of a listing start with: all namespaces when `namespace` is `None`.
    pub fn key_prefix(&self, namespace: Option<&str>) -> String {
        match namespace {
            Some(namespace) => format!("{}/{namespace}/", self.prefix()),
            None => format!("{}/", self.prefix()),
        }
    }

    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            return self.version.to_owned();
        }
        format!("{}/{}", self.group, self.version)
    }

    /// Its place in the URL.
    pub fn resource_name(&self) -> ResourceName {
        ResourceName::new(self.group, self.version, self.plural)
    }

    /// One of its subresources.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_place() {
        for kind in kinds() {
            let found = find(kind.group, kind.version, kind.plural).unwrap();
            assert!(std::ptr::eq(found, kind), "{}", kind.kind);
        }
        assert!(find("apps", "v1", "pods").is_none());
        assert!(find("", "v2", "pods").is_none());
    }

    #[test]
    fn keys_are_as_the_store_expects() {
        let key = |group, plural, namespace, name| {
            find(group, "v1", plural).unwrap().key(namespace, name)
        };
        assert_eq!(
            key("", "pods", Some("default"), "web-1"),
            "pods/default/web-1"
        );
        assert_eq!(
            key("apps", "deployments", Some("default"), "web"),
            "deployments.apps/default/web"
        );
        assert_eq!(key("", "nodes", None, "n1"), "nodes//n1");
    }

    #[test]
    fn no_two_rows_share_a_name_a_user_may_type() {
        let mut names = std::collections::BTreeSet::new();
        for kind in kinds() {
            for name in kind
                .short_names
                .iter()
                .chain([&kind.plural, &kind.singular])
            {
                assert!(names.insert(*name), "{name} is taken twice");
            }
        }
    }
}
