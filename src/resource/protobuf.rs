//! Kubernetes' protobuf bodies to JSON objects, by the schema table.
//!
//! kubectl since 1.32 posts what it builds itself (`create deployment`, …) this way and knows no other. An envelope
//! of `k8s\0` and a `runtime.Unknown` holds apiVersion, kind and the message. Kubernetes' Go encoder writes the zero
//! of every field that is not a pointer, so a zero is taken for absence there. Deliberately without an encoder:
//! every client reads JSON. Deliberately without nested envelopes in raw extensions: nobody sends them.

mod wire;

use base64::Engine as _;
use serde_json::{Map, Value};

use super::schema::{self, Field, Leaf, Presence, Shape, Type};
use wire::{Reader, Scalar};

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// The content type of these bodies.
pub const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// Why a body gives no object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not an envelope at all.
    #[error("provided data does not appear to be a protobuf message, expected prefix {MAGIC:?}")]
    NoEnvelope,
    /// The envelope holds something else than plain protobuf.
    #[error("unsupported content in a protobuf envelope: {0}")]
    Unsupported(String),
    /// No such kind has a type here.
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    UnknownKind {
        /// As the envelope says it.
        api_version: String,
        /// As the envelope says it.
        kind: String,
    },
    /// The bytes do not hold what the type says.
    #[error("protobuf: {reason} at byte {offset}")]
    Malformed {
        /// From the body's first byte.
        offset: usize,
        /// What is wrong.
        reason: &'static str,
    },
}

impl DecodeError {
    /// The HTTP status code that Kubernetes answers with.
    pub fn code(&self) -> u16 {
        match self {
            Self::Unsupported(_) => 415,
            _ => 400,
        }
    }
}

/// The JSON object that a protobuf body stands for, with its apiVersion and kind.
pub fn decode(body: &[u8]) -> Result<Value, DecodeError> {
    let mut reader = Reader::new(body);
    reader.expect(MAGIC).ok_or(DecodeError::NoEnvelope)?;
    let envelope = Envelope::read(reader)?;
    let (api_version, kind) = (envelope.api_version, envelope.kind);
    let Some(ty) = schema::root(api_version, kind) else {
        return Err(DecodeError::UnknownKind {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
        });
    };
    let mut object = Map::new();
    if let Some(raw) = envelope.raw {
        read_message(raw, ty, 0, &mut object)?;
    }
    object.insert("apiVersion".to_owned(), Value::from(api_version));
    object.insert("kind".to_owned(), Value::from(kind));
    Ok(Value::Object(object))
}

/// `runtime.Unknown`, as far as it matters.
#[derive(Default)]
struct Envelope<'a> {
    api_version: &'a str,
    kind: &'a str,
    raw: Option<Reader<'a>>,
}

impl<'a> Envelope<'a> {
    fn read(mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let mut envelope = Self::default();
        while let Some((tag, scalar)) = reader.next_field()? {
            match tag {
                1 => envelope.read_type(scalar.message()?)?,
                2 => envelope.raw = Some(scalar.message()?),
                3 => plain(scalar.message()?.text()?, "")?,
                4 => plain(scalar.message()?.text()?, CONTENT_TYPE)?,
                _ => {}
            }
        }
        Ok(envelope)
    }

