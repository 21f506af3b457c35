//! Protobuf's wire format: tags, varints, lengths. Knows no types.
//!
//! Deliberately without groups, which proto2 deprecates and Kubernetes never uses.

use serde_json::{Number, Value};

use super::DecodeError;

/// A varint's longest form, in bytes: 64 bits in groups of 7.
const MAX_VARINT_BYTES: usize = 10;

/// The bytes of one message, read from front to back. Knows its place in the whole body, for errors.
#[derive(Clone)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

/// A field's value as far as the wire tells, and where it stands.
#[derive(Clone)]
pub(super) struct Scalar<'a> {
    offset: usize,
    wire: Wire<'a>,
}

#[derive(Clone)]
enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Message(Reader<'a>),
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Consumes this prefix if it is there.
    pub(super) fn expect(&mut self, prefix: &[u8]) -> Option<()> {
        self.bytes = self.bytes.strip_prefix(prefix)?;
        self.offset += prefix.len();
        Some(())
    }

    /// All bytes that are left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.bytes
    }

    /// All bytes that are left, as text.
    pub(super) fn text(self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes).map_err(|_| self.malformed("a string that is not UTF-8"))
    }

    /// The next field's tag and value; `None` at the end.
    pub(super) fn next_field(&mut self) -> Result<Option<(u32, Scalar<'a>)>, DecodeError> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let start = self.clone();
        let key = self.varint()?;
        let tag = u32::try_from(key >> 3).map_err(|_| start.malformed("a tag out of range"))?;
        let offset = self.offset;
        let wire = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => {
                let bytes = self.take(8)?;
                Wire::Fixed64(
                    bytes
                        .iter()
                        .rev()
                        .fold(0, |bits, byte| bits << 8 | u64::from(*byte)),
                )
            }
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length)
                    .map_err(|_| start.malformed("a length out of range"))?;
                let offset = self.offset;
                let bytes = self.take(length)?;
                Wire::Message(Reader { bytes, offset })
            }
            5 => {
                self.take(4)?;
                Wire::Fixed32
            }
            _ => return Err(start.malformed("an unknown wire type")),
        };
        Ok(Some((tag, Scalar { offset, wire })))
    }

    /// The next varint of a packed list.
    pub(super) fn varint_scalar(&mut self) -> Result<Scalar<'a>, DecodeError> {
        let offset = self.offset;
        let wire = Wire::Varint(self.varint()?);
        Ok(Scalar { offset, wire })
    }

    /// An error at the next byte.
    pub(super) fn malformed(&self, reason: &'static str) -> DecodeError {
        DecodeError::Malformed {
            offset: self.offset,
            reason,
        }
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for (at, byte) in self.bytes.iter().take(MAX_VARINT_BYTES).enumerate() {
            let bits = u64::from(byte & 0x7f);
            let shifted = bits << (7 * at);
            if shifted >> (7 * at) != bits {
                break;
            }
            value |= shifted;
            if byte & 0x80 == 0 {
                self.take(at + 1)?;
                return Ok(value);
            }
        }
        Err(self.malformed("a varint without end"))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let Some((taken, rest)) = self.bytes.split_at_checked(length) else {
            return Err(self.malformed("an unexpected end"));
        };
        self.bytes = rest;
        self.offset += length;
        Ok(taken)
    }
}

impl<'a> Scalar<'a> {
    pub(super) fn varint(&self) -> Result<u64, DecodeError> {
        match self.wire {
            Wire::Varint(value) => Ok(value),
            _ => Err(self.wrong()),
        }
    }

    /// A double that JSON can say.
    pub(super) fn double(&self) -> Result<Value, DecodeError> {
        let Wire::Fixed64(bits) = self.wire else {
            return Err(self.wrong());
        };
        let number = Number::from_f64(f64::from_bits(bits)).ok_or_else(|| self.wrong())?;
        Ok(Value::Number(number))
    }

    pub(super) fn message(&self) -> Result<Reader<'a>, DecodeError> {
        match &self.wire {
            Wire::Message(reader) => Ok(reader.clone()),
            _ => Err(self.wrong()),
        }
    }

    fn wrong(&self) -> DecodeError {
        DecodeError::Malformed {
            offset: self.offset,
            reason: "a value of another type than the field's",
        }
    }
}
