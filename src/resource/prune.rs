//! What Kubernetes' typed decoding and encoding leaves of an object.
//!
//! Kubernetes reads every object into Go structs and writes it again, which drops unknown fields, nulls, and optional
//! fields that hold the zero of a type that is not a pointer. Clients rely on that: an object that was read back equals
//! itself. Deliberately without judgement: strict validation says what was wrong, before.

use serde_json::Value;

use super::schema::{Field, Leaf, Presence, Shape, Type};

/// Drops unknown fields, nulls, and zeros that say nothing. Values of a wrong type are left as they are.
///
/// An empty object with fields (`resources: {}`) stays, as in Go.
pub fn prune(object: &mut Value, ty: &Type) {
    let Value::Object(map) = object else { return };
    map.retain(|name, value| match ty.field(name) {
        Some(field) => {
            prune_shape(value, field.shape);
            says_something(field, value)
        }
        None => false,
    });
}

fn prune_shape(value: &mut Value, shape: Shape) {
    if shape.object().is_none() {
        return;
    }
    match (shape, value) {
        (Shape::One(Leaf::Object(id)), value) => prune(value, id.get()),
        (_, Value::Array(items)) => items
            .iter_mut()
            .for_each(|item| prune_shape(item, shape.element())),
        (_, Value::Object(map)) => map
            .values_mut()
            .for_each(|item| prune_shape(item, shape.element())),
        _ => {}
    }
}

fn says_something(field: &Field, value: &Value) -> bool {
    if value.is_null() {
        return false;
    }
    if field.presence != Presence::Optional {
        return true;
    }
    match (field.shape, value) {
        (Shape::List(_), Value::Array(items)) => !items.is_empty(),
        (Shape::Map(_) | Shape::MapOfLists(_), Value::Object(map)) => !map.is_empty(),
        (Shape::One(Leaf::String | Leaf::Bytes), Value::String(text)) => !text.is_empty(),
        (Shape::One(Leaf::Bool), Value::Bool(value)) => *value,
        (Shape::One(Leaf::Int32 | Leaf::Int64 | Leaf::Number), Value::Number(number)) => {
            number.as_f64() != Some(0.0)
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::schema;

    #[test]
    fn what_says_nothing_is_dropped() {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "extra": {"a": 1},
            "metadata": {"name": "p", "creationTimestamp": null, "labels": {}, "finalizers": [], "annotations": {"k": ""}},
            "spec": {"hostNetwork": false, "terminationGracePeriodSeconds": 0, "nodeName": "",
                "automountServiceAccountToken": false,
                "containers": [{"name": "", "image": "i", "resources": {}, "env": [], "args": [""], "imag": "x",
                    "resizePolicy": null, "ports": [{"containerPort": 0, "hostPort": 0}]}],
                "volumes": [{"name": "v", "emptyDir": {}}]},
            "status": {}});
        prune(&mut pod, schema::root("v1", "Pod").unwrap());
        let expected = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "annotations": {"k": ""}},
            "spec": {"terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
                "containers": [{"name": "", "image": "i", "resources": {}, "args": [""], "ports": [{"containerPort": 0}]}],
                "volumes": [{"name": "v", "emptyDir": {}}]},
            "status": {}});
        assert_eq!(pod, expected);
        let once = pod.clone();
        prune(&mut pod, schema::root("v1", "Pod").unwrap());
        assert_eq!(pod, once);
    }

    #[test]
    fn raw_extensions_and_wrong_types_are_left_alone() {
        let mut revision =
            json!({"revision": 0, "data": {"spec": {"x": null, "y": []}}, "metadata": []});
        let expected = revision.clone();
        prune(
            &mut revision,
            schema::root("apps/v1", "ControllerRevision").unwrap(),
        );
        assert_eq!(revision, expected);
    }
}
