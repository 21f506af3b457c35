//! Bounded memory: what a node keeps beside the objects, its log and its watch history, stays within the bounds that it
//! was given.
//!
//! Deliberately without mailboxes: their length is no figure that the product has.

use kagero::actors::doors::Known;
use kagero::raft::Config;
use kagero::store::HistoryBounds;

use crate::world::Plan;

/// A leader keeps up to so many times as much as it would for itself for members that lag.
const KEPT_FOR_LAGGARDS: usize = 4;
/// What a log charges an entry beside its payload; the cap on what is not committed counts payloads alone.
const ENTRY_OVERHEAD_BYTES: usize = 64;
/// No client or controller of the simulation proposes less at a time.
const PAYLOAD_BYTES_MIN: usize = 256;
/// A snapshot carries each object with its key and three numbers.
const RECORD_OVERHEAD_BYTES: u64 = 256;
/// And what became of the newest proposals, each in a few numbers; there was no more than one a revision, and as many
/// that changed nothing.
const OUTCOMES_BYTES_A_REVISION: u64 = 128;

/// What a node may keep, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Of the history.
    pub history: u64,
    /// Of the log.
    pub log: u64,
}

impl Bounds {
    /// Those of a node in a simulated world, as it knows itself.
    pub fn of(plan: &Plan, known: &Known) -> Self {
        let view = &known.view;
        let records = view.len() as u64 * RECORD_OVERHEAD_BYTES;
        let snapshot = view.value_bytes() + records + view.revision() * OUTCOMES_BYTES_A_REVISION;
        let leads = known.standing.leads.then_some(snapshot);
        Self::given(&plan.consensus, plan.watch_history, leads)
    }

    /// Those that follow from what it was given; a leader sends a snapshot of so many bytes at most, and keeps as much
    /// of the log beside, so that its receiver need not begin anew.
    fn given(config: &Config, history: HistoryBounds, leads: Option<u64>) -> Self {
        let kept = leads.map_or(config.log_bytes_kept as u64, |snapshot| {
            (KEPT_FOR_LAGGARDS * config.log_bytes_kept) as u64 + snapshot
        });
        let cap = config.uncommitted_bytes_max;
        let uncommitted = cap + cap / PAYLOAD_BYTES_MIN * ENTRY_OVERHEAD_BYTES;
        Self {
            history: history.bytes_max as u64,
            log: kept + uncommitted as u64,
        }
    }
}

/// A node keeps more than it may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{node} keeps {bytes} bytes of {what}, which is more than {max}")]
pub struct TooMuch {
    /// Which.
    pub node: String,
    /// Of what.
    pub what: &'static str,
    /// How much.
    pub bytes: u64,
    /// How much it may.
    pub max: u64,
}

/// Judges one node's history and log, in bytes.
pub fn check(node: &str, (history, log): (u64, u64), bounds: &Bounds) -> Result<(), TooMuch> {
    let bounds = [
        ("watch history", history, bounds.history),
        ("log", log, bounds.log),
    ];
    match bounds.into_iter().find(|(_, bytes, max)| bytes > max) {
        None => Ok(()),
        Some((what, bytes, max)) => Err(TooMuch {
            node: node.to_owned(),
            what,
            bytes,
            max,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(leads: Option<u64>) -> Bounds {
        let config = Config {
            log_bytes_kept: 1_000,
            uncommitted_bytes_max: 512 + 128,
            ..Config::default()
        };
        let history = HistoryBounds {
            events_max: 10,
            bytes_max: 2_000,
        };
        Bounds::given(&config, history, leads)
    }

    #[test]
    fn more_than_the_bound_is_found() {
        let follower = bounds(None);
        assert_eq!(check("n1", (2_000, 1_768), &follower), Ok(()));
        assert!(check("n1", (2_001, 0), &follower).is_err());
        assert!(check("n1", (0, 1_769), &follower).is_err());
    }

    #[test]
    fn a_leader_keeps_more_for_those_that_lag() {
        let leader = bounds(Some(500));
        assert_eq!(check("n1", (0, 5_268), &leader), Ok(()));
        assert!(check("n1", (0, 5_269), &leader).is_err());
    }
}
