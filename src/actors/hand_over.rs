//! To whom a leader that goes away hands over, and how often it tries.
//!
//! Deliberately without a word on how: the core transfers leadership (`raft/transfer.rs`), `membership.rs` asks it to.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use actix::prelude::*;
use tokio::time::Instant;

use crate::raft::{Candidate, PeerId, Status};

/// A voter that was silent for longer could hardly take over before the core gives up: an election timeout.
const SILENT_MS_MAX: u64 = 500;
/// Pause between two attempts. While one goes on nothing can be written, so they take a quarter of the time at most.
const AGAIN_MS: u64 = 2_000;

/// Whether this node goes away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leaving {
    /// As far as anybody knows it stays.
    #[default]
    No,
    /// Its machine's end is announced.
    Announced,
    /// Its process is about to end.
    Now,
}

/// Lead no longer if this node goes away and another can.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct Leave(pub Leaving);

/// Whether this node goes away, by its own word, and when it last tried to hand over.
#[derive(Debug, Default)]
pub(super) struct Parting {
    leaving: Leaving,
    tried: Option<Instant>,
}

impl Parting {
    /// As it was last said.
    pub(super) fn leaving(&self) -> Leaving {
        self.leaving
    }

    /// It is said. A process that is about to end will not be talked out of it; and it has a second or so, so that an
    /// attempt that was in vain before is no reason to wait.
    pub(super) fn on_leave(&mut self, leaving: Leaving) {
        if self.leaving == Leaving::Now {
            return;
        }
        self.leaving = leaving;
        self.tried = self.tried.filter(|_| leaving != Leaving::Now);
    }

    /// It leads anew: what it tried before was not in vain.
    pub(super) fn on_reign(&mut self) {
        self.tried = None;
    }

    /// Whether the last attempt was so lately that the next must wait.
    pub(super) fn rests(&self) -> bool {
        let again = Duration::from_millis(AGAIN_MS);
        self.tried.is_some_and(|at| at.elapsed() < again)
    }

    /// It tries now.
    pub(super) fn on_attempt(&mut self) {
        self.tried = Some(Instant::now());
    }
}

/// The voter that a leader hands over to: one that is heard and whose process was not seen gone since, has most of the log and stays itself. A process that is
/// about to end takes one that has notice, too: better than an election.
pub(super) fn successor(
    status: &Status,
    candidates: &BTreeMap<PeerId, Candidate>,
    leaving: Leaving,
) -> Option<PeerId> {
    let evicting = |peer: &PeerId| candidates.get(peer).is_none_or(|c| c.evicting);
    let dead = |peer: &PeerId| candidates.get(peer).is_some_and(|c| c.proven_dead);
    let voters = status.configuration.voters.iter().copied();
    voters
        .filter(|peer| *peer != status.id && !dead(peer))
        .filter(|peer| leaving == Leaving::Now || !evicting(peer))
        .filter_map(|peer| Some((peer, status.progress.get(&peer)?)))
        .filter(|(_, progress)| progress.silent < Duration::from_millis(SILENT_MS_MAX))
        .filter(|(_, progress)| !progress.gone)
        .min_by_key(|(peer, progress)| (evicting(peer), Reverse(progress.matched), *peer))
        .map(|(peer, _)| peer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::{Configuration, PeerProgress, Role};

    /// Peer 1 leads; of each voter: matched index, silence in milliseconds, has notice.
    fn chosen(voters: &[(u64, u64, u64, bool)], leaving: Leaving) -> Option<u64> {
        let progress = |matched, silent| PeerProgress {
            matched,
            silent: Duration::from_millis(silent),
            gone: false,
            caught_up: true,
            snapshot: None,
        };
        let known = |evicting| Candidate {
            evicting,
            ..Candidate::default()
        };
        let ids = voters.iter().map(|(id, ..)| PeerId(*id));
        let status = Status {
            id: PeerId(1),
            role: Role::Leader,
            term: 1,
            leader: Some(PeerId(1)),
            last: 9,
            commit: 9,
            applied: 9,
            configuration: Configuration {
                voters: ids.chain([PeerId(1)]).collect(),
                ..Configuration::default()
            },
            progress: voters
                .iter()
                .map(|(id, matched, silent, _)| (PeerId(*id), progress(*matched, *silent)))
                .collect(),
        };
        let mut candidates: BTreeMap<PeerId, Candidate> = voters
            .iter()
            .map(|(id, _, _, evicting)| (PeerId(*id), known(*evicting)))
            .collect();
        candidates.insert(PeerId(1), known(true));
        successor(&status, &candidates, leaving).map(|peer| peer.0)
    }

    #[tokio::test]
    async fn a_process_that_ends_does_not_wait_for_an_attempt_that_was_in_vain() {
        tokio::time::pause();
        let mut parting = Parting::default();
        parting.on_leave(Leaving::Announced);
        assert!(!parting.rests());
        parting.on_attempt();
        parting.on_leave(Leaving::Announced);
        assert!(parting.rests(), "nothing new was said");
        parting.on_leave(Leaving::Now);
        assert!(!parting.rests());
        parting.on_attempt();
        parting.on_leave(Leaving::Now);
        parting.on_leave(Leaving::No);
        assert!(parting.rests() && parting.leaving() == Leaving::Now);
        tokio::time::advance(Duration::from_millis(AGAIN_MS)).await;
        assert!(!parting.rests());
        parting.on_attempt();
        parting.on_reign();
        assert!(!parting.rests());
    }

    #[test]
    fn leadership_goes_to_who_is_heard_is_up_to_date_and_stays() {
        use Leaving::{Announced, Now};
        for (voters, leaving, expected) in [
            (vec![(2, 8, 0, false), (3, 9, 0, false)], Announced, Some(3)),
            (vec![(2, 9, 0, true), (3, 8, 0, false)], Announced, Some(3)),
            (
                vec![(2, 9, 600, false), (3, 8, 0, false)],
                Announced,
                Some(3),
            ),
            (vec![(2, 9, 0, true), (3, 9, 0, true)], Announced, None),
            (vec![(2, 9, 0, true), (3, 9, 0, true)], Now, Some(2)),
            (vec![(2, 9, 0, true), (3, 8, 0, false)], Now, Some(3)),
            (vec![], Now, None),
        ] {
            assert_eq!(chosen(&voters, leaving), expected, "{voters:?} {leaving:?}");
        }
    }
}
