//! How long a lease for unique pods is, and how long the leader waits before it lets go of such a pod.
//!
//! A node holds a lease for its unique pods (DESIGN.md, Masters and nodes). It counts from the moment at which the node
//! *sent* the newest reply that the leader has acknowledged; the leader counts from when it acknowledged, which is later.
//! Before it acknowledges, the leader asks a quorum whether it still leads: so whoever is elected next is so after that
//! reply was sent, and counts from its own beginning. No word that is late, lost or one-way makes the one shorter or the
//! other longer. Deliberately only arithmetic; who counts what is in `link_end.rs` and `node_links/unique.rs`.

use std::time::Duration;

/// A node's lease, by its own clock. An election with all that follows (a new link, the node's pods, a first
/// acknowledgement) takes up to 5 s, and a lease is renewed every 2 s: a change of leaders stops nothing.
pub(super) const LEASE_MS: u64 = 10_000;
/// The end of a lease is looked for this often.
pub(super) const LOOK_MS: u64 = 250;
/// From a lease's end until nothing of the node's unique pods runs any more: the look above, SIGKILL, and an engine that
/// is busy; the last takes most of it.
const STOP_MS_MAX: u64 = 3_000;
/// Longer than that a node may be kept from doing it all: its process is not scheduled, or dies and is started again.
const STALL_MS_MAX: u64 = 8_000;
/// Rates of clocks, in percent of the true one. Real ones are within a thousandth of this; the simulation's are not.
const RATE_PERCENT_MIN: u64 = 80;
const RATE_PERCENT_MAX: u64 = 125;
/// The leader lets go of a unique pod so long after the last word to its node that prolonged its lease, by its own clock.
pub(super) const WAIT_MS: u64 = 30_000;

const _: () = {
    // True milliseconds, each at the worse end: 24,000 against 12,500 + 3,000 + 8,000.
    let waited = WAIT_MS * 100 / RATE_PERCENT_MAX;
    let held = LEASE_MS * 100 / RATE_PERCENT_MIN;
    assert!(held + STOP_MS_MAX + STALL_MS_MAX < waited);
    assert!(LOOK_MS < STOP_MS_MAX);
};

/// [`LEASE_MS`].
pub(super) const LEASE: Duration = Duration::from_millis(LEASE_MS);
/// [`WAIT_MS`].
pub(super) const WAIT: Duration = Duration::from_millis(WAIT_MS);
