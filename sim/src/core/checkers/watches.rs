//! Watches from the store's history: every change after a revision, in order, once, transactions whole; or the word
//! that the history no longer reaches back, and only where its bounds or its beginning make it so.

use kagero::raft::PeerId;
use kagero::store::{Compacted, Event, HistoryBounds, Revision};

use super::ensure;
use super::model::{Change, Row};
use super::state_machine::{HISTORY_BOUNDS, equal};
use crate::core::peer::Machine;

/// What an event is charged beside its key and the value that went: itself, and three allocations' headers
/// (`store/history.rs`). Written down a second time, so that a history that is charged more is one that forgets early.
const EVENT_COST_BYTES: usize = size_of::<Event>() + 3 * 32;

/// Follows one peer's history from a revision; true if it reached back so far.
pub fn check(
    peer: PeerId,
    machine: &Machine,
    changes: &[Change],
    (after, prefix): (Revision, &str),
) -> Result<bool, String> {
    let store = &machine.store;
    let newest = store.revision();
    match store.history(after, prefix) {
        Ok(events) => {
            let known = |change: &&Change| {
                change.0 > after && change.0 <= newest && change.1.starts_with(prefix)
            };
            let expected: Vec<&Change> = changes.iter().filter(known).collect();
            let same = events.len() == expected.len()
                && events
                    .iter()
                    .zip(expected)
                    .all(|(event, change)| equal((event, change)));
            ensure(same, || {
                format!(
                    "n{}'s watch of {prefix:?} after {after} is not what changed",
                    peer.0
                )
            })?;
            Ok(true)
        }
        Err(Compacted { oldest }) => {
            let applied = changes.iter().take_while(|change| change.0 <= newest);
            let applied: Vec<&Change> = applied.collect();
            let floor = floor(&applied, machine.begins, HISTORY_BOUNDS);
            ensure(oldest == floor && after < floor, || {
                format!(
                    "n{}'s history says it begins at {oldest}, asked {after}; within its bounds it is {floor}",
                    peer.0
                )
            })?;
            ensure(store.history(oldest, "").is_ok(), || {
                format!("n{}'s history begins at {oldest} and does not", peer.0)
            })?;
            Ok(false)
        }
    }
}

/// The revision after which a history that began at `begins` must still know every change: as many of the newest
/// transactions, whole, as fit into its bounds.
fn floor(changes: &[&Change], begins: Revision, bounds: HistoryBounds) -> Revision {
    let (mut events, mut bytes) = (0, 0);
    let transactions = changes.chunk_by(|one, next| one.0 == next.0).rev();
    for transaction in transactions.take_while(|changes| changes[0].0 > begins) {
        events += transaction.len();
        bytes += transaction.iter().map(|change| cost(change)).sum::<usize>();
        if events > bounds.events_max || bytes > bounds.bytes_max {
            return transaction[0].0;
        }
    }
    begins
}

fn cost((_, key, went, _): &Change) -> usize {
    let value = |row: &Row| row.3.len();
    EVENT_COST_BYTES + key.len() + went.as_ref().map_or(0, value)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kagero::store::{Command, Operation, ProposalId, Store, Transaction};

    use super::super::model::Model;
    use super::*;

    const PEER: PeerId = PeerId(1);

    /// A store and what changed in it: a key put so many times, with these bounds.
    fn made(times: u64, bounds: HistoryBounds) -> (Machine, Vec<Change>) {
        let mut store = Store::new().with_history(bounds);
        let (mut model, mut changes) = (Model::default(), Vec::new());
        for sequence in 1..=times {
            let put = Operation::Put {
                key: "a".into(),
                value: Bytes::from(format!("v{sequence}")),
            };
            let command = Command {
                id: ProposalId {
                    origin: 1,
                    sequence,
                },
                time_ms: 0,
                transaction: Transaction {
                    compare: Vec::new(),
                    operations: vec![put],
                },
            };
            store.apply(&command);
            changes.extend(model.apply(&command).1);
        }
        let machine = Machine {
            store,
            applied: times + 1,
            begins: 0,
        };
        (machine, changes)
    }

    #[test]
    fn what_changed_and_a_gone_with_a_reason_are_accepted() {
        let (machine, changes) = made(40, HISTORY_BOUNDS);
        assert_eq!(check(PEER, &machine, &changes, (40, "")), Ok(true));
        assert_eq!(check(PEER, &machine, &changes, (37, "a")), Ok(true));
        assert_eq!(check(PEER, &machine, &changes, (1, "")), Ok(false));
    }

    #[test]
    fn a_change_left_out_or_invented_is_refused() {
        let (machine, mut changes) = made(4, HISTORY_BOUNDS);
        let gone = changes.remove(1);
        assert!(check(PEER, &machine, &changes, (0, "")).is_err());
        changes.insert(1, gone);
        changes.push((4, "b".into(), None, None));
        assert!(check(PEER, &machine, &changes, (0, "")).is_err());
    }

    #[test]
    fn a_gone_without_a_reason_is_refused() {
        // Ten of some 250 bytes each fit; this history keeps eight.
        let bounds = HistoryBounds {
            events_max: 8,
            ..HISTORY_BOUNDS
        };
        let (machine, changes) = made(10, bounds);
        let told = check(PEER, &machine, &changes, (1, "")).expect_err("nothing had to go");
        assert!(
            told.contains("begins at 2, asked 1; within its bounds it is 0"),
            "{told}"
        );
    }

    #[test]
    fn what_came_by_snapshot_is_gone_with_a_reason() {
        let (before, changes) = made(3, HISTORY_BOUNDS);
        let snapshot = before.store.snapshot().encode();
        let store = Store::restore(&snapshot).expect("just encoded");
        let mut machine = Machine {
            store: store.with_history(HISTORY_BOUNDS),
            applied: 4,
            begins: 3,
        };
        assert_eq!(check(PEER, &machine, &changes, (2, "")), Ok(false));
        assert_eq!(check(PEER, &machine, &changes, (3, "")), Ok(true));
        machine.begins = 0;
        assert!(check(PEER, &machine, &changes, (2, "")).is_err());
    }

    #[test]
    fn transactions_go_whole() {
        let change = |revision: Revision| (revision, "a".to_owned(), None, None);
        let changes = [change(1), change(2), change(2), change(3)];
        let changes: Vec<&Change> = changes.iter().collect();
        let most = |events_max| HistoryBounds {
            events_max,
            bytes_max: usize::MAX,
        };
        assert_eq!(floor(&changes, 0, most(4)), 0);
        assert_eq!(floor(&changes, 0, most(3)), 1);
        assert_eq!(floor(&changes, 0, most(2)), 2);
        assert_eq!(floor(&changes, 0, most(1)), 2);
        assert_eq!(floor(&changes, 2, most(4)), 2);
    }
}
