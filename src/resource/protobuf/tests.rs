//! What kubectl really sends, and what nobody should.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Recorded from kubectl 1.33.1: a command, its request's body in hex, and the object that it stands for.
const RECORDED: &str = include_str!("fixtures.txt");

struct Recording {
    command: &'static str,
    body: Vec<u8>,
    object: Value,
}

fn recordings() -> Vec<Recording> {
    let lines: Vec<&str> = RECORDED
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let (groups, rest) = lines.as_chunks::<3>();
    assert!(rest.is_empty());
    let recording = |[command, hex, object]: &[&'static str; 3]| Recording {
        command,
        body: unhex(hex),
        object: serde_json::from_str(object).unwrap(),
    };
    groups.iter().map(recording).collect()
}

fn unhex(hex: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

#[test]
fn what_kubectl_sends_is_what_it_means() {
    let recordings = recordings();
    assert!(recordings.len() >= 25);
    for Recording {
        command,
        body,
        object,
    } in recordings
    {
        assert_eq!(decode(&body).as_ref(), Ok(&object), "{command}");
    }
}

#[test]
fn what_kubectl_sends_is_strictly_right() {
    for Recording {
        command, object, ..
    } in recordings()
    {
        let ty = schema::root(
            object["apiVersion"].as_str().unwrap(),
            object["kind"].as_str().unwrap(),
        )
        .unwrap();
        assert_eq!(crate::resource::strict::check(&object, ty), [], "{command}");
    }
}

/// A deployment's body around the given message.
fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let ty = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), field(1, &ty), field(2, raw)].concat()
}

/// A length-delimited field of fewer than 128 bytes.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap();
    assert!(length < 128);
    [&[tag << 3 | 2, length], bytes].concat()
}

