//! JSON and YAML documents into values, telling of keys given twice.
//!
//! The last of two equal keys wins, as in Kubernetes; whether the first one's loss is an error, a warning or nothing
//! is the caller's to decide (`fieldValidation`). Depth and alias bombs are refused by the parsers' own bounds.

use std::cell::RefCell;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Duplicates told of one document; a hundredth is no news.
const DUPLICATES_TOLD_MAX: usize = 20;

/// A document, read.
#[derive(Debug, PartialEq)]
pub(super) struct Document {
    /// What it says.
    pub(super) value: Value,
    /// Paths of keys that were given more than once, e.g. `spec.replicas`.
    pub(super) duplicates: Vec<String>,
}

/// Reads one JSON document.
pub(super) fn from_json(bytes: &[u8]) -> Result<Document, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let document = read(&mut deserializer)?;
    deserializer.end()?;
    Ok(document)
}

/// Reads one YAML document.
pub(super) fn from_yaml(bytes: &[u8]) -> Result<Document, serde_yaml_ng::Error> {
    read(serde_yaml_ng::Deserializer::from_slice(bytes))
}

fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Document, D::Error> {
    let duplicates = RefCell::new(Vec::new());
    let seed = Seed {
        path: &Path::Root,
        duplicates: &duplicates,
    };
    let value = seed.deserialize(deserializer)?;
    Ok(Document {
        value,
        duplicates: duplicates.into_inner(),
    })
}

/// Where in the document a value stands; rendered only when there is something to tell.
enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    path: &'a Path<'a>,
    duplicates: &'a RefCell<Vec<String>>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value);
        number
            .map(Value::Number)
            .ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        loop {
            let path = &Path::Index(self.path, values.len());
            let Some(value) = sequence.next_element_seed(Seed { path, ..self })? else {
                return Ok(Value::Array(values));
            };
            values.push(value);
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let path = &Path::Field(self.path, &key);
            let value = entries.next_value_seed(Seed { path, ..self })?;
            let mut duplicates = self.duplicates.borrow_mut();
            if object.contains_key(&key) && duplicates.len() < DUPLICATES_TOLD_MAX {
                duplicates.push(path.to_string());
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn duplicates_are_told_with_their_path_and_the_last_wins() {
        let text = br#"{"spec":{"replicas":1,"list":[{"a":1},{"a":1,"a":2}],"replicas":3}}"#;
        let document = from_json(text).unwrap();
        assert_eq!(document.value["spec"]["replicas"], 3);
        assert_eq!(document.value["spec"]["list"][1]["a"], 2);
        assert_eq!(document.duplicates, ["spec.list[1].a", "spec.replicas"]);
    }

    #[test]
    fn yaml_reads_as_json_does() {
        let document =
            from_yaml(b"kind: Pod\nspec: {a: 1, a: 2, on: yes, f: 1.5, n: ~}\n").unwrap();
        let expected = json!({"kind":"Pod","spec":{"a":2,"on":"yes","f":1.5,"n":null}});
        assert_eq!(document.value, expected);
        assert_eq!(document.duplicates, ["spec.a"]);
    }

    #[test]
    fn what_is_no_single_document_is_refused() {
        assert!(from_json(b"{} {}").is_err());
        assert!(from_json(b"{").is_err());
        assert!(from_json("[".repeat(100_000).as_bytes()).is_err());
        assert!(from_yaml(b"a: 1\n---\nb: 2\n").is_err());
        assert!(from_yaml(b"a: .nan\n").is_err());
        assert!(from_yaml(b"a: [\n").is_err());
    }
}
