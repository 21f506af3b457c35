//! Containers' logs: finds the container, then streams what its node sends.
//!
//! The refusals (no container named, not started yet) are worded as by Kubernetes' API server and kubelet.

use actix_web::HttpResponse;
use bytes::Bytes;
use futures::stream;
use serde_json::Value;

use super::context::ask;
use super::metrics::Label;
use super::query::Query;
use super::read;
use super::render;
use super::resources::Call;
use crate::actors::messages::{Consistency, LogOptions, OpenLog};
use crate::resource::Status;

/// Answers `GET …/pods/<name>/log`.
pub(super) async fn logs(call: Call) -> Result<HttpResponse, Status> {
    let options = options(&call.query, call.context.wall())?;
    let view = call.context.view(Consistency::Linearizable).await?;
    let record = read::find(&view, &call.place)?;
    let pod = render::decode(&record.value, record.mod_revision);
    let container = container(&pod, call.query.text("container"))?;
    let Some(node) = pod["spec"]["nodeName"].as_str() else {
        // Kubernetes sends an empty log for a pod that is on no node yet.
        return Ok(super::answer::text(Bytes::new()));
    };
    check_started(&pod, &container, options.previous)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let open = OpenLog {
        node: node.to_owned(),
        namespace: text(&pod["metadata"]["namespace"]),
        pod: text(&pod["metadata"]["name"]),
        uid: text(&pod["metadata"]["uid"]),
        container,
        options,
    };
    let log = ask(&call.context.state.logs, open).await??;
    let guard = call.context.metrics.stream(Label {
        verb: "CONNECT",
        ..call.label
    });
    let pieces = stream::unfold((log, guard), |(mut log, guard)| async move {
        let piece = log.recv().await?;
        Some((piece, (log, guard)))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .streaming(pieces))
}

fn options(query: &Query, now: jiff::Timestamp) -> Result<LogOptions, Status> {
    let options = LogOptions {
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        timestamps: query.flag("timestamps"),
        tail_lines: query.number("tailLines")?,
        since_seconds: since(query, now)?,
        limit_bytes: query.number("limitBytes")?,
    };
    for (name, value) in [
        ("sinceSeconds", options.since_seconds),
        ("limitBytes", options.limit_bytes),
    ] {
        if value == Some(0) {
            let message = format!("{name}: Invalid value: 0: must be greater than 0");
            return Err(Status::bad_request(message));
        }
    }
    Ok(options)
}

/// `sinceSeconds`, or `sinceTime` as seconds before now, rounded up so that no line of that second is lost.
fn since(query: &Query, now: jiff::Timestamp) -> Result<Option<u64>, Status> {
    let time = query.text("sinceTime");
    if time.is_empty() {
        return query.number("sinceSeconds");
    }
    if query.get("sinceSeconds").is_some() {
        let message = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        return Err(Status::bad_request(message));
    }
    let time: jiff::Timestamp = time.parse().map_err(|error| {
        Status::bad_request(format!("sinceTime: Invalid value: {time:?}: {error}"))
    })?;
    let seconds = now.as_second().saturating_sub(time.as_second());
    Ok(Some(u64::try_from(seconds).unwrap_or(0) + 1))
}

fn names(pod: &Value, list: &str) -> Vec<String> {
    let containers = pod["spec"][list].as_array().map_or(&[][..], Vec::as_slice);
    let names = containers.iter().filter_map(|c| c["name"].as_str());
    names.map(str::to_owned).collect()
}

/// The container asked for, or the only one there is.
fn container(pod: &Value, asked: &str) -> Result<String, Status> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let containers = names(pod, "containers");
    let init = names(pod, "initContainers");
    if !asked.is_empty() {
        if containers.iter().chain(&init).any(|name| name == asked) {
            return Ok(asked.to_owned());
        }
        let message = format!("container {asked} is not valid for pod {name}");
        return Err(Status::bad_request(message));
    }
    if let [only] = containers.as_slice() {
        return Ok(only.clone());
    }
    let containers = containers.join(" ");
    let or_init = match init.join(" ") {
        init if init.is_empty() => init,
        init => format!(" or one of the init containers: [{init}]"),
    };
    Err(Status::bad_request(format!(
        "a container name must be specified for pod {name}, choose one of: [{containers}]{or_init}"
    )))
}

