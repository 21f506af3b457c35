//! The replicated state, taken in O(1), and its encoding.
//!
//! Layout: one version byte; MessagePack values one after the other, a header, then each record and each outcome as
//! arrays; an 8-byte checksum of all before it. The watch history is deliberately not in it: it may differ from
//! replica to replica, and a snapshot must not.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::hash::StableHash;
use super::outcomes::Outcomes;
use super::{OUTCOMES_REMEMBERED_MAX, Outcome, ProposalId, Record, Revision, View};

/// The version of the encoding this program writes, and the only one it reads.
pub const SNAPSHOT_VERSION: u8 = 1;

/// The checksum is taken over pieces of this size, so that an [`Encoder`] has no long pass left at its end.
const CHECKSUM_PIECE_BYTES: usize = 64 << 10;

/// About what a record takes beside its value; a wrong guess costs a reallocation.
const RECORD_OVERHEAD_BYTES: usize = 128;

const CHECKSUM_BYTES: usize = size_of::<u64>();

/// The replicated state at one revision. Cheap to take, to clone and to keep, as a [`View`] is.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(super) view: View,
    pub(super) outcomes: Outcomes,
}

/// Bytes that are not a whole snapshot of this version.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Shorter than a version byte and a checksum.
    #[error("a snapshot of {0} bytes is cut off")]
    CutOff(usize),
    /// Written by another program.
    #[error("snapshot version {0} is unknown (this program reads {SNAPSHOT_VERSION})")]
    UnknownVersion(u8),
    /// Damaged on its way.
    #[error("the snapshot's checksum does not match")]
    Checksum,
    /// Its checksum is right and yet it cannot be read.
    #[error("unreadable snapshot: {0}")]
    Unreadable(#[from] rmp_serde::decode::Error),
    /// It can be read and yet no store wrote it.
    #[error("impossible snapshot: {0}")]
    Impossible(&'static str),
}

/// What stands first.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    revision: Revision,
    records: u64,
    outcomes: u64,
}

impl Snapshot {
    /// The map.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// All of it in one go. A caller that must not pause takes [`Self::encoder`].
    pub fn encode(&self) -> Bytes {
        let mut encoder = self.clone().encoder();
        while encoder.advance(usize::MAX) {}
        encoder.finish()
    }

    /// Encodes it piece by piece.
    pub fn encoder(self) -> Encoder {
        let header = Header {
            revision: self.view.revision(),
            records: self.view.len() as u64,
            outcomes: self.outcomes.len() as u64,
        };
        let view = &self.view;
        let values = view.value_bytes() as usize;
        let mut out = Vec::with_capacity(values + (view.len() + 1) * RECORD_OVERHEAD_BYTES);
        out.push(SNAPSHOT_VERSION);
        let mut encoder = Encoder {
            snapshot: self,
            last: None,
            done: false,
            out,
            hash: StableHash::new(),
            hashed: 0,
        };
        encoder.write(&header);
        encoder
    }
}

/// Writes a snapshot piece by piece, so that a node with much to write can do other things in between.
#[derive(Debug)]
pub struct Encoder {
    snapshot: Snapshot,
    last: Option<Arc<str>>,
    done: bool,
    out: Vec<u8>,
    hash: StableHash,
    hashed: usize,
}

impl Encoder {
    /// Writes records until at least `bytes` more are written, then the outcomes in one go. False when all is written.
    pub fn advance(&mut self, bytes: usize) -> bool {
        if self.done {
            return false;
        }
        let target = self.out.len().saturating_add(bytes);
        let view = self.snapshot.view.clone();
        let start = self.last.clone();
        let start = start.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        for (key, record) in view.records_from(start) {
            let Record {
                create_revision,
                mod_revision,
                version,
                value,
            } = record;
            self.write(&(key, create_revision, mod_revision, version, value));
            if self.out.len() >= target {
                self.last = Some(key.clone());
                return true;
            }
        }
        let outcomes = self.snapshot.outcomes.clone();
        for (id, outcome) in outcomes.iter() {
            self.write(&(id, outcome));
        }
        self.done = true;
        false
    }

