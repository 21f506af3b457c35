//! A pod's row in a Table: above all the one word under STATUS, which sums up phase, containers and deletion.
//!
//! The rules are those that kubectl's users know from Kubernetes' server-side printer.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::resource::table::{NONE, age, name, or, since};

pub(super) fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let summary = summarize(object);
    let status = &object["status"];
    let restarts = match &summary.last_restart {
        Some(time) if summary.restarts > 0 => {
            let ago = since(&json!(time), now);
            format!("{} ({ago} ago)", summary.restarts)
        }
        _ => summary.restarts.to_string(),
    };
    let address = status["podIPs"]
        .pointer("/0/ip")
        .unwrap_or(&status["podIP"]);
    vec![
        name(object),
        json!(format!("{}/{}", summary.ready, summary.total)),
        json!(summary.reason),
        json!(restarts),
        age(object, now),
        or(address, NONE),
        or(&object["spec"]["nodeName"], NONE),
        or(&status["nominatedNodeName"], NONE),
        json!(readiness_gates(object)),
    ]
}

#[derive(Default)]
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<String>,
}

impl Summary {
    fn count_restarts(&mut self, container: &Value) {
        self.restarts += container["restartCount"].as_i64().unwrap_or(0);
        let finished = &container["lastState"]["terminated"]["finishedAt"];
        let finished = finished.as_str().map(str::to_owned);
        // RFC 3339 in UTC orders as text.
        self.last_restart = self.last_restart.take().max(finished);
    }
}

fn summarize(object: &Value) -> Summary {
    let (spec, status) = (&object["spec"], &object["status"]);
    let sidecar = |container: &Value| {
        let mut of = array(&spec["initContainers"]).iter();
        of.any(|c| c["name"] == container["name"] && c["restartPolicy"] == "Always")
    };
    let sidecars = array(&spec["initContainers"])
        .iter()
        .filter(|c| c["restartPolicy"] == "Always");
    let mut summary = Summary {
        reason: text(&status["phase"]).to_owned(),
        total: array(&spec["containers"]).len() + sidecars.count(),
        ..Summary::default()
    };
    if !text(&status["reason"]).is_empty() {
        text(&status["reason"]).clone_into(&mut summary.reason);
    }
    if condition(status, "PodScheduled").is_some_and(|c| c["reason"] == "SchedulingGated") {
        summary.reason = "SchedulingGated".into();
    }
    let initializing = summarize_init(&mut summary, object, &sidecar);
    let initialized = condition(status, "Initialized").is_some_and(|c| c["status"] == "True");
    if !initializing || initialized {
        summary.restarts = 0;
        summary.last_restart = None;
        for container in array(&status["initContainerStatuses"])
            .iter()
            .filter(|c| sidecar(c))
        {
            summary.count_restarts(container);
        }
        summarize_containers(&mut summary, status);
    }
    if !object["metadata"]["deletionTimestamp"].is_null() {
        let over = matches!(text(&status["phase"]), "Succeeded" | "Failed");
        if status["reason"] == "NodeLost" {
            summary.reason = "Unknown".into();
        } else if !over {
            summary.reason = "Terminating".into();
        }
    }
    summary
}

/// Sums up the init containers until the first that has not done its part; true if there is one.
fn summarize_init(summary: &mut Summary, object: &Value, sidecar: &dyn Fn(&Value) -> bool) -> bool {
    let total = array(&object["spec"]["initContainers"]).len();
    let statuses = array(&object["status"]["initContainerStatuses"]);
    for (index, container) in statuses.iter().enumerate() {
        summary.count_restarts(container);
        let state = &container["state"];
        let terminated = &state["terminated"];
        let waiting = text(&state["waiting"]["reason"]);
        if terminated["exitCode"] == 0 {
            continue;
        }
        if sidecar(container) && container["started"] == true {
            summary.ready += usize::from(container["ready"] == true);
            continue;
        }
        summary.reason = if !terminated.is_null() {
            format!("Init:{}", exit_reason(terminated))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{index}/{total}")
        };
        return true;
    }
    false
}

fn summarize_containers(summary: &mut Summary, status: &Value) {
    let mut running = false;
    // Backwards, so that the first container has the last word.
    for container in array(&status["containerStatuses"]).iter().rev() {
        summary.count_restarts(container);
        let state = &container["state"];
        let waiting = text(&state["waiting"]["reason"]);
        if !waiting.is_empty() {
            waiting.clone_into(&mut summary.reason);
        } else if !state["terminated"].is_null() {
            summary.reason = exit_reason(&state["terminated"]);
        } else if container["ready"] == true && !state["running"].is_null() {
            running = true;
            summary.ready += 1;
        }
    }
    if summary.reason == "Completed" && running {
        let ready = condition(status, "Ready").is_some_and(|c| c["status"] == "True");
        summary.reason = if ready { "Running" } else { "NotReady" }.into();
    }
}

