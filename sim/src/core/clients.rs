//! Clients: they write through whoever seems to lead, retry under the same name, read anywhere and watch.
//!
//! A write is done when the peer that took it applies an entry of that index and term, and not before; what a client is
//! told is what the checkers hold the cluster to.

use std::collections::BTreeMap;

use bytes::Bytes;
use kagero::raft::{Answer, Index, Input, PeerId, Rejected, Tag, Term};
use kagero::store::{Applied, Command, Compare, Operation, Outcome, ProposalId, Transaction};
use rand::Rng;
use rand::seq::{IndexedRandom, IteratorRandom};

use super::checkers::acknowledged::Acknowledged;
use super::checkers::reads::Reads;
use super::checkers::{Cause, Verdict, Why, watches};
use super::coverage::Mark;
use super::peer::Machine;
use super::world::World;

/// Commands of a burst: together more than the cap on uncommitted bytes.
const BURST: usize = 24;
/// The keys that are written.
const KEYS: [&str; 6] = ["a", "a/1", "a/2", "b/1", "b/2", "c"];

#[derive(Debug)]
struct Write {
    id: ProposalId,
    command: Bytes,
}

/// What clients wait for.
#[derive(Debug, Default)]
pub struct Clients {
    next: u64,
    /// Not acknowledged, by their number.
    open: BTreeMap<u64, Write>,
    proposed: BTreeMap<Tag, Vec<u64>>,
    waiting: BTreeMap<(PeerId, Index), Vec<(Term, u64)>>,
    pub(super) reads: Reads,
    pub(super) acknowledged: Acknowledged,
}

impl Clients {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A peer died, and its answers with it.
    pub(super) fn forget(&mut self, peer: PeerId) {
        self.waiting.retain(|(at, _), _| *at != peer);
        self.reads.forget(peer);
    }
}

impl World {
    /// One request of some client.
    pub(super) fn request(&mut self) {
        let Some(peer) = self.any_running() else {
            return;
        };
        match self.rng.random_range(0..100) {
            0..40 => {
                let near = self.self_declared_leader().unwrap_or(peer);
                let to = if self.chance(800) { near } else { peer };
                let count = if self.chance(60) {
                    BURST
                } else {
                    self.rng.random_range(1..4)
                };
                self.write(to, count);
            }
            40..50 => self.retry(peer),
            50..75 => self.read(peer),
            75..92 => {
                // Whoever believes to lead should find out.
                for leader in self.self_declared_leaders() {
                    self.read(leader);
                }
            }
            _ => self.watch(peer),
        }
    }

    /// Proposes new commands to a peer.
    pub(super) fn write(&mut self, to: PeerId, count: usize) {
        let numbers: Vec<u64> = (0..count).map(|_| self.invent()).collect();
        self.propose(to, numbers);
    }

    fn propose(&mut self, to: PeerId, numbers: Vec<u64>) {
        let leads = self
            .peers
            .get(&to)
            .is_some_and(|p| p.raft.leader() == Some(to));
        self.coverage.mark_if(Mark::ProposedToFollower, !leads);
        let tag = self.clients.number();
        let open = &self.clients.open;
        let payloads = numbers.iter().filter_map(|number| open.get(number));
        let payloads: Vec<Bytes> = payloads.map(|write| write.command.clone()).collect();
        let count = payloads.len();
        self.clients.proposed.insert(tag, numbers);
        self.step(
            to,
            Input::Propose(tag, payloads),
            Cause::new(Why::Propose(count)),
        );
    }

    fn retry(&mut self, peer: PeerId) {
        let Some(number) = self.clients.open.keys().copied().choose(&mut self.rng) else {
            return;
        };
        let to = self.self_declared_leader().unwrap_or(peer);
        self.coverage.mark(Mark::Retried);
        self.propose(to, vec![number]);
    }

    /// Invents a command: one or two keys, sometimes only if one is as a client may have seen it.
    fn invent(&mut self) -> u64 {
        let number = self.clients.number();
        let mut keys = KEYS.choose_multiple(&mut self.rng, 2).copied();
        let (first, second) = (keys.next().unwrap_or("a"), keys.next());
        let second = second.filter(|_| self.rng.random_ratio(1, 4));
        let mut operations = Vec::new();
        for key in std::iter::once(first).chain(second) {
            let key = key.to_owned();
            operations.push(if self.rng.random_ratio(1, 6) {
                Operation::Delete { key }
            } else {
                let value = Bytes::from(format!("v{number}"));
                Operation::Put { key, value }
            });
        }
        let mut compare = Vec::new();
        if self.rng.random_ratio(1, 3) {
            let seen = self.state.model.rows.get(first).map_or(0, |row| row.1);
            let off = u64::from(self.rng.random_ratio(1, 3));
            compare.push(Compare {
                key: first.to_owned(),
                mod_revision: seen + off,
            });
        }
        let id = ProposalId {
            origin: 1,
            sequence: number,
        };
        let transaction = Transaction {
            compare,
            operations,
        };
        let command = Command {
            id,
            time_ms: 0,
            transaction,
        };
        let command = command.encode();
        self.clients.open.insert(number, Write { id, command });
        number
    }

