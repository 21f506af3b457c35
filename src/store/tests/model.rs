//! Random commands against a plain model, and random damage against the decoders.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::*;

/// Key → (created, changed, version, value).
type Model = BTreeMap<String, (Revision, Revision, u64, Bytes)>;

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "a/1", "a/2", "b/1", "b/2", "ü", ""]).prop_map(String::from)
}

fn value() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        2 => (key(), value()).prop_map(|(key, value)| Operation::Put { key, value }),
        1 => key().prop_map(|key| Operation::Delete { key }),
    ]
}

/// Few enough proposals that some repeat, few enough revisions that some comparisons hold.
fn command() -> impl Strategy<Value = Command> {
    let compare = (key(), 0..12_u64).prop_map(|(key, mod_revision)| Compare { key, mod_revision });
    let compare = prop::collection::vec(compare, 0..2);
    let operations = prop::collection::vec(operation(), 0..4);
    let parts = (0..2_u64, 0..40_u64, any::<i64>(), compare, operations);
    parts.prop_map(|(origin, sequence, time_ms, compare, operations)| Command {
        id: ProposalId { origin, sequence },
        time_ms,
        transaction: Transaction {
            compare,
            operations,
        },
    })
}

fn commands() -> impl Strategy<Value = Vec<Command>> {
    prop::collection::vec(command(), 0..60)
}

fn changed(model: &Model, key: &str) -> Revision {
    model.get(key).map_or(0, |record| record.1)
}

/// What one transaction should come to.
fn expect(model: &mut Model, revision: &mut Revision, transaction: &Transaction) -> Outcome {
    for Compare { key, mod_revision } in &transaction.compare {
        let actual = changed(model, key);
        if actual != *mod_revision {
            let key = key.clone();
            return Outcome::Conflict { key, actual };
        }
    }
    let next = *revision + 1;
    for operation in &transaction.operations {
        match operation {
            Operation::Put { key, value } => {
                let record = model
                    .entry(key.clone())
                    .or_insert((next, 0, 0, Bytes::new()));
                *record = (record.0, next, record.2 + 1, value.clone());
                *revision = next;
            }
            Operation::Delete { key } => {
                if model.remove(key).is_some() {
                    *revision = next;
                }
            }
        }
    }
    Outcome::Committed {
        revision: *revision,
    }
}

fn contents(view: &View, prefix: &str) -> Model {
    let row = |(key, r): (&str, &Record)| {
        let record = (
            r.create_revision,
            r.mod_revision,
            r.version,
            r.value.clone(),
        );
        (key.to_owned(), record)
    };
    view.range(prefix).map(row).collect()
}

/// Replays events onto a model, checking that each says truly what was before.
fn replay(model: &mut Model, events: &[Event]) {
    for event in events {
        let row = |r: &Record| {
            (
                r.create_revision,
                r.mod_revision,
                r.version,
                r.value.clone(),
            )
        };
        assert_eq!(
            model.get(&*event.key),
            event.previous.as_ref().map(row).as_ref()
        );
        match &event.current {
            Some(record) => model.insert(event.key.to_string(), row(record)),
            None => model.remove(&*event.key),
        };
    }
}

fn build(commands: &[Command]) -> Store {
    let mut store = Store::new();
    for command in commands {
        store.apply(command);
    }
    store
}

