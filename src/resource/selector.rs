//! Label and field selectors: as text in a query, and as `LabelSelector` in objects.
//!
//! Deliberately without an index: matching looks at one object at a time.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use super::names;
use super::registry::{Kind, SelectableField};
use super::request::Status;

/// What a list, a watch or a delete-collection is narrowed to.
#[derive(Debug, Default)]
pub struct Selector {
    labels: Labels,
    fields: Vec<FieldRequirement>,
}

impl Selector {
    /// Parses `labelSelector` and `fieldSelector` of a query; "" selects everything.
    ///
    /// # Errors
    /// 400 for a syntax error or a field that the kind cannot be selected by.
    pub fn parse(kind: &Kind, label: &str, field: &str) -> Result<Self, Status> {
        let labels = Labels::parse(label)
            .map_err(|why| Status::bad_request(format!("unable to parse requirement: {why}")))?;
        let fields = parse_fields(kind, field).map_err(|why| {
            let resource = format!("{}/{}, Resource={}", kind.group, kind.version, kind.plural);
            Status::bad_request(format!(
                "Unable to find {resource:?} that match label selector {label:?}, field selector {field:?}: {why}"
            ))
        })?;
        Ok(Self { labels, fields })
    }

    /// Whether it leaves nothing out.
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_empty()
    }

    /// Whether an object is selected.
    pub fn matches(&self, object: &Value) -> bool {
        self.labels.matches_json(&object["metadata"]["labels"])
            && self.fields.iter().all(|field| field.holds(object))
    }
}

/// Requirements on labels, all of which must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Vec<Requirement>);

/// Why a text or a `LabelSelector` is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(String);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
    GreaterThan(i64),
    LessThan(i64),
}

impl Labels {
    /// Parses `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut scanner = Scanner { rest: text.trim() };
        let mut requirements = Vec::new();
        while !scanner.rest.is_empty() {
            requirements.push(scanner.requirement()?.checked()?);
            match scanner.next() {
                Some(",") if !scanner.rest.is_empty() => {}
                None => break,
                Some(other) => {
                    return Err(unexpected(other, "',' and another requirement, or the end"));
                }
            }
        }
        Ok(Self(requirements))
    }

    /// The matcher of an object's selector: an empty one matches everything.
    pub fn of(selector: &LabelSelector) -> Result<Self, SelectorError> {
        let mut requirements = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            let requirement = Requirement {
                key: key.clone(),
                operator: Operator::In(vec![value.clone()]),
            };
            requirements.push(requirement.checked()?);
        }
        for expression in selector.match_expressions.iter().flatten() {
            let values = expression.values.clone().unwrap_or_default();
            let listed = !values.is_empty();
            let operator = match (expression.operator.as_str(), listed) {
                ("In", true) => Operator::In(values),
                ("NotIn", true) => Operator::NotIn(values),
                ("Exists", false) => Operator::Exists,
                ("DoesNotExist", false) => Operator::DoesNotExist,
                ("In" | "NotIn", false) => {
                    return Err(SelectorError(
                        "for 'in', 'notin' operators, values set can't be empty".into(),
                    ));
                }
                ("Exists" | "DoesNotExist", true) => {
                    return Err(SelectorError(
                        "values set must be empty for exists and does not exist".into(),
                    ));
                }
                (other, _) => {
                    return Err(SelectorError(format!(
                        "{other:?} is not a valid label selector operator"
                    )));
                }
            };
            let key = expression.key.clone();
            requirements.push(Requirement { key, operator }.checked()?);
        }
        Ok(Self(requirements))
    }

    /// The matcher of an object's selector as JSON (`spec.selector`).
    pub fn of_json(selector: &Value) -> Result<Self, SelectorError> {
        let selector: LabelSelector = serde_json::from_value(selector.clone())
            .map_err(|error| SelectorError(error.to_string()))?;
        Self::of(&selector)
    }

    /// Whether it leaves nothing out.
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether labels are selected.
    pub fn matches(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        let get = |key: &str| {
            labels
                .and_then(|labels| labels.get(key))
                .map(String::as_str)
        };
        self.0
            .iter()
            .all(|requirement| requirement.holds(get(&requirement.key)))
    }

    /// Whether `metadata.labels` are selected.
    pub fn matches_json(&self, labels: &Value) -> bool {
        self.0
            .iter()
            .all(|requirement| requirement.holds(labels[&requirement.key].as_str()))
    }
}

