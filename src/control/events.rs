//! Builds v1 Events, named and worded as Kubernetes does.
//!
//! Deliberately without aggregation: whoever repeats itself decides whether to say it again.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rand::{Rng, RngCore};
use serde_json::json;

use crate::resource::{Request, ResourceName, Writer, time};

/// How serious an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Normal,
    /// Somebody may have to act.
    Warning,
}

/// Who speaks and about what.
#[derive(Clone, Copy, Debug)]
pub struct EventSource<'a> {
    /// `reportingComponent` and `source.component`, e.g. `replicaset-controller`.
    pub component: &'static str,
    /// The involved object's apiVersion.
    pub api_version: &'a str,
    /// The involved object's kind.
    pub kind: &'static str,
    /// The involved object's metadata.
    pub meta: &'a ObjectMeta,
}

/// The request that creates an Event about `source.meta`. Events about cluster-scoped objects go to `default`.
/// Its name is the object's name, a dot, and the time in hexadecimal nanoseconds (client-go, `record.makeEvent`), of
/// which the part below a second is drawn, because one reconciliation may say many things at one instant.
pub fn event(
    source: EventSource<'_>,
    level: Level,
    reason: &str,
    message: &str,
    now: jiff::Timestamp,
    entropy: &mut dyn RngCore,
) -> Request {
    const NANOS_PER_SECOND: i128 = 1_000_000_000;
    let meta = source.meta;
    let name = meta.name.as_deref().unwrap_or_default();
    let namespace = meta.namespace.as_deref().unwrap_or("default");
    let level = match level {
        Level::Normal => "Normal",
        Level::Warning => "Warning",
    };
    let time = time::text(now);
    let stamp =
        i128::from(now.as_second()) * NANOS_PER_SECOND + entropy.random_range(0..NANOS_PER_SECOND);
    let object = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": format!("{name}.{stamp:x}"),
            "namespace": namespace,
        },
        "involvedObject": {
            "apiVersion": source.api_version,
            "kind": source.kind,
            "name": name,
            "namespace": meta.namespace,
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
        },
        "reason": reason,
        "message": message,
        "type": level,
        "count": 1,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "source": { "component": source.component },
        "reportingComponent": source.component,
        "reportingInstance": "",
    });
    let writer = Writer {
        user: "system:kagero:event-recorder",
    };
    writer.create(ResourceName::new("", "v1", "events"), namespace, object)
}
