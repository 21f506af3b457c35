//! Strict validation: fields that a type does not have, and values of the wrong JSON type.
//!
//! Says what Kubernetes' own decoder says, in its words, so that kubectl prints what people know. Deliberately
//! without rules on values (ranges, formats of names): those belong to a kind, not to its types. The exceptions are
//! texts that Kubernetes reads while decoding: quantities, times and base64.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use base64::Engine as _;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::schema::{Leaf, Shape, Type};

/// Problems reported at most, in number: as many as Kubernetes' decoder collects.
pub const MAX_PROBLEMS: usize = 100;

/// Of a text that cannot be read, in characters: messages are for one line.
const MAX_SHOWN_CHARS: usize = 64;

/// One thing wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, as kubectl prints it: `spec.containers[0].imag`.
    pub path: String,
    /// For people, e.g. `unknown field "spec.containers[0].imag"`.
    pub message: String,
    /// What sort.
    pub kind: ProblemKind,
}

/// What sort of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The type has no such field. Whether that is an error, a warning or nothing is `fieldValidation`'s to say.
    Unknown,
    /// The value cannot be read as the field's type. Always an error.
    WrongType,
}

/// What is wrong with an object of this type; the first [`MAX_PROBLEMS`] in the order of its fields.
///
/// `null` is right everywhere, as in Kubernetes: it means absent.
pub fn check(object: &Value, ty: &Type) -> Vec<Problem> {
    let mut walk = Walk::default();
    walk.object(object, ty, "");
    walk.problems
}

/// Keys that occur more than once in an object of a JSON text, as paths; the first [`MAX_PROBLEMS`].
///
/// In a text that is not JSON, those before the error.
pub fn duplicates(json: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let seed = Duplicates {
        path: String::new(),
        found: &mut found,
    };
    // An error is the parser's to report, which reads the same text.
    let _ = seed.deserialize(&mut serde_json::Deserializer::from_slice(json));
    found
}

/// A step from an object into a part of it.
#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    MapKey(&'a str),
    Index(usize),
}

fn push_step(path: &mut String, step: Step<'_>) {
    match step {
        Step::Field(key) | Step::MapKey(key) => {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(key);
        }
        Step::Index(at) => write!(path, "[{at}]").expect("a string can always be written to"),
    }
}

#[derive(Default)]
struct Walk<'a> {
    steps: Vec<Step<'a>>,
    problems: Vec<Problem>,
}

impl<'a> Walk<'a> {
    /// `owner` is the type that has the field, for messages; "" at the root.
    fn object(&mut self, value: &'a Value, ty: &Type, owner: &str) {
        let map = match value {
            Value::Object(map) => map,
            Value::Null => return,
            _ => return self.wrong(value, owner, &go_object(ty)),
        };
        for (key, value) in map {
            self.steps.push(Step::Field(key));
            match ty.field(key) {
                Some(field) => self.shape(value, field.shape, ty.short_name()),
                None => self.unknown(),
            }
            self.steps.pop();
        }
    }

    fn shape(&mut self, value: &'a Value, shape: Shape, owner: &str) {
        match (shape, value) {
            (_, Value::Null) => {}
            (Shape::One(leaf), _) => self.leaf(value, leaf, owner),
            (Shape::List(_), Value::Array(items)) => {
                for (at, item) in items.iter().enumerate() {
                    self.steps.push(Step::Index(at));
                    self.shape(item, shape.element(), owner);
                    self.steps.pop();
                }
            }
            (Shape::Map(_) | Shape::MapOfLists(_), Value::Object(map)) => {
                for (key, value) in map {
                    self.steps.push(Step::MapKey(key));
                    self.shape(value, shape.element(), owner);
                    self.steps.pop();
                }
            }
            _ => self.wrong(value, owner, &go_shape(shape)),
        }
    }

    fn leaf(&mut self, value: &'a Value, leaf: Leaf, owner: &str) {
        let text = value.as_str();
        match leaf {
            Leaf::Object(id) => return self.object(value, id.get(), owner),
            Leaf::Quantity => {
                if !(value.is_number() || text.is_some_and(is_quantity)) {
                    self.unreadable(NOT_A_QUANTITY.to_owned());
                }
                return;
            }
            Leaf::Bytes if text.is_some() => return self.base64(text.unwrap_or_default()),
            Leaf::Time | Leaf::MicroTime if text.is_some() => {
                return self.time(text.unwrap_or_default());
            }
            _ => {}
        }
        let right = match leaf {
            Leaf::String => value.is_string(),
            Leaf::Bool => value.is_boolean(),
            Leaf::Int32 => is_int32(value),
            Leaf::IntOrString => value.is_string() || is_int32(value),
            Leaf::Int64 => value.is_i64(),
            Leaf::Number => value.is_number(),
            Leaf::Fields => value.is_object(),
            Leaf::Raw => true,
            Leaf::Bytes | Leaf::Time | Leaf::MicroTime | Leaf::Quantity | Leaf::Object(_) => false,
        };
        if !right {
            self.wrong(value, owner, go_leaf(leaf));
        }
    }