/// An object's `LabelSelector` (JSON) as a query writes it: `app=web,tier in (a,b),!gone`.
pub fn text(selector: &Value) -> String {
    let labels = selector["matchLabels"].as_object();
    let equal = labels.into_iter().flatten();
    let mut parts: Vec<String> = equal
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    let expressions = selector["matchExpressions"].as_array();
    for expression in expressions.into_iter().flatten() {
        let key = expression["key"].as_str().unwrap_or_default();
        let values = expression["values"].as_array().into_iter().flatten();
        let values: Vec<&str> = values.filter_map(Value::as_str).collect();
        let values = values.join(",");
        parts.push(match expression["operator"].as_str() {
            Some("In") => format!("{key} in ({values})"),
            Some("NotIn") => format!("{key} notin ({values})"),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    parts.join(",")
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.iter().any(|v| v == value)),
            Operator::NotIn(values) => {
                !value.is_some_and(|value| values.iter().any(|v| v == value))
            }
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan(bound) => number().is_some_and(|number| number > *bound),
            Operator::LessThan(bound) => number().is_some_and(|number| number < *bound),
        }
    }

    fn checked(self) -> Result<Self, SelectorError> {
        if let Some(why) = names::qualified(&self.key) {
            return Err(SelectorError(format!(
                "invalid label key {:?}: {why}",
                self.key
            )));
        }
        if let Operator::In(values) | Operator::NotIn(values) = &self.operator {
            for value in values {
                if let Some(why) = names::label_value(value) {
                    return Err(SelectorError(format!(
                        "invalid label value {value:?}: {why}"
                    )));
                }
            }
        }
        Ok(self)
    }
}

/// Cuts a label selector into words and signs.
struct Scanner<'a> {
    rest: &'a str,
}

const SIGNS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", "<", ">"];

impl<'a> Scanner<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let text = self.rest;
        if text.is_empty() {
            return None;
        }
        let sign = SIGNS.iter().find(|sign| text.starts_with(**sign));
        let end = match sign {
            Some(sign) => sign.len(),
            None => text
                .find(|c: char| c.is_whitespace() || "=!(),<>".contains(c))
                .unwrap_or(text.len()),
        };
        let (token, rest) = text.split_at(end);
        self.rest = rest.trim_start();
        Some(token)
    }

    fn peek(&self) -> Option<&'a str> {
        Scanner { rest: self.rest }.next()
    }

    fn word(&mut self) -> Result<&'a str, SelectorError> {
        match self.next() {
            Some(token) if !is_sign(token) => Ok(token),
            other => Err(unexpected(other.unwrap_or_default(), "identifier")),
        }
    }

    /// A value, which may be empty before a comma, a parenthesis or the end.
    fn value(&mut self) -> Result<String, SelectorError> {
        match self.peek() {
            None | Some("," | ")") => Ok(String::new()),
            Some(_) => self.word().map(str::to_owned),
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        if self.peek() == Some("!") {
            self.next();
            let key = self.word()?.to_owned();
            let operator = Operator::DoesNotExist;
            return Ok(Requirement { key, operator });
        }
        let key = self.word()?.to_owned();
        let operator = match self.peek() {
            None | Some(",") => Operator::Exists,
            Some(sign) => {
                self.next();
                match sign {
                    "=" | "==" => Operator::In(vec![self.value()?]),
                    "!=" => Operator::NotIn(vec![self.value()?]),
                    "in" => Operator::In(self.values()?),
                    "notin" => Operator::NotIn(self.values()?),
                    ">" => Operator::GreaterThan(self.number()?),
                    "<" => Operator::LessThan(self.number()?),
                    other => return Err(unexpected(other, "in, notin, =, ==, !=, >, <")),
                }
            }
        };
        Ok(Requirement { key, operator })
    }

    fn values(&mut self) -> Result<Vec<String>, SelectorError> {
        if self.peek() != Some("(") {
            return Err(unexpected(self.peek().unwrap_or_default(), "'('"));
        }
        self.next();
        let mut values = vec![self.value()?];
        loop {
            match self.next() {
                Some(",") => values.push(self.value()?),
                Some(")") => return Ok(values),
                other => return Err(unexpected(other.unwrap_or_default(), "',' or ')'")),
            }
        }
    }

    fn number(&mut self) -> Result<i64, SelectorError> {
        let word = self.word()?;
        word.parse().map_err(|_| unexpected(word, "an integer"))
    }
}

