//! Says what happens to pods' containers, as Kubernetes' kubelet does: started, stopped, failed, waiting.
//!
//! Told from committed changes of pods' statuses, so that a node need not say it a second time. Deliberately not a
//! [`Controller`](super::Controller): an event is about a transition, and a reconciler would see only states. What
//! changes while nobody leads is not told. `Pulled` and `Created` are absent, because a status does not show them.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rand::RngCore;
use serde::Deserialize;

use super::{EventSource, Level, event};
use crate::resource::Request;
use crate::store::{Event, Record};

const PREFIX: &str = "pods/";
/// Kubernetes' name for who says this.
const COMPONENT: &str = "kubelet";

/// The part of a Pod that is looked at; the rest is not decoded.
#[derive(Deserialize)]
struct Pod {
    metadata: ObjectMeta,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    init_container_statuses: Vec<ContainerStatus>,
    container_statuses: Vec<ContainerStatus>,
}

impl Pod {
    /// `None` for what cannot be read, which is reported where it matters.
    fn read(record: &Record) -> Option<Self> {
        let mut pod: Self = serde_json::from_slice(&record.value).ok()?;
        pod.metadata.resource_version = Some(record.mod_revision.to_string());
        Some(pod)
    }

    fn containers(&self) -> impl Iterator<Item = &ContainerStatus> {
        let init = self.status.init_container_statuses.iter();
        init.chain(&self.status.container_statuses)
    }
}