    fn base64(&mut self, text: &str) {
        let standard = base64::engine::general_purpose::STANDARD;
        // Go's decoder skips line ends; so may what kubectl users paste.
        let bytes: Vec<u8> = text
            .bytes()
            .filter(|b| !matches!(b, b'\r' | b'\n'))
            .collect();
        if let Err(error) = standard.decode(bytes) {
            let at = match error {
                base64::DecodeError::InvalidByte(at, _)
                | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                _ => text.len(),
            };
            self.unreadable(format!("illegal base64 data at input byte {at}"));
        }
    }

    fn time(&mut self, text: &str) {
        if text.parse::<jiff::Timestamp>().is_err() {
            let shown: String = text.chars().take(MAX_SHOWN_CHARS).collect();
            self.unreadable(format!(
                "parsing time {shown:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {shown:?}"
            ));
        }
    }

    fn unknown(&mut self) {
        let path = self.path();
        let message = format!("unknown field {path:?}");
        self.report(path, message, ProblemKind::Unknown);
    }

    fn wrong(&mut self, value: &Value, owner: &str, go_type: &str) {
        let found = json_type(value, go_type);
        let message = if owner.is_empty() {
            format!("json: cannot unmarshal {found} into Go value of type {go_type}")
        } else {
            let field = self.fields();
            format!(
                "json: cannot unmarshal {found} into Go struct field {owner}.{field} of type {go_type}"
            )
        };
        self.report(self.path(), message, ProblemKind::WrongType);
    }

    fn unreadable(&mut self, message: String) {
        self.report(self.path(), message, ProblemKind::WrongType);
    }

    fn report(&mut self, path: String, message: String, kind: ProblemKind) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem {
                path,
                message,
                kind,
            });
        }
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for step in &self.steps {
            push_step(&mut path, *step);
        }
        path
    }

    /// The path in Go's words: struct fields only.
    fn fields(&self) -> String {
        let field = |step: &Step<'a>| match *step {
            Step::Field(name) => Some(name),
            _ => None,
        };
        let names: Vec<&str> = self.steps.iter().filter_map(field).collect();
        names.join(".")
    }
}

const NOT_A_QUANTITY: &str = "quantities must match the regular expression \
    '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// A decimal number and one of Kubernetes' suffixes or an exponent.
fn is_quantity(text: &str) -> bool {
    let number = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = number
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(number.len());
    let (digits, suffix) = number.split_at(end);
    let is_number = digits.bytes().any(|b| b.is_ascii_digit()) && digits.matches('.').count() <= 1;
    is_number && (SUFFIXES.contains(&suffix) || is_exponent(suffix))
}

const SUFFIXES: [&str; 16] = [
    "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
];

fn is_exponent(suffix: &str) -> bool {
    let Some(digits) = suffix.strip_prefix(['e', 'E']) else {
        return false;
    };
    let digits = digits.strip_prefix(['+', '-']).unwrap_or(digits);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

fn is_int32(value: &Value) -> bool {
    value.as_i64().is_some_and(|n| i32::try_from(n).is_ok())
}

/// What Go calls a JSON value; a number that should be an integer is shown, for it may be too large or fractional.
fn json_type(value: &Value, wanted: &str) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) if wanted.starts_with("int") => format!("number {number}"),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    }
}

/// `v1.PodSpec`.
fn go_object(ty: &Type) -> String {
    let mut parts = ty.name.rsplit('.');
    let (name, package) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    format!("{package}.{name}")
}

fn go_shape(shape: Shape) -> String {
    let leaf = match shape.object() {
        Some(ty) => go_object(ty),
        None => go_leaf(shape.leaf()).to_owned(),
    };
    match shape {
        Shape::One(_) => leaf,
        Shape::List(_) => format!("[]{leaf}"),
        Shape::Map(_) => format!("map[string]{leaf}"),
        Shape::MapOfLists(_) => format!("map[string][]{leaf}"),
    }
}

fn go_leaf(leaf: Leaf) -> &'static str {
    match leaf {
        Leaf::String | Leaf::Time | Leaf::MicroTime => "string",
        Leaf::Bool => "bool",
        Leaf::Int32 => "int32",
        Leaf::Int64 => "int64",
        Leaf::Number => "float64",
        Leaf::Quantity => "resource.Quantity",
        Leaf::IntOrString => "intstr.IntOrString",
        Leaf::Bytes => "[]uint8",
        Leaf::Raw => "runtime.RawExtension",
        Leaf::Fields => "v1.FieldsV1",
        Leaf::Object(_) => "object",
    }
}

/// Reads a JSON text for nothing but its repeated keys.
struct Duplicates<'a> {
    path: String,
    found: &'a mut Vec<String>,
}

impl Duplicates<'_> {
    fn step(&mut self, step: Step<'_>) -> Duplicates<'_> {
        let mut path = self.path.clone();
        push_step(&mut path, step);
        Duplicates {
            path,
            found: self.found,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Duplicates<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Duplicates<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let inner = self.step(Step::MapKey(&key));
            if seen.contains(&key) && inner.found.len() < MAX_PROBLEMS {
                let path = inner.path.clone();
                inner.found.push(path);
            }
            map.next_value_seed(inner)?;
            seen.insert(key);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let mut at = 0;
        while items
            .next_element_seed(self.step(Step::Index(at)))?
            .is_some()
        {
            at += 1;
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
