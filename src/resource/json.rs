//! Small steps on JSON objects that the write path takes over and over.
//!
//! serde_json's `value[key]` reads absence as null, and writing through it makes objects of nulls; these build on both.

use serde_json::{Value, json};

/// The member `key`, made an empty object if it is missing or null.
///
/// # Panics
/// If `value` is neither an object nor null; the types were checked before.
pub(super) fn member<'a>(value: &'a mut Value, key: &str) -> &'a mut Value {
    let member = &mut value[key];
    if member.is_null() {
        *member = json!({});
    }
    member
}

/// Sets a member that is missing, null or "".
pub(super) fn set_default(value: &mut Value, key: &str, default: impl Into<Value>) {
    if value[key].is_null() || value[key] == "" {
        value[key] = default.into();
    }
}

/// Removes a member.
pub(super) fn remove(value: &mut Value, key: &str) {
    if let Some(members) = value.as_object_mut() {
        members.remove(key);
    }
}

/// Gives `value` the member that `from` has, or none.
pub(super) fn carry(value: &mut Value, from: &Value, key: &str) {
    if from[key].is_null() {
        remove(value, key);
    } else {
        value[key] = from[key].clone();
    }
}

/// A list's items, to change them; none if it is missing.
pub(super) fn items<'a>(value: &'a mut Value, key: &str) -> std::slice::IterMut<'a, Value> {
    match value.get_mut(key).and_then(Value::as_array_mut) {
        Some(items) => items.iter_mut(),
        None => [].iter_mut(),
    }
}

/// Whether a list is there and not empty.
pub(super) fn is_filled(list: &Value) -> bool {
    list.as_array().is_some_and(|list| !list.is_empty())
}

/// A text that is there and not empty.
pub(super) fn filled_text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

/// How many bytes the value takes as JSON at least: a cheap look before anything is made of it.
pub(super) fn bytes_at_least(value: &Value) -> usize {
    // A separator each; what texts must escape is not counted.
    let of_items = |items: &[Value]| items.iter().map(|item| bytes_at_least(item) + 1).sum();
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => of_items(items),
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| key.len() + 4 + bytes_at_least(value);
            map.iter().map(entry).sum()
        }
        _ => 1,
    }
}
