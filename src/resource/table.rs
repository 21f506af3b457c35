//! Tables: what `kubectl get` prints, made on the server from a kind's columns.
//!
//! Deliberately one row at a time, so that a watch can send one; the list around the rows is HTTP's to write.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::registry::{Column, Kind};

/// What a cell says where there is nothing.
pub(super) const NONE: &str = "<none>";

/// What a row carries beside its cells (`?includeObject=`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// Its metadata: what clients need to tell rows apart.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

impl IncludeObject {
    /// From the query's value; "" is the default.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Metadata" => Some(Self::Metadata),
            "None" => Some(Self::None),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

/// A kind's `columnDefinitions`.
pub fn column_definitions(kind: &Kind) -> Value {
    let definition = |column: &Column| {
        json!({
            "name": column.name,
            "type": column.type_,
            "format": if column.name == "Name" { "name" } else { "" },
            "description": column.description,
            "priority": i32::from(column.wide),
        })
    };
    kind.columns.iter().map(definition).collect()
}

/// An object as a row. Give the object as it is served, resourceVersion included: clients watch from it.
pub fn row(kind: &Kind, object: &Value, now: Timestamp, include: IncludeObject) -> Value {
    let mut row = Map::new();
    row.insert("cells".into(), (kind.cells)(object, now).into());
    match include {
        IncludeObject::None => {}
        IncludeObject::Metadata => {
            let partial = json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": object["metadata"],
            });
            row.insert("object".into(), partial);
        }
        IncludeObject::Object => {
            row.insert("object".into(), object.clone());
        }
    }
    row.into()
}

/// The object's name.
pub(super) fn name(object: &Value) -> Value {
    object["metadata"]["name"].clone()
}

/// Time since the object was created.
pub(super) fn age(object: &Value, now: Timestamp) -> Value {
    since(&object["metadata"]["creationTimestamp"], now).into()
}

/// A text, or what stands for an empty one.
pub(super) fn or(value: &Value, empty: &str) -> Value {
    match value.as_str() {
        Some(text) if !text.is_empty() => text.into(),
        _ => empty.into(),
    }
}

/// Time since an RFC 3339 time, or `<unknown>`.
pub(super) fn since(time: &Value, now: Timestamp) -> String {
    let then: Option<Timestamp> = time.as_str().and_then(|text| text.parse().ok());
    then.map_or_else(
        || "<unknown>".to_owned(),
        |then| duration(now.as_second() - then.as_second()),
    )
}