/// Refuses what has no log yet, saying why, as the kubelet does.
fn check_started(pod: &Value, container: &str, previous: bool) -> Result<(), Status> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let lists = ["containerStatuses", "initContainerStatuses"];
    let mut statuses = lists
        .iter()
        .filter_map(|list| pod["status"][*list].as_array())
        .flatten();
    let Some(status) = statuses.find(|status| status["name"] == container) else {
        let message = format!("container {container:?} in pod {name:?} is not available");
        return Err(Status::bad_request(message));
    };
    let (state, last) = (&status["state"], &status["lastState"]["terminated"]);
    if previous && last.is_null() {
        let message =
            format!("previous terminated container {container:?} in pod {name:?} not found");
        return Err(Status::bad_request(message));
    }
    let has_log = !last.is_null() || !state["running"].is_null() || !state["terminated"].is_null();
    if has_log {
        return Ok(());
    }
    let why = match state["waiting"]["reason"].as_str() {
        Some("ErrImagePull") => ": image can't be pulled",
        Some("ImagePullBackOff") => ": trying and failing to pull image",
        Some(reason) => &format!(": {reason}"),
        None => " - no logs yet",
    };
    let message = format!("container {container:?} in pod {name:?} is waiting to start{why}");
    Err(Status::bad_request(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(containers: &[&str], init: &[&str]) -> Value {
        let list = |names: &[&str]| {
            names
                .iter()
                .map(|name| json!({"name": name}))
                .collect::<Value>()
        };
        json!({"metadata": {"name": "p"}, "spec": {"containers": list(containers), "initContainers": list(init)}})
    }

    #[test]
    fn the_only_container_is_meant() {
        assert_eq!(container(&pod(&["a"], &["i"]), "").unwrap(), "a");
        assert_eq!(container(&pod(&["a"], &["i"]), "i").unwrap(), "i");
        let error = container(&pod(&["a", "b"], &[]), "").unwrap_err();
        assert_eq!(
            error.message,
            "a container name must be specified for pod p, choose one of: [a b]"
        );
        let error = container(&pod(&["a", "b"], &["i"]), "").unwrap_err();
        assert!(
            error
                .message
                .ends_with("[a b] or one of the init containers: [i]")
        );
        let error = container(&pod(&["a"], &[]), "z").unwrap_err();
        assert_eq!(error.message, "container z is not valid for pod p");
    }

    #[test]
    fn options_are_checked_and_a_time_becomes_an_age() {
        let now: jiff::Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let options = |text: &str| options(&Query::parse(text).unwrap(), now);
        let said =
            options("follow=true&tailLines=3&sinceTime=2026-01-01T00:00:30%2B00:00").unwrap();
        assert_eq!(
            (said.follow, said.tail_lines, said.since_seconds),
            (true, Some(3), Some(31))
        );
        let future = options("sinceTime=2027-01-01T00:00:00Z").unwrap();
        assert_eq!(future.since_seconds, Some(1));
        for bad in [
            "sinceSeconds=0",
            "limitBytes=0",
            "tailLines=-1",
            "sinceTime=soon",
            "sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z",
        ] {
            assert_eq!(options(bad).unwrap_err().code, 400, "{bad}");
        }
    }

    #[test]
    fn what_has_not_started_has_no_log() {
        let with = |status: Value| {
            let mut pod = pod(&["a"], &[]);
            pod["status"]["containerStatuses"] = json!([status]);
            pod
        };
        let waiting =
            with(json!({"name": "a", "state": {"waiting": {"reason": "ContainerCreating"}}}));
        let error = check_started(&waiting, "a", false).unwrap_err();
        assert_eq!(
            error.message,
            r#"container "a" in pod "p" is waiting to start: ContainerCreating"#
        );
        let running = with(json!({"name": "a", "state": {"running": {}}}));
        assert!(check_started(&running, "a", false).is_ok());
        assert!(check_started(&running, "a", true).is_err());
        let crashed = with(
            json!({"name": "a", "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 1}}}),
        );
        assert!(check_started(&crashed, "a", false).is_ok());
        assert!(check_started(&crashed, "a", true).is_ok());
        assert_eq!(
            check_started(&pod(&["a"], &[]), "a", false)
                .unwrap_err()
                .code,
            400
        );
    }
}
