//! Commands as bytes: a version byte, then MessagePack with named fields.
//!
//! What a replica does not understand it must not apply, and skipping it would make it diverge. So an unknown version,
//! operation *or field* is an error, on which the caller halts the replica.

use std::io::ErrorKind::UnexpectedEof;

use bytes::Bytes;
use rmp_serde::decode;
use serde::Deserialize;

use super::{Command, Operation};

/// The newest version this program writes, and the only one it reads.
pub const COMMAND_VERSION: u8 = 1;

/// What a command without parts takes at most: its fields' names and numbers.
const COMMAND_OVERHEAD_BYTES: usize = 96;

/// What one comparison or operation takes at most beside its key and value.
const PART_OVERHEAD_BYTES: usize = 40;

/// Bytes that are not a command this program understands. The replica must halt: others may have applied it.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Nothing at all.
    #[error("an empty command")]
    Empty,
    /// Written by a newer program.
    #[error("command version {0} is unknown (this program reads {COMMAND_VERSION})")]
    UnknownVersion(u8),
    /// Not MessagePack, or with an operation or a field this program does not know.
    #[error("unreadable command: {0}")]
    Unreadable(#[from] rmp_serde::decode::Error),
    /// Something follows the command.
    #[error("bytes follow the command")]
    Trailing,
}

impl Command {
    /// The command as a log entry's payload.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.size_hint());
        out.push(COMMAND_VERSION);
        rmp_serde::encode::write_named(&mut out, self)
            .expect("a Vec takes every byte and the types have no custom serializer");
        out.into()
    }

    /// At least the encoded size, and not much more: the log keeps the whole allocation.
    fn size_hint(&self) -> usize {
        let compare = self.transaction.compare.iter().map(|c| c.key.len());
        let operations = self.transaction.operations.iter().map(|o| match o {
            Operation::Put { key, value } => key.len() + value.len(),
            Operation::Delete { key } => key.len(),
        });
        let part = |bytes| bytes + PART_OVERHEAD_BYTES;
        COMMAND_OVERHEAD_BYTES + compare.chain(operations).map(part).sum::<usize>()
    }

    /// Reads what [`Self::encode`] wrote. Values are copied, so that none keeps the log entry it came in alive.
    pub fn decode(bytes: &[u8]) -> Result<Self, CommandError> {
        let (&version, body) = bytes.split_first().ok_or(CommandError::Empty)?;
        if version != COMMAND_VERSION {
            return Err(CommandError::UnknownVersion(version));
        }
        let mut reader = rmp_serde::Deserializer::from_read_ref(body);
        let command = Self::deserialize(&mut reader)?;
        match <()>::deserialize(&mut reader) {
            Err(decode::Error::InvalidMarkerRead(end)) if end.kind() == UnexpectedEof => {
                Ok(command)
            }
            _ => Err(CommandError::Trailing),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Bytes that a program of this command version, but of another build, might have written.
    fn written(body: &serde_json::Value) -> Vec<u8> {
        let mut bytes = vec![COMMAND_VERSION];
        rmp_serde::encode::write_named(&mut bytes, body).unwrap();
        bytes
    }

    fn command(operation: serde_json::Value) -> serde_json::Value {
        json!({
            "id": {"origin": 1, "sequence": 2},
            "time_ms": 3,
            "transaction": {"compare": [], "operations": [operation]},
        })
    }

    #[test]
    fn what_it_knows_it_reads() {
        let delete = written(&command(json!({"Delete": {"key": "a"}})));
        let decoded = Command::decode(&delete).unwrap();
        assert_eq!(decoded.transaction.operations.len(), 1);
        assert_eq!(decoded.encode(), delete);
    }

    #[test]
    fn what_it_does_not_know_it_refuses() {
        let unknown_operation = command(json!({"Lease": {"key": "a"}}));
        let unknown_field = command(json!({"Delete": {"key": "a", "lease": 1}}));
        for body in [unknown_operation, unknown_field] {
            let refused = Command::decode(&written(&body)).unwrap_err();
            assert!(matches!(refused, CommandError::Unreadable(_)), "{refused}");
        }
        let mut later = written(&command(json!({"Delete": {"key": "a"}})));
        later.push(0);
        let refused = Command::decode(&later).unwrap_err();
        assert!(matches!(refused, CommandError::Trailing), "{refused}");
        later[0] = COMMAND_VERSION + 1;
        let refused = Command::decode(&later).unwrap_err();
        assert!(
            matches!(refused, CommandError::UnknownVersion(2)),
            "{refused}"
        );
        let refused = Command::decode(&[]).unwrap_err();
        assert!(matches!(refused, CommandError::Empty), "{refused}");
        // What begins to be something, and nothing.
        for trailing in [0x91, 0x81, 0xc0] {
            let mut longer = written(&command(json!({"Delete": {"key": "a"}})));
            longer.push(trailing);
            let refused = Command::decode(&longer).unwrap_err();
            assert!(matches!(refused, CommandError::Trailing), "{refused}");
        }
    }
}
