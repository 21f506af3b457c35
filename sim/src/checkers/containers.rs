//! A fault of the control plane kills no healthy container: what runs and is wanted goes on running.

use std::collections::BTreeMap;

use kagero::actors::doors::Known;
use kagero::store::View;
use serde_json::Value;

use crate::machine::Stop;

/// A running container was ended that nobody wanted to end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{machine} ended container {container} of pod {pod}, {why}")]
pub struct Killed {
    /// Where.
    pub machine: String,
    /// The container's id.
    pub container: String,
    /// Its pod's name.
    pub pod: String,
    /// Why that was wrong.
    pub why: &'static str,
}

/// Judges one ended container: `may_stop` says whether the scenario gave a reason for any to end on this machine.
pub fn check(
    machine: &str,
    stop: &Stop,
    may_stop: bool,
    known: &BTreeMap<String, Known>,
) -> Result<(), Killed> {
    let killed = |why| Killed {
        machine: machine.to_owned(),
        container: stop.container.clone(),
        pod: stop.pod.name.clone(),
        why,
    };
    if !may_stop {
        return Err(killed("although nothing happened to that machine"));
    }
    if is_wanted_by_leader(stop, known) {
        return Err(killed("which the leader wants"));
    }
    Ok(())
}

/// Whether the newest leader wants what was ended. While nobody leads the newest term, nobody is asked: whoever led
/// before that, and has been deposed or stands still, may not know of what its successor wanted.
pub fn is_wanted_by_leader(stop: &Stop, known: &BTreeMap<String, Known>) -> bool {
    let reign = |known: &Known| (known.standing.cluster.generation, known.standing.term);
    let newest = known.values().map(reign).max();
    let mut leading = known.values().filter(|known| known.standing.leads);
    let leader = leading.find(|known| Some(reign(known)) == newest);
    leader.is_some_and(|leader| is_wanted(&leader.view, stop))
}

/// Whether the pod still exists and nobody has asked for its end.
fn is_wanted(view: &View, stop: &Stop) -> bool {
    let key = format!("pods/{}/{}", stop.pod.namespace, stop.pod.name);
    let Some(record) = view.get(&key) else {
        return false;
    };
    let pod: Value = serde_json::from_slice(&record.value).unwrap_or_default();
    let ended = matches!(
        pod["status"]["phase"].as_str(),
        Some("Failed" | "Succeeded")
    );
    pod["metadata"]["uid"] == stop.pod.uid.as_str()
        && pod["metadata"]["deletionTimestamp"].is_null()
        && !ended
}

#[cfg(test)]
mod tests {
    use kagero::agent::PodRef;
    use serde_json::json;

    use super::super::made::{known, store};
    use super::*;

    fn stop(uid: &str) -> Stop {
        Stop {
            container: "c1".to_owned(),
            pod: PodRef {
                namespace: "default".to_owned(),
                name: "web".to_owned(),
                uid: uid.to_owned(),
                unique: false,
            },
            started: std::time::Duration::ZERO,
        }
    }

    /// What n1 knows, which leads, of a pod with this status and deletion.
    fn knowing(phase: &str, deletion: Value) -> BTreeMap<String, Known> {
        let pod = json!({
            "metadata": { "uid": "1", "deletionTimestamp": deletion },
            "status": { "phase": phase },
        });
        let with = store(&[("pods/default/web", &pod.to_string())]);
        let stale = store(&[]);
        // Who led an earlier term wants nothing of the kind; it does not matter.
        BTreeMap::from([
            ("n1".to_owned(), known(1, (7, true), &with)),
            ("n2".to_owned(), known(2, (6, true), &stale)),
        ])
    }

    fn why(stop: &Stop, may_stop: bool, known: &BTreeMap<String, Known>) -> &'static str {
        check("n3", stop, may_stop, known).map_or_else(|killed| killed.why, |()| "")
    }

    #[test]
    fn a_container_that_is_wanted_or_has_no_reason_to_end_is_found() {
        let wanted = knowing("Running", Value::Null);
        let quiet = "although nothing happened to that machine";
        assert_eq!(why(&stop("1"), false, &wanted), quiet);
        assert_eq!(why(&stop("1"), true, &wanted), "which the leader wants");
        assert_eq!(why(&stop("2"), true, &wanted), "", "of a pod before");
        assert_eq!(why(&stop("2"), false, &wanted), quiet);
    }

    #[test]
    fn who_led_before_the_newest_term_wants_nothing() {
        let mut wanted = knowing("Running", Value::Null);
        let follows = known(3, (8, false), &store(&[]));
        wanted.insert("n3".to_owned(), follows);
        assert_eq!(why(&stop("1"), true, &wanted), "");
    }

    #[test]
    fn what_is_over_may_end_where_something_happened() {
        let deleted = knowing("Running", json!("2026-11-22T00:00:00Z"));
        let failed = knowing("Failed", Value::Null);
        for known in [deleted, failed, BTreeMap::new()] {
            assert_eq!(why(&stop("1"), true, &known), "");
        }
    }
}
