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

#[cfg(test)]
mod tests {
    use super::super::made::{Made, leader, refusal};
    use super::*;

    fn step_at(checker: &mut CheckQuorum, millis: u64, from: Option<u64>) -> Verdict {
        let mut made = Made::of(leader(1, &[1, 2, 3]));
        made.now = Duration::from_millis(millis);
        made.cause.from = from.map(PeerId);
        made.cause.why = if from.is_some() {
            Why::Message
        } else {
            Why::Tick
        };
        checker.on_step(&made.step())
    }

    #[test]
    fn a_leader_that_is_heard_leads_on() {
        let mut checker = CheckQuorum::default();
        assert_eq!(step_at(&mut checker, 0, None), Ok(()));
        assert_eq!(step_at(&mut checker, 500, Some(3)), Ok(()));
        assert_eq!(step_at(&mut checker, 1_000, None), Ok(()));
    }

    #[test]
    fn a_leader_that_hears_nobody_and_leads_on_is_refused() {
        let mut checker = CheckQuorum::default();
        assert_eq!(step_at(&mut checker, 0, Some(3)), Ok(()));
        // An election timeout is 500 ms, and a heartbeat 50.
        assert_eq!(step_at(&mut checker, 550, None), Ok(()));
        let unheard = step_at(&mut checker, 551, None);
        assert!(refusal(unheard).contains("n1 leads on and hears no quorum"));
    }
}
