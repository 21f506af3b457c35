//! The world of one run: peers with their clocks, what is under way between them, and what is known of them.
//!
//! Here time passes and steps are made; what goes wrong is drawn in `faults.rs`, what is asked in `clients.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use kagero::raft::{
    ClusterId, Config, Configuration, Envelope, Input, Message, PeerId, Raft, Ready, Role, Start,
};
use kagero::store::Store;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};

use super::checkers::state_machine::{HISTORY_BOUNDS, StateMachine};
use super::checkers::{Before, Cause, Checkers, Step, Verdicts, Violation, Why, is_quorum};
use super::clients::Clients;
use super::coverage::{Coverage, Mark};
use super::history::{Held, History, Written};
use super::network::{Event, Queue};
use super::peer::{Clock, Machine, Peer};
use super::trace::{self, Sink};
use super::weather::{self, Weather};

/// The cluster of every run.
pub const CLUSTER: ClusterId = ClusterId {
    id: 7,
    generation: 3,
};
/// Peers look at the time at most so often.
const TICK_GAP_MIN: Duration = Duration::from_micros(500);
/// After so many steps one whole log is looked at.
const AUDIT_EVERY_STEPS: u64 = 64;
/// More steps than any run needs: a run that makes more goes in circles.
const STEPS_MAX: u64 = 400_000;
/// A run that goes on although something is broken ends after so many: some twenty times the usual.
const STEPS_ALONE_MAX: u64 = 10_000;

/// Everything there is in a run.
pub struct World {
    pub(super) now: Duration,
    pub(super) rng: StdRng,
    pub(super) config: Config,
    pub(super) weather: Weather,
    pub(super) peers: BTreeMap<PeerId, Peer>,
    pub(super) dead: BTreeSet<PeerId>,
    pub(super) queue: Queue,
    pub(super) cut: BTreeSet<(PeerId, PeerId)>,
    pub(super) next_peer: u64,
    pub(super) clients: Clients,
    pub(super) history: History,
    pub(super) state: StateMachine,
    pub(super) coverage: Coverage,
    pub(super) failure: Option<Violation>,
    pub(super) verdicts: Verdicts,
    checkers: Checkers,
    sink: Option<Sink>,
    sent: u64,
    arrived: BTreeMap<(PeerId, PeerId), u64>,
    next_request: Duration,
    next_fault: Duration,
    pub(super) steps: u64,
}

