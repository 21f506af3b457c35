//! Strategic merge patch: merge patch that knows how to merge lists, by the schema table.
//!
//! Follows Kubernetes' design notes ("strategic merge patch", "preserve order in strategic merge patch") and what its
//! API server does where the notes are silent, e.g. that the first object with an equal merge key is the one that is
//! patched, so that two container ports of one number and different protocols cannot both be.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{PatchError, excerpt};
use crate::resource::schema::{Field, Merge, Shape, Type};

type Object = Map<String, Value>;

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList/";
const SET_ELEMENT_ORDER: &str = "$setElementOrder/";

/// How often one patch may patch one element of a list, in number: some ports' protocols. Each time may look through
/// all that the element holds.
const MAX_SAME_ELEMENT: usize = 16;

/// Applies a strategic merge patch.
pub(super) fn apply(ty: &Type, current: &Value, patch: &Value) -> Result<Value, PatchError> {
    let (Value::Object(current), Value::Object(patch)) = (current, patch) else {
        return Err(PatchError::Malformed(
            "a strategic merge patch is an object".to_owned(),
        ));
    };
    let merged = merge_object(current.clone(), patch, Some(ty), &mut Vec::new())?;
    Ok(Value::Object(merged))
}

/// Keys from the root to what is being merged, for messages.
type Path = Vec<String>;

/// What `$patch` of an object says.
enum Whole {
    Merge,
    Replace,
    Delete,
}

fn whole(patch: &Object, at: &Path) -> Result<Whole, PatchError> {
    match patch.get(PATCH).map(|value| value.as_str()) {
        None | Some(Some("merge")) => Ok(Whole::Merge),
        Some(Some("replace")) => Ok(Whole::Replace),
        Some(Some("delete")) => Ok(Whole::Delete),
        Some(_) => Err(bad_directive(
            at,
            format!("unknown patch type found: {}", excerpt(&patch[PATCH])),
        )),
    }
}

fn merge_object(
    mut current: Object,
    patch: &Object,
    ty: Option<&Type>,
    at: &mut Path,
) -> Result<Object, PatchError> {
    match whole(patch, at)? {
        Whole::Merge => {}
        Whole::Replace => return Ok(plain_object(patch)),
        Whole::Delete => return Ok(Object::new()),
    }
    retain_keys(&mut current, patch, at)?;
    let orders = element_orders(&current, patch, ty, at)?;
    for (key, value) in patch {
        if let Some(name) = key.strip_prefix(DELETE_FROM_LIST) {
            delete_from_list(&mut current, name, value, at)?;
        }
    }
    for (key, value) in patch.iter().filter(|(key, _)| !is_directive(key)) {
        at.push(key.clone());
        let field = ty.and_then(|ty| ty.field(key));
        merge_field(&mut current, key, value, field, at)?;
        at.pop();
    }
    for order in orders {
        order.enforce(&mut current, patch, at)?;
    }
    Ok(current)
}

fn merge_field(
    current: &mut Object,
    key: &str,
    patch: &Value,
    field: Option<&Field>,
    at: &mut Path,
) -> Result<(), PatchError> {
    let shape = field.map(|field| field.shape);
    let merged = match (current.remove(key), patch) {
        (_, Value::Null) => return Ok(()),
        (Some(Value::Object(old)), Value::Object(new)) => {
            Value::Object(merge_object(old, new, inner_type(shape), at)?)
        }
        (None, Value::Object(new)) if matches!(whole(new, at)?, Whole::Delete) => return Ok(()),
        (Some(Value::Array(old)), Value::Array(new))
            if field.is_some_and(|field| field.merge != Merge::Replace) =>
        {
            let merge_key = field.and_then(|field| field.merge.key());
            Value::Array(merge_list(old, new, merge_key, inner_type(shape), at)?)
        }
        // What was absent, or of another type, is taken as it comes, two objects with one merge key included.
        (_, other) => plain(other),
    };
    current.insert(key.to_owned(), merged);
    Ok(())
}

/// The type of the objects in a field; maps of objects pass it on to their values.
fn inner_type(shape: Option<Shape>) -> Option<&'static Type> {
    match shape? {
        shape @ (Shape::One(_) | Shape::List(_)) => shape.object(),
        Shape::Map(_) | Shape::MapOfLists(_) => None,
    }
}

