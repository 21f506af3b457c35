//! The readable timeline of a run: one line an event, time and peer first, then role, term and log as columns.
//!
//! `n2 L   t5   12‥30‥33  ← n1→n2 t5 Appended 33` is: peer 2, a leader of term 5, whose log begins after 12, is committed
//! up to 30 and ends at 33, got that message. Written only when asked for.

use std::time::Duration;

use kagero::raft::{Input, Raft, Ready, Role, show};

use super::checkers::Before;

/// Where lines go.
pub type Sink = Box<dyn FnMut(&str)>;

/// What a step was given; nothing for a mere tick.
pub fn input(input: &Input) -> Option<String> {
    Some(match input {
        Input::Tick => return None,
        Input::Message(envelope) => format!("← {}", show::envelope(envelope)),
        Input::Propose(tag, payloads) => format!("propose #{tag}, {} commands", payloads.len()),
        Input::Read(tag) => format!("read #{tag}"),
        Input::Reconfigure(_, change) => format!("change {change:?}"),
        Input::Transfer(to) => format!("transfer to n{}", to.0),
        Input::Unreachable(peer) => format!("sees n{} gone", peer.0),
        Input::Snapshot { index, data } => format!("snapshot of {index}, {} bytes", data.len()),
    })
}

/// A line that is nobody's step.
pub fn note(now: Duration, text: &str) -> String {
    format!("{:>10.3}  ── {text}", now.as_secs_f64() * 1_000.0)
}

/// The lines of a step: what it was given and what it told its caller. A tick of which nothing came has none.
pub fn step(
    now: Duration,
    raft: &Raft,
    before: &Before,
    what: Option<String>,
    ready: &Ready,
) -> Vec<String> {
    let mut told = Vec::from_iter(what);
    if ready.role_changed {
        let leader = raft
            .leader()
            .map_or("nobody".into(), |id| format!("n{}", id.0));
        let (was, is) = (before.role, raft.role());
        told.push(format!(
            "{was:?} t{} ⇒ {is:?} t{} of {leader}",
            before.term,
            raft.term()
        ));
    }
    if let Some(snapshot) = &ready.restore {
        told.push(format!("restored {}", snapshot.index));
    }
    if let (Some(first), Some(last)) = (ready.committed.first(), ready.committed.last()) {
        told.push(format!("applied {}‥{}", first.index, last.index));
    }
    for (tag, answer) in &ready.proposed {
        told.push(format!("proposal #{tag}: {answer:?}"));
    }
    for (tag, answer) in &ready.reads {
        told.push(format!("read #{tag}: {answer:?}"));
    }
    if ready.snapshot_wanted {
        told.push("wants a snapshot".into());
    }
    let sent = ready.messages.iter();
    told.extend(sent.map(|envelope| format!("→ {}", show::envelope(envelope))));
    let place = place(now, raft);
    told.into_iter()
        .map(|text| format!("{place}  {text}"))
        .collect()
}

fn place(now: Duration, raft: &Raft) -> String {
    let role = match raft.role() {
        Role::Follower => "f",
        Role::PreCandidate => "p",
        Role::Candidate => "c",
        Role::Leader => "L",
    };
    let log = raft.log();
    let span = format!("{}‥{}‥{}", log.base(), log.commit(), log.last());
    format!(
        "{:>10.3}  n{} {role} t{:<3} {span:<13}",
        now.as_secs_f64() * 1_000.0,
        raft.id().0,
        raft.term()
    )
}