impl World {
    /// A new cluster, drawn from the seed.
    pub fn new(seed: u64, sink: Option<Sink>) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let weather = Weather::draw(&mut rng);
        let config = weather::config(&mut rng);
        let founders: Vec<PeerId> = (1..=weather.founders).map(PeerId).collect();
        let founding = Configuration {
            voters: founders.iter().copied().collect(),
            contacts: founders
                .iter()
                .map(|peer| (*peer, contact(*peer)))
                .collect(),
            ..Configuration::default()
        };
        let mut world = Self {
            now: Duration::ZERO,
            rng,
            config,
            next_peer: weather.founders + 1,
            weather,
            peers: BTreeMap::new(),
            dead: BTreeSet::new(),
            queue: Queue::default(),
            cut: BTreeSet::new(),
            clients: Clients::default(),
            history: History::new(founding.clone()),
            state: StateMachine::default(),
            coverage: Coverage::default(),
            failure: None,
            verdicts: Verdicts::default(),
            checkers: Checkers::default(),
            sink,
            sent: 0,
            arrived: BTreeMap::new(),
            next_request: Duration::ZERO,
            next_fault: Duration::ZERO,
            steps: 0,
        };
        world.note(|world| format!("{:?}", world.weather));
        for founder in founders {
            world.start(founder, Start::Bootstrap(founding.clone()));
        }
        world
    }

    /// A new incarnation.
    pub(super) fn start(&mut self, id: PeerId, start: Start) {
        let per_mille = if self.weather.skewed {
            self.coverage.mark(Mark::ClockWrong);
            self.rng.random_range(700..1_400)
        } else {
            1_000
        };
        let read = Duration::from_micros(self.rng.random_range(0..1_000_000));
        let clock = Clock::new(self.now, read, per_mille);
        let entropy = StdRng::seed_from_u64(self.rng.random());
        let raft = Raft::new(self.config.clone(), id, CLUSTER, start, read, entropy);
        self.note(|_| format!("n{} starts", id.0));
        self.history.begin(id, &raft);
        let machine = Machine {
            applied: raft.log().commit(),
            store: Store::new().with_history(HISTORY_BOUNDS),
            begins: 0,
        };
        let peer = Peer {
            wake_at: clock.reaches(raft.deadline()),
            raft,
            clock,
            seen: read,
            machine,
            paused: false,
            inbox: Vec::new(),
        };
        self.peers.insert(id, peer);
    }

    /// Lets time pass, with requests and faults, until `end` or a failure.
    pub(super) fn pass(&mut self, end: Duration) {
        while self.failure.is_none() {
            let next = self.next_at().min(end);
            self.now = self.now.max(next);
            if self.now >= end {
                return;
            }
            self.happen();
            if self.steps > STEPS_MAX {
                self.fail("bounds", format!("{STEPS_MAX} steps were made"));
            }
            if self.is_worn_out() {
                return;
            }
        }
    }

    /// A run that goes on although something is broken has gone on for long enough.
    pub(super) fn is_worn_out(&self) -> bool {
        self.verdicts.alone && self.steps > STEPS_ALONE_MAX
    }

    /// From now on only who waits for calm writes, and nothing goes wrong.
    pub(super) fn end_requests(&mut self) {
        self.next_request = Duration::MAX;
        self.next_fault = Duration::MAX;
    }

    fn next_at(&self) -> Duration {
        let running = self.peers.values().filter(|peer| !peer.paused);
        let ticks = running.map(|peer| peer.wake_at).min();
        let others = [Some(self.next_request), Some(self.next_fault), ticks];
        let others = others.into_iter().chain([self.queue.next_at()]);
        others.flatten().min().unwrap_or(Duration::MAX)
    }

    fn happen(&mut self) {
        while let Some(event) = self.queue.pop(self.now) {
            match event {
                Event::Arrive(envelope, number) => self.arrive(*envelope, number),
                Event::SnapshotEncoded(peer) => self.give_snapshot(peer),
                Event::Resume(peer) => self.resume(peer),
            }
            if self.failure.is_some() {
                return;
            }
        }
        let due = |peer: &Peer| !peer.paused && peer.wake_at <= self.now;
        let due = self.peers.iter().filter(|(_, peer)| due(peer));
        for peer in due.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.step(peer, Input::Tick, Cause::new(Why::Tick));
        }
        if self.next_request <= self.now {
            self.next_request = self.now + self.random_up_to(self.weather.request_gap_max);
            self.request();
        }
        if self.next_fault <= self.now {
            self.next_fault = self.now + self.random_up_to(self.weather.fault_gap_max);
            self.disturb();
        }
    }

    /// Between a tenth of a time and all of it.
    pub(super) fn random_up_to(&mut self, most: Duration) -> Duration {
        let micros = most.as_micros() as u64;
        Duration::from_micros(self.rng.random_range(micros / 10..=micros))
    }

    fn arrive(&mut self, envelope: Envelope, number: u64) {
        let link = (envelope.from, envelope.to);
        if self.cut.contains(&link) {
            return self.coverage.mark(Mark::Stopped);
        }
        let newest = self.arrived.entry(link).or_default();
        self.coverage.mark_if(Mark::Reordered, number < *newest);
        *newest = number.max(*newest);
        match self.peers.get_mut(&envelope.to) {
            Some(peer) if peer.paused => peer.inbox.push(envelope),
            Some(_) => self.deliver(envelope),
            None => {}
        }
    }

    /// Gives a message to the peer that it is for.
    pub(super) fn deliver(&mut self, envelope: Envelope) {
        let (why, writes_after) = match &envelope.message {
            Message::TimeoutNow => (Why::TimeoutNow, None),
            Message::Append { prev, .. } => (Why::Message, Some(*prev)),
            _ => (Why::Message, None),
        };
        let cause = Cause {
            why,
            from: Some(envelope.from),
            writes_after,
        };
        self.step(envelope.to, Input::Message(envelope), cause);
    }

    /// One step of one peer, and all that the caller of a core must do after it.
    pub(super) fn step(&mut self, id: PeerId, input: Input, cause: Cause) {
        if self.failure.is_some() {
            return;
        }
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        self.steps += 1;
        let what = self.sink.is_some().then(|| trace::input(&input)).flatten();
        let before = Before::of(&peer.raft);
        let counters = peer.raft.counters().clone();
        peer.seen = peer.seen.max(peer.clock.local(self.now));
        let ready = peer.raft.step(input, peer.seen);
        let wake_at = peer.clock.reaches(peer.raft.deadline());
        peer.wake_at = wake_at.max(self.now + TICK_GAP_MIN);
        self.coverage.count_step(&counters, &peer.raft);
        if self.sink.is_some() {
            self.tell_step(id, &before, what, &ready);
        }
        if let Err(violation) = self.perform(id, before, &cause, ready) {
            self.fail(violation.property, violation.text);
        }
    }

    fn perform(
        &mut self,
        id: PeerId,
        before: Before,
        cause: &Cause,
        ready: Ready,
    ) -> Result<(), Violation> {
        let Some(peer) = self.peers.get_mut(&id) else {
            return Ok(());
        };
        let term = peer.raft.term();
        if let Some(snapshot) = &ready.restore {
            let restored = StateMachine::restore(id, snapshot).map(|machine| {
                peer.machine = machine;
                let store = &peer.machine.store;
                let state = &self.state;
                state.compare_restored(id, store, snapshot, &self.history)
            });
            let verdict = restored.and_then(|verdict| verdict);
            self.verdicts.take("state_machine", verdict)?;
            self.on_restored(id, snapshot.index);
        }
        let Some(peer) = self.peers.get_mut(&id) else {
            return Ok(());
        };
        let mut applied = Vec::with_capacity(ready.committed.len());
        for entry in &ready.committed {
            let (outcome, verdict) = self
                .state
                .apply(id, &mut peer.machine, entry, &self.history);
            self.verdicts.take("state_machine", verdict)?;
            self.history.commit(entry, term);
            applied.push(outcome);
        }
        let written = self.history.observe(id, &peer.raft, &before, cause, &ready);
        let step = Step {
            peer: id,
            raft: &peer.raft,
            before,
            cause,
            ready: &ready,
            written,
            now: self.now,
            local: peer.seen,
            config: &self.config,
        };
        self.checkers
            .on_step(&step, &self.history, &mut self.verdicts)?;
        if self.steps.is_multiple_of(AUDIT_EVERY_STEPS) {
            self.checkers.audit(id, &peer.raft, &mut self.verdicts)?;
        }
        self.count_written(id, &before, written);
        for (entry, outcome) in ready.committed.iter().zip(&applied) {
            let at = (entry.index, entry.term);
            let verdict = self.on_applied(id, at, outcome.as_ref());
            self.verdicts.take("acknowledged", verdict)?;
        }
        for answer in ready.proposed {
            self.on_proposed(id, answer);
        }
        let verdict = self.on_reads(id, ready.reads);
        self.verdicts.take("reads", verdict)?;
        for envelope in ready.messages {
            self.send(envelope);
        }
        if ready.snapshot_wanted {
            self.encode_later(id);
        }
        Ok(())
    }

    fn count_written(&mut self, id: PeerId, before: &Before, written: Written) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        let log = peer.raft.log();
        let marks = &mut self.coverage;
        marks.mark_if(Mark::Truncated, written.replaced.is_some());
        marks.mark_if(Mark::Compacted, log.base() > before.base);
        let configuration = log.configuration();
        let changed = log.configuration_index() != before.configuration.0;
        let was_joint = self.history.configuration_before(before).is_joint();
        let leads = peer.raft.role() == Role::Leader;
        marks.mark_if(
            Mark::JointEntered,
            changed && leads && configuration.is_joint(),
        );
        marks.mark_if(Mark::JointLeft, changed && leads && was_joint);
        let led = before.role == Role::Leader;
        let deposed = led && !leads && peer.raft.term() > before.term;
        marks.mark_if(Mark::Deposed, deposed);
        let left = led && !leads && !deposed && !configuration.is_voter(id);
        marks.mark_if(
            Mark::LeaderRetired,
            left && log.configuration_index() <= log.commit(),
        );
        if leads && log.commit() == before.commit && log.commit() < log.last() {
            let held = |peer| self.history.held(peer).map_or(0, Held::last);
            let reached = log.commit() + 1;
            let old = log
                .term(reached)
                .is_some_and(|term| term < peer.raft.term());
            marks.mark_if(
                Mark::OwnTermHeld,
                old && is_quorum(configuration, |peer| held(peer) >= reached),
            );
        }
    }

    fn send(&mut self, envelope: Envelope) {
        self.coverage.count_message(&envelope.message);
        if self.chance(self.weather.lost) {
            return self.coverage.mark(Mark::Lost);
        }
        if self.chance(self.weather.doubled) {
            self.coverage.mark(Mark::Doubled);
            self.fly(envelope.clone());
        }
        self.fly(envelope);
    }

    fn fly(&mut self, envelope: Envelope) {
        self.sent += 1;
        let mut latency = if self.weather.steady {
            self.weather.latency_max
        } else {
            self.random_up_to(self.weather.latency_max)
        };
        // An order to stand does most harm when it is old.
        let old_order = self.weather.very_late > 0 && envelope.message == Message::TimeoutNow;
        if self.chance(self.weather.very_late) || old_order && self.chance(300) {
            self.coverage.mark(Mark::VeryLate);
            latency += weather::ELECTION_TIMEOUT.mul_f64(self.rng.random_range(0.5..4.0));
        }
        let event = Event::Arrive(Box::new(envelope), self.sent);
        self.queue.push(self.now + latency, event);
    }

    fn encode_later(&mut self, id: PeerId) {
        self.coverage.mark(Mark::SnapshotWanted);
        let mut delay = Duration::from_micros(50);
        if self.chance(300) {
            self.coverage.mark(Mark::SnapshotLate);
            delay = self.random_up_to(weather::ELECTION_TIMEOUT);
        }
        self.queue
            .push(self.now + delay, Event::SnapshotEncoded(id));
    }

    fn give_snapshot(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        let machine = &peer.machine;
        let (index, data) = (machine.applied, machine.store.snapshot().encode());
        self.step(id, Input::Snapshot { index, data }, Cause::new(Why::Other));
    }

    /// A chance of so many in a thousand.
    pub(super) fn chance(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.rng.random_range(0..1_000) < per_mille
    }

    /// Any peer that is not paused.
    pub(super) fn any_running(&mut self) -> Option<PeerId> {
        let running = self.peers.iter().filter(|(_, peer)| !peer.paused);
        running.map(|(id, _)| *id).choose(&mut self.rng)
    }

    /// Those who believe to lead, and are not paused.
    pub(super) fn self_declared_leaders(&self) -> Vec<PeerId> {
        let leads = |id: PeerId, peer: &Peer| !peer.paused && peer.raft.leader() == Some(id);
        let leaders = self.peers.iter().filter(|(id, peer)| leads(**id, peer));
        leaders.map(|(id, _)| *id).collect()
    }

    /// One of them.
    pub(super) fn self_declared_leader(&mut self) -> Option<PeerId> {
        self.self_declared_leaders()
            .into_iter()
            .choose(&mut self.rng)
    }

    /// Notes the first failure; the run ends.
    pub(super) fn fail(&mut self, property: &'static str, text: String) {
        self.note(|_| format!("VIOLATED {property}: {text}"));
        if let Err(violation) = self.verdicts.take(property, Err(text)) {
            self.failure.get_or_insert(violation);
        }
    }

    /// Looks at every log whole.
    pub(super) fn audit(&mut self) {
        for (id, peer) in &self.peers {
            let audited = self.checkers.audit(*id, &peer.raft, &mut self.verdicts);
            if let Err(violation) = audited {
                self.failure.get_or_insert(violation);
            }
        }
    }

    /// Writes a line of the timeline that is nobody's step.
    pub(super) fn note(&mut self, text: impl FnOnce(&Self) -> String) {
        if self.sink.is_some() {
            let line = trace::note(self.now, &text(self));
            self.tell(&line);
        }
    }

    fn tell(&mut self, line: &str) {
        if let Some(sink) = &mut self.sink {
            sink(line);
        }
    }

    fn tell_step(&mut self, id: PeerId, before: &Before, what: Option<String>, ready: &Ready) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        for line in trace::step(self.now, &peer.raft, before, what, ready) {
            self.tell(&line);
        }
    }
}

/// A made-up way to reach a peer.
pub(super) fn contact(peer: PeerId) -> Bytes {
    Bytes::from(format!("c{}", peer.0))
}
