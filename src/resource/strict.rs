//! Strict validation: fields that a type does not have, and values of the wrong JSON type.
//!
//! Says what Kubernetes' own decoder says, in its words, so that kubectl prints what people know. Deliberately
//! without rules on values (ranges, formats of names): those belong to a kind, not to its types. The exceptions are
//! texts that Kubernetes reads while decoding: quantities, times and base64.

use std::fmt::Write as _;

use base64::Engine as _;
use serde_json::Value;

use super::quantity::{Quantity, QuantityError};
use super::schema::{Leaf, Shape, Type};

/// Problems reported at most, in number: as many as Kubernetes' decoder collects.
const MAX_PROBLEMS: usize = 100;

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
                // One that is only too large is a value's fault, not its type's.
                let number = value.is_number()
                    || text.is_some_and(|t| Quantity::parse(t) != Err(QuantityError::Syntax));
                if !number {
                    self.unreadable(QuantityError::Syntax.to_string());
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

#[cfg(test)]
mod tests;
