//! What scheduler, controllers and node links ask of a typed Node: is it ready, since when, and is its end announced.
//!
//! Deliberately without any judgement on what to do about it. Taints have a file of their own.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use serde::{Deserialize, Serialize};

/// Annotation: the incarnation behind the Node, 16 hex digits.
pub const INCARNATION: &str = "kagero.dev/incarnation";
/// Annotation: the announced end of the Node's machine, an [`Eviction`] as JSON. Without it nobody has announced one.
pub const EVICTION: &str = "kagero.dev/eviction";

/// Times that can be meant, in seconds since the Unix epoch: until the year 3000.
const MEANT_SECONDS: std::ops::Range<i64> = 0..32_503_680_000;

/// The announced end of a node's machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Eviction {
    /// The incarnation that it was announced to: one that comes after it is not meant.
    pub incarnation: String,
    /// When it was announced.
    pub since: Timestamp,
    /// When the machine may be taken away.
    pub deadline: Timestamp,
}

impl Eviction {
    /// As the annotation's value.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("text and times are JSON")
    }
}

/// The announced end of the node as it is now. An annotation that cannot be read announces nothing, nor does one of a
/// time that nobody can have meant: anybody who may write Nodes may write it, and leaders calculate with it.
pub fn eviction(node: &Node) -> Option<Eviction> {
    let annotations = node.metadata.annotations.as_ref()?;
    let eviction: Eviction = serde_json::from_str(annotations.get(EVICTION)?).ok()?;
    let meant = |time: Timestamp| MEANT_SECONDS.contains(&time.as_second());
    let (own, times) = (
        annotations.get(INCARNATION) == Some(&eviction.incarnation),
        meant(eviction.since) && meant(eviction.deadline),
    );
    (own && times).then_some(eviction)
}

/// A condition by its type.
pub fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_deref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Its condition `Ready` is true. A node that has never said anything is not ready.
pub fn is_ready(node: &Node) -> bool {
    condition(node, "Ready").is_some_and(|condition| condition.status == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_end_is_announced_to_one_incarnation() {
        let announced = Eviction {
            incarnation: "0a".into(),
            since: "2026-01-01T00:00:00.5Z".parse().unwrap(),
            deadline: "2026-01-01T00:00:30.5Z".parse().unwrap(),
        };
        let read = |incarnation: &str, text: &str| {
            let annotations = json!({INCARNATION: incarnation, EVICTION: text});
            let node = json!({"metadata": {"annotations": annotations}});
            eviction(&serde_json::from_value(node).unwrap())
        };
        assert_eq!(read("0a", &announced.encode()), Some(announced.clone()));
        assert_eq!(read("0b", &announced.encode()), None, "a later one's");
        assert_eq!(read("0a", "soon"), None);
        for time in [Timestamp::MIN, Timestamp::MAX] {
            let (mut since, mut deadline) = (announced.clone(), announced.clone());
            (since.since, deadline.deadline) = (time, time);
            assert_eq!(read("0a", &since.encode()), None, "{time}");
            assert_eq!(read("0a", &deadline.encode()), None, "{time}");
        }
    }
}
