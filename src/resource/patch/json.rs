//! JSON patch (RFC 6902), bounded.

use json_patch::jsonptr::Pointer;
use json_patch::{Patch, PatchErrorKind, PatchOperation};
use serde_json::Value;

use super::PatchError;

/// Operations in one patch, in number: Kubernetes' own bound.
const MAX_OPERATIONS: usize = 10_000;

/// What all `copy` operations of one patch may copy, in bytes of JSON, about: twice the largest object. Copies of
/// copies grow exponentially, and Kubernetes bounds them for the same reason.
const MAX_COPIED_BYTES: usize = 3 << 20;

/// What all operations of one patch may push aside in lists, in elements: inserting at the front of a list moves all
/// that is in it, so 10,000 operations on a long one would hold up the leader for minutes. This many take about 0.1 s.
const MAX_SHIFTED_ELEMENTS: usize = 10_000_000;

/// Applies a JSON patch: all of it or nothing.
pub(super) fn apply(current: &Value, patch: &Value) -> Result<Value, PatchError> {
    let operations = patch.as_array().map_or(0, Vec::len);
    if operations > MAX_OPERATIONS {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {operations}"
        )));
    }
    let patch: Patch = serde_json::from_value(patch.clone())
        .map_err(|error| PatchError::Malformed(error.to_string()))?;
    let mut patched = current.clone();
    let (mut copied, mut shifted) = (0, 0);
    for (at, operation) in patch.0.iter().enumerate() {
        if let PatchOperation::Copy(copy) = operation {
            copied += copy.from.resolve(&patched).map_or(0, size);
            if copied > MAX_COPIED_BYTES {
                return Err(PatchError::TooLarge(format!(
                    "the copies of a JSON patch may add up to {MAX_COPIED_BYTES} bytes"
                )));
            }
        }
        shifted += pushed_aside(&patched, operation);
        if shifted > MAX_SHIFTED_ELEMENTS {
            return Err(PatchError::TooLarge(format!(
                "the operations of a JSON patch may move {MAX_SHIFTED_ELEMENTS} elements of lists"
            )));
        }
        json_patch::patch(&mut patched, std::slice::from_ref(operation))
            .map_err(|error| rejected(at, operation, &error.kind))?;
    }
    Ok(patched)
}

/// How many elements of lists the operation moves, at most.
fn pushed_aside(document: &Value, operation: &PatchOperation) -> usize {
    let list = |path: &Pointer| {
        let parent = path
            .parent()
            .and_then(|parent| parent.resolve(document).ok());
        parent.and_then(Value::as_array).map_or(0, Vec::len)
    };
    match operation {
        PatchOperation::Add(add) if add.path.as_str().ends_with("/-") => 0,
        PatchOperation::Add(add) => list(&add.path),
        PatchOperation::Remove(remove) => list(&remove.path),
        PatchOperation::Move(r#move) => list(&r#move.from) + list(&r#move.path),
        PatchOperation::Copy(copy) => list(&copy.path),
        PatchOperation::Replace(_) | PatchOperation::Test(_) => 0,
    }
}

fn rejected(at: usize, operation: &PatchOperation, kind: &PatchErrorKind) -> PatchError {
    let path = operation.path();
    let reason = match kind {
        PatchErrorKind::TestFailed => format!("testing value {path} failed"),
        PatchErrorKind::InvalidPointer => format!("path {path} does not exist"),
        other => format!("{other} (path {path})"),
    };
    PatchError::Rejected(format!("operation {at}: {reason}"))
}

/// About how many bytes the value takes as JSON.
fn size(value: &Value) -> usize {
    /// A scalar, or quotes and separators.
    const SMALL: usize = 8;
    match value {
        Value::String(text) => text.len() + SMALL,
        Value::Array(items) => items.iter().map(size).sum::<usize>() + SMALL,
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| key.len() + size(value);
            map.iter().map(entry).sum::<usize>() + SMALL
        }
        _ => SMALL,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kubectl_rollout_undo_replaces_the_template() {
        let current =
            json!({"metadata": {"annotations": {"a/b": "1"}}, "spec": {"template": {"x": 1}}});
        let patch = json!([
            {"op": "replace", "path": "/spec/template", "value": {"x": 2}},
            {"op": "replace", "path": "/metadata/annotations", "value": {"a/b": "2"}},
            {"op": "test", "path": "/metadata/annotations/a~1b", "value": "2"},
        ]);
        let expected =
            json!({"metadata": {"annotations": {"a/b": "2"}}, "spec": {"template": {"x": 2}}});
        assert_eq!(apply(&current, &patch), Ok(expected));
    }

    #[test]
    fn a_failed_test_rejects_the_whole() {
        let patch = json!([{"op": "add", "path": "/b", "value": 1}, {"op": "test", "path": "/a", "value": 2}]);
        let error = apply(&json!({"a": 1}), &patch).unwrap_err();
        assert_eq!(
            error,
            PatchError::Rejected("operation 1: testing value /a failed".to_owned())
        );
        assert_eq!(error.code(), 422);
    }

    #[test]
    fn a_missing_path_is_named() {
        let patch = json!([{"op": "remove", "path": "/spec/none"}]);
        let error = apply(&json!({"spec": {}}), &patch).unwrap_err();
        assert_eq!(
            error,
            PatchError::Rejected("operation 0: path /spec/none does not exist".to_owned())
        );
    }

    #[test]
    fn what_is_no_json_patch_is_malformed() {
        for bad in [
            json!({"op": "add"}),
            json!([{"op": "frob", "path": "/a"}]),
            json!([{"op": "add", "path": "/a"}]),
        ] {
            assert_eq!(apply(&json!({}), &bad).unwrap_err().code(), 400, "{bad}");
        }
    }

    #[test]
    fn too_many_operations_are_refused() {
        let operation = json!({"op": "test", "path": "/a", "value": 1});
        let patch = Value::Array(vec![operation; MAX_OPERATIONS + 1]);
        assert_eq!(apply(&json!({"a": 1}), &patch).unwrap_err().code(), 413);
    }

    #[test]
    fn what_is_pushed_aside_in_lists_is_bounded() {
        let current = json!({"a": vec![1; 1_000_000]});
        let in_front = json!({"op": "add", "path": "/a/0", "value": 1});
        let patch = Value::Array(vec![in_front; 11]);
        assert_eq!(apply(&current, &patch).unwrap_err().code(), 413);
        let to_and_fro = json!({"op": "move", "from": "/a/0", "path": "/a/1"});
        let patch = Value::Array(vec![to_and_fro; 6]);
        assert_eq!(apply(&current, &patch).unwrap_err().code(), 413);
        let behind = json!({"op": "add", "path": "/a/-", "value": 1});
        let patch = Value::Array(vec![behind; MAX_OPERATIONS]);
        let patched = apply(&current, &patch).unwrap();
        assert_eq!(patched["a"].as_array().unwrap().len(), 1_010_000);
    }

    #[test]
    fn copies_of_copies_are_bounded() {
        let copy = |n: usize| json!({"op": "copy", "from": "/a", "path": format!("/a/{n}")});
        let patch = Value::Array((0..40).map(copy).collect());
        assert_eq!(
            apply(&json!({"a": {"x": "y"}}), &patch).unwrap_err().code(),
            413
        );
    }
}
