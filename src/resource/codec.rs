//! Objects as bytes: how they are stored, and how a stored one is served without being parsed.
//!
//! A stored value's first member is `"metadata"` and it holds no resourceVersion, since that is the revision of the
//! very commit that stores it. To serve one, the revision is spliced in behind the opening of metadata.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::store::Revision;

/// What every stored value starts with.
const OPENING: &[u8] = br#"{"metadata":{"#;
/// Bytes that splicing adds at most: the member with a revision of 20 digits.
const SPLICE_BYTES_MAX: usize = 43;

/// Encodes an object for the store: metadata first, without its resourceVersion.
///
/// # Panics
/// If it is no object or its metadata is none; validation comes first.
pub fn encode(object: &Value) -> Bytes {
    let members = object.as_object().expect("an API object is a JSON object");
    let metadata = members.get("metadata").and_then(Value::as_object);
    let metadata = metadata.expect("an API object has metadata");
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(br#"{"metadata":"#);
    put_members(&mut out, metadata, "resourceVersion", b'{');
    put_members(&mut out, members, "metadata", b',');
    Bytes::from(out)
}

/// Writes `<opening>members without one}`; an opening comma is left out when there is no member.
fn put_members(out: &mut Vec<u8>, members: &Map<String, Value>, except: &str, opening: u8) {
    let mut separator = opening;
    for (name, value) in members.iter().filter(|(name, _)| *name != except) {
        out.push(separator);
        separator = b',';
        put(out, name);
        out.push(b':');
        put(out, value);
    }
    if separator == b'{' {
        out.push(b'{');
    }
    out.push(b'}');
}

fn put<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("writing JSON to memory cannot fail");
}

/// A stored value with its resourceVersion.
pub fn serve(value: &Bytes, revision: Revision) -> Bytes {
    let mut out = Vec::with_capacity(value.len() + SPLICE_BYTES_MAX);
    serve_into(&mut out, value, revision);
    Bytes::from(out)
}

/// The same, appended to a list or an event under way.
///
/// # Panics
/// If the value was not made by [`encode`]; nothing else is in the store.
pub fn serve_into(out: &mut Vec<u8>, value: &[u8], revision: Revision) {
    let rest = value
        .strip_prefix(OPENING)
        .expect("a stored value starts with its metadata");
    out.reserve(value.len() + SPLICE_BYTES_MAX);
    out.extend_from_slice(OPENING);
    out.extend_from_slice(br#""resourceVersion":""#);
    out.extend_from_slice(revision.to_string().as_bytes());
    out.push(b'"');
    if rest.first() != Some(&b'}') {
        out.push(b',');
    }
    out.extend_from_slice(rest);
}

/// Decodes a stored value and stamps its resourceVersion, as a client would see it.
///
/// # Errors
/// If the bytes are no JSON, which means the store was written past [`encode`].
pub fn decode(value: &[u8], revision: Revision) -> Result<Value, serde_json::Error> {
    let mut object: Value = serde_json::from_slice(value)?;
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".into(), revision.to_string().into());
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_comes_first_and_has_no_resource_version() {
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "resourceVersion": "7"}});
        let value = encode(&object);
        assert_eq!(
            &value[..],
            br#"{"metadata":{"name":"a"},"apiVersion":"v1","kind":"Pod"}"#
        );
        assert_eq!(
            &serve(&value, 12)[..],
            br#"{"metadata":{"resourceVersion":"12","name":"a"},"apiVersion":"v1","kind":"Pod"}"#
        );
    }

    #[test]
    fn empty_metadata_is_spliced_too() {
        let value = encode(&json!({"metadata": {}}));
        assert_eq!(&value[..], br#"{"metadata":{}}"#);
        assert_eq!(
            &serve(&value, 1)[..],
            br#"{"metadata":{"resourceVersion":"1"}}"#
        );
        let value = encode(&json!({"metadata": {"resourceVersion": "3"}}));
        assert_eq!(&value[..], br#"{"metadata":{}}"#);
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                members(inner).prop_map(Value::from),
            ]
        })
    }

    fn members(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
        prop::collection::btree_map(".{0,8}", value, 0..6).prop_map(|map| map.into_iter().collect())
    }

    proptest! {
        #[test]
        fn what_is_served_is_what_was_stored(
            mut object in members(json_value()),
            metadata in members(json_value()),
            revision in any::<u64>(),
        ) {
            object.insert("metadata".into(), metadata.into());
            let mut object = Value::from(object);
            let served = serve(&encode(&object), revision);
            object["metadata"]["resourceVersion"] = revision.to_string().into();
            let parsed: Value = serde_json::from_slice(&served).unwrap();
            prop_assert_eq!(&parsed, &object);
            prop_assert_eq!(decode(&encode(&object), revision).unwrap(), object);
            prop_assert!(served.len() <= encode(&parsed).len() + SPLICE_BYTES_MAX);
        }
    }
}
