//! Random faults: short runs from seeds, in which messages are lost, doubled, reordered and late, peers die and
//! others join, voters change, and leadership moves; then calm, in which the cluster must work again.
//!
//! A failing run panics with its seed; `KAGERO_RAFT_SEED=… cargo nextest run raft::testing::faults` repeats it alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{Rng, SeedableRng};

use super::cluster::{Cluster, Event, contact};
use super::invariants::Invariants;
use crate::raft::{Change, Config, Envelope, Index, Input, PeerId, Start, Tag};

/// Time goes on by so much at once.
const STEP: Duration = Duration::from_millis(5);
/// Faults last so many steps, 1 s: ten election timeouts.
const STORMY_STEPS: u32 = 200;
/// Within so many steps of calm everything must be well.
const CALM_STEPS_MAX: u32 = 1_200;
/// Incarnations in one run.
const PEERS_MAX: u64 = 9;

/// How bad the network is, in per mille and steps.
struct Weather {
    lost: u32,
    doubled: u32,
    late_steps: u32,
    crashes: u32,
    changes: u32,
    partitions: u32,
}

struct Run {
    cluster: Cluster,
    rng: StdRng,
    weather: Weather,
    /// Messages under way, by the step in which they arrive.
    sky: BTreeMap<(u32, u64), Envelope>,
    step: u32,
    sent: u64,
    next_peer: u64,
    next_tag: Tag,
    /// Reads under way, with what was committed when they were asked.
    reads: BTreeMap<Tag, Index>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let config = Config {
            heartbeat: Duration::from_millis(10),
            election_timeout: Duration::from_millis(100),
            append_bytes_max: 400,
            inflight_messages_max: 4,
            inflight_bytes_max: 1_000,
            uncommitted_bytes_max: 4_000,
            snapshot_chunk_bytes: 16,
            log_entries_kept: rng.random_range(0..20),
            log_bytes_kept: 2_000,
        };
        let weather = Weather {
            lost: [0, 20, 100, 300][rng.random_range(0..4)],
            doubled: [0, 50, 200][rng.random_range(0..3)],
            late_steps: rng.random_range(1..8),
            crashes: rng.random_range(0..15),
            changes: rng.random_range(0..150),
            partitions: rng.random_range(0..40),
        };
        let founders = [1, 2, 3, 5][rng.random_range(0..4)];
        let mut cluster = Cluster::new(config, seed);
        cluster.bootstrap(&(1..=founders).map(PeerId).collect::<Vec<_>>());
        Self {
            cluster,
            rng,
            weather,
            sky: BTreeMap::new(),
            step: 0,
            sent: 0,
            next_peer: founders + 1,
            next_tag: 0,
            reads: BTreeMap::new(),
        }
    }

    fn storm(&mut self) {
        for _ in 0..STORMY_STEPS {
            self.disturb();
            self.ask();
            self.advance();
        }
    }

    /// Every fault ends. A leader must emerge, finish what was begun, and commit for all its members.
    fn calm(&mut self) {
        self.weather = Weather {
            lost: 0,
            doubled: 0,
            late_steps: 1,
            crashes: 0,
            changes: 0,
            partitions: 0,
        };
        self.cluster.cut.clear();
        for _ in 0..CALM_STEPS_MAX {
            if self.is_well() {
                return;
            }
            if self.step.is_multiple_of(10)
                && let Some(leader) = self.cluster.leader()
            {
                self.propose(leader);
            }
            self.advance();
        }
        for (peer, node) in &self.cluster.nodes {
            eprintln!("{peer}: {:?}", node.raft.status(self.cluster.now));
        }
        panic!("the cluster did not recover");
    }

    /// A leader has committed in its term, and all living members have applied the same.
    fn is_well(&self) -> bool {
        let Some(leader) = self.cluster.leader() else {
            return false;
        };
        let leader = &self.cluster.nodes[&leader];
        let configuration = leader.raft.log.configuration();
        let done = leader.raft.log.commit() == leader.raft.log.last()
            && leader.raft.log.last_term() == leader.raft.term()
            && !configuration.is_joint();
        done && configuration
            .members()
            .filter_map(|member| self.cluster.nodes.get(&member))
            .all(|node| {
                node.machine.applied == leader.machine.applied
                    && node.machine.commands == leader.machine.commands
                    && node.raft.leader == leader.raft.leader
            })
    }

    fn advance(&mut self) {
        self.step += 1;
        self.cluster.now += STEP;
        while let Some(arrival) = self.sky.first_entry()
            && arrival.key().0 <= self.step
        {
            let envelope = arrival.remove();
            self.cluster.deliver(envelope);
            self.send();
        }
        self.cluster.tick();
        self.send();
        self.check_answers();
        if self.step.is_multiple_of(64) {
            Invariants::check_logs(&self.cluster);
        }
    }

    fn send(&mut self) {
        while let Some(envelope) = self.cluster.wires.pop_front() {
            if self.chance(self.weather.doubled) {
                self.fly(envelope.clone());
            }
            if !self.chance(self.weather.lost) {
                self.fly(envelope);
            }
        }
    }

    fn fly(&mut self, envelope: Envelope) {
        self.sent += 1;
        let late = self.rng.random_range(0..self.weather.late_steps) + 1;
        self.sky.insert((self.step + late, self.sent), envelope);
    }

    fn ask(&mut self) {
        let Some(peer) = self.any_peer() else { return };
        match self.rng.random_range(0..10) {
            0..4 => self.propose(peer),
            4..6 => self.read(peer),
            _ => {
                // Whoever believes to lead should find out.
                for leader in self.self_declared_leaders() {
                    self.read(leader);
                }
            }
        }
    }

    fn read(&mut self, peer: PeerId) {
        self.next_tag += 1;
        let committed = self.cluster.invariants.committed_up_to();
        self.reads.insert(self.next_tag, committed);
        self.cluster.step(peer, Input::Read(self.next_tag));
    }

    fn self_declared_leaders(&self) -> Vec<PeerId> {
        let nodes = self.cluster.nodes.iter();
        let leaders = nodes.filter(|(peer, node)| node.raft.leader == Some(**peer));
        leaders.map(|(peer, _)| *peer).collect()
    }

    fn propose(&mut self, peer: PeerId) {
        let size = self.rng.random_range(1..4);
        let payloads = (0..size).map(|part| format!("{}.{part}", self.next_tag));
        let payloads = payloads.map(Bytes::from).collect();
        self.next_tag += 1;
        self.cluster
            .step(peer, Input::Propose(self.next_tag, payloads));
    }

    fn disturb(&mut self) {
        if self.chance(self.weather.crashes) {
            self.crash();
        }
        if self.chance(self.weather.changes) {
            self.change();
        }
        if self.chance(5)
            && let (Some(from), Some(to)) = (self.cluster.leader(), self.any_peer())
        {
            self.cluster.step(from, Input::Transfer(to));
        }
        if self.chance(5)
            && let (Some(seer), Some(gone)) = (self.any_peer(), self.any_peer())
        {
            // The transport may be wrong about who is gone.
            self.cluster.step(seer, Input::Unreachable(gone));
        }
        if self.chance(self.weather.partitions) {
            self.part();
        }
        if self.chance(15) {
            self.cluster.cut.clear();
        }
    }

    /// Cuts one direction between two peers, or a few off from the rest, who may take them for gone.
    fn part(&mut self) {
        let peers: Vec<PeerId> = self.cluster.nodes.keys().copied().collect();
        if self.chance(300) {
            let pair = peers.choose_multiple(&mut self.rng, 2).copied();
            let pair: Vec<PeerId> = pair.collect();
            if let [from, to] = pair[..] {
                self.cluster.cut.insert((from, to));
            }
            return;
        }
        let few = self.rng.random_range(1..=2);
        let away: BTreeSet<PeerId> = peers.choose_multiple(&mut self.rng, few).copied().collect();
        for (from, to) in peers
            .iter()
            .flat_map(|a| peers.iter().map(move |b| (*a, *b)))
        {
            if away.contains(&from) != away.contains(&to) {
                self.cluster.cut.insert((from, to));
                if self.chance(500) {
                    self.cluster.step(from, Input::Unreachable(to));
                }
            }
        }
    }

    /// Kills a peer whose death leaves every configuration that anybody knows a quorum.
    fn crash(&mut self) {
        let Some(victim) = self.any_peer() else {
            return;
        };
        let alive: BTreeSet<PeerId> = self.cluster.nodes.keys().copied().collect();
        let survives = |peer: PeerId| peer != victim && alive.contains(&peer);
        let safe = self.cluster.nodes.values().all(|node| {
            let log = &node.raft.log;
            let configurations = (log.base()..=log.last()).map(|at| log.configuration_at(at));
            let mut known = configurations.filter(|c| !c.voters.is_empty());
            known.all(|configuration| configuration.is_quorum(survives))
        });
        if !safe {
            return;
        }
        self.cluster.crash(victim);
        for peer in alive.into_iter().filter(|peer| *peer != victim) {
            if self.chance(500) {
                self.cluster.step(peer, Input::Unreachable(victim));
            }
        }
    }

    /// Any change to living voters, by anybody who believes to lead; wise or not, it must be safe.
    fn change(&mut self) {
        let leaders = self.self_declared_leaders();
        let Some(leader) = leaders.into_iter().choose(&mut self.rng) else {
            return;
        };
        let configuration = self.cluster.nodes[&leader].raft.log.configuration().clone();
        let change = match self.rng.random_range(0..4) {
            0 | 1 if self.next_peer <= PEERS_MAX => {
                let peer = PeerId(self.next_peer);
                self.next_peer += 1;
                self.cluster.start(peer, Start::Join);
                Change::AddLearner(peer, contact(peer))
            }
            2 => Change::RemoveLearners(configuration.learners),
            _ => {
                let only_near = self.rng.random::<bool>();
                let fit = |peer: &PeerId| {
                    let far = self.cluster.cut.contains(&(leader, *peer));
                    self.cluster.nodes.contains_key(peer) && !(only_near && far)
                };
                let members = configuration.members().filter(fit);
                let size = self.rng.random_range(1..=5);
                let voters = members.choose_multiple(&mut self.rng, size);
                Change::SetVoters(voters.into_iter().collect())
            }
        };
        self.cluster.step(leader, Input::Reconfigure(0, change));
    }

    /// A read's index covers everything that was committed before it was asked.
    fn check_answers(&mut self) {
        for (_, event) in self.cluster.events.drain(..) {
            if let Event::Read(tag, answer) = event {
                let committed = self.reads.remove(&tag).expect("a read is answered once");
                if let Ok(index) = answer {
                    assert!(index >= committed, "a read at {index} missed {committed}");
                }
            }
        }
    }

    fn any_peer(&mut self) -> Option<PeerId> {
        self.cluster.nodes.keys().copied().choose(&mut self.rng)
    }

    fn chance(&mut self, per_mille: u32) -> bool {
        self.rng.random_range(0..1_000) < per_mille
    }
}

fn run(seed: u64) {
    let outcome = std::panic::catch_unwind(|| {
        let mut run = Run::new(seed);
        run.storm();
        run.calm();
        Invariants::check_logs(&run.cluster);
    });
    if let Err(panic) = outcome {
        eprintln!("KAGERO_RAFT_SEED={seed} repeats this run");
        std::panic::resume_unwind(panic);
    }
}

/// The given seeds, or those that the environment names instead: one, or a range like `1000..2000`.
fn run_all(seeds: Range<u64>) {
    let Ok(named) = std::env::var("KAGERO_RAFT_SEED") else {
        return seeds.for_each(run);
    };
    let number = |text: &str| text.parse::<u64>().expect("a seed is a number");
    match named.split_once("..") {
        Some((from, to)) => (number(from)..number(to)).for_each(run),
        None => run(number(&named)),
    }
}

#[test]
fn random_faults_first_half() {
    run_all(0..300);
}

#[test]
fn random_faults_second_half() {
    run_all(300..600);
}
