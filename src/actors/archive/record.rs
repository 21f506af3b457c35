//! A restore as people read it: the record that a generation begins with, if it began with a snapshot or with nothing.
//!
//! Pure. Where records are kept, `generation_record.rs` knows.

use jiff::Timestamp;
use rand::RngCore;
use serde_json::json;

use super::super::generation_record::Kind;
use super::super::messages::RestoreRecord;
use super::{Claim, Found};
use crate::resource::time;
use crate::store::{Operation, View};

const RESTORE: Kind = Kind("restore");

const MILLIS_PER_SECOND: i64 = 1_000;

/// What is known of a restore: the claim that it began with, the snapshot, if there was one, and the store's URL.
pub(in super::super) fn describe(
    claim: &Claim,
    found: Option<&Found>,
    url: &str,
    now: Timestamp,
) -> RestoreRecord {
    let mut record = RestoreRecord {
        generation: claim.generation,
        time: claim.time.clone(),
        founder: claim.node.clone(),
        source: String::new(),
        snapshot_time: String::new(),
        age_seconds: 0,
        from_generation: 0,
        last_term: 0,
        last_index: 0,
        revision: 0,
        skipped: Vec::new(),
        may_be_lost: format!("everything: there was no snapshot in {url}"),
    };
    let Some(found) = found else { return record };
    let header = &found.header;
    // A leader's clock may have been ahead of this one.
    let age_ms = now.as_millisecond().saturating_sub(header.time_ms).max(0);
    let taken = Timestamp::from_millisecond(header.time_ms).unwrap_or_default();
    record.source = format!("{url}/{}", found.name);
    record.snapshot_time = time::text(taken);
    record.age_seconds = (age_ms / MILLIS_PER_SECOND).unsigned_abs();
    record.from_generation = header.generation;
    record.last_term = header.term;
    record.last_index = header.index;
    record.revision = header.revision;
    record.skipped.clone_from(&found.skipped);
    record.may_be_lost = format!(
        "every write that was acknowledged after revision {} (entry {} of term {}), which {} had at {}; what was \
         deleted since then is back",
        header.revision, header.index, header.term, header.node, record.snapshot_time,
    );
    record
}

/// The writes that the generation begins with.
pub(in super::super) fn operations(
    record: &RestoreRecord,
    entropy: &mut dyn RngCore,
) -> Vec<Operation> {
    let data = json!({
        "time": record.time,
        "source": record.source,
        "ageSeconds": record.age_seconds.to_string(),
        "mayBeLost": record.may_be_lost,
    });
    RESTORE.operations(record.generation, record, data, entropy)
}

/// The record of a generation's beginning, if it began with a restore and it is still there.
pub(in super::super) fn find(view: &View, generation: u64) -> Option<RestoreRecord> {
    RESTORE.find(view, generation)
}