proptest! {
    #[test]
    fn behaves_as_the_model(commands in commands()) {
        let (mut store, mut model, mut revision) = (Store::new(), Model::new(), 0);
        let mut outcomes = BTreeMap::new();
        let mut replayed = Model::new();
        for command in &commands {
            let held = (store.view(), model.clone());
            let applied = store.apply(command);
            let known = outcomes.contains_key(&command.id);
            let outcome = outcomes
                .entry(command.id)
                .or_insert_with(|| expect(&mut model, &mut revision, &command.transaction));
            prop_assert_eq!(&applied.outcome, outcome);
            prop_assert!(!known || applied.events.is_empty());
            replay(&mut replayed, &applied.events);
            prop_assert_eq!(contents(&held.0, ""), held.1, "a view changed");
        }
        let view = store.view();
        prop_assert_eq!(contents(&view, ""), model.clone());
        prop_assert_eq!(replayed, model.clone());
        prop_assert_eq!((view.revision(), view.len()), (revision, model.len()));
        let bytes: usize = model.values().map(|record| record.3.len()).sum();
        prop_assert_eq!(view.value_bytes(), bytes as u64);
        let under_a = model.into_iter().filter(|(key, _)| key.starts_with("a/")).collect::<Model>();
        prop_assert_eq!(contents(&view, "a/"), under_a);
    }

    /// A watcher that lists at any revision and then follows the history ends where the store is.
    #[test]
    fn history_leads_from_any_view_to_the_present(
        commands in commands(), pause: prop::sample::Index, events_max in 0..40_usize,
    ) {
        let bounds = HistoryBounds { events_max, ..HistoryBounds::default() };
        let mut store = Store::new().with_history(bounds);
        let pause = pause.index(commands.len() + 1);
        let mut listed = store.view();
        for (at, command) in commands.iter().enumerate() {
            store.apply(command);
            if at + 1 == pause {
                listed = store.view();
            }
        }
        prop_assert!(store.usage().history_events <= events_max);
        let mut model = contents(&listed, "");
        match store.history(listed.revision(), "") {
            Ok(events) => {
                replay(&mut model, &events);
                prop_assert_eq!(model, contents(&store.view(), ""));
            }
            Err(Compacted { oldest }) => {
                prop_assert!(oldest > listed.revision());
                prop_assert!(store.history(oldest, "").is_ok());
            }
        }
    }

    #[test]
    fn a_restored_store_goes_on_as_the_original(before in commands(), after in commands(), step in 1..200_usize) {
        let mut original = build(&before);
        let mut encoder = original.snapshot().encoder();
        while encoder.advance(step) {}
        let encoded = encoder.finish();
        prop_assert_eq!(&encoded, &original.snapshot().encode(), "steps must not show");
        let mut restored = Store::restore(&encoded).unwrap();
        for command in &after {
            let (one, other) = (original.apply(command), restored.apply(command));
            prop_assert_eq!(one.outcome, other.outcome);
            prop_assert_eq!(one.events, other.events);
        }
        prop_assert_eq!(original.view().digest(), restored.view().digest());
        prop_assert_eq!(original.snapshot().encode(), restored.snapshot().encode());
        let since = restored.history(original.revision(), "");
        prop_assert_eq!(since, Ok(Vec::new()));
    }

    #[test]
    fn the_digest_shows_any_difference(commands in commands(), extra in operation()) {
        let mut store = build(&commands);
        let before = store.view();
        let id = ProposalId { origin: 9, sequence: 9 };
        let transaction = Transaction { compare: Vec::new(), operations: vec![extra] };
        let applied = store.apply(&Command { id, time_ms: 0, transaction });
        let changed = !applied.events.is_empty();
        prop_assert_eq!(before.digest() != store.view().digest(), changed);
    }

    #[test]
    fn commands_survive_their_encoding(command in command()) {
        prop_assert_eq!(Command::decode(&command.encode()).unwrap(), command);
    }

    #[test]
    fn encoded_commands_waste_little_memory(command in command()) {
        let parts = command.transaction.compare.len() + command.transaction.operations.len();
        let encoded = Vec::from(command.encode());
        prop_assert!(encoded.capacity() - encoded.len() <= 96 + 40 * parts);
    }

    #[test]
    fn damaged_snapshots_are_refused(
        commands in commands(), at: prop::sample::Index, bit in 0..8_u32, cut: prop::sample::Index,
    ) {
        let encoded = build(&commands).snapshot().encode();
        let mut flipped = encoded.to_vec();
        flipped[at.index(encoded.len())] ^= 1 << bit;
        prop_assert!(Store::restore(&flipped).is_err());
        prop_assert!(Store::restore(&encoded[..cut.index(encoded.len())]).is_err());
    }

    /// Damage behind a checksum that was made to match: any error will do, a panic will not.
    #[test]
    fn forged_snapshots_do_not_panic(
        commands in commands(), edits: Vec<(prop::sample::Index, u8)>, cut: prop::sample::Index,
    ) {
        let encoded = build(&commands).snapshot().encode();
        let mut body = encoded[..encoded.len() - 8].to_vec();
        for (at, byte) in edits {
            let at = at.index(body.len() - 1) + 1;
            body[at] = byte;
        }
        body.truncate(1 + cut.index(body.len()));
        if let Ok(store) = Store::restore(&snapshot::seal(body)) {
            prop_assert!(store.view().range("").all(|(_, r)| r.mod_revision <= store.revision()));
        }
    }

    #[test]
    fn garbage_commands_do_not_panic(mut bytes: Vec<u8>) {
        let _ = Command::decode(&bytes);
        if let Some(version) = bytes.first_mut() {
            *version = COMMAND_VERSION;
        }
        let _ = Command::decode(&bytes);
    }
}
