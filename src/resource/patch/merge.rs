//! Merge patch (RFC 7386): objects merge, `null` deletes, everything else replaces.

use serde_json::Value;

use super::PatchError;

/// Applies a merge patch. Unlike the RFC, and like Kubernetes, a patch must be an object.
pub(super) fn apply(current: &Value, patch: &Value) -> Result<Value, PatchError> {
    if !patch.is_object() {
        return Err(PatchError::Malformed(
            "a merge patch is an object".to_owned(),
        ));
    }
    let mut patched = current.clone();
    json_patch::merge(&mut patched, patch);
    Ok(patched)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_merge_nulls_delete_lists_replace() {
        let current = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "list": [1, 2]});
        let patch =
            json!({"metadata": {"labels": {"a": null, "c": "3"}}, "list": [3], "absent": null});
        let expected = json!({"metadata": {"labels": {"b": "2", "c": "3"}}, "list": [3]});
        assert_eq!(apply(&current, &patch), Ok(expected));
    }

    #[test]
    fn a_patch_is_an_object() {
        let error = apply(&json!({}), &json!([1])).unwrap_err();
        assert_eq!(error.code(), 400);
    }
}
