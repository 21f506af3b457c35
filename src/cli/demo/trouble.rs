//! Why pods do not run, in a line: what most of them wait for, else the newest warning.
//!
//! Deliberately without what is no trouble: a pod that is being made says nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

/// How long no pod may get its image before none is expected to: a pull is tried again after 10 s, and after 20 s more.
pub const NO_IMAGE_PATIENCE: Duration = Duration::from_secs(30);
/// Reasons of a container that waits for an image which could not be had.
const NO_IMAGE: [&str; 4] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
];
/// Reasons of a container that is on its way.
const ON_ITS_WAY: [&str; 2] = ["ContainerCreating", "PodInitializing"];
/// Characters of a reason's message that are shown: an engine's words may be a page.
const MESSAGE_CHARS_MAX: usize = 300;

/// Watches over pods that are to run.
#[derive(Debug, Default)]
pub struct Trouble {
    /// Pods that were seen without their image, by uid.
    without_image: BTreeSet<String>,
    /// Since when that was so of every pod.
    no_image_since: Option<Instant>,
}

impl Trouble {
    /// Takes a list of pods in; what they wait for, if that is trouble, as `2 pods: REASON: message`.
    pub fn of_pods(&mut self, pods: &[Value], now: Instant) -> Option<String> {
        let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut each = true;
        for pod in pods {
            let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
            let waiting = waits_for(pod);
            if let Some((reason, message)) = waiting {
                reasons.entry(reason).or_default().push(message);
                if NO_IMAGE.contains(&reason) {
                    self.without_image.insert(uid.to_owned());
                }
            }
            if has_begun(pod) {
                self.without_image.remove(uid);
            }
            each &= self.without_image.contains(uid);
        }
        if !each || pods.is_empty() {
            self.no_image_since = None;
        } else if self.no_image_since.is_none() {
            self.no_image_since = Some(now);
        }
        let (reason, messages) = reasons.iter().max_by_key(|(_, messages)| messages.len())?;
        let message = messages.last().copied().unwrap_or_default();
        Some(said(messages.len(), reason, message))
    }

    /// Whether no pod can be expected to run any more.
    pub fn is_hopeless(&self, now: Instant) -> bool {
        let since = self.no_image_since;
        since.is_some_and(|since| now.duration_since(since) >= NO_IMAGE_PATIENCE)
    }
}

/// The newest warning of these events, as `REASON: message`.
pub fn newest_warning(events: &[Value]) -> Option<String> {
    let warnings = events.iter().filter(|event| event["type"] == "Warning");
    let time = |event: &&Value| {
        let times = [&event["lastTimestamp"], &event["eventTime"]];
        let time = times.into_iter().find_map(Value::as_str);
        time.unwrap_or_default().to_owned()
    };
    let event = warnings.max_by_key(time)?;
    let text = |field: &str| event[field].as_str().unwrap_or_default();
    Some(format!("{}: {}", text("reason"), short(text("message"))))
}

/// Reason and message of the first container that waits in trouble.
fn waits_for(pod: &Value) -> Option<(&str, &str)> {
    let lists = ["initContainerStatuses", "containerStatuses"].map(|list| &pod["status"][list]);
    let containers = lists.into_iter().filter_map(Value::as_array).flatten();
    let mut waiting = containers.map(|container| &container["state"]["waiting"]);
    waiting.find_map(|waiting| {
        let reason = waiting["reason"].as_str()?;
        let message = waiting["message"].as_str().unwrap_or_default();
        (!ON_ITS_WAY.contains(&reason)).then_some((reason, message))
    })
}

fn has_begun(pod: &Value) -> bool {
    let containers = pod["status"]["containerStatuses"].as_array();
    containers.into_iter().flatten().any(|container| {
        let state = &container["state"];
        !state["running"].is_null() || !state["terminated"].is_null()
    })
}

fn said(count: usize, reason: &str, message: &str) -> String {
    let pods = if count == 1 { "pod" } else { "pods" };
    match short(message).as_str() {
        "" => format!("{count} {pods}: {reason}"),
        message => format!("{count} {pods}: {reason}: {message}"),
    }
}

/// On one line, and not longer than people read.
fn short(message: &str) -> String {
    let words: Vec<_> = message.split_whitespace().collect();
    words.join(" ").chars().take(MESSAGE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(uid: &str, state: Value) -> Value {
        json!({"metadata": {"uid": uid}, "status": {"containerStatuses": [{"state": state}]}})
    }

    fn waiting(uid: &str, reason: &str) -> Value {
        pod(
            uid,
            json!({"waiting": {"reason": reason, "message": "no\n such"}}),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn what_most_pods_wait_for_is_told() {
        let now = Instant::now();
        let mut trouble = Trouble::default();
        let making = waiting("a", "ContainerCreating");
        assert_eq!(trouble.of_pods(std::slice::from_ref(&making), now), None);
        let pods = [
            making,
            waiting("b", "ErrImagePull"),
            waiting("c", "CrashLoopBackOff"),
            waiting("d", "ErrImagePull"),
        ];
        let told = trouble.of_pods(&pods, now);
        assert_eq!(told.as_deref(), Some("2 pods: ErrImagePull: no such"));
    }

    #[tokio::test(start_paused = true)]
    async fn hope_ends_when_no_pod_got_its_image_for_long() {
        let begun = Instant::now();
        let mut trouble = Trouble::default();
        let one = waiting("a", "ErrImagePull");
        let _ = trouble.of_pods(&[one.clone(), waiting("b", "ContainerCreating")], begun);
        assert!(!trouble.is_hopeless(begun + NO_IMAGE_PATIENCE), "b may run");
        let all = [one, waiting("b", "ImagePullBackOff")];
        let _ = trouble.of_pods(&all, begun);
        // A pull that is tried again shows as on its way.
        let again = [waiting("a", "ContainerCreating"), all[1].clone()];
        let _ = trouble.of_pods(&again, begun + NO_IMAGE_PATIENCE / 2);
        assert!(!trouble.is_hopeless(begun + NO_IMAGE_PATIENCE / 2));
        assert!(trouble.is_hopeless(begun + NO_IMAGE_PATIENCE));
        let runs = [pod("a", json!({"running": {}})), all[1].clone()];
        let _ = trouble.of_pods(&runs, begun + NO_IMAGE_PATIENCE);
        assert!(!trouble.is_hopeless(begun + NO_IMAGE_PATIENCE * 2));
    }

    #[test]
    fn the_newest_warning_is_told_and_nothing_normal() {
        let event = |kind: &str, time: &str, reason: &str| json!({"type": kind, "lastTimestamp": time, "reason": reason, "message": "m"});
        let events = [
            event("Warning", "2026-01-01T00:00:02Z", "FailedScheduling"),
            event("Warning", "2026-01-01T00:00:01Z", "Failed"),
            event("Normal", "2026-01-01T00:00:03Z", "Pulling"),
        ];
        let told = newest_warning(&events);
        assert_eq!(told.as_deref(), Some("FailedScheduling: m"));
        assert_eq!(newest_warning(&events[2..]), None);
    }
}
