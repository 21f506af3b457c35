//! A snapshot as an object: its name, and its bytes.
//!
//! Pure. Layout: the header's length (4 bytes, little-endian), the header as JSON, the store's own encoding (which ends with
//! its checksum), and a checksum of the header and of that checksum (8 bytes): whatever is damaged, cut off or put
//! together of two objects is found. Not compressed and not encrypted: buckets do the latter.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::raft::{ClusterId, Index, Term};
use crate::store::{RestoreError, Revision, checksum};

/// Where snapshots are kept.
pub(super) const FOLDER: &str = "snapshots/";
const SUFFIX: &str = ".kagero";

const LENGTH_BYTES: usize = size_of::<u32>();
const CHECKSUM_BYTES: usize = size_of::<u64>();

/// What a snapshot says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// The cluster's id.
    pub cluster: u64,
    /// Its generation.
    pub generation: u64,
    /// The term of the entry at `index`.
    pub term: Term,
    /// All entries up to this one are in it.
    pub index: Index,
    /// The store's revision then.
    pub revision: Revision,
    /// When it was taken, milliseconds since the Unix epoch on its leader's clock.
    pub time_ms: i64,
    /// The leader that took it.
    pub node: String,
}

/// What a snapshot is called. Ordered by how new it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The generation.
    pub generation: u64,
    /// The last entry that is in it.
    pub index: Index,
    /// That entry's term.
    pub term: Term,
    /// The cluster's id.
    pub cluster: u64,
}

/// Why bytes are no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Not even a header.
    #[error("it is cut off or no snapshot at all")]
    CutOff,
    /// Damaged.
    #[error("its checksum does not match")]
    Checksum,
    /// The header is no header.
    #[error("its header cannot be read: {0}")]
    Header(#[from] serde_json::Error),
    /// The state cannot be read.
    #[error(transparent)]
    Body(#[from] RestoreError),
    /// It is another snapshot than its name, or header, says.
    #[error("it is another snapshot than its name says")]
    Misnamed,
}

impl Header {
    /// What it is called.
    pub fn name(&self) -> Name {
        Name {
            generation: self.generation,
            index: self.index,
            term: self.term,
            cluster: self.cluster,
        }
    }

    /// The cluster and generation.
    pub fn cluster(&self) -> ClusterId {
        ClusterId {
            id: self.cluster,
            generation: self.generation,
        }
    }
}

impl Name {
    /// The object's name.
    pub fn path(&self) -> String {
        self.path_in(FOLDER, SUFFIX)
    }

    /// From an object's name; `None` for whatever else is kept there.
    pub fn parse(path: &str) -> Option<Self> {
        Self::parse_in(FOLDER, SUFFIX, path)
    }

    /// The name of an object of this kind.
    pub(super) fn path_in(&self, folder: &str, suffix: &str) -> String {
        let Self {
            generation,
            index,
            term,
            cluster,
        } = self;
        format!("{folder}{cluster:016x}/{generation:020}/{term:020}-{index:020}{suffix}")
    }

    /// What [`Name::path_in`] made.
    pub(super) fn parse_in(folder: &str, suffix: &str, path: &str) -> Option<Self> {
        let mut parts = path.strip_prefix(folder)?.split('/');
        let cluster = u64::from_str_radix(parts.next()?, 16).ok()?;
        let generation = parts.next()?.parse().ok()?;
        let (term, index) = parts.next()?.strip_suffix(suffix)?.split_once('-')?;
        let name = Self {
            generation,
            index: index.parse().ok()?,
            term: term.parse().ok()?,
            cluster,
        };
        (parts.next().is_none() && name.path_in(folder, suffix) == path).then_some(name)
    }
}

/// A snapshot's bytes, in pieces: its body, which may be large, is not copied.
pub fn encode(header: &Header, body: Bytes) -> Vec<Bytes> {
    let header = serde_json::to_vec(header).expect("a header has only string keys");
    let length = u32::try_from(header.len()).expect("a header has some hundred bytes");
    let mut head = BytesMut::with_capacity(LENGTH_BYTES + header.len());
    head.put_u32_le(length);
    head.put_slice(&header);
    let seal = seal(&header, &body).to_le_bytes();
    vec![head.freeze(), body, Bytes::copy_from_slice(&seal)]
}

/// The checksum over the header and the body's own checksum.
fn seal(header: &[u8], body: &[u8]) -> u64 {
    let own = &body[body.len().saturating_sub(CHECKSUM_BYTES)..];
    checksum(&[header, own].concat())
}

/// Reads what [`encode`] wrote; the body is still to be read, and to be checked, by the store.
pub fn decode(bytes: &Bytes) -> Result<(Header, Bytes), Unreadable> {
    let mut rest = bytes.clone();
    if rest.len() < LENGTH_BYTES + CHECKSUM_BYTES {
        return Err(Unreadable::CutOff);
    }
    let expected = rest.split_off(rest.len() - CHECKSUM_BYTES).get_u64_le();
    let length = rest.get_u32_le() as usize;
    if rest.len() < length {
        return Err(Unreadable::CutOff);
    }
    let header = rest.split_to(length);
    if seal(&header, &rest) != expected {
        return Err(Unreadable::Checksum);
    }
    Ok((serde_json::from_slice(&header)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn header() -> Header {
        Header {
            cluster: 0xab,
            generation: 2,
            term: 3,
            index: 40,
            revision: 0,
            time_ms: 1_000,
            node: "n1".into(),
        }
    }

    #[test]
    fn a_name_tells_what_it_is_the_name_of() {
        let name = header().name();
        assert_eq!(Name::parse(&name.path()), Some(name));
        let path = "snapshots/00000000000000ab/00000000000000000002/00000000000000000003-00000000000000000040.kagero";
        assert_eq!(name.path(), path);
        for other in [
            "snapshots/x",
            "generations/1.json",
            &path[..90],
            "snapshots/ab/2/3-40.kagero",
        ] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }

    #[test]
    fn whatever_is_damaged_is_found() {
        let body = Store::new().snapshot().encode();
        let whole = Bytes::from(encode(&header(), body).concat());
        let (read, body) = decode(&whole).unwrap();
        assert_eq!(read, header());
        Store::restore(&body).unwrap();
        let read = |bytes: Vec<u8>| -> Result<Store, Unreadable> {
            let (_, body) = decode(&bytes.into())?;
            Ok(Store::restore(&body)?)
        };
        for at in 0..whole.len() {
            let mut damaged = whole.to_vec();
            damaged[at] ^= 0x10;
            assert!(read(damaged).is_err(), "byte {at} of {}", whole.len());
            assert!(read(whole[..at].to_vec()).is_err(), "cut off at {at}");
        }
    }
}
