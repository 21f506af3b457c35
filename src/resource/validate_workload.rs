//! The rules of Deployment and ReplicaSet: selector, template, counts, strategy.

use serde_json::{Value, json};

use super::selector::Labels;
use super::validate::{Causes, annotations, labels, non_negative};
use super::validate_pod;

/// `apps/v1 Deployment`.
pub(super) fn deployment(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    replicas_selector_template(spec, "deployment", causes);
    non_negative(spec, "spec", "revisionHistoryLimit", causes);
    strategy(&spec["strategy"], causes);
    let ready = spec["minReadySeconds"].as_i64().unwrap_or(0);
    if spec["progressDeadlineSeconds"]
        .as_i64()
        .is_some_and(|deadline| deadline <= ready)
    {
        let value = &spec["progressDeadlineSeconds"];
        causes.invalid(
            "spec.progressDeadlineSeconds",
            value,
            "must be greater than minReadySeconds",
        );
    }
}

/// `apps/v1 ReplicaSet`.
pub(super) fn replica_set(object: &Value, causes: &mut Causes) {
    replicas_selector_template(&object["spec"], "replicaset", causes);
}

/// A change of either: its pods must remain its own.
pub(super) fn selector_is_immutable(new: &Value, current: &Value, causes: &mut Causes) {
    let selector = &new["spec"]["selector"];
    if *selector != current["spec"]["selector"] {
        causes.invalid("spec.selector", selector, "field is immutable");
    }
}

fn replicas_selector_template(spec: &Value, kind: &str, causes: &mut Causes) {
    non_negative(spec, "spec", "replicas", causes);
    non_negative(spec, "spec", "minReadySeconds", causes);
    let selector = &spec["selector"];
    let matcher = if selector.is_null() {
        causes.required("spec.selector", "");
        None
    } else {
        match Labels::of_json(selector) {
            Ok(matcher) if matcher.is_everything() => {
                let detail = format!("empty selector is invalid for {kind}");
                causes.invalid("spec.selector", selector, &detail);
                None
            }
            Ok(matcher) => Some(matcher),
            Err(error) => {
                causes.invalid("spec.selector", selector, &error.to_string());
                None
            }
        }
    };
    template(&spec["template"], matcher.as_ref(), causes);
}

fn template(template: &Value, matcher: Option<&Labels>, causes: &mut Causes) {
    let found = &template["metadata"]["labels"];
    if matcher.is_some_and(|matcher| !matcher.matches_json(found)) {
        let shown = if found.is_null() {
            json!({})
        } else {
            found.clone()
        };
        let detail = "`selector` does not match template `labels`";
        causes.invalid("spec.template.metadata.labels", &shown, detail);
    }
    labels(found, "spec.template.metadata.labels", causes);
    let notes = &template["metadata"]["annotations"];
    annotations(notes, "spec.template.metadata.annotations", causes);
    let spec = &template["spec"];
    validate_pod::spec(spec, "spec.template.spec", causes);
    if spec["restartPolicy"] != "Always" {
        let path = "spec.template.spec.restartPolicy";
        causes.not_supported(path, &spec["restartPolicy"], &["Always"]);
    }
    if !spec["activeDeadlineSeconds"].is_null() {
        let detail = "activeDeadlineSeconds in ReplicaSet is not Supported";
        causes.forbidden("spec.template.spec.activeDeadlineSeconds", detail);
    }
}

fn strategy(strategy: &Value, causes: &mut Causes) {
    match strategy["type"].as_str() {
        Some("Recreate") => {
            if !strategy["rollingUpdate"].is_null() {
                let detail = "may not be specified when strategy `type` is 'Recreate'";
                causes.forbidden("spec.strategy.rollingUpdate", detail);
            }
        }
        Some("RollingUpdate") => rolling_update(&strategy["rollingUpdate"], causes),
        _ => causes.not_supported(
            "spec.strategy.type",
            &strategy["type"],
            &["Recreate", "RollingUpdate"],
        ),
    }
}