    /// Asks a peer for a linearizable read.
    pub(super) fn read(&mut self, peer: PeerId) {
        let tag = self.clients.number();
        let floor = (self.history.committed_up_to(), self.state.model.revision);
        self.clients.reads.ask(tag, peer, floor);
        self.step(peer, Input::Read(tag), Cause::new(Why::Other));
    }

    fn watch(&mut self, peer: PeerId) {
        let Some(node) = self.peers.get(&peer) else {
            return;
        };
        let machine = &node.machine;
        let after = self.rng.random_range(0..=machine.store.revision());
        let prefix = *["", "a", "a/", "b/"].choose(&mut self.rng).unwrap_or(&"");
        match watches::check(peer, machine, &self.state.changes, (after, prefix)) {
            Ok(true) => self.coverage.mark(Mark::WatchServed),
            Ok(false) => self.coverage.mark(Mark::WatchCompacted),
            Err(text) => self.fail("watches", text),
        }
    }

    /// What a peer said to proposals and changes.
    pub(super) fn on_proposed(&mut self, peer: PeerId, (tag, answer): Answer<(Index, Term)>) {
        if let Err(refusal) = &answer {
            self.count_refusal(refusal);
        }
        let Some(numbers) = self.clients.proposed.remove(&tag) else {
            return;
        };
        if let Ok((first, term)) = answer {
            for (index, number) in (first..).zip(numbers) {
                let waiting = self.clients.waiting.entry((peer, index)).or_default();
                waiting.push((term, number));
            }
        }
    }

    fn count_refusal(&mut self, refusal: &Rejected) {
        self.coverage.mark(match refusal {
            Rejected::NotLeader { .. } => Mark::RefusedNotLeader,
            Rejected::Overloaded => Mark::RefusedOverloaded,
            Rejected::Transferring => Mark::RefusedTransferring,
            Rejected::ChangeInFlight => Mark::RefusedInFlight,
            Rejected::InvalidChange(_) => Mark::RefusedInvalid,
        });
    }

    /// A peer applied an entry: whoever waits there for this index learns what became of its proposal.
    pub(super) fn on_applied(
        &mut self,
        peer: PeerId,
        (index, term): (Index, Term),
        applied: Option<&Applied>,
    ) -> Verdict {
        if let Some(Applied { outcome, events }) = applied {
            let conflict = matches!(outcome, Outcome::Conflict { .. });
            self.coverage.mark_if(Mark::Conflicted, conflict);
            let older = matches!(outcome, Outcome::Committed { revision } if *revision < self.state.model.revision);
            self.coverage
                .mark_if(Mark::Repeated, events.is_empty() && older);
        }
        let Some(waiting) = self.clients.waiting.remove(&(peer, index)) else {
            return Ok(());
        };
        for (wanted, number) in waiting {
            if wanted != term {
                self.coverage.mark(Mark::ProposalLost);
                continue;
            }
            // Acknowledged already by way of another peer: a repeat.
            if let Some(write) = self.clients.open.remove(&number) {
                self.coverage.mark(Mark::Acknowledged);
                let at = (index, term);
                self.clients.acknowledged.acknowledge(
                    write.id,
                    &write.command,
                    at,
                    &self.history,
                )?;
            }
        }
        Ok(())
    }

    /// A peer took a snapshot instead of entries: what clients waited for there, they do not learn.
    pub(super) fn on_restored(&mut self, peer: PeerId, up_to: Index) {
        let waiting = &mut self.clients.waiting;
        waiting.retain(|(at, index), _| *at != peer || *index > up_to);
    }

    /// What a peer said to reads.
    pub(super) fn on_reads(&mut self, peer: PeerId, answers: Vec<Answer<Index>>) -> Verdict {
        let leads = self
            .peers
            .get(&peer)
            .is_some_and(|p| p.raft.leader() == Some(peer));
        for (tag, answer) in answers {
            if let Err(refusal) = &answer {
                self.count_refusal(refusal);
                self.coverage.mark(Mark::ReadRefused);
            }
            self.coverage
                .mark_if(Mark::ReadForwarded, answer.is_ok() && !leads);
            self.clients.reads.answer(tag, peer, answer.ok())?;
        }
        if let Some(Machine { store, applied, .. }) = self.peers.get(&peer).map(|p| &p.machine) {
            let now = (*applied, store.revision());
            let served = self.clients.reads.serve(peer, now)?;
            self.coverage.add(Mark::ReadServed, served);
        }
        Ok(())
    }
}