    /// The encoding, whole.
    pub fn finish(mut self) -> Bytes {
        while self.advance(usize::MAX) {}
        self.hash.bytes(&self.out[self.hashed..]);
        self.out.extend(self.hash.finish().to_le_bytes());
        self.out.into()
    }

    fn write<T: Serialize>(&mut self, value: &T) {
        rmp_serde::encode::write(&mut self.out, value)
            .expect("a Vec takes every byte and the types have no custom serializer");
        while self.out.len() - self.hashed > CHECKSUM_PIECE_BYTES {
            let end = self.hashed + CHECKSUM_PIECE_BYTES;
            self.hash.bytes(&self.out[self.hashed..end]);
            self.hashed = end;
        }
    }
}

/// The checksum of a whole body; an [`Encoder`] takes the same piecewise. Finds accidents, not attackers.
pub fn checksum(body: &[u8]) -> u64 {
    let mut hash = StableHash::new();
    body.chunks(CHECKSUM_PIECE_BYTES)
        .for_each(|piece| hash.bytes(piece));
    hash.finish()
}

/// A forged body with a checksum that matches it.
#[cfg(test)]
pub(super) fn seal(mut body: Vec<u8>) -> Vec<u8> {
    body.extend(checksum(&body).to_le_bytes());
    body
}

/// Reads what an [`Encoder`] wrote.
pub(super) fn decode(bytes: &[u8]) -> Result<Snapshot, RestoreError> {
    let cut_off = RestoreError::CutOff(bytes.len());
    let Some((body, expected)) = bytes.split_last_chunk::<CHECKSUM_BYTES>() else {
        return Err(cut_off);
    };
    let Some((&version, mut rest)) = body.split_first() else {
        return Err(cut_off);
    };
    if version != SNAPSHOT_VERSION {
        return Err(RestoreError::UnknownVersion(version));
    }
    if checksum(body) != u64::from_le_bytes(*expected) {
        return Err(RestoreError::Checksum);
    }
    let header: Header = read(&mut rest)?;
    let snapshot = Snapshot {
        view: decode_view(&mut rest, &header)?,
        outcomes: decode_outcomes(&mut rest, &header)?,
    };
    ensure(rest.is_empty(), "bytes follow its end")?;
    Ok(snapshot)
}

fn read<T: DeserializeOwned>(rest: &mut &[u8]) -> Result<T, RestoreError> {
    Ok(rmp_serde::from_read(rest)?)
}

/// Values and keys are copied out one by one: a slice of the snapshot would keep all of it alive as long as itself.
fn decode_view(rest: &mut &[u8], header: &Header) -> Result<View, RestoreError> {
    let mut view = View::default();
    let mut last: Option<Arc<str>> = None;
    for _ in 0..header.records {
        let (key, create_revision, mod_revision, version, value): (Arc<str>, _, _, _, Bytes) =
            read(rest)?;
        ensure(last.is_none_or(|last| last < key), "keys out of order")?;
        ensure(create_revision >= 1, "a record of no revision")?;
        ensure(create_revision <= mod_revision, "changed before creation")?;
        ensure(mod_revision <= header.revision, "a record of the future")?;
        ensure(version >= 1, "a record of no version")?;
        last = Some(key.clone());
        let record = Record {
            create_revision,
            mod_revision,
            version,
            value,
        };
        view.restore(key, record);
    }
    if header.revision > 0 {
        view.advance(header.revision);
    }
    Ok(view)
}

