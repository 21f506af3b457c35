//! How a process becomes a Node object, and how that object is read back as the way to reach it.
//!
//! Pure. The Node carries the incarnation and the [`Contact`] as annotations, so that a new leader knows every node
//! from the store alone. Deliberately silent about a node's status: its link writes that.

use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};

use super::wire::Contact;
use crate::raft::PeerId;
use crate::resource::nodes::{EVICTION, Eviction, INCARNATION, eviction};
use crate::resource::{Deletion, ObjectKey, Options, PatchType, Request, ResourceName, Verb};
use crate::store::{Revision, View};

/// Annotation: how it is reached, as JSON.
pub const CONTACT: &str = "kagero.dev/contact";

/// The Node objects. One that cannot be read is left out; the node links say so aloud.
pub(super) fn nodes(view: &View) -> impl Iterator<Item = Node> {
    let records = view.range("nodes/").map(|(_, record)| record);
    records.filter_map(|record| serde_json::from_slice(&record.value).ok())
}

/// The incarnation and contact behind a Node; `None` for Nodes that no process of ours registered.
pub fn registered(node: &Node) -> Option<(PeerId, Contact)> {
    let annotations = node.metadata.annotations.as_ref()?;
    let id = u64::from_str_radix(annotations.get(INCARNATION)?, 16).ok()?;
    let contact = Contact::decode(annotations.get(CONTACT)?.as_bytes()).ok()?;
    Some((PeerId(id), contact))
}

/// The write that registers an incarnation: creates the Node, or turns over to it the one that exists at this revision,
/// so that of two who want the same name at once one is refused. What end was announced to the one before is the
/// newcomer's only if its machine is the same and has not restarted since: else pods would be called back from their
/// new nodes until it has said so itself.
pub fn register(existing: Option<&(Node, Revision)>, id: PeerId, contact: &Contact) -> Request {
    let annotations = json!({
        INCARNATION: id.to_string(),
        CONTACT: String::from_utf8_lossy(&contact.encode()),
    });
    let mut metadata =
        json!({ "name": contact.name, "labels": labels(contact), "annotations": annotations });
    let verb = match existing {
        None => Verb::Create(
            json!({ "apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {} }),
        ),
        Some((before, revision)) => {
            let announced = eviction_of(before, contact).map(|announced| Eviction {
                incarnation: id.to_string(),
                ..announced
            });
            metadata["resourceVersion"] = json!(revision.to_string());
            metadata["annotations"][EVICTION] = json!(announced.as_ref().map(Eviction::encode));
            Verb::Patch(PatchType::Merge, json!({ "metadata": metadata }))
        }
    };
    let name = existing.is_some().then(|| contact.name.clone());
    node_request(name, None, verb)
}

/// The announced end of the machine that a process was started on, as the Node of the process before it has it.
fn eviction_of(before: &Node, contact: &Contact) -> Option<Eviction> {
    let (_, earlier) = registered(before)?;
    let boot = |of: &Contact| (of.machine_id.clone(), of.boot_id.clone());
    (boot(&earlier) == boot(contact)).then(|| eviction(before))?
}

/// The write that announces the end of a node's machine, or takes that back.
pub fn announce(node: &str, eviction: Option<&Eviction>) -> Request {
    let text = eviction.map(Eviction::encode);
    let patch = json!({ "metadata": { "annotations": { EVICTION: text } } });
    let verb = Verb::Patch(PatchType::Merge, patch);
    node_request(Some(node.to_owned()), None, verb)
}

/// A merge patch of a Node's status.
pub fn patch_status(node: &str, status: Value) -> Request {
    let patch = json!({ "status": status });
    node_request(
        Some(node.to_owned()),
        Some("status"),
        Verb::Patch(PatchType::StrategicMerge, patch),
    )
}

/// The removal of a pod that its node reports as gone.
pub fn remove_pod(key: &ObjectKey, uid: &str) -> Request {
    let mut deletion = Deletion {
        grace_period_seconds: Some(0),
        ..Deletion::default()
    };
    deletion.precondition.uid = Some(uid.to_owned());
    pod_request(key, None, Verb::Delete(deletion))
}

/// A pod's status as its node reports it; the UID in it keeps it off a younger pod of the same name.
pub fn report_pod(key: &ObjectKey, uid: &str, status: Value) -> Request {
    let patch = json!({ "metadata": { "uid": uid }, "status": status });
    pod_request(key, Some("status"), Verb::Patch(PatchType::Merge, patch))
}

fn labels(contact: &Contact) -> Value {
    let mut labels = json!({
        "kubernetes.io/hostname": contact.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
    });
    for (key, value) in &contact.labels {
        labels[key.as_str()] = json!(value);
    }
    labels
}

fn node_request(name: Option<String>, subresource: Option<&str>, verb: Verb) -> Request {
    Request {
        resource: ResourceName::new("", "v1", "nodes"),
        namespace: None,
        name,
        subresource: subresource.map(str::to_owned),
        verb,
        options: Options::default(),
        user: "system:kagero:node-link".to_owned(),
    }
}

fn pod_request(key: &ObjectKey, subresource: Option<&str>, verb: Verb) -> Request {
    Request {
        resource: ResourceName::new("", "v1", "pods"),
        namespace: Some(key.namespace.clone()),
        name: Some(key.name.clone()),
        subresource: subresource.map(str::to_owned),
        verb,
        options: Options::default(),
        user: "system:kagero:node-link".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::testing::host::contact;

    #[test]
    fn an_announced_end_is_the_machines_until_it_restarts() {
        let announced = Eviction {
            incarnation: PeerId(1).to_string(),
            since: "2026-01-01T00:00:00Z".parse().unwrap(),
            deadline: "2026-01-01T00:02:00Z".parse().unwrap(),
        };
        let annotations = json!({
            INCARNATION: PeerId(1).to_string(),
            CONTACT: String::from_utf8(contact(4).encode().to_vec()).unwrap(),
            EVICTION: announced.encode(),
        });
        let node = json!({ "metadata": { "name": "n4", "annotations": annotations } });
        let before = (serde_json::from_value(node).unwrap(), 7);
        let kept = |contact: &Contact| {
            let Verb::Patch(_, patch) = register(Some(&before), PeerId(2), contact).verb else {
                panic!("it patches");
            };
            let kept = patch["metadata"]["annotations"][EVICTION].as_str();
            kept.map(|kept| serde_json::from_str::<Eviction>(kept).unwrap())
        };
        let expected = Eviction {
            incarnation: PeerId(2).to_string(),
            ..announced
        };
        assert_eq!(kept(&contact(4)), Some(expected));
        let mut restarted = contact(4);
        restarted.boot_id = "another".into();
        assert_eq!(kept(&restarted), None);
        let mut replaced = contact(4);
        replaced.machine_id = "another".into();
        assert_eq!(kept(&replaced), None);
    }
}
