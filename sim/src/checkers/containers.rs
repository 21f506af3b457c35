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

/// Whether the newest leader wants what was ended.
pub fn is_wanted_by_leader(stop: &Stop, known: &BTreeMap<String, Known>) -> bool {
    let leading = known.values().filter(|known| known.standing.leads);
    let newest = leading.max_by_key(|known| known.standing.term);
    newest.is_some_and(|leader| is_wanted(&leader.view, stop))
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
