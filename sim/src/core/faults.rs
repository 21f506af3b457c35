//! What goes wrong, drawn every few milliseconds: deaths, pauses, cuts, clocks, false news and strangers' messages.
//!
//! Anything may go wrong at any time, but one thing: nobody dies whose death leaves a configuration that anybody knows
//! without a quorum of the living. From that only a new generation recovers, which is not this tier's.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use kagero::raft::{
    ClusterId, Configuration, Entry, Envelope, Input, Message, Payload, PeerId, Role, Start,
};
use rand::Rng;
use rand::seq::{IndexedRandom, IteratorRandom};

use super::checkers::{Cause, Why, is_quorum};
use super::coverage::Mark;
use super::network::Event;
use super::peer::Clock;
use super::weather::ELECTION_TIMEOUT;
use super::world::{CLUSTER, World};

/// A clock jumps by at most so much.
const JUMP_MAX: Duration = Duration::from_millis(400);
/// Incarnations in one run.
pub const PEERS_MAX: u64 = 9;

impl World {
    /// Draws what goes wrong now.
    pub(super) fn disturb(&mut self) {
        if self.chance(self.weather.crashes) {
            self.crash();
        }
        if self.chance(self.weather.pauses) {
            self.pause();
        }
        if self.chance(self.weather.changes) {
            self.change();
        }
        if self.weather.planned {
            self.plan_if_due();
        }
        if self.chance(self.weather.orders) {
            self.order_transfer();
        }
        if self.chance(self.weather.orders) {
            self.spread_false_news();
        }
        if self.chance(self.weather.cuts) {
            self.cut();
        }
        if self.chance(self.weather.mends) && !self.cut.is_empty() {
            self.coverage.mark(Mark::Mended);
            self.note(|_| "mend".into());
            self.cut.clear();
        }
        if self.chance(self.weather.jumps) {
            self.jump();
        }
        if self.chance(self.weather.strangers) {
            self.misdeliver();
        }
        if self.chance(self.weather.strangers) {
            self.forge();
        }
    }

    fn order_transfer(&mut self) {
        if let (Some(from), Some(to)) = (self.self_declared_leader(), self.any_running()) {
            self.coverage.mark(Mark::TransferAsked);
            self.step(from, Input::Transfer(to), Cause::new(Why::Other));
        }
    }

    /// The transport may be wrong about who is gone.
    fn spread_false_news(&mut self) {
        if let (Some(seer), Some(gone)) = (self.any_running(), self.any_running()) {
            self.coverage.mark(Mark::GoneFalse);
            self.step(seer, Input::Unreachable(gone), Cause::new(Why::Other));
        }
    }

    /// Cuts one direction between two peers, or one or two off from the rest, who may take them for gone.
    fn cut(&mut self) {
        let peers: Vec<PeerId> = self.peers.keys().copied().collect();
        if self.chance(400) {
            let pair = peers.choose_multiple(&mut self.rng, 2).copied();
            let pair: Vec<PeerId> = pair.collect();
            if let [from, to] = pair[..] {
                self.coverage.mark(Mark::CutOneWay);
                self.note(|_| format!("cut n{}→n{}", from.0, to.0));
                self.cut.insert((from, to));
            }
            return;
        }
        let few = self.rng.random_range(1..=2);
        let away = peers.choose_multiple(&mut self.rng, few).copied();
        let mut away: BTreeSet<PeerId> = away.collect();
        // A leader that goes on alone writes what others will replace.
        if self.chance(500)
            && let Some(leader) = self.self_declared_leader()
        {
            away = [leader].into();
        }
        self.coverage.mark(Mark::CutOff);
        self.note(|_| format!("cut off {away:?}"));
        let told = self.chance(300);
        for from in &peers {
            for to in &peers {
                if away.contains(from) == away.contains(to) {
                    continue;
                }
                self.cut.insert((*from, *to));
                if told && self.chance(500) && !self.peers[from].paused {
                    self.coverage.mark(Mark::GoneFalse);
                    self.step(*from, Input::Unreachable(*to), Cause::new(Why::Other));
                }
            }
        }
    }