fn merge_list(
    current: Vec<Value>,
    patch: &[Value],
    merge_key: Option<&'static str>,
    ty: Option<&Type>,
    at: &mut Path,
) -> Result<Vec<Value>, PatchError> {
    let Some(key) = merge_key else {
        return Ok(merge_scalars(current, patch));
    };
    let (mut kept, mut deleted, mut replace) = (Vec::new(), BTreeSet::new(), false);
    for element in patch {
        let Value::Object(object) = element else {
            let reason = format!(
                "{} is not an object, but the list holds objects",
                excerpt(element)
            );
            return Err(bad_directive(at, reason));
        };
        match whole(object, at)? {
            Whole::Replace => replace = true,
            Whole::Delete => {
                deleted.insert(merge_id(element, key)?);
            }
            Whole::Merge => kept.push((merge_id(element, key)?, object)),
        }
    }
    let mut merged = current;
    merged.retain(|old| !replace && !deleted.contains(&element_id(old, Some(key))));
    let mut places = first_places(&merged, Some(key));
    let mut times = BTreeMap::new();
    for (id, object) in kept {
        let times: &mut usize = times.entry(id.clone()).or_default();
        *times += 1;
        if *times > MAX_SAME_ELEMENT {
            return Err(PatchError::TooLarge(format!(
                "a patch may patch one element of a list {MAX_SAME_ELEMENT} times, not more: {}",
                at.join(".")
            )));
        }
        if let Some(Value::Object(old)) = places.get(&id).map(|place| &mut merged[*place]) {
            *old = merge_object(std::mem::take(old), object, ty, at)?;
        } else {
            places.entry(id).or_insert(merged.len());
            merged.push(Value::Object(plain_object(object)));
        }
    }
    Ok(merged)
}

/// A list of scalars is a set: what is there stays where it is, what is new is appended.
fn merge_scalars(mut current: Vec<Value>, patch: &[Value]) -> Vec<Value> {
    let mut known = ids(&current);
    for value in patch {
        if known.insert(element_id(value, None)) {
            current.push(value.clone());
        }
    }
    current
}

/// What tells an element of a merged list apart, as JSON: its merge key's value, or a scalar itself.
type Id = String;

fn element_id(item: &Value, merge_key: Option<&str>) -> Id {
    let id = merge_key.map_or(Some(item), |key| item.get(key));
    id.unwrap_or(&Value::Null).to_string()
}

/// The same for a patch's element, which must have its merge key.
fn merge_id(element: &Value, key: &'static str) -> Result<Id, PatchError> {
    match element.get(key) {
        Some(value) => Ok(value.to_string()),
        None => Err(PatchError::NoMergeKey {
            element: excerpt(element),
            key,
        }),
    }
}

fn ids(list: &[Value]) -> BTreeSet<Id> {
    list.iter().map(|item| element_id(item, None)).collect()
}

/// Where each id stands first in a list.
fn first_places(list: &[Value], merge_key: Option<&str>) -> BTreeMap<Id, usize> {
    let mut places = BTreeMap::new();
    for (place, item) in list.iter().enumerate() {
        places.entry(element_id(item, merge_key)).or_insert(place);
    }
    places
}

/// `$retainKeys`: of a union, only the named member survives.
fn retain_keys(current: &mut Object, patch: &Object, at: &Path) -> Result<(), PatchError> {
    let Some(value) = patch.get(RETAIN_KEYS) else {
        return Ok(());
    };
    let names = strings(value)
        .ok_or_else(|| bad_directive(at, format!("{RETAIN_KEYS} is a list of field names")))?;
    let stray = patch.iter().find(|(key, value)| {
        !is_directive(key) && !value.is_null() && !names.contains(&key.as_str())
    });
    if let Some((key, _)) = stray {
        return Err(bad_directive(
            at,
            format!("{RETAIN_KEYS} does not name {key:?}, which the patch sets"),
        ));
    }
    current.retain(|key, _| names.contains(&key.as_str()));
    Ok(())
}

fn delete_from_list(
    current: &mut Object,
    name: &str,
    value: &Value,
    at: &Path,
) -> Result<(), PatchError> {
    let Value::Array(gone) = value else {
        return Err(bad_directive(
            at,
            format!("{DELETE_FROM_LIST}{name} is a list"),
        ));
    };
    let gone = ids(gone);
    if let Some(Value::Array(list)) = current.get_mut(name) {
        list.retain(|item| !gone.contains(&element_id(item, None)));
    }
    Ok(())
}

