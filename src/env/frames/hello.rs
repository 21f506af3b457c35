//! How a connection begins: a message each way, under deadlines.
//!
//! The one who dials speaks first, so that the one who was dialled can look before it answers. What the greetings say
//! is the callers'; here is only the preamble that tells this protocol from any other.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{BoxStream, ConnectionError, HEADER_BYTES};

/// For one greeting to go out or to come in.
pub const HELLO_MS_MAX: u64 = 2_000;

/// A greeting says who and what; it carries no objects.
pub const HELLO_BYTES_MAX: usize = 64 << 10;

/// Name and version of the protocol. Not a frame's header that could be valid, nor the start of HTTP or TLS.
const PREAMBLE: [u8; 8] = *b"\xffkagero\x01";

/// Says who this is.
pub async fn write_hello<H: Serialize>(
    stream: &mut BoxStream,
    hello: &H,
) -> Result<(), ConnectionError> {
    let mut out = Vec::from(PREAMBLE);
    out.extend([0; HEADER_BYTES]);
    rmp_serde::encode::write_named(&mut out, hello)
        .map_err(|error| ConnectionError::Unwritable(error.to_string()))?;
    let start = PREAMBLE.len() + HEADER_BYTES;
    let bytes = bounded(out.len() - start)?;
    out[PREAMBLE.len()..start].copy_from_slice(&(bytes as u32).to_be_bytes());
    let write = async {
        stream.write_all(&out).await?;
        Ok(stream.flush().await?)
    };
    within(HELLO_MS_MAX, write).await
}

/// Hears who that is. Reads not one byte more.
pub async fn read_hello<H: DeserializeOwned>(stream: &mut BoxStream) -> Result<H, ConnectionError> {
    let read = async {
        let mut preamble = [0; PREAMBLE.len()];
        stream.read_exact(&mut preamble).await?;
        if preamble != PREAMBLE {
            return Err(ConnectionError::Foreign);
        }
        let mut body = vec![0; bounded(stream.read_u32().await? as usize)?];
        stream.read_exact(&mut body).await?;
        rmp_serde::from_slice(&body).map_err(|error| ConnectionError::Unreadable(error.to_string()))
    };
    within(HELLO_MS_MAX, read).await
}

fn bounded(bytes: usize) -> Result<usize, ConnectionError> {
    let max = HELLO_BYTES_MAX;
    let fits = bytes <= max;
    fits.then_some(bytes)
        .ok_or(ConnectionError::TooLarge { bytes, max })
}

async fn within<T>(
    ms: u64,
    step: impl Future<Output = Result<T, ConnectionError>>,
) -> Result<T, ConnectionError> {
    let deadline = Duration::from_millis(ms);
    let late = |_| Err(ConnectionError::Silent(deadline));
    timeout(deadline, step).await.unwrap_or_else(late)
}