fn rolling_update(rolling: &Value, causes: &mut Causes) {
    let path = |field: &str| format!("spec.strategy.rollingUpdate.{field}");
    let mut amount = |field: &str| {
        let value = &rolling[field];
        let amount = int_or_percent(value);
        match amount {
            None => {
                let detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
                causes.invalid(path(field), value, detail);
            }
            Some(number) if number < 0 => {
                causes.invalid(path(field), value, "must be greater than or equal to 0");
            }
            Some(_) => {}
        }
        amount
    };
    let (unavailable, surge) = (amount("maxUnavailable"), amount("maxSurge"));
    if unavailable == Some(0) && surge == Some(0) {
        let detail = "may not be 0 when `maxSurge` is 0";
        causes.invalid(path("maxUnavailable"), &rolling["maxUnavailable"], detail);
    }
    let percent = rolling["maxUnavailable"].is_string();
    if percent && unavailable.is_some_and(|share| share > 100) {
        let detail = "must not be greater than 100%";
        causes.invalid(path("maxUnavailable"), &rolling["maxUnavailable"], detail);
    }
}

/// The number, whether counted or in percent.
fn int_or_percent(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => {
            let digits = text.strip_suffix('%')?;
            let plain = digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse().ok().filter(|_| plain)
        }
        other => other.as_i64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::default;

    fn valid() -> Value {
        let mut object = json!({"metadata": {"name": "web"}, "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
        }});
        default::deployment(&mut object);
        object
    }

    #[test]
    fn each_rule_names_its_field_and_reason() {
        let table = [
            ("/spec/replicas", json!(3), ""),
            (
                "/spec/replicas",
                json!(-1),
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            ),
            (
                "/spec/selector",
                json!(null),
                "spec.selector: Required value",
            ),
            (
                "/spec/selector",
                json!({}),
                "spec.selector: Invalid value: {}: empty selector is invalid for deployment",
            ),
            (
                "/spec/selector/matchLabels",
                json!({"app": "api"}),
                "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`",
            ),
            (
                "/spec/template/metadata",
                json!({"labels": {"app": "web"}, "annotations": {"/x": ""}}),
                "spec.template.metadata.annotations: Invalid value: \"/x\": prefix part must be non-empty",
            ),
            (
                "/spec/template/spec/restartPolicy",
                json!("Never"),
                "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
            ),
            (
                "/spec/progressDeadlineSeconds",
                json!(0),
                "spec.progressDeadlineSeconds: Invalid value: 0: must be greater than minReadySeconds",
            ),
            (
                "/spec/strategy/type",
                json!("Blue"),
                "spec.strategy.type: Unsupported value: \"Blue\": supported values: \"Recreate\", \"RollingUpdate\"",
            ),
            (
                "/spec/strategy/type",
                json!("Recreate"),
                "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
            ),
            (
                "/spec/strategy/rollingUpdate",
                json!({"maxSurge": 0, "maxUnavailable": "0%"}),
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0",
            ),
            (
                "/spec/strategy/rollingUpdate/maxUnavailable",
                json!("101%"),
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
            ),
        ];
        for (pointer, value, expected) in table {
            let mut object = valid();
            *object.pointer_mut(pointer).unwrap() = value.clone();
            let mut causes = Causes::default();
            deployment(&object, &mut causes);
            assert_eq!(causes.to_string(), expected, "{pointer} = {value}");
        }
    }

    #[test]
    fn a_percentage_is_digits_and_a_sign() {
        for (value, number) in [
            (json!(2), Some(2)),
            (json!("25%"), Some(25)),
            (json!("25"), None),
            (json!("+5%"), None),
            (json!("%"), None),
            (json!(null), None),
        ] {
            assert_eq!(int_or_percent(&value), number, "{value}");
        }
    }

    #[test]
    fn the_selector_stays() {
        let (current, mut new) = (valid(), valid());
        let mut causes = Causes::default();
        selector_is_immutable(&new, &current, &mut causes);
        assert!(causes.is_empty());
        new["spec"]["selector"]["matchLabels"]["app"] = json!("api");
        selector_is_immutable(&new, &current, &mut causes);
        assert_eq!(
            causes.to_string(),
            "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"api\"}}: field is immutable"
        );
    }
}
