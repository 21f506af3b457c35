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
    command: Option<Command>,
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
    /// Applies an entry that a peer was handed out, and compares.
    pub fn apply(
        &mut self,
        peer: PeerId,
        machine: &mut Machine,
        entry: &Entry,
        history: &History,
    ) -> Result<Option<Applied>, String> {
        let (at, last) = (entry.index, machine.applied);
        ensure(at == last + 1, || {
            format!("n{} applies {at} after {last}", peer.0)
        })?;
        machine.applied = at;
        match history.committed_at(at) {
            Some(known) => ensure(known.entry == *entry, || {
                let terms = (known.entry.term, entry.term);
                format!("n{} applies another entry {at}: terms {terms:?}", peer.0)
            })?,
            None => self.expect(entry)?,
        }
        let expected = &mut self.expected[(at - BOOTSTRAP_INDEX - 1) as usize];
        let Some(command) = &expected.command else {
            return Ok(None);
        };
        let applied = machine.store.apply(command);
        ensure(Some(&applied.outcome) == expected.outcome.as_ref(), || {
            let outcomes = (&applied.outcome, &expected.outcome);
            format!("n{}: entry {at} came to {outcomes:?}", peer.0)
        })?;
        let same = applied.events.len() == expected.changes.len()
            && applied.events.iter().zip(&expected.changes).all(equal);
        ensure(same, || {
            let both = (&applied.events, &expected.changes);
            format!("n{}: entry {at} changed {both:?}", peer.0)
        })?;
        let digest = machine.store.view().digest();
        if expected.digest == 0 {
            expected.digest = digest;
        }
        ensure(expected.digest == digest, || {
            format!("n{} holds another state after {at}", peer.0)
        })?;
        let usage = machine.store.usage();
        let bounded = usage.history_events <= HISTORY_BOUNDS.events_max
            && usage.history_bytes <= HISTORY_BOUNDS.bytes_max;
        ensure(bounded, || {
            format!("n{}'s watch history holds {usage:?}", peer.0)
        })?;
        Ok(Some(applied))
    }

    /// Takes a snapshot for a state, and compares.
    pub fn restore(
        &self,
        peer: PeerId,
        snapshot: &Snapshot,
        history: &History,
    ) -> Result<Machine, String> {
        let at = snapshot.index;
        let store = Store::restore(&snapshot.data)
            .map_err(|error| format!("n{} was given a bad snapshot: {error}", peer.0))?
            .with_history(HISTORY_BOUNDS);
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
        )?;
        Ok(Machine { store, applied: at })
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
            command,
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