fn exit_reason(terminated: &Value) -> String {
    let reason = text(&terminated["reason"]);
    let signal = terminated["signal"].as_i64().unwrap_or(0);
    match (reason, signal) {
        ("", 0) => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or(0)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn readiness_gates(object: &Value) -> String {
    let gates = array(&object["spec"]["readinessGates"]);
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let holds = |gate: &&Value| {
        condition(&object["status"], text(&gate["conditionType"]))
            .is_some_and(|c| c["status"] == "True")
    };
    format!("{}/{}", gates.iter().filter(holds).count(), gates.len())
}

fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    array(&status["conditions"])
        .iter()
        .find(|c| c["type"] == kind)
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_of(pod: &Value) -> String {
        summarize(pod).reason
    }

    fn with(state: Value) -> Value {
        json!({"spec": {"containers": [{"name": "c"}]}, "status": {
            "phase": "Running", "containerStatuses": [{"name": "c", "state": state}],
        }})
    }

    #[test]
    fn the_status_is_what_keeps_the_container() {
        let cases = [
            (
                json!({"waiting": {"reason": "CrashLoopBackOff"}}),
                "CrashLoopBackOff",
            ),
            (
                json!({"waiting": {"reason": "ContainerCreating"}}),
                "ContainerCreating",
            ),
            (
                json!({"waiting": {"reason": "ErrImagePull"}}),
                "ErrImagePull",
            ),
            (json!({"waiting": {}}), "Running"),
            (json!({"running": {}}), "Running"),
            (
                json!({"terminated": {"exitCode": 0, "reason": "Completed"}}),
                "Completed",
            ),
            (
                json!({"terminated": {"exitCode": 1, "reason": "Error"}}),
                "Error",
            ),
            (
                json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}),
                "OOMKilled",
            ),
            (json!({"terminated": {"exitCode": 3}}), "ExitCode:3"),
            (
                json!({"terminated": {"exitCode": 137, "signal": 9}}),
                "Signal:9",
            ),
        ];
        for (state, expected) in cases {
            assert_eq!(status_of(&with(state.clone())), expected, "{state}");
        }
    }

    #[test]
    fn deletion_and_reasons_override_the_phase() {
        let mut pod = with(json!({"running": {}}));
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(status_of(&pod), "Terminating");
        pod["status"]["reason"] = json!("NodeLost");
        assert_eq!(status_of(&pod), "Unknown");
        let evicted = json!({"status": {"phase": "Failed", "reason": "Evicted"}});
        assert_eq!(status_of(&evicted), "Evicted");
        let mut over =
            json!({"metadata": {"deletionTimestamp": "x"}, "status": {"phase": "Succeeded"}});
        assert_eq!(status_of(&over), "Succeeded");
        over["metadata"] = json!({});
        over["status"] = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]});
        assert_eq!(status_of(&over), "SchedulingGated");
    }

    #[test]
    fn init_containers_come_first() {
        let pod = |state: Value| {
            json!({
                "spec": {"containers": [{"name": "c"}], "initContainers": [{"name": "i"}, {"name": "j"}]},
                "status": {"phase": "Pending",
                    "initContainerStatuses": [
                        {"name": "i", "state": {"terminated": {"exitCode": 0}}},
                        {"name": "j", "state": state}],
                    "containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "PodInitializing"}}}]},
            })
        };
        let cases = [
            (json!({"running": {}}), "Init:1/2"),
            (
                json!({"waiting": {"reason": "PodInitializing"}}),
                "Init:1/2",
            ),
            (
                json!({"waiting": {"reason": "CrashLoopBackOff"}}),
                "Init:CrashLoopBackOff",
            ),
            (json!({"terminated": {"exitCode": 2}}), "Init:ExitCode:2"),
            (
                json!({"terminated": {"exitCode": 2, "reason": "Error"}}),
                "Init:Error",
            ),
            (json!({"terminated": {"exitCode": 0}}), "PodInitializing"),
        ];
        for (state, expected) in cases {
            assert_eq!(status_of(&pod(state.clone())), expected, "{state}");
        }
    }

    #[test]
    fn a_sidecar_counts_as_a_container() {
        let pod = json!({
            "spec": {"containers": [{"name": "c"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}]},
            "status": {"phase": "Running",
                "initContainerStatuses": [{"name": "s", "started": true, "ready": true, "restartCount": 2,
                    "state": {"running": {}}}],
                "containerStatuses": [{"name": "c", "ready": true, "restartCount": 1, "state": {"running": {}}}]},
        });
        let summary = summarize(&pod);
        assert_eq!((summary.ready, summary.total, summary.restarts), (2, 2, 3));
    }

    #[test]
    fn restarts_say_when_the_last_one_was() {
        let mut pod = with(json!({"running": {}}));
        pod["status"]["containerStatuses"][0]["restartCount"] = json!(4);
        let now = "2026-01-01T00:10:00Z".parse().unwrap();
        assert_eq!(cells(&pod, now)[3], "4");
        pod["status"]["containerStatuses"][0]["lastState"] =
            json!({"terminated": {"finishedAt": "2026-01-01T00:04:37Z"}});
        assert_eq!(cells(&pod, now)[3], "4 (5m23s ago)");
    }

    #[test]
    fn a_bare_pod_has_every_cell() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{}, {}]}, "status": {"phase": "Pending"}});
        let row = cells(&pod, Timestamp::UNIX_EPOCH);
        assert_eq!(
            row,
            [
                "p",
                "0/2",
                "Pending",
                "0",
                "<unknown>",
                NONE,
                NONE,
                NONE,
                NONE
            ]
            .map(Value::from)
        );
    }
}