fn malformed(body: &[u8]) -> (usize, &'static str) {
    match decode(body) {
        Err(DecodeError::Malformed { offset, reason }) => (offset, reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn zeros_count_in_pointers_only() {
    // DeploymentSpec: replicas (1, pointer) 0, minReadySeconds (5) 0, paused (7) false.
    let body = envelope(
        "apps/v1",
        "Deployment",
        &field(2, &[0x08, 0, 0x28, 0, 0x38, 0]),
    );
    assert_eq!(decode(&body).unwrap()["spec"], json!({"replicas": 0}));
}

#[test]
fn times_are_rfc_3339() {
    // Lease.spec.renewTime (4), a MicroTime of 1 s and 2000 ns; metadata.creationTimestamp (8), a Time of 1 s.
    let raw = [
        field(1, &field(8, &[0x08, 1])),
        field(2, &field(4, &[0x08, 1, 0x10, 0xd0, 0x0f])),
    ];
    let lease = decode(&envelope("coordination.k8s.io/v1", "Lease", &raw.concat())).unwrap();
    assert_eq!(lease["spec"]["renewTime"], "1970-01-01T00:00:01.000002Z");
    assert_eq!(
        lease["metadata"]["creationTimestamp"],
        "1970-01-01T00:00:01Z"
    );
}

#[test]
fn raw_extensions_are_json() {
    let revision = envelope(
        "apps/v1",
        "ControllerRevision",
        &field(2, &field(1, br#"{"a":[1]}"#)),
    );
    assert_eq!(decode(&revision).unwrap()["data"], json!({"a": [1]}));
    let broken = envelope("apps/v1", "ControllerRevision", &field(2, &field(1, b"{")));
    assert_eq!(malformed(&broken).1, "a raw extension that is not JSON");
}

#[test]
fn maps_of_lists_are_unwrapped() {
    // SubjectAccessReviewSpec.extra (5): one entry with two items.
    let entry = [
        field(1, b"k"),
        field(2, &[field(1, b"a"), field(1, b"b")].concat()),
    ]
    .concat();
    let body = envelope(
        "authorization.k8s.io/v1",
        "SubjectAccessReview",
        &field(1, &[]),
    );
    assert_eq!(
        decode(&body).unwrap().get("spec"),
        None,
        "a message without a metadata field"
    );
    let body = envelope(
        "authorization.k8s.io/v1",
        "SubjectAccessReview",
        &field(2, &field(5, &entry)),
    );
    assert_eq!(
        decode(&body).unwrap()["spec"]["extra"],
        json!({"k": ["a", "b"]})
    );
}

#[test]
fn integers_may_be_packed() {
    // PodSpec.securityContext (14).supplementalGroups (4).
    let groups = field(2, &field(14, &field(4, &[1, 0x96, 1])));
    let pod = decode(&envelope("v1", "Pod", &groups)).unwrap();
    assert_eq!(
        pod["spec"]["securityContext"]["supplementalGroups"],
        json!([1, 150])
    );
}

#[test]
fn unknown_fields_are_skipped() {
    // Tags 100 (varint), 101 (fixed64), 102 (bytes) and 103 (fixed32) of a ConfigMap.
    let raw = [
        &[0xa0, 6, 7][..],
        &[0xa9, 6, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0xb2, 6, 1, 9],
        &[0xbd, 6, 0, 0, 0, 0],
    ];
    let body = envelope("v1", "ConfigMap", &raw.concat());
    assert_eq!(
        decode(&body),
        Ok(json!({"apiVersion": "v1", "kind": "ConfigMap"}))
    );
}

#[test]
fn bad_bodies_are_typed_errors() {
    assert_eq!(decode(b"{}"), Err(DecodeError::NoEnvelope));
    assert_eq!(decode(b""), Err(DecodeError::NoEnvelope));
    let unknown = decode(&envelope("v1", "Frob", b"")).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "no kind \"Frob\" is registered for version \"v1\""
    );
    let mut gzip = envelope("v1", "Pod", b"");
    gzip.extend(field(3, b"gzip"));
    assert_eq!(
        decode(&gzip),
        Err(DecodeError::Unsupported("gzip".to_owned()))
    );
    assert_eq!(malformed(b"k8s\0\x0b").1, "an unknown wire type");
    assert_eq!(malformed(b"k8s\0\x0a\x05a"), (6, "an unexpected end"));
    assert_eq!(
        malformed(b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01").1,
        "a varint without end"
    );
    let not_utf8 = envelope("v1", "Pod", &field(1, &field(1, &[0xff])));
    assert_eq!(malformed(&not_utf8).1, "a string that is not UTF-8");
    let not_a_message = envelope("v1", "Pod", &[0x08, 1]);
    assert_eq!(
        malformed(&not_a_message).1,
        "a value of another type than the field's"
    );
    let too_late = envelope(
        "v1",
        "Pod",
        &field(
            1,
            &field(8, &[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        ),
    );
    assert_eq!(malformed(&too_late).1, "a time out of range");
}

#[test]
fn a_body_cut_anywhere_is_an_error_or_a_shorter_object() {
    for Recording { body, .. } in recordings() {
        for length in 0..body.len() {
            if let Err(DecodeError::Malformed { offset, .. }) = decode(&body[..length]) {
                assert!(offset <= length);
            }
        }
    }
}

proptest! {
    // A failure is pinned as a test of its own, not in a file beside the sources.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0..1000_usize) {
        let root = &schema::roots()[kind % schema::roots().len()];
        let _ = decode(&bytes);
        let raw = &bytes[..bytes.len().min(120)];
        let _ = decode(&envelope(root.api_version(), root.kind, raw));
    }

    #[test]
    fn changed_bytes_never_panic(which in 0..1000_usize, changes in proptest::collection::vec((0..2000_usize, any::<u8>()), 1..8)) {
        let recordings = recordings();
        let mut body = recordings[which % recordings.len()].body.clone();
        for (at, byte) in changes {
            let at = at % body.len();
            body[at] = byte;
        }
        let _ = decode(&body);
    }
}
