//! Runs `testscripts/`: commands and their answers, see [`Script`]. `UPDATE_GOLDENFILES=1` writes the answers anew.

use std::error::Error;
use std::fmt::{Display, Write};

use goldenscript::{ArgumentConsumer, Command as Line, Context};

use super::super::*;

#[test]
fn scripts() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/testscripts");
    let entries = std::fs::read_dir(directory).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no script in {directory}");
    for path in paths {
        println!("{}", path.display());
        goldenscript::run(&mut Script::default(), path).unwrap();
    }
}

/// A store under test, and what a script kept of its past.
#[derive(Default)]
struct Script {
    store: Store,
    proposals: u64,
    held: View,
    snapshot: Option<Snapshot>,
}

impl goldenscript::Runner for Script {
    type Command = Line;

    fn run(&mut self, line: &Line, context: &Context) -> Result<String, Box<dyn Error>> {
        let view = if context.tags.contains("held") {
            self.held.clone()
        } else {
            self.store.view()
        };
        let mut args = line.consume_args();
        let mut out = String::new();
        match line.name.as_str() {
            // apply [id=N] [if=KEY@REVISION]... [put=KEY@VALUE | delete=KEY]...
            "apply" => out = self.apply(&mut args)?,
            // bounds events=N bytes=N
            "bounds" => {
                let bounds = HistoryBounds {
                    events_max: args.take_key("events").unwrap_or("1000").parse()?,
                    bytes_max: args.take_key("bytes").unwrap_or("1000000").parse()?,
                };
                self.store = std::mem::take(&mut self.store).with_history(bounds);
            }
            // get KEY
            "get" => {
                let record = view.get(args.next_pos().unwrap_or_default());
                writeln!(out, "{}", show(record))?;
            }
            // range [PREFIX] [from=KEY]
            "range" => {
                let from = args.take_key("from").unwrap_or_default();
                let prefix = args.next_pos().unwrap_or_default();
                for (key, record) in view.range_from(prefix, from) {
                    writeln!(out, "{key} = {}", show(Some(record)))?;
                }
            }
            // hold: keeps the current view for [held] get, range and status
            "hold" => self.held = view,
            // history after=REVISION [PREFIX]
            "history" => {
                let after = args.take_key("after").unwrap_or("0").parse()?;
                for event in self
                    .store
                    .history(after, args.next_pos().unwrap_or_default())?
                {
                    writeln!(out, "{}", show_event(&event))?;
                }
            }
            // snapshot: takes one; restore: puts the store back to it, by way of its encoding
            "snapshot" => self.snapshot = Some(self.store.snapshot()),
            "restore" => {
                let snapshot = self.snapshot.as_ref().ok_or("no snapshot was taken")?;
                self.store = Store::restore(&snapshot.encode())?;
                let same = self.store.view().digest() == snapshot.view().digest();
                writeln!(out, "same digest: {same}")?;
            }
            "status" => {
                let (revision, keys, bytes) = (view.revision(), view.len(), view.value_bytes());
                let usage = self.store.usage();
                write!(out, "revision {revision}, {keys} keys, {bytes} bytes; ")?;
                writeln!(
                    out,
                    "{} events, {} outcomes",
                    usage.history_events, usage.outcomes
                )?;
            }
            name => return Err(format!("unknown command {name}").into()),
        }
        args.reject_next()?;
        Ok(out)
    }
}

impl Script {
    fn apply(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<String, Box<dyn Error>> {
        self.proposals += 1;
        let mut sequence = self.proposals;
        let mut transaction = Transaction::default();
        while let Some((name, value)) = args.next_key() {
            let split = |at| value.split_once(at).ok_or(format!("no {at} in {value}"));
            match name {
                "id" => sequence = 1_000 + value.parse::<u64>()?,
                "if" => {
                    let (key, mod_revision) = split('@')?;
                    transaction.compare.push(Compare {
                        key: key.into(),
                        mod_revision: mod_revision.parse()?,
                    });
                }
                "put" => {
                    let (key, value) = split('@')?;
                    transaction.operations.push(Operation::Put {
                        key: key.into(),
                        value: value.to_owned().into(),
                    });
                }
                "delete" => transaction
                    .operations
                    .push(Operation::Delete { key: value.into() }),
                _ => return Err(format!("unknown argument {name}").into()),
            }
        }
        let command = Command {
            id: ProposalId {
                origin: 1,
                sequence,
            },
            time_ms: 0,
            transaction,
        };
        let applied = self.store.apply(&Command::decode(&command.encode())?);
        let mut out = format!("{:?}\n", applied.outcome);
        for event in applied.events {
            writeln!(out, "{}", show_event(&event))?;
        }
        Ok(out)
    }
}

fn show(record: Option<&Record>) -> impl Display {
    let Some(record) = record else {
        return "none".to_owned();
    };
    let value = String::from_utf8_lossy(&record.value);
    let Record {
        create_revision,
        mod_revision,
        version,
        ..
    } = record;
    format!("{value:?} (created {create_revision}, changed {mod_revision}, version {version})")
}

fn show_event(event: &Event) -> impl Display {
    let (previous, current) = (show(event.previous.as_ref()), show(event.current.as_ref()));
    format!("@{} {}: {previous} → {current}", event.revision, event.key)
}
