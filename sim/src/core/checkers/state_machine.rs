//! State-machine safety: every peer applies the same entries in the same order, each once, and comes to the state that
//! a plain model comes to; a snapshot is exactly the state of the index that it names (dissertation 3.6.3).

use kagero::raft::{BOOTSTRAP_INDEX, Entry, Index, Payload, PeerId, Snapshot};
use kagero::store::{Applied, Command, Event, HistoryBounds, Outcome, Record, Store};

use super::model::{Change, Model, Row};
use super::{Verdict, ensure};
use crate::core::history::History;
use crate::core::peer::Machine;

/// What the entry at one index came to, wherever it is applied.
#[derive(Debug)]
struct Expected {
    outcome: Option<Outcome>,
    changes: Vec<Change>,
    digest: u64,
}

/// The model, and what each index came to.
#[derive(Debug)]
pub struct StateMachine {
    /// The model after the newest index that anybody applied.
    pub model: Model,
    /// Every change, in order.
    pub changes: Vec<Change>,
    expected: Vec<Expected>,
    empty: u64,
}

impl Default for StateMachine {
    fn default() -> Self {
        Self {
            model: Model::default(),
            changes: Vec::new(),
            expected: Vec::new(),
            empty: Store::new().view().digest(),
        }
    }
}

/// Bounds of the watch history: few, so that they are met.
pub const HISTORY_BOUNDS: HistoryBounds = HistoryBounds {
    events_max: 24,
    bytes_max: 3_000,
};

impl StateMachine {
    /// Applies an entry that a peer was handed out: what came of it, and whether that is right.
    pub fn apply(
        &mut self,
        peer: PeerId,
        machine: &mut Machine,
        entry: &Entry,
        history: &History,
    ) -> (Option<Applied>, Verdict) {
        let awaited = self.await_entry(peer, machine.applied, entry, history);
        machine.applied = entry.index;
        let command = match &entry.payload {
            Payload::Command(bytes) => Command::decode(bytes).ok(),
            Payload::Empty | Payload::Configuration(_) => None,
        };
        let applied = command.map(|command| machine.store.apply(&command));
        let verdict = awaited.and_then(|()| {
            self.compare_applied(peer, &machine.store, entry.index, applied.as_ref())
        });
        (applied, verdict)
    }

    fn await_entry(
        &mut self,
        peer: PeerId,
        last: Index,
        entry: &Entry,
        history: &History,
    ) -> Verdict {
        let at = entry.index;
        ensure(at == last + 1, || {
            format!("n{} applies {at} after {last}", peer.0)
        })?;
        match history.committed_at(at) {
            Some(known) => ensure(known.entry == *entry, || {
                let terms = (known.entry.term, entry.term);
                format!("n{} applies another entry {at}: terms {terms:?}", peer.0)
            }),
            None => self.expect(entry),
        }
    }

    fn compare_applied(
        &mut self,
        peer: PeerId,
        store: &Store,
        at: Index,
        applied: Option<&Applied>,
    ) -> Verdict {
        let known = at.checked_sub(BOOTSTRAP_INDEX + 1);
        let known = known.and_then(|at| self.expected.get_mut(at as usize));
        let Some(expected) = known else {
            return Err(format!("n{} applies {at}, which is not known", peer.0));
        };
        let outcome = applied.map(|applied| &applied.outcome);
        ensure(outcome == expected.outcome.as_ref(), || {
            let outcomes = (outcome, &expected.outcome);
            format!("n{}: entry {at} came to {outcomes:?}", peer.0)
        })?;
        let Some(Applied { events, .. }) = applied else {
            return Ok(());
        };
        let same = events.len() == expected.changes.len()
            && events.iter().zip(&expected.changes).all(equal);
        ensure(same, || {
            let both = (events, &expected.changes);
            format!("n{}: entry {at} changed {both:?}", peer.0)
        })?;
        let digest = store.view().digest();
        if expected.digest == 0 {
            expected.digest = digest;
        }
        ensure(expected.digest == digest, || {
            format!("n{} holds another state after {at}", peer.0)
        })?;
        let usage = store.usage();
        let bounded = usage.history_events <= HISTORY_BOUNDS.events_max
            && usage.history_bytes <= HISTORY_BOUNDS.bytes_max;
        ensure(bounded, || {
            format!("n{}'s watch history holds {usage:?}", peer.0)
        })
    }

