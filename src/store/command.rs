//! Commands as bytes: a version byte, then MessagePack with named fields.
//!
//! What a replica does not understand it must not apply, and skipping it would make it diverge. So an unknown version,
//! operation *or field* is an error, on which the caller halts the replica.

use bytes::Bytes;

use super::Command;

/// The newest version this program writes, and the only one it reads.
pub const COMMAND_VERSION: u8 = 1;

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
    #[error("{0} bytes follow the command")]
    TrailingBytes(usize),
}

impl Command {
    /// The command as a log entry's payload.
    pub fn encode(&self) -> Bytes {
        let mut out = vec![COMMAND_VERSION];
        rmp_serde::encode::write_named(&mut out, self)
            .expect("a Vec takes every byte and the types have no custom serializer");
        out.into()
    }

    /// Reads what [`Self::encode`] wrote. Values are copied, so that none keeps the log entry it came in alive.
    pub fn decode(bytes: &[u8]) -> Result<Self, CommandError> {
        let (&version, mut body) = bytes.split_first().ok_or(CommandError::Empty)?;
        if version != COMMAND_VERSION {
            return Err(CommandError::UnknownVersion(version));
        }
        let command = rmp_serde::from_read(&mut body)?;
        if !body.is_empty() {
            return Err(CommandError::TrailingBytes(body.len()));
        }
        Ok(command)
    }
}
