//! Which records a list or a watch is about: a range of keys, and a selector on what they hold.
//!
//! Values are decoded only when a selector asks for more than the key tells.

use super::query::Query;
use super::render;
use super::route::Place;
use crate::resource::Status;
use crate::resource::selector::Selector;
use crate::store::Record;

/// A collection's selected part.
pub(super) struct Selection {
    /// What the keys start with.
    pub(super) prefix: String,
    /// The one key there can be, when the selector names an object.
    only: Option<String>,
    /// `None` if the key alone decides.
    selector: Option<Selector>,
}

impl Selection {
    /// The part of a collection that a query selects.
    pub(super) fn new(place: &Place, query: &Query) -> Result<Self, Status> {
        let fields = query.text("fieldSelector");
        let selector = Selector::parse(place.kind, query.text("labelSelector"), fields)?;
        let namespace = place.namespace.as_deref();
        let key_names_object = !place.kind.namespaced || namespace.is_some();
        let only = named(fields)
            .filter(|_| key_names_object)
            .map(|name| place.kind.key(namespace, name));
        let key_decides =
            only.is_some() && !fields.contains(',') && query.text("labelSelector").is_empty();
        Ok(Self {
            prefix: place.kind.key_prefix(namespace),
            only,
            selector: (!selector.is_everything() && !key_decides).then_some(selector),
        })
    }

    /// Where a scan starts, and what ends it: the keys that start with this.
    pub(super) fn range(&self) -> &str {
        self.only.as_deref().unwrap_or(&self.prefix)
    }

    /// Whether every key of the range is selected.
    pub(super) fn is_everything(&self) -> bool {
        self.only.is_none() && self.selector.is_none()
    }

    /// Whether a record is selected.
    pub(super) fn matches(&self, key: &str, record: &Record) -> bool {
        if self.only.as_deref().is_some_and(|only| only != key) {
            return false;
        }
        let matches = |selector: &Selector| {
            selector.matches(&render::decode(&record.value, record.mod_revision))
        };
        self.selector.as_ref().is_none_or(matches)
    }
}

/// The name that a field selector demands.
fn named(fields: &str) -> Option<&str> {
    fields.split(',').find_map(|term| {
        let name = term.trim().strip_prefix("metadata.name=")?;
        let name = name.strip_prefix('=').unwrap_or(name);
        (!name.is_empty() && !name.contains(['\\', '/'])).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_from_a_field_selector() {
        assert_eq!(named("metadata.name=web"), Some("web"));
        assert_eq!(
            named("status.phase=Running,metadata.name==web"),
            Some("web")
        );
        assert_eq!(named("metadata.name!=web"), None);
        assert_eq!(named("metadata.name="), None);
        assert_eq!(named(""), None);
    }
}