    fn read_type(&mut self, mut reader: Reader<'a>) -> Result<(), DecodeError> {
        while let Some((tag, scalar)) = reader.next_field()? {
            match tag {
                1 => self.api_version = scalar.message()?.text()?,
                2 => self.kind = scalar.message()?.text()?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Content encodings and types must be absent or say what is the case anyway.
fn plain(said: &str, usual: &str) -> Result<(), DecodeError> {
    if said.is_empty() || said == usual {
        return Ok(());
    }
    Err(DecodeError::Unsupported(said.to_owned()))
}

/// Reads a message's fields into an object. `outer_tag` is not 0 inside an embedded message of the type.
fn read_message(
    mut reader: Reader<'_>,
    ty: &Type,
    outer_tag: u16,
    object: &mut Map<String, Value>,
) -> Result<(), DecodeError> {
    while let Some((tag, scalar)) = reader.next_field()? {
        let field = |field: &&Field| field.outer_tag == outer_tag && u32::from(field.tag) == tag;
        if let Some(field) = ty.fields().iter().find(field) {
            read_field(scalar, field, object)?;
            continue;
        }
        let inside = |field: &Field| field.outer_tag != 0 && u32::from(field.outer_tag) == tag;
        if outer_tag == 0 && ty.fields().iter().any(inside) {
            read_message(scalar.message()?, ty, tag as u16, object)?;
        }
    }
    Ok(())
}

fn read_field(
    scalar: Scalar<'_>,
    field: &Field,
    object: &mut Map<String, Value>,
) -> Result<(), DecodeError> {
    let name = field.name;
    match field.shape {
        Shape::One(leaf) => {
            match read_leaf(scalar, leaf)?.filter(|value| keeps(field, leaf, value)) {
                Some(value) => object.insert(name.to_owned(), value),
                None => object.remove(name),
            }
        }
        Shape::List(leaf) => {
            let list = object
                .entry(name)
                .or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(list) = list else {
                unreachable!("a list's field holds a list");
            };
            read_elements(scalar, leaf, list)?;
            return Ok(());
        }
        Shape::Map(_) | Shape::MapOfLists(_) => {
            let map = object
                .entry(name)
                .or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(map) = map else {
                unreachable!("a map's field holds an object");
            };
            let (key, value) = read_entry(scalar.message()?, field.shape.element())?;
            map.insert(key, value)
        }
    };
    Ok(())
}

/// Appends one element, or many if they are integers in one packed run.
fn read_elements(scalar: Scalar<'_>, leaf: Leaf, list: &mut Vec<Value>) -> Result<(), DecodeError> {
    let is_integer = matches!(leaf, Leaf::Int32 | Leaf::Int64);
    if is_integer && let Ok(mut packed) = scalar.message() {
        while !packed.is_empty() {
            list.push(read_leaf(packed.varint_scalar()?, leaf)?.unwrap_or_default());
        }
        return Ok(());
    }
    list.push(read_leaf(scalar, leaf)?.unwrap_or_default());
    Ok(())
}

fn read_entry(mut reader: Reader<'_>, shape: Shape) -> Result<(String, Value), DecodeError> {
    let (mut key, mut value) = ("", zero(shape));
    while let Some((tag, scalar)) = reader.next_field()? {
        match (tag, shape) {
            (1, _) => key = scalar.message()?.text()?,
            (2, Shape::One(leaf)) => value = read_leaf(scalar, leaf)?.unwrap_or_default(),
            (2, _) => value = read_items(scalar.message()?, shape.leaf())?,
            _ => {}
        }
    }
    Ok((key.to_owned(), value))
}

/// A message that wraps a list, for protobuf has no maps of lists.
fn read_items(mut reader: Reader<'_>, leaf: Leaf) -> Result<Value, DecodeError> {
    let mut items = Vec::new();
    while let Some((tag, scalar)) = reader.next_field()? {
        if tag == 1 {
            read_elements(scalar, leaf, &mut items)?;
        }
    }
    Ok(Value::Array(items))
}

/// A map's value when the entry has none.
fn zero(shape: Shape) -> Value {
    match shape {
        Shape::One(Leaf::String | Leaf::Bytes) => Value::String(String::new()),
        Shape::One(Leaf::Quantity) => Value::String("0".to_owned()),
        Shape::List(_) => Value::Array(Vec::new()),
        _ => Value::Null,
    }
}

/// One value; `None` for a time that is not set.
fn read_leaf(scalar: Scalar<'_>, leaf: Leaf) -> Result<Option<Value>, DecodeError> {
    let value = match leaf {
        Leaf::String => Value::from(scalar.message()?.text()?),
        Leaf::Bool => Value::from(scalar.varint()? != 0),
        // Negative numbers take ten bytes on the wire: Go widens them first.
        Leaf::Int32 => Value::from(scalar.varint()? as i32),
        Leaf::Int64 => Value::from(scalar.varint()? as i64),
        Leaf::Number => scalar.double()?,
        Leaf::Bytes => {
            let bytes = scalar.message()?.rest();
            Value::from(base64::engine::general_purpose::STANDARD.encode(bytes))
        }
        Leaf::Quantity => read_quantity(scalar.message()?)?,
        Leaf::Time => return read_time(scalar.message()?, "%Y-%m-%dT%H:%M:%SZ"),
        Leaf::MicroTime => return read_time(scalar.message()?, "%Y-%m-%dT%H:%M:%S.%6fZ"),
        Leaf::IntOrString => read_int_or_string(scalar.message()?)?,
        Leaf::Raw | Leaf::Fields => read_json(scalar.message()?)?,
        Leaf::Object(id) => {
            let mut object = Map::new();
            read_message(scalar.message()?, id.get(), 0, &mut object)?;
            Value::Object(object)
        }
    };
    Ok(Some(value))
}

fn read_quantity(mut reader: Reader<'_>) -> Result<Value, DecodeError> {
    let mut quantity = "0";
    while let Some((tag, scalar)) = reader.next_field()? {
        if tag == 1 {
            quantity = scalar.message()?.text()?;
        }
    }
    Ok(Value::from(quantity))
}

fn read_time(mut reader: Reader<'_>, format: &str) -> Result<Option<Value>, DecodeError> {
    if reader.is_empty() {
        return Ok(None);
    }
    let start = reader.clone();
    let (mut seconds, mut nanos) = (0, 0);
    while let Some((tag, scalar)) = reader.next_field()? {
        match tag {
            1 => seconds = scalar.varint()? as i64,
            2 => nanos = scalar.varint()? as i32,
            _ => {}
        }
    }
    let time =
        jiff::Timestamp::new(seconds, nanos).map_err(|_| start.malformed("a time out of range"))?;
    Ok(Some(Value::from(time.strftime(format).to_string())))
}

fn read_int_or_string(mut reader: Reader<'_>) -> Result<Value, DecodeError> {
    let (mut is_string, mut number, mut text) = (false, 0, "");
    while let Some((tag, scalar)) = reader.next_field()? {
        match tag {
            1 => is_string = scalar.varint()? == 1,
            2 => number = scalar.varint()? as i32,
            3 => text = scalar.message()?.text()?,
            _ => {}
        }
    }
    Ok(if is_string {
        Value::from(text)
    } else {
        Value::from(number)
    })
}

/// JSON inside a message.
fn read_json(mut reader: Reader<'_>) -> Result<Value, DecodeError> {
    let mut json = Value::Null;
    while let Some((tag, scalar)) = reader.next_field()? {
        if tag == 1 {
            let raw = scalar.message()?;
            let text = raw.clone().rest();
            json = serde_json::from_slice(text)
                .map_err(|_| raw.malformed("a raw extension that is not JSON"))?;
        }
    }
    Ok(json)
}

/// Whether a value that is there says anything: zeros do only in required fields and pointers.
fn keeps(field: &Field, leaf: Leaf, value: &Value) -> bool {
    if field.presence != Presence::Optional {
        return true;
    }
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !(text.is_empty() || leaf == Leaf::Quantity && text == "0"),
        Value::Object(map) => !map.is_empty(),
        Value::Array(_) => true,
    }
}

#[cfg(test)]
mod tests;