/// One `$setElementOrder`: what the client knows comes in its order; what only the server has stays where it was.
struct ElementOrder<'a> {
    name: &'a str,
    merge_key: Option<&'static str>,
    /// Places in the client's order.
    wanted: BTreeMap<Id, usize>,
    /// Places in the order that the server had before the patch.
    live: BTreeMap<Id, usize>,
}

fn element_orders<'a>(
    current: &Object,
    patch: &'a Object,
    ty: Option<&Type>,
    at: &Path,
) -> Result<Vec<ElementOrder<'a>>, PatchError> {
    let mut orders = Vec::new();
    for (key, value) in patch {
        let Some(name) = key.strip_prefix(SET_ELEMENT_ORDER) else {
            continue;
        };
        let Value::Array(wanted) = value else {
            return Err(bad_directive(at, format!("{key} is a list")));
        };
        let merge_key = ty
            .and_then(|ty| ty.field(name))
            .and_then(|field| field.merge.key());
        let live = current.get(name).and_then(Value::as_array);
        orders.push(ElementOrder {
            name,
            merge_key,
            wanted: first_places(wanted, merge_key),
            live: first_places(live.map_or(&[], Vec::as_slice), merge_key),
        });
    }
    Ok(orders)
}

impl ElementOrder<'_> {
    fn rank(&self, item: &Value) -> Option<usize> {
        self.wanted.get(&element_id(item, self.merge_key)).copied()
    }

    fn place(&self, item: &Value) -> Option<usize> {
        self.live.get(&element_id(item, self.merge_key)).copied()
    }

    fn enforce(&self, current: &mut Object, patch: &Object, at: &Path) -> Result<(), PatchError> {
        let elements = patch.get(self.name).and_then(Value::as_array);
        let present = elements
            .into_iter()
            .flatten()
            .filter(|e| e.get(PATCH).is_none());
        let ranks: Option<Vec<usize>> = present.map(|e| self.rank(e)).collect();
        if !ranks.is_some_and(|ranks| ranks.is_sorted()) {
            let reason = format!(
                "the order in the patch does not match {SET_ELEMENT_ORDER}{}",
                self.name
            );
            return Err(bad_directive(at, reason));
        }
        if let Some(Value::Array(list)) = current.get_mut(self.name) {
            *list = self.sort(std::mem::take(list));
        }
        Ok(())
    }

    /// An element that only the server has goes before the first of the client's that stood behind it.
    fn sort(&self, list: Vec<Value>) -> Vec<Value> {
        let mut sorted = Vec::with_capacity(list.len());
        let (mut known, server_only): (Vec<_>, Vec<_>) =
            list.into_iter().partition(|item| self.rank(item).is_some());
        known.sort_by_cached_key(|item| self.rank(item));
        let mut server_only = server_only.into_iter().peekable();
        for item in known {
            let place = self.place(&item);
            while let Some(own) = server_only.next_if(|own| self.place(own) < place) {
                sorted.push(own);
            }
            sorted.push(item);
        }
        sorted.extend(server_only);
        sorted
    }
}

fn strings(value: &Value) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(Value::as_str).collect()
}

fn is_directive(key: &str) -> bool {
    key == PATCH
        || key == RETAIN_KEYS
        || key.starts_with(DELETE_FROM_LIST)
        || key.starts_with(SET_ELEMENT_ORDER)
}

/// A patch's value as an object's value: without nulls, directives, and elements that are only a directive.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(plain_object(map)),
        Value::Array(items) => {
            let kept = items.iter().filter(|item| item.get(PATCH).is_none());
            Value::Array(kept.map(plain).collect())
        }
        other => other.clone(),
    }
}

fn plain_object(patch: &Object) -> Object {
    let kept = patch
        .iter()
        .filter(|(key, value)| !is_directive(key) && !value.is_null());
    kept.map(|(key, value)| (key.clone(), plain(value)))
        .collect()
}

fn bad_directive(at: &Path, reason: String) -> PatchError {
    PatchError::BadDirective {
        path: at.join("."),
        reason,
    }
}

#[cfg(test)]
mod tests;