    /// Takes a snapshot for a state.
    pub fn restore(peer: PeerId, snapshot: &Snapshot) -> Result<Machine, String> {
        let store = Store::restore(&snapshot.data)
            .map_err(|error| format!("n{} was given a bad snapshot: {error}", peer.0))?
            .with_history(HISTORY_BOUNDS);
        Ok(Machine {
            begins: store.revision(),
            store,
            applied: snapshot.index,
        })
    }

    /// Compares what a peer has restored.
    pub fn compare_restored(
        &self,
        peer: PeerId,
        store: &Store,
        snapshot: &Snapshot,
        history: &History,
    ) -> Verdict {
        let at = snapshot.index;
        ensure(at <= history.committed_up_to(), || {
            format!("n{} restored {at}, which is not committed", peer.0)
        })?;
        ensure(store.view().digest() == self.digest(at), || {
            format!("n{} restored another state of {at}", peer.0)
        })?;
        let term = history.committed_at(at).map(|c| c.entry.term);
        ensure(term.is_none_or(|term| term == snapshot.term), || {
            format!("n{} restored {at} of term {}", peer.0, snapshot.term)
        })?;
        ensure(
            *history.configuration_at(at) == snapshot.configuration,
            || format!("n{} restored another configuration of {at}", peer.0),
        )
    }

    /// Compares a store with the model, row by row.
    pub fn compare(&self, peer: PeerId, store: &Store) -> Verdict {
        let view = store.view();
        let same = view.revision() == self.model.revision
            && view.len() == self.model.rows.len()
            && view
                .range("")
                .zip(&self.model.rows)
                .all(|((key, record), (expected, of))| key == expected && row(record) == *of);
        ensure(same, || format!("n{}'s store is not the model", peer.0))
    }

    fn expect(&mut self, entry: &Entry) -> Verdict {
        let command = match &entry.payload {
            Payload::Command(bytes) => {
                let command = Command::decode(bytes);
                Some(command.map_err(|error| format!("entry {}: {error}", entry.index))?)
            }
            Payload::Empty | Payload::Configuration(_) => None,
        };
        let (outcome, changes) = match &command {
            Some(command) => {
                let (outcome, changes) = self.model.apply(command);
                (Some(outcome), changes)
            }
            None => (None, Vec::new()),
        };
        self.changes.extend(changes.iter().cloned());
        let digest = match command {
            Some(_) => 0,
            None => self.digest(entry.index - 1),
        };
        self.expected.push(Expected {
            outcome,
            changes,
            digest,
        });
        Ok(())
    }

    fn digest(&self, index: Index) -> u64 {
        let at = index.checked_sub(BOOTSTRAP_INDEX + 1);
        let expected = at.and_then(|at| self.expected.get(at as usize));
        expected.map_or(self.empty, |expected| expected.digest)
    }
}

/// A record as the model has it.
pub fn row(record: &Record) -> Row {
    let value = record.value.clone();
    (
        record.create_revision,
        record.mod_revision,
        record.version,
        value,
    )
}