fn decode_outcomes(rest: &mut &[u8], header: &Header) -> Result<Outcomes, RestoreError> {
    let bounded = header.outcomes <= OUTCOMES_REMEMBERED_MAX as u64;
    ensure(bounded, "more outcomes than are remembered")?;
    let mut outcomes = Outcomes::default();
    for _ in 0..header.outcomes {
        let (id, outcome): (ProposalId, Outcome) = read(rest)?;
        ensure(outcomes.get(id).is_none(), "a proposal twice")?;
        outcomes.remember(id, outcome);
    }
    Ok(outcomes)
}

fn ensure(condition: bool, otherwise: &'static str) -> Result<(), RestoreError> {
    condition
        .then_some(())
        .ok_or(RestoreError::Impossible(otherwise))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn refused(body: Vec<u8>) -> String {
        Store::restore(&seal(body)).unwrap_err().to_string()
    }

    fn body(header: &Header, records: &[(&str, u64, u64, u64)]) -> Vec<u8> {
        let mut out = vec![SNAPSHOT_VERSION];
        rmp_serde::encode::write(&mut out, header).unwrap();
        for (key, created, changed, version) in records {
            let record = (key, created, changed, version, Bytes::from_static(b"value"));
            rmp_serde::encode::write(&mut out, &record).unwrap();
        }
        out
    }

    #[test]
    fn an_empty_store_survives() {
        let restored = Store::restore(&Store::new().snapshot().encode()).unwrap();
        assert_eq!(restored.revision(), 0);
        assert_eq!(restored.history(0, ""), Ok(Vec::new()));
    }

    #[test]
    fn an_encoder_pauses_after_the_bytes_it_was_granted() {
        let three = [("a", 1, 1, 1), ("b", 2, 2, 1), ("c", 3, 3, 1)];
        let header = Header {
            revision: 3,
            records: 3,
            outcomes: 0,
        };
        let body = seal(body(&header, &three));
        let mut encoder = Store::restore(&body).unwrap().snapshot().encoder();
        let mut pauses = 0;
        while encoder.advance(1) {
            pauses += 1;
        }
        assert_eq!(pauses, 3, "one a record");
        assert_eq!(encoder.finish(), body);
    }

    #[test]
    fn each_damage_has_its_error() {
        let encoded = Store::new().snapshot().encode().to_vec();
        let error = |bytes: &[u8]| Store::restore(bytes).unwrap_err();
        assert!(matches!(error(&encoded[..8]), RestoreError::CutOff(8)));
        assert!(matches!(
            error(&encoded[1..]),
            RestoreError::UnknownVersion(_)
        ));
        let mut flipped = encoded;
        flipped[1] ^= 1;
        assert!(matches!(error(&flipped), RestoreError::Checksum));
        flipped.truncate(1);
        assert!(matches!(error(&seal(flipped)), RestoreError::Unreadable(_)));
    }

    #[test]
    fn what_no_store_wrote_is_impossible() {
        let header = |records| Header {
            revision: 5,
            records,
            outcomes: 0,
        };
        let one = header(1);
        let two = header(2);
        assert!(Store::restore(&seal(body(&one, &[("a", 1, 5, 2)]))).is_ok());
        let twice = body(&two, &[("a", 1, 1, 1), ("a", 2, 2, 1)]);
        assert_eq!(refused(twice), "impossible snapshot: keys out of order");
        let future = body(&one, &[("a", 1, 6, 1)]);
        assert_eq!(
            refused(future),
            "impossible snapshot: a record of the future"
        );
        let unborn = body(&one, &[("a", 3, 2, 1)]);
        assert_eq!(
            refused(unborn),
            "impossible snapshot: changed before creation"
        );
        let longer = body(&header(0), &[("a", 1, 1, 1)]);
        assert_eq!(refused(longer), "impossible snapshot: bytes follow its end");
        let outcomes = Header {
            outcomes: u64::MAX,
            ..header(0)
        };
        let flood = body(&outcomes, &[]);
        assert_eq!(
            refused(flood),
            "impossible snapshot: more outcomes than are remembered"
        );
    }
}