    /// Kills a peer that is not needed for ever.
    fn crash(&mut self) {
        let Some(victim) = self.peers.keys().copied().choose(&mut self.rng) else {
            return;
        };
        if !self.survives_without(victim) {
            return;
        }
        let leads = self.peers[&victim].raft.role() == Role::Leader;
        self.coverage.mark(Mark::Crashed);
        self.coverage.mark_if(Mark::CrashedLeader, leads);
        self.note(|_| format!("n{} dies", victim.0));
        self.peers.remove(&victim);
        self.dead.insert(victim);
        self.clients.forget(victim);
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            if self.chance(400) && !self.peers[&peer].paused {
                self.coverage.mark(Mark::GoneTrue);
                self.step(peer, Input::Unreachable(victim), Cause::new(Why::Other));
            }
        }
        if self.weather.planned && self.next_peer <= PEERS_MAX {
            self.join();
        }
    }

    /// A new incarnation, which knows nothing.
    pub(super) fn join(&mut self) -> PeerId {
        let peer = PeerId(self.next_peer);
        self.next_peer += 1;
        self.start(peer, Start::Join);
        peer
    }

    /// True if every configuration in a log, or on its way to one, keeps a quorum of the living without this peer.
    fn survives_without(&self, victim: PeerId) -> bool {
        let lives = |peer: PeerId| peer != victim && self.peers.contains_key(&peer);
        let keeps = |configuration: &Configuration| {
            configuration.voters.is_empty() || is_quorum(configuration, lives)
        };
        let mut logs = self.peers.values().map(|peer| peer.raft.log());
        let mut flying = self.queue.messages();
        let inboxes = self.peers.values().flat_map(|peer| &peer.inbox);
        logs.all(|log| log.configurations().all(|(_, c)| keeps(c)))
            && flying.all(|envelope| configurations_in(envelope).all(keeps))
            && inboxes
                .into_iter()
                .all(|envelope| configurations_in(envelope).all(keeps))
    }

    fn pause(&mut self) {
        let Some(id) = self.any_running() else {
            return;
        };
        let pause = self.random_up_to(ELECTION_TIMEOUT * 4);
        self.note(|_| format!("n{} pauses for {} ms", id.0, pause.as_millis()));
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        peer.paused = true;
        let leads = peer.raft.role() == Role::Leader;
        self.coverage.mark(Mark::Paused);
        self.coverage.mark_if(Mark::PausedLeader, leads);
        self.queue.push(self.now + pause, Event::Resume(id));
    }

    /// A paused peer goes on: its clock has jumped, and it reads what came meanwhile before or after it looks at it.
    pub(super) fn resume(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.paused) else {
            return;
        };
        peer.paused = false;
        let inbox = std::mem::take(&mut peer.inbox);
        self.coverage.mark(Mark::Resumed);
        self.note(|_| format!("n{} goes on", id.0));
        let clock_first = self.chance(500);
        if clock_first {
            self.step(id, Input::Tick, Cause::new(Why::Tick));
        }
        for envelope in inbox {
            self.deliver(envelope);
        }
        self.step(id, Input::Tick, Cause::new(Why::Tick));
    }

    fn jump(&mut self) {
        let by = self.random_up_to(JUMP_MAX);
        let ahead = self.chance(600);
        let Some(id) = self.any_running() else {
            return;
        };
        let (now, from) = (self.now, ELECTION_TIMEOUT);
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let (read, per_mille) = (peer.clock.local(now), peer.clock.per_mille());
        let to = if ahead {
            read + by
        } else {
            read.saturating_sub(by.min(from))
        };
        peer.clock.set(now, to, per_mille);
        peer.wake_at = peer.clock.reaches(peer.raft.deadline()).max(now);
        let mark = if ahead {
            Mark::ClockAhead
        } else {
            Mark::ClockBack
        };
        self.coverage.mark(mark);
        self.note(|_| format!("n{}'s clock jumps from {read:?} to {to:?}", id.0));
    }

    /// A message reaches another incarnation than it is for, as where an address is used again.
    fn misdeliver(&mut self) {
        let Some(envelope) = self.some_message() else {
            return;
        };
        let Some(to) = self.any_running() else {
            return;
        };
        if to != envelope.to && to != envelope.from {
            self.coverage.mark(Mark::Misdelivered);
            self.show_stranger(to, envelope);
        }
    }

    /// A message of another cluster or generation: one that is under way, or one made to do harm.
    fn forge(&mut self) {
        let Some(mut envelope) = self.some_message() else {
            return;
        };
        let Some(peer) = self.peers.get(&envelope.to).filter(|peer| !peer.paused) else {
            return;
        };
        let log = peer.raft.log();
        let term = envelope.term.max(peer.raft.term()) + 1;
        if self.rng.random() {
            let index = log.last() + 1;
            let payload = Payload::Command(Bytes::from_static(b"forged"));
            envelope.message = Message::Append {
                prev: log.last(),
                prev_term: log.last_term(),
                commit: index,
                round: 0,
                entries: vec![Entry {
                    index,
                    term,
                    payload,
                }],
            };
        }
        envelope.term = term;
        envelope.cluster = if self.rng.random() {
            ClusterId {
                id: CLUSTER.id + 1,
                ..CLUSTER
            }
        } else {
            // Of the generation before, or of the next that this peer was not told of.
            let generation = CLUSTER.generation + 1 - 2 * u64::from(self.rng.random::<bool>());
            ClusterId {
                generation,
                ..CLUSTER
            }
        };
        self.coverage.mark(Mark::Foreign);
        self.show_stranger(envelope.to, envelope);
    }

    fn show_stranger(&mut self, to: PeerId, envelope: Envelope) {
        let writes_after = match &envelope.message {
            Message::Append { prev, .. } => Some(*prev),
            _ => None,
        };
        let cause = Cause {
            why: Why::Stranger,
            from: Some(envelope.from),
            writes_after,
        };
        self.step(to, Input::Message(envelope), cause);
    }

    fn some_message(&mut self) -> Option<Envelope> {
        let under_way = self.queue.messages().count();
        let at = self.rng.random_range(0..under_way.max(1));
        self.queue.messages().nth(at).cloned()
    }

    /// Every fault ends: the network is whole, all go on, all clocks are right.
    pub(super) fn end_faults(&mut self) {
        self.note(|_| "calm".into());
        self.weather = self.weather.calm();
        self.cut.clear();
        for id in self.peers.keys().copied().collect::<Vec<_>>() {
            if let Some(peer) = self.peers.get_mut(&id) {
                let read = peer.seen;
                peer.clock = Clock::new(self.now, read, 1_000);
                peer.wake_at = peer.clock.reaches(peer.raft.deadline()).max(self.now);
            }
            self.resume(id);
        }
    }
}

fn configurations_in(envelope: &Envelope) -> impl Iterator<Item = &Configuration> {
    let entries = match &envelope.message {
        Message::Append { entries, .. } => entries.as_slice(),
        _ => &[],
    };
    let carried = match &envelope.message {
        Message::Chunk(chunk) => chunk.configuration.as_ref(),
        _ => None,
    };
    let entries = entries.iter().filter_map(|entry| match &entry.payload {
        Payload::Configuration(configuration) => Some(configuration),
        Payload::Empty | Payload::Command(_) => None,
    });
    entries.chain(carried)
}