fn is_sign(token: &str) -> bool {
    SIGNS.contains(&token)
}

fn unexpected(found: &str, expected: &str) -> SelectorError {
    SelectorError(format!("found '{found}', expected: {expected}"))
}

#[derive(Debug)]
struct FieldRequirement {
    field: &'static SelectableField,
    value: String,
    equal: bool,
}

static METADATA: [SelectableField; 2] = [
    SelectableField {
        label: "metadata.name",
        pointers: &["/metadata/name"],
        absent: "",
    },
    SelectableField {
        label: "metadata.namespace",
        pointers: &["/metadata/namespace"],
        absent: "",
    },
];

impl FieldRequirement {
    fn holds(&self, object: &Value) -> bool {
        let found = self
            .field
            .pointers
            .iter()
            .find_map(|pointer| object.pointer(pointer));
        let same = match found {
            Some(Value::String(text)) => *text == self.value,
            Some(Value::Null) | None => self.field.absent == self.value,
            Some(Value::Bool(flag)) => self.value.parse() == Ok(*flag),
            Some(Value::Number(number)) => self.value.parse().ok().as_ref() == Some(number),
            Some(_) => false,
        };
        same == self.equal
    }
}

fn parse_fields(kind: &Kind, text: &str) -> Result<Vec<FieldRequirement>, String> {
    let parts = split_escaped(text);
    let parts = parts
        .iter()
        .map(String::as_str)
        .filter(|part| !part.is_empty());
    parts.map(|part| parse_field(kind, part)).collect()
}

fn parse_field(kind: &Kind, part: &str) -> Result<FieldRequirement, String> {
    let (label, value, equal) = if let Some((label, value)) = part.split_once("!=") {
        (label, value, false)
    } else if let Some((label, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        (label, value, true)
    } else {
        return Err(format!(
            "invalid selector: '{part}'; can't understand '{part}'"
        ));
    };
    let known = METADATA
        .iter()
        .chain(kind.fields)
        .find(|field| field.label == label.trim());
    let Some(field) = known else {
        return Err(format!("field label not supported: {label}"));
    };
    Ok(FieldRequirement {
        field,
        value: unescape(value),
        equal,
    })
}

/// Splits at commas that no backslash precedes; the backslashes stay.
fn split_escaped(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        if c == ',' && !escaped {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(c);
        }
        escaped = c == '\\' && !escaped;
    }
    parts
}

fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '\\' => chars.next().unwrap_or('\\'),
            c => c,
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::registry::find;

    #[test]
    fn label_selectors_match_as_in_kubernetes() {
        let labels = json!({"app": "web", "tier": "front", "n": "5", "e": ""});
        let cases = [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            (" app = web ", true),
            ("app=api", false),
            ("app!=api", true),
            ("app!=web", false),
            ("none!=web", true),
            ("app in (web,api)", true),
            ("app in(web)", true),
            ("app in (api)", false),
            ("none in (api)", false),
            ("app notin (web)", false),
            ("none notin (web)", true),
            ("app", true),
            ("none", false),
            ("!none", true),
            ("! app", false),
            ("app=web,tier=front", true),
            ("app=web,tier=back", false),
            ("app in (a,web),tier,!none", true),
            ("n>4", true),
            ("n>5", false),
            ("n<6", true),
            ("e=", true),
            ("e in (,x)", true),
            ("app=", false),
        ];
        for (text, expected) in cases {
            let selector = Labels::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(selector.matches_json(&labels), expected, "{text}");
        }
        assert!(Labels::parse("!a").unwrap().matches(None));
        assert!(!Labels::parse("a").unwrap().matches_json(&Value::Null));
    }

    #[test]
    fn bad_label_selectors_are_400() {
        let pods = find("", "v1", "pods").unwrap();
        for text in [
            "=", "a in", "a in b", "a in (b", "a,,b", "a,", ",a", "a b", "a=b c", "a=-", "_a",
            "n>x", "!", "!a=b",
        ] {
            let status = Selector::parse(pods, text, "").expect_err(text);
            assert_eq!(status.code, 400, "{text}: {status}");
        }
    }

    #[test]
    fn typed_selectors_match_and_are_checked() {
        let selector = |value: Value| Labels::of_json(&value);
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        let web = selector(json!({"matchLabels": {"app": "web"}})).unwrap();
        assert!(web.matches(Some(&labels)) && !web.matches(None));
        let cases = [
            ("In", json!(["web"]), true),
            ("NotIn", json!(["web"]), false),
            ("Exists", json!(null), true),
            ("DoesNotExist", json!([]), false),
        ];
        for (operator, values, expected) in cases {
            let expression = json!({"key": "app", "operator": operator, "values": values});
            let matcher = selector(json!({"matchExpressions": [expression]})).unwrap();
            assert_eq!(matcher.matches(Some(&labels)), expected, "{operator}");
        }
        assert!(selector(json!({})).unwrap().is_everything());
        for (operator, values) in [
            ("In", json!([])),
            ("Exists", json!(["a"])),
            ("Like", json!(["a"])),
        ] {
            let expression = json!({"key": "app", "operator": operator, "values": values});
            assert!(
                selector(json!({"matchExpressions": [expression]})).is_err(),
                "{operator}"
            );
        }
    }

    #[test]
    fn field_selectors_match_what_describe_and_drain_ask_for() {
        let pod = json!({"metadata": {"name": "p", "namespace": "d"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}});
        let cases = [
            ("metadata.name=p", true),
            ("metadata.name=q", false),
            (
                "spec.nodeName=n1,status.phase!=Succeeded,status.phase!=Failed",
                true,
            ),
            ("spec.nodeName==n1,status.phase!=Running", false),
            ("spec.hostNetwork=false", true),
            ("status.podIP=", true),
            (r"metadata.name=a\,b", false),
        ];
        let pods = find("", "v1", "pods").unwrap();
        for (text, expected) in cases {
            assert_eq!(
                Selector::parse(pods, "", text).unwrap().matches(&pod),
                expected,
                "{text}"
            );
        }
        let event = json!({"involvedObject": {"name": "p", "kind": "Pod", "uid": "u"}, "reason": "R",
            "source": {"component": "agent"}});
        let events = find("", "v1", "events").unwrap();
        let text = "involvedObject.name=p,involvedObject.namespace=,involvedObject.kind=Pod,involvedObject.uid=u,source=agent";
        assert!(Selector::parse(events, "", text).unwrap().matches(&event));
        assert!(
            !Selector::parse(events, "", "type=Warning")
                .unwrap()
                .matches(&event)
        );
    }

    #[test]
    fn an_unsupported_field_is_400_with_kubernetes_words() {
        let pods = find("", "v1", "pods").unwrap();
        let status = Selector::parse(pods, "", "spec.foo=x").expect_err("not supported");
        assert_eq!(status.code, 400);
        assert_eq!(
            status.message,
            "Unable to find \"/v1, Resource=pods\" that match label selector \"\", field selector \"spec.foo=x\": \
             field label not supported: spec.foo"
        );
        assert_eq!(
            Selector::parse(pods, "", "nonsense")
                .expect_err("no operator")
                .code,
            400
        );
    }

    #[test]
    fn everything_is_everything() {
        let pods = find("", "v1", "pods").unwrap();
        assert!(Selector::parse(pods, "", "").unwrap().is_everything());
        assert!(!Selector::parse(pods, "a", "").unwrap().is_everything());
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,40}") {
            let _ = Labels::parse(&text);
            let _ = Selector::parse(find("", "v1", "pods").unwrap(), "", &text);
        }
    }
}
