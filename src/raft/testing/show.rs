//! How scripts write down messages, entries and events: one line each, peers as `n1`, positions as `index@term`.

use std::collections::BTreeSet;

use super::cluster::{Cluster, Event};
use crate::raft::node::Raft;
use crate::raft::{Configuration, Entry, Envelope, Message, Payload, PeerId, Rejected};

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

pub fn entries<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> String {
    let shown: Vec<String> = entries.into_iter().map(entry).collect();
    format!("[{}]", shown.join(", "))
}

fn entry(entry: &Entry) -> String {
    let payload = match &entry.payload {
        Payload::Empty => "∅".into(),
        Payload::Command(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Payload::Configuration(inner) => configuration(inner),
    };
    format!("{}@{} {payload}", entry.index, entry.term)
}

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

pub fn event(event: &Event) -> String {
    match event {
        Event::Role(role) => role.clone(),
        Event::Restored(index) => format!("restored {index}"),
        Event::Applied(applied) => format!("applied {}", entries(applied)),
        Event::Proposed(tag, Ok((index, term))) => format!("proposal {tag} at {index}@{term}"),
        Event::Proposed(tag, Err(error)) => format!("proposal {tag} refused: {}", refusal(error)),
        Event::Read(tag, Ok(index)) => format!("read {tag} at {index}"),
        Event::Read(tag, Err(error)) => format!("read {tag} refused: {}", refusal(error)),
        Event::SnapshotWanted => "snapshot wanted".into(),
    }
}

fn refusal(error: &Rejected) -> String {
    match error {
        Rejected::NotLeader { leader: Some(peer) } => format!("n{} leads", peer.0),
        Rejected::NotLeader { leader: None } => "no leader".into(),
        Rejected::InvalidChange(reason) => reason.replace("000000000000000", "n"),
        other => other.to_string(),
    }
}

pub fn status(raft: &Raft, cluster: &Cluster) -> String {
    let status = raft.status(cluster.now);
    let mut lines = vec![format!(
        "n{} {:?} t{} last={} commit={} {}",
        status.id.0,
        status.role,
        status.term,
        status.last,
        status.commit,
        configuration(&status.configuration)
    )];
    for (peer, progress) in &status.progress {
        let (matched, silent) = (progress.matched, progress.silent.as_millis());
        let caught_up = if progress.caught_up { " caught up" } else { "" };
        let snapshot = progress.snapshot.map_or(String::new(), |(sent, total)| {
            format!(" snapshot {sent}/{total}")
        });
        lines.push(format!(
            "   n{} matched={matched} silent={silent}ms{caught_up}{snapshot}",
            peer.0
        ));
    }
    lines.join("\n")
}