/// A duration in seconds as kubectl prints it: two units at most, and only one where two would feign precision.
pub fn duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let two = |unit: i64, name: &str, small: i64, small_name: &str| match seconds % unit / small {
        0 => format!("{}{name}", seconds / unit),
        rest => format!("{}{name}{rest}{small_name}", seconds / unit),
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(MINUTE, "m", 1, "s"),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(HOUR, "h", MINUTE, "m"),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(DAY, "d", HOUR, "h"),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        63_072_000..252_288_000 => two(YEAR, "y", DAY, "d"),
        _ => format!("{}y", seconds / YEAR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::registry::{find, kinds};

    #[test]
    fn every_kind_has_as_many_cells_as_columns() {
        let bare = json!({"metadata": {"name": "x"}});
        for kind in kinds() {
            let row = row(kind, &bare, Timestamp::UNIX_EPOCH, IncludeObject::None);
            let cells = row["cells"].as_array().unwrap();
            assert_eq!(cells.len(), kind.columns.len(), "{}", kind.kind);
            assert!(row.get("object").is_none());
            for (cell, column) in cells.iter().zip(kind.columns) {
                assert_eq!(
                    cell.is_i64() || cell.is_u64(),
                    column.type_ == "integer",
                    "{} {}",
                    kind.kind,
                    column.name
                );
            }
            assert_eq!(
                column_definitions(kind).as_array().unwrap().len(),
                cells.len()
            );
        }
    }

    #[test]
    fn durations_read_as_in_kubectl() {
        let cases = [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (323, "5m23s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (11_100, "3h5m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (187_200, "2d4h"),
            (172_800, "2d"),
            (691_200, "8d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (252_288_000, "8y"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }

    fn cells(group: &str, plural: &str, object: &Value) -> Vec<Value> {
        let now = "2026-01-02T00:00:00Z".parse().unwrap();
        let row = row(
            find(group, "v1", plural).unwrap(),
            object,
            now,
            IncludeObject::None,
        );
        row["cells"].as_array().unwrap().clone()
    }

    /// Metadata of an object that is a day old.
    fn meta() -> Value {
        json!({"name": "x", "creationTimestamp": "2026-01-01T00:00:00Z"})
    }

    #[test]
    fn workloads_show_counts_and_templates() {
        let template = json!({"spec": {"containers": [{"name": "a", "image": "i:1"}, {"name": "b", "image": "j"}]}});
        let selector = json!({"matchLabels": {"app": "x"}, "matchExpressions": [
            {"key": "t", "operator": "In", "values": ["a", "b"]}, {"key": "g", "operator": "DoesNotExist"}]});
        let deployment = json!({"metadata": meta(),
            "spec": {"replicas": 3, "template": template, "selector": selector},
            "status": {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1}});
        let row = cells("apps", "deployments", &deployment);
        assert_eq!(
            Value::from(row),
            json!([
                "x",
                "1/3",
                2,
                1,
                "24h",
                "a,b",
                "i:1,j",
                "app=x,t in (a,b),!g"
            ])
        );
        let set = json!({"metadata": meta(), "spec": {"replicas": 3, "template": template, "selector": {}},
            "status": {"replicas": 2, "readyReplicas": 1}});
        let row = cells("apps", "replicasets", &set);
        assert_eq!(
            Value::from(row),
            json!(["x", 3, 2, 1, "24h", "a,b", "i:1,j", "<none>"])
        );
    }

    #[test]
    fn nodes_show_readiness_roles_and_machine() {
        let mut node = json!({
            "metadata": meta(),
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "fd00::1"}],
                "nodeInfo": {"kubeletVersion": "v1.33.0", "osImage": "Debian", "kernelVersion": "6.1",
                    "containerRuntimeVersion": "docker://20.10.24"}}});
        node["metadata"]["labels"] = json!({"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": ""});
        let row = cells("", "nodes", &node);
        let expected = json!([
            "x",
            "Ready,SchedulingDisabled",
            "control-plane,worker",
            "24h",
            "v1.33.0",
            "fd00::1",
            "<none>",
            "Debian",
            "6.1",
            "docker://20.10.24"
        ]);
        assert_eq!(Value::from(row), expected);
        node["status"]["conditions"][0]["status"] = json!("Unknown");
        assert_eq!(cells("", "nodes", &node)[1], "NotReady,SchedulingDisabled");
    }

    #[test]
    fn events_show_when_what_and_why() {
        let event = json!({"metadata": meta(), "type": "Warning", "reason": "BackOff", "message": "again\n", "count": 4,
            "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{c}"},
            "firstTimestamp": "2026-01-01T23:00:00Z", "lastTimestamp": "2026-01-01T23:59:50Z",
            "source": {"component": "agent", "host": "n1"}});
        let expected = json!([
            "10s",
            "Warning",
            "BackOff",
            "pod/p",
            "spec.containers{c}",
            "agent, n1",
            "again",
            "60m",
            "4",
            "x"
        ]);
        assert_eq!(Value::from(cells("", "events", &event)), expected);
    }

    #[test]
    fn small_kinds_show_what_they_hold() {
        let table = [
            (
                "",
                "namespaces",
                json!({"status": {"phase": "Active"}}),
                json!(["x", "Active", "24h"]),
            ),
            (
                "",
                "configmaps",
                json!({"data": {"a": "", "b": ""}, "binaryData": {"c": ""}}),
                json!(["x", 3, "24h"]),
            ),
            (
                "",
                "secrets",
                json!({"type": "Opaque", "data": {"a": ""}}),
                json!(["x", "Opaque", 1, "24h"]),
            ),
            ("", "serviceaccounts", json!({}), json!(["x", 0, "24h"])),
            (
                "coordination.k8s.io",
                "leases",
                json!({"spec": {"holderIdentity": "n1"}}),
                json!(["x", "n1", "24h"]),
            ),
        ];
        for (group, plural, mut object, expected) in table {
            object["metadata"] = meta();
            assert_eq!(
                Value::from(cells(group, plural, &object)),
                expected,
                "{plural}"
            );
        }
    }

    #[test]
    fn a_row_carries_what_was_asked_for() {
        let kind = find("", "v1", "configmaps").unwrap();
        let object = json!({"kind": "ConfigMap", "metadata": {"name": "c", "resourceVersion": "4"}, "data": {}});
        let of = |text| {
            row(
                kind,
                &object,
                Timestamp::UNIX_EPOCH,
                IncludeObject::parse(text).unwrap(),
            )
        };
        assert_eq!(of("")["object"]["kind"], "PartialObjectMetadata");
        assert_eq!(of("Metadata")["object"]["metadata"]["resourceVersion"], "4");
        assert!(of("Metadata")["object"].get("data").is_none());
        assert_eq!(of("Object")["object"], object);
        assert_eq!(IncludeObject::parse("All"), None);
    }
}
