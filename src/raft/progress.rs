//! What a leader knows of one other member: how far its log agrees, what is on the way to it, when it last spoke.
//!
//! Deliberately sends nothing and reads no log; replication.rs and snapshot.rs decide, this file remembers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::types::{Config, Index, PeerProgress, Snapshot};

/// How long catch-up rounds must have been quick before a member counts as caught up.
const CAUGHT_UP_FOR: Duration = Duration::from_secs(1);

/// How entries are sent to a member.
#[derive(Clone, Debug)]
pub enum State {
    /// Where the logs agree is a guess: one append at a time, again at every heartbeat.
    Probe {
        /// An append is on its way.
        sent: bool,
    },
    /// The logs agree up to `matched`: appends follow each other without waiting, within the window.
    Replicate,
    /// What it needs next is no longer in the log.
    Snapshot(Transfer),
}

/// A snapshot on its way to one member, in pieces of `Config::snapshot_chunk_bytes`; an empty one is one empty piece.
///
/// Invariant: `acked ≤ sent`, both in pieces.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// The snapshot, once the state machine has given one and while the member listens.
    pub image: Option<Arc<Snapshot>>,
    /// Pieces that the member has without a gap.
    pub acked: u64,
    /// Pieces sent.
    pub sent: u64,
    /// What the member said last, even if it is less than `acked`: where to go on after a silence.
    pub reported: u64,
    /// When `acked` last grew, or everything after it was last given up as lost.
    pub moved: Duration,
}

/// Invariants: `matched < next`; `inflight` ascends; `inflight_bytes` is its sum; `inflight` is empty outside of
/// [`State::Replicate`].
#[derive(Clone, Debug)]
pub struct Progress {
    /// The highest index known to agree with the leader's log.
    pub matched: Index,
    /// The next index to send.
    pub next: Index,
    /// The highest commit index sent to it.
    pub commit_sent: Index,
    /// The newest read round it has echoed.
    pub round: u64,
    /// The newest read round sent to it.
    pub round_sent: u64,
    /// When it last spoke in this term; at first, when this leader was elected or learnt of it.
    pub heard: Duration,
    /// When its process was last seen gone.
    gone: Option<Duration>,
    /// How entries are sent.
    pub state: State,
    inflight: VecDeque<(Index, usize)>,
    inflight_bytes: usize,
    catch_up: CatchUp,
}

/// Rounds in the sense of dissertation 4.2.1: each ends when the member has what the leader had at its start.
#[derive(Clone, Debug)]
struct CatchUp {
    target: Index,
    started: Duration,
    quick_since: Option<Duration>,
}

impl Progress {
    /// A member that is guessed to have everything up to `last`, the leader's last index.
    pub fn new(last: Index, now: Duration) -> Self {
        Self {
            matched: 0,
            next: last + 1,
            commit_sent: 0,
            round: 0,
            round_sent: 0,
            heard: now,
            gone: None,
            state: State::Probe { sent: false },
            inflight: VecDeque::new(),
            inflight_bytes: 0,
            catch_up: CatchUp {
                target: last,
                started: now,
                quick_since: None,
            },
        }
    }

    /// Time since it was last heard from.
    pub fn silent(&self, now: Duration) -> Duration {
        now.saturating_sub(self.heard)
    }

    /// Append messages, and bytes of entries, that are on the way to it.
    pub fn inflight(&self) -> (usize, usize) {
        (self.inflight.len(), self.inflight_bytes)
    }

    /// Bytes of entries that may be sent now, or none if it must first answer.
    pub fn window(&self, config: &Config) -> Option<usize> {
        match self.state {
            State::Probe { sent: false } => Some(config.append_bytes_max),
            State::Probe { sent: true } | State::Snapshot(_) => None,
            State::Replicate => {
                let left = config
                    .inflight_bytes_max
                    .saturating_sub(self.inflight_bytes);
                (left > 0 && self.inflight.len() < config.inflight_messages_max)
                    .then_some(left.min(config.append_bytes_max))
            }
        }
    }