/// A thing to say.
type Said = (Level, &'static str, String);

/// The requests that create the Events about these changes; those of other kinds are ignored.
pub fn pod_events(changes: &[Event], now: Timestamp, entropy: &mut dyn RngCore) -> Vec<Request> {
    let mut requests = Vec::new();
    for change in changes.iter().filter(|c| c.key.starts_with(PREFIX)) {
        let Some(pod) = change.current.as_ref().and_then(Pod::read) else {
            continue;
        };
        let before = change.previous.as_ref().and_then(Pod::read);
        let source = EventSource {
            component: COMPONENT,
            api_version: "v1",
            kind: "Pod",
            meta: &pod.metadata,
        };
        for (level, reason, message) in news(before.as_ref(), &pod) {
            requests.push(event(source, level, reason, &message, now, entropy));
        }
    }
    requests
}

fn news(before: Option<&Pod>, pod: &Pod) -> Vec<Said> {
    let mut said = Vec::new();
    let goes = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
    let goes_now = goes(pod) && !before.is_some_and(goes);
    for container in pod.containers() {
        let earlier = before.into_iter().flat_map(Pod::containers);
        let earlier = earlier.filter(|c| c.name == container.name).last();
        said.extend(start(earlier, container));
        said.extend(failed_start(earlier, container));
        said.extend(wait(earlier, container, &pod.metadata));
        if goes_now && is_running(container) {
            let message = format!("Stopping container {}", container.name);
            said.push((Level::Normal, "Killing", message));
        }
    }
    said
}

fn state(container: &ContainerStatus) -> Option<&ContainerState> {
    container.state.as_ref()
}

fn is_running(container: &ContainerStatus) -> bool {
    state(container).is_some_and(|state| state.running.is_some())
}

fn start(earlier: Option<&ContainerStatus>, container: &ContainerStatus) -> Option<Said> {
    // A container that ended between two reports has started all the same.
    let instance = |c: &ContainerStatus| c.container_id.clone();
    let id = instance(container)?;
    let known = earlier.and_then(instance) == Some(id);
    let message = || format!("Started container {}", container.name);
    (!known).then(|| (Level::Normal, "Started", message()))
}

/// The newest end of a container that could not be started at all.
fn start_error(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let ends = [container.state.as_ref(), container.last_state.as_ref()];
    let mut ends = ends.into_iter().flatten();
    let end = ends.find_map(|state| state.terminated.as_ref())?;
    (end.reason.as_deref() == Some("StartError")).then_some(end)
}

fn failed_start(earlier: Option<&ContainerStatus>, container: &ContainerStatus) -> Option<Said> {
    let end = start_error(container)?;
    if earlier.and_then(start_error) == Some(end) {
        return None;
    }
    let why = end.message.as_deref().unwrap_or_default();
    let message = format!("Error: failed to start container {}: {why}", container.name);
    Some((Level::Warning, "Failed", message))
}

fn wait(
    earlier: Option<&ContainerStatus>,
    container: &ContainerStatus,
    pod: &ObjectMeta,
) -> Option<Said> {
    let waiting = |c| state(c).and_then(|state: &ContainerState| state.waiting.as_ref());
    let now = waiting(container)?;
    if earlier.and_then(waiting) == Some(now) {
        return None;
    }
    Some(match reason_of(now) {
        "CrashLoopBackOff" => {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let (name, namespace, uid) = (text(&pod.name), text(&pod.namespace), text(&pod.uid));
            let message = format!(
                "Back-off restarting failed container {} in pod {name}_{namespace}({uid})",
                container.name
            );
            (Level::Warning, "BackOff", message)
        }
        "ImagePullBackOff" => {
            let message = format!("Back-off pulling image {:?}", container.image);
            (Level::Normal, "BackOff", message)
        }
        "ErrImagePull" => {
            let (image, why) = (&container.image, now.message.as_deref()?);
            let message = format!("Failed to pull image {image:?}: {why}");
            (Level::Warning, "Failed", message)
        }
        // Nothing is wrong unless it says what.
        _ => {
            let message = format!("Error: {}", now.message.as_deref()?);
            (Level::Warning, "Failed", message)
        }
    })
}

fn reason_of(waiting: &ContainerStateWaiting) -> &str {
    waiting.reason.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use serde_json::{Value, json};

    use super::*;
    use crate::resource::Verb;

    fn record(pod: &Value) -> Record {
        Record {
            create_revision: 1,
            mod_revision: 7,
            version: 1,
            value: Bytes::from(pod.to_string()),
        }
    }

    /// A pod whose container `c` has this status.
    fn pod(status: Value) -> Value {
        let mut container =
            json!({"name": "c", "image": "i:1", "imageID": "", "ready": false, "restartCount": 0});
        for (key, value) in status.as_object().unwrap() {
            container[key] = value.clone();
        }
        json!({
            "metadata": {"name": "p", "namespace": "default", "uid": "u"},
            "status": {"containerStatuses": [container]},
        })
    }

    fn waiting(reason: &str, message: Option<&str>) -> Value {
        json!({"state": {"waiting": {"reason": reason, "message": message}}})
    }

    fn running(id: &str) -> Value {
        json!({"state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, "containerID": id})
    }

    fn events(before: Option<&Value>, after: &Value) -> Vec<Value> {
        let change = Event {
            revision: 7,
            key: "pods/default/p".into(),
            previous: before.map(record),
            current: Some(record(after)),
        };
        let mut entropy = StdRng::seed_from_u64(1);
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let requests = pod_events(&[change], now, &mut entropy);
        let object = |request: Request| match request.verb {
            Verb::Create(object) => object,
            other => panic!("{other:?}"),
        };
        requests.into_iter().map(object).collect()
    }

    fn told(before: Option<&Value>, after: &Value) -> Vec<String> {
        let text = |event: Value| {
            let text = |name: &str| event[name].as_str().unwrap().to_owned();
            format!("{} {}: {}", text("type"), text("reason"), text("message"))
        };
        events(before, after).into_iter().map(text).collect()
    }

    #[test]
    fn a_start_is_told_once_an_instance() {
        let (first, second) = (pod(running("r://a")), pod(running("r://b")));
        let started = ["Normal Started: Started container c"];
        assert_eq!(told(Some(&pod(json!({}))), &first), started);
        assert!(told(Some(&first), &first).is_empty());
        assert_eq!(told(Some(&first), &second), started);
        let event = &events(None, &first)[0];
        assert_eq!(event["source"]["component"], "kubelet");
        assert_eq!(
            event["involvedObject"],
            json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "namespace": "default", "uid": "u",
                "resourceVersion": "7"})
        );
    }

    #[test]
    fn a_stop_is_told_when_the_pod_is_deleted() {
        let stays = pod(running("r://a"));
        let mut goes = stays.clone();
        goes["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:30Z");
        assert_eq!(
            told(Some(&stays), &goes),
            ["Normal Killing: Stopping container c"]
        );
        assert!(told(Some(&goes), &goes).is_empty());
    }

    #[test]
    fn what_hinders_a_container_is_told_when_it_changes() {
        let begins = pod(waiting("ContainerCreating", None));
        assert!(told(None, &begins).is_empty());
        let cases = [
            (
                "ErrImagePull",
                "no such",
                "Warning Failed: Failed to pull image \"i:1\": no such",
            ),
            (
                "ImagePullBackOff",
                "later",
                "Normal BackOff: Back-off pulling image \"i:1\"",
            ),
            (
                "CrashLoopBackOff",
                "later",
                "Warning BackOff: Back-off restarting failed container c in pod p_default(u)",
            ),
            (
                "CreateContainerConfigError",
                "no key a",
                "Warning Failed: Error: no key a",
            ),
            (
                "ContainerCreating",
                "no network",
                "Warning Failed: Error: no network",
            ),
        ];
        for (reason, message, expected) in cases {
            let now = pod(waiting(reason, Some(message)));
            assert_eq!(told(Some(&begins), &now), [expected]);
            assert!(told(Some(&now), &now).is_empty());
        }
    }

    #[test]
    fn a_command_that_cannot_be_run_is_told_at_every_attempt() {
        let end = |at: &str| json!({"exitCode": 128, "reason": "StartError", "message": "no such file", "finishedAt": at});
        let failed = |at: &str| pod(json!({"lastState": {"terminated": end(at)}}));
        let (first, second) = (
            failed("2026-01-01T00:00:00Z"),
            failed("2026-01-01T00:00:10Z"),
        );
        let expected = ["Warning Failed: Error: failed to start container c: no such file"];
        assert_eq!(told(Some(&pod(json!({}))), &first), expected);
        assert!(told(Some(&first), &first).is_empty());
        assert_eq!(told(Some(&first), &second), expected);
    }

    #[test]
    fn what_is_not_a_pod_or_not_there_is_ignored() {
        let change = |key: &str, current: Option<&Value>| Event {
            revision: 7,
            key: key.into(),
            previous: None,
            current: current.map(record),
        };
        let runs = pod(running("r://a"));
        let changes = [
            change("nodes//p", Some(&runs)),
            change("pods/default/p", None),
        ];
        let mut entropy = StdRng::seed_from_u64(1);
        assert!(pod_events(&changes, Timestamp::UNIX_EPOCH, &mut entropy).is_empty());
    }
}
