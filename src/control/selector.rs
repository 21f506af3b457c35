//! Label selectors as objects carry them (`spec.selector`), compiled once and matched often.
//!
//! Deliberately not the query strings of list and watch; `resource` has those.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// A compiled `meta/v1 LabelSelector`: all requirements must hold. An empty one matches everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selector(Vec<(String, Requirement)>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Compiles it; the error says what is wrong.
    pub(crate) fn compile(selector: &LabelSelector) -> Result<Self, String> {
        let labels = selector.match_labels.iter().flatten();
        let mut requirements: Vec<_> = labels
            .map(|(key, value)| (key.clone(), Requirement::In(vec![value.clone()])))
            .collect();
        for expression in selector.match_expressions.iter().flatten() {
            requirements.push((expression.key.clone(), requirement(expression)?));
        }
        Ok(Self(requirements))
    }

    /// Whether these labels meet every requirement.
    pub(crate) fn matches(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.0.iter().all(|(key, requirement)| {
            let value = labels.and_then(|labels| labels.get(key));
            match requirement {
                Requirement::In(values) => value.is_some_and(|v| values.contains(v)),
                Requirement::NotIn(values) => value.is_none_or(|v| !values.contains(v)),
                Requirement::Exists => value.is_some(),
                Requirement::DoesNotExist => value.is_none(),
            }
        })
    }
}

fn requirement(expression: &LabelSelectorRequirement) -> Result<Requirement, String> {
    let values = expression.values.clone().unwrap_or_default();
    match (expression.operator.as_str(), values.is_empty()) {
        ("In", false) => Ok(Requirement::In(values)),
        ("NotIn", false) => Ok(Requirement::NotIn(values)),
        ("Exists", true) => Ok(Requirement::Exists),
        ("DoesNotExist", true) => Ok(Requirement::DoesNotExist),
        (operator, _) => Err(format!(
            "operator {operator:?} with {} value(s) on key {:?}",
            values.len(),
            expression.key
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requirements_hold_as_in_kubernetes() {
        // (selector, labels, whether it matches)
        let table = [
            (json!({}), json!({}), true),
            (
                json!({"matchLabels": {"a": "1"}}),
                json!({"a": "1", "b": "2"}),
                true,
            ),
            (json!({"matchLabels": {"a": "1"}}), json!({"a": "2"}), false),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}),
                json!({"a": "2"}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}),
                json!({}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}),
                json!({"a": "1"}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]}),
                json!({"a": ""}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}),
                json!({"a": ""}),
                false,
            ),
        ];
        for (selector, labels, expected) in table {
            let compiled =
                Selector::compile(&serde_json::from_value(selector.clone()).unwrap()).unwrap();
            let labels: BTreeMap<String, String> = serde_json::from_value(labels).unwrap();
            assert_eq!(
                compiled.matches(Some(&labels)),
                expected,
                "{selector} on {labels:?}"
            );
        }
    }

    #[test]
    fn an_unknown_operator_is_an_error() {
        let selector = json!({"matchExpressions": [{"key": "a", "operator": "Near"}]});
        assert!(Selector::compile(&serde_json::from_value(selector).unwrap()).is_err());
    }
}
