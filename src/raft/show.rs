//! How traces write down messages, entries and configurations: one line each, peers as `n1`, positions as `index@term`.
//!
//! For scripts and simulations, whose peers have small numbers; nobody reads it back.

use std::collections::BTreeSet;

use super::{Configuration, Entry, Envelope, Message, Payload, PeerId};

/// A message with its addressing.
pub fn envelope(envelope: &Envelope) -> String {
    let (from, to) = (envelope.from.0, envelope.to.0);
    let body = message(&envelope.message);
    format!("n{from}→n{to} t{} {body}", envelope.term)
}

fn message(message: &Message) -> String {
    match message {
        Message::PreVote { last, last_term } => format!("PreVote {last}@{last_term}"),
        Message::PreVoteReply { term, granted } => format!("PreVoteReply for=t{term} {granted}"),
        Message::Vote {
            last,
            last_term,
            transfer,
        } => {
            let how = if *transfer { " transfer" } else { "" };
            format!("Vote {last}@{last_term}{how}")
        }
        Message::VoteReply { granted } => format!("VoteReply {granted}"),
        Message::Append {
            prev,
            prev_term,
            commit,
            round,
            entries: sent,
        } => format!(
            "Append after={prev}@{prev_term} commit={commit}{} {}",
            shown_round(*round),
            entries(sent)
        ),
        Message::Appended { matched, round } => {
            format!("Appended {matched}{}", shown_round(*round))
        }
        Message::Committed { index } => format!("Committed {index}"),
        Message::AppendRefused {
            prev,
            hint,
            hint_term,
            round,
        } => format!(
            "AppendRefused after={prev} hint={hint}@{hint_term}{}",
            shown_round(*round)
        ),
        Message::Chunk(chunk) => format!(
            "Chunk {}@{} {}+{}/{}",
            chunk.index,
            chunk.term,
            chunk.offset,
            chunk.data.len(),
            chunk.total
        ),
        Message::ChunkReceived { index, offset } => format!("ChunkReceived {index} {offset}"),
        Message::TimeoutNow => "TimeoutNow".into(),
        Message::Read { batch } => format!("Read #{batch}"),
        Message::ReadReply { batch, index } => match index {
            Some(index) => format!("ReadReply #{batch} at={index}"),
            None => format!("ReadReply #{batch} not leader"),
        },
    }
}

fn shown_round(round: u64) -> String {
    match round {
        0 => String::new(),
        _ => format!(" round={round}"),
    }
}

/// Entries, in brackets.
pub fn entries<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> String {
    let shown: Vec<String> = entries.into_iter().map(entry).collect();
    format!("[{}]", shown.join(", "))
}

fn entry(entry: &Entry) -> String {
    let payload = match &entry.payload {
        Payload::Empty => "∅".into(),
        Payload::Command(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains(char::is_control) => text.to_owned(),
            _ => format!("{} bytes", bytes.len()),
        },
        Payload::Configuration(inner) => configuration(inner),
    };
    format!("{}@{} {payload}", entry.index, entry.term)
}

/// Who votes, who did, who learns.
pub fn configuration(configuration: &Configuration) -> String {
    let parts = [
        ("voters", &configuration.voters),
        ("outgoing", &configuration.outgoing),
        ("learners", &configuration.learners),
    ];
    let told = parts
        .iter()
        .filter(|(name, who)| *name == "voters" || !who.is_empty());
    let told: Vec<String> = told
        .map(|(name, who)| format!("{name}={}", peers(who)))
        .collect();
    told.join(" ")
}

fn peers(peers: &BTreeSet<PeerId>) -> String {
    let shown: Vec<String> = peers.iter().map(|peer| format!("n{}", peer.0)).collect();
    shown.join("+")
}
