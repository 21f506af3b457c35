//! A leader that hears no quorum for an election timeout of its own clock leads no longer (dissertation 6.2), so that
//! its clients ask elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use kagero::raft::{Index, PeerId, Role, Term};

use super::{Step, Verdict, Why, ensure, is_quorum};

#[derive(Debug)]
struct Leading {
    term: Term,
    since: Duration,
    configuration: (Index, Duration),
    heard: BTreeMap<PeerId, Duration>,
}

/// Whom each leader has heard, by its own clock.
#[derive(Debug, Default)]
pub struct CheckQuorum {
    leading: BTreeMap<PeerId, Leading>,
}

impl CheckQuorum {
    /// Looks at a leader that has just looked at its clock.
    pub fn on_step(&mut self, step: &Step<'_>) -> Verdict {
        let (raft, log) = (step.raft, step.raft.log());
        if raft.role() != Role::Leader {
            self.leading.remove(&step.peer);
            return Ok(());
        }
        let index = log.configuration_index();
        let leading = self.leading.entry(step.peer).or_insert_with(|| Leading {
            term: raft.term(),
            since: step.local,
            configuration: (index, step.local),
            heard: BTreeMap::new(),
        });
        if leading.term != raft.term() {
            (leading.term, leading.since) = (raft.term(), step.local);
        }
        if leading.configuration.0 < index {
            leading.configuration = (index, step.local);
        }
        if let Some(from) = step.cause.from {
            leading.heard.insert(from, step.local);
        }
        if !matches!(step.cause.why, Why::Tick) {
            return Ok(());
        }
        let bound = step.config.election_timeout + step.config.heartbeat;
        let recent = |at: Duration| step.local.saturating_sub(at) <= bound;
        if recent(leading.since) || recent(leading.configuration.1) {
            return Ok(());
        }
        let heard = |peer| {
            let at = leading.heard.get(&peer);
            peer == step.peer || at.is_some_and(|at| recent(*at))
        };
        ensure(is_quorum(log.configuration(), heard), || {
            format!("n{} leads on and hears no quorum", step.peer.0)
        })
    }
}