/// True if the event is that change.
pub fn equal((event, change): (&Event, &Change)) -> bool {
    let (revision, key, old, new) = change;
    event.revision == *revision
        && *event.key == **key
        && event.previous.as_ref().map(row) == *old
        && event.current.as_ref().map(row) == *new
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kagero::store::{Operation, ProposalId, Transaction};

    use super::super::made::{entry, refusal, remembered};
    use super::*;

    const PEER: PeerId = PeerId(1);

    fn put(index: Index, value: &'static str) -> Entry {
        let put = Operation::Put {
            key: "a".into(),
            value: Bytes::from_static(value.as_bytes()),
        };
        let command = Command {
            id: ProposalId {
                origin: 1,
                sequence: index,
            },
            time_ms: 0,
            transaction: Transaction {
                compare: Vec::new(),
                operations: vec![put],
            },
        };
        Entry {
            payload: Payload::Command(command.encode()),
            ..entry(index, 2, "")
        }
    }

    fn newborn() -> Machine {
        Machine {
            store: Store::new().with_history(HISTORY_BOUNDS),
            applied: BOOTSTRAP_INDEX,
            begins: 0,
        }
    }

    /// One peer has applied these.
    fn applied(entries: &[Entry]) -> (StateMachine, Machine, History) {
        let (mut state, mut machine) = (StateMachine::default(), newborn());
        let mut history = remembered(&[1], &[]);
        for entry in entries {
            let (_, verdict) = state.apply(PEER, &mut machine, entry, &history);
            assert_eq!(verdict, Ok(()));
            history.commit(entry, 2);
        }
        (state, machine, history)
    }

    fn applies(
        state: &mut StateMachine,
        machine: &mut Machine,
        entry: &Entry,
        history: &History,
    ) -> Verdict {
        state.apply(PeerId(2), machine, entry, history).1
    }

    #[test]
    fn the_same_entries_in_the_same_order_are_accepted() {
        let entries = [put(2, "x"), put(3, "y")];
        let (mut state, first, history) = applied(&entries);
        let mut other = newborn();
        for entry in &entries {
            assert_eq!(applies(&mut state, &mut other, entry, &history), Ok(()));
        }
        assert_eq!(state.compare(PEER, &first.store), Ok(()));
        assert_eq!(state.compare(PeerId(2), &other.store), Ok(()));
    }

    #[test]
    fn an_entry_left_out_is_refused() {
        let entries = [put(2, "x"), put(3, "y")];
        let (mut state, _, history) = applied(&entries);
        let told = applies(&mut state, &mut newborn(), &entries[1], &history);
        assert!(refusal(told).contains("n2 applies 3 after 1"));
    }

    #[test]
    fn another_entry_at_an_index_is_refused() {
        let (mut state, _, history) = applied(&[put(2, "x")]);
        let told = applies(&mut state, &mut newborn(), &put(2, "y"), &history);
        assert!(refusal(told).contains("applies another entry 2"));
    }

    #[test]
    fn another_outcome_and_another_state_are_refused() {
        let (mut state, _, history) = applied(&[put(2, "x"), put(3, "y")]);
        // It has a row that nobody else has.
        let mut odd = newborn();
        let Payload::Command(bytes) = put(9, "z").payload else {
            unreachable!("a command was put")
        };
        odd.store
            .apply(&Command::decode(&bytes).expect("just encoded"));
        let told = applies(&mut state, &mut odd, &put(2, "x"), &history);
        assert!(refusal(told).contains("entry 2 came to"));
        assert!(refusal(state.compare(PEER, &odd.store)).contains("is not the model"));
        assert!(state.compare(PEER, &Store::new()).is_err());
    }

    #[test]
    fn a_snapshot_of_another_state_is_refused() {
        let (state, machine, history) = applied(&[put(2, "x"), put(3, "y")]);
        let snapshot = |index| Snapshot {
            index,
            term: 2,
            configuration: history.configuration_at(index).clone(),
            data: machine.store.snapshot().encode(),
        };
        let judged = |snapshot: &Snapshot| {
            let restored = StateMachine::restore(PEER, snapshot).expect("just encoded");
            state.compare_restored(PEER, &restored.store, snapshot, &history)
        };
        assert_eq!(judged(&snapshot(3)), Ok(()));
        assert!(refusal(judged(&snapshot(2))).contains("another state of 2"));
        assert!(refusal(judged(&snapshot(4))).contains("not committed"));
        let early = Snapshot {
            term: 1,
            ..snapshot(3)
        };
        assert!(refusal(judged(&early)).contains("3 of term 1"));
        let elsewhere = Snapshot {
            configuration: super::super::made::voters(&[7]),
            ..snapshot(3)
        };
        assert!(refusal(judged(&elsewhere)).contains("another configuration"));
        let cut = Snapshot {
            data: Bytes::from_static(b"half"),
            ..snapshot(3)
        };
        assert!(StateMachine::restore(PEER, &cut).is_err());
    }
}
