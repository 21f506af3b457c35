//! `sim bench-core`: how many entries a second the consensus core commits, three members on one thread.
//!
//! The core alone: no sockets, no encoding, no state machine, no disk. Messages are handed over at once, in order.

use std::collections::VecDeque;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use clap::Args;
use kagero::raft::{
    ClusterId, Config, Configuration, Envelope, Input, PeerId, Raft, Ready, Role, Start,
};
use rand::SeedableRng;
use rand::rngs::StdRng;

/// Payload of an entry: about a store command with a small value.
const PAYLOAD_BYTES: usize = 128;
/// Time goes on by so much with every round.
const ROUND: Duration = Duration::from_micros(10);

/// Measure commits a second of the consensus core: three members on one thread.
#[derive(Args)]
pub struct BenchArgs {
    /// Seconds for each batch size.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
}

struct Cluster {
    peers: Vec<Raft>,
    wires: VecDeque<Envelope>,
    now: Duration,
    committed: u64,
}

impl Cluster {
    fn new() -> Self {
        let members: Vec<PeerId> = (1..=3).map(PeerId).collect();
        let configuration = Configuration {
            voters: members.iter().copied().collect(),
            contacts: members.iter().map(|id| (*id, Bytes::new())).collect(),
            ..Configuration::default()
        };
        let cluster = ClusterId {
            id: 1,
            generation: 0,
        };
        let peer = |id: &PeerId| {
            let start = Start::Bootstrap(configuration.clone());
            let entropy = StdRng::seed_from_u64(id.0);
            Raft::new(
                Config::default(),
                *id,
                cluster,
                start,
                Duration::ZERO,
                entropy,
            )
        };
        Self {
            peers: members.iter().map(peer).collect(),
            wires: VecDeque::new(),
            now: Duration::ZERO,
            committed: 0,
        }
    }

    fn step(&mut self, at: usize, input: Input) {
        let ready = self.peers[at].step(input, self.now);
        self.take(at, ready);
    }

    fn take(&mut self, at: usize, ready: Ready) {
        if self.peers[at].role() == Role::Leader {
            self.committed += ready.committed.len() as u64;
        }
        self.wires.extend(ready.messages);
    }

    /// Delivers until all is quiet.
    fn settle(&mut self) {
        while let Some(envelope) = self.wires.pop_front() {
            let at = envelope.to.0 as usize - 1;
            self.step(at, Input::Message(envelope));
        }
    }

    fn elect(&mut self) -> usize {
        loop {
            self.now += Duration::from_millis(1);
            self.tick();
            if let Some(leader) = self.peers.iter().position(|p| p.role() == Role::Leader) {
                return leader;
            }
        }
    }

    fn tick(&mut self) {
        for at in 0..self.peers.len() {
            if self.peers[at].deadline() <= self.now {
                self.step(at, Input::Tick);
                self.settle();
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "what is measured is real time; the core is told a made-up one"
)]
fn measure(batch: usize, seconds: u64) -> f64 {
    let mut cluster = Cluster::new();
    let leader = cluster.elect();
    let payload = Bytes::from(vec![7; PAYLOAD_BYTES]);
    let began = Instant::now();
    let before = cluster.committed;
    let mut tag = 0;
    while began.elapsed() < Duration::from_secs(seconds) {
        tag += 1;
        cluster.now += ROUND;
        cluster.step(leader, Input::Propose(tag, vec![payload.clone(); batch]));
        cluster.settle();
        cluster.tick();
    }
    let commits = cluster.committed - before;
    assert_eq!(commits, tag * batch as u64, "every proposal was committed");
    commits as f64 / began.elapsed().as_secs_f64()
}

/// Measures and prints.
pub fn run(args: &BenchArgs) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "three members, one thread, {PAYLOAD_BYTES} bytes an entry"
    )?;
    for batch in [1, 64, 4_096] {
        let rate = measure(batch, args.seconds);
        writeln!(out, "batch {batch:>5}: {rate:>12.0} commits/s")?;
    }
    Ok(true)
}