    /// An append that ends at `last` was sent.
    pub fn on_sent(&mut self, last: Index, bytes: usize) {
        match &mut self.state {
            State::Probe { sent } => *sent = true,
            State::Replicate if last >= self.next => {
                self.inflight.push_back((last, bytes));
                self.inflight_bytes += bytes;
                self.next = last + 1;
            }
            State::Replicate | State::Snapshot(_) => {}
        }
    }

    /// It agrees up to `index`; the leader's log ends at `last` and begins after `base`. True if that is news.
    pub fn on_matched(&mut self, index: Index, base: Index, last: Index, now: Duration) -> bool {
        let answers_probe = index + 1 >= self.next;
        let news = index > self.matched;
        self.matched = self.matched.max(index);
        self.next = self.next.max(self.matched + 1);
        match self.state {
            State::Probe { .. } if news || answers_probe => self.replicate(),
            State::Snapshot(_) if self.matched >= base => self.replicate(),
            State::Replicate => self.free_up_to(index),
            State::Probe { .. } | State::Snapshot(_) => {}
        }
        self.count_rounds(last, now);
        news
    }

    /// It refused an append after `prev`; the logs may agree up to `agreement`. False if the news is old.
    pub fn on_refused(&mut self, prev: Index, agreement: Index) -> bool {
        match self.state {
            State::Probe { .. } if prev + 1 == self.next => {
                self.next = prev.min(agreement + 1).max(self.matched + 1);
                self.state = State::Probe { sent: false };
                true
            }
            State::Replicate if prev > self.matched => {
                self.probe();
                true
            }
            _ => false,
        }
    }

    /// Its process is gone: what is on the way will not arrive.
    pub fn on_unreachable(&mut self, now: Duration) {
        self.gone = Some(now);
        match &mut self.state {
            State::Snapshot(transfer) => transfer.sent = transfer.acked,
            State::Probe { .. } | State::Replicate => self.probe(),
        }
    }

    /// Whether it was not heard since its process was seen gone. What it had said before may arrive later, so for a
    /// heartbeat nothing proves that it lives.
    fn is_gone(&self, heartbeat: Duration) -> bool {
        self.gone.is_some_and(|gone| self.heard < gone + heartbeat)
    }

    /// Forgets what is on the way and starts again from what is known to agree.
    pub fn probe(&mut self) {
        self.next = self.matched + 1;
        self.leave_replicate(State::Probe { sent: false });
    }

    /// Starts waiting for a snapshot.
    pub fn await_snapshot(&mut self, now: Duration) {
        self.leave_replicate(State::Snapshot(Transfer::new(now)));
    }

    /// True while it keeps up: its last round and the one under way took less than `round_max`, for a while.
    pub fn caught_up(&self, round_max: Duration, now: Duration) -> bool {
        now.saturating_sub(self.catch_up.started) < round_max
            && self
                .catch_up
                .quick_since
                .is_some_and(|since| now.saturating_sub(since) >= CAUGHT_UP_FOR)
    }

    /// A late round breaks the streak even if it never ends.
    pub fn on_tick(&mut self, round_max: Duration, now: Duration) {
        if now.saturating_sub(self.catch_up.started) >= round_max {
            self.catch_up.quick_since = None;
        }
    }

    /// For [`super::Status`].
    pub fn report(&self, config: &Config, now: Duration) -> PeerProgress {
        let snapshot = match &self.state {
            State::Snapshot(Transfer {
                image: Some(image),
                sent,
                ..
            }) => {
                let total = image.data.len() as u64;
                Some((total.min(sent * config.snapshot_chunk_bytes as u64), total))
            }
            _ => None,
        };
        PeerProgress {
            matched: self.matched,
            silent: self.silent(now),
            gone: self.is_gone(config.heartbeat),
            caught_up: self.caught_up(config.election_timeout, now),
            snapshot,
        }
    }

    fn replicate(&mut self) {
        self.next = self.matched + 1;
        self.leave_replicate(State::Replicate);
    }

    fn leave_replicate(&mut self, state: State) {
        self.state = state;
        self.inflight.clear();
        self.inflight_bytes = 0;
    }

    fn free_up_to(&mut self, index: Index) {
        while let Some((last, bytes)) = self.inflight.front()
            && *last <= index
        {
            self.inflight_bytes -= bytes;
            self.inflight.pop_front();
        }
    }

    fn count_rounds(&mut self, last: Index, now: Duration) {
        let round = &mut self.catch_up;
        if self.matched < round.target {
            return;
        }
        // A round that was late has already cleared the streak in `on_tick`.
        round.quick_since.get_or_insert(now);
        (round.target, round.started) = (last, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND: Duration = Duration::from_millis(500);

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn replicating() -> Progress {
        let mut progress = Progress::new(10, at(0));
        progress.on_matched(10, 0, 10, at(0));
        progress
    }

    #[test]
    fn the_window_is_bounded_in_messages_and_in_bytes() {
        let config = Config {
            inflight_messages_max: 2,
            inflight_bytes_max: 100,
            append_bytes_max: 80,
            ..Config::default()
        };
        let mut progress = replicating();
        assert_eq!(progress.window(&config), Some(80));
        progress.on_sent(11, 70);
        assert_eq!(progress.window(&config), Some(30), "bytes left");
        progress.on_sent(12, 10);
        assert_eq!(progress.window(&config), None, "messages");
        progress.on_matched(11, 0, 12, at(1));
        assert_eq!(progress.window(&config), Some(80));
        progress.on_sent(13, 90);
        assert_eq!(progress.window(&config), None, "bytes");
    }

    #[test]
    fn a_refusal_goes_back_to_what_is_known_to_agree() {
        let mut progress = replicating();
        progress.on_sent(11, 1);
        progress.on_sent(12, 1);
        assert!(!progress.on_refused(10, 5), "older than what is known");
        assert!(progress.on_refused(11, 3));
        assert_eq!(progress.next, 11);
        assert!(matches!(progress.state, State::Probe { sent: false }));
    }

    #[test]
    fn a_probe_skips_back_to_the_agreement_and_ignores_old_answers() {
        let mut progress = Progress::new(10, at(0));
        assert!(!progress.on_refused(7, 3));
        assert!(progress.on_refused(10, 3));
        assert_eq!(progress.next, 4);
        assert!(progress.on_refused(3, 9), "a wrong hint still moves back");
        assert_eq!(progress.next, 3);
        assert!(!progress.on_matched(0, 0, 10, at(0)));
        assert!(matches!(progress.state, State::Probe { .. }));
        assert!(progress.on_matched(2, 0, 10, at(0)));
        assert!(matches!(progress.state, State::Replicate));
    }

    #[test]
    fn gone_until_it_speaks_later_than_what_may_still_have_been_on_the_way() {
        const HEARTBEAT: Duration = Duration::from_millis(50);
        let mut progress = Progress::new(10, at(0));
        assert!(!progress.is_gone(HEARTBEAT));
        progress.on_unreachable(at(100));
        assert!(progress.is_gone(HEARTBEAT));
        progress.heard = at(149);
        assert!(progress.is_gone(HEARTBEAT), "said before");
        progress.heard = at(150);
        assert!(!progress.is_gone(HEARTBEAT));
    }

    #[test]
    fn caught_up_needs_quick_rounds_for_a_second() {
        let mut progress = replicating();
        progress.on_matched(11, 0, 11, at(0));
        for millis in (50..=950).step_by(50) {
            progress.on_tick(ROUND, at(millis));
            progress.on_matched(11, 0, 11, at(millis));
            assert!(!progress.caught_up(ROUND, at(millis)));
        }
        progress.on_matched(11, 0, 11, at(1_000));
        assert!(progress.caught_up(ROUND, at(1_000)));
        assert!(!progress.caught_up(ROUND, at(1_500)), "silent too long");
        progress.on_tick(ROUND, at(1_500));
        progress.on_matched(11, 0, 11, at(1_510));
        assert!(!progress.caught_up(ROUND, at(1_510)), "starts anew");
    }
}
