//! The models: what may happen in each, and how often.

use serde::Serialize;

/// How often each thing may still happen. Beside these, messages arrive: those from one peer to another in order, all
/// others in any, and each as late as may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Bounds {
    /// Election timeouts that come due, at any peer; a leader then asks itself whether it is still heard.
    pub expiries: u8,
    /// Heartbeats of a leader.
    pub beats: u8,
    /// Commands proposed to a leader.
    pub proposals: u8,
    /// Linearizable reads, asked of any peer.
    pub reads: u8,
    /// Orders to hand leadership over.
    pub transfers: u8,
    /// Messages that are lost.
    pub losses: u8,
    /// Messages that arrive twice.
    pub doubles: u8,
    /// Peers that vanish with all they knew.
    pub crashes: u8,
    /// Changes of membership: a learner joins, or the voters change.
    pub changes: u8,
}

/// A model by its name.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// The voters at its start.
    pub voters: u64,
    /// Whether it starts with a leader whose first entry everybody knows committed, or with founders that know nothing.
    pub led: bool,
    /// What may happen.
    pub bounds: Bounds,
}

const NOTHING: Bounds = Bounds {
    expiries: 0,
    beats: 0,
    proposals: 0,
    reads: 0,
    transfers: 0,
    losses: 0,
    doubles: 0,
    crashes: 0,
    changes: 0,
};

/// All of them. Each is explored to its end in about a minute at most.
pub const MODELS: [Named; 6] = [
    Named {
        name: "election",
        about: "two of three founders stand for election, in any order",
        voters: 3,
        led: false,
        bounds: Bounds {
            expiries: 2,
            losses: 1,
            ..NOTHING
        },
    },
    Named {
        name: "replication",
        about: "a leader is deposed while it replicates a command, and a peer vanishes",
        voters: 3,
        led: true,
        bounds: Bounds {
            expiries: 2,
            proposals: 1,
            losses: 1,
            crashes: 1,
            ..NOTHING
        },
    },
    Named {
        name: "transfer",
        about: "leadership is handed over while commands come",
        voters: 3,
        led: true,
        bounds: Bounds {
            proposals: 2,
            transfers: 1,
            losses: 1,
            ..NOTHING
        },
    },
    Named {
        name: "doubled",
        about: "leadership is handed over while a message comes twice and a heartbeat is due",
        voters: 3,
        led: true,
        bounds: Bounds {
            beats: 1,
            proposals: 1,
            transfers: 1,
            doubles: 1,
            ..NOTHING
        },
    },
    Named {
        name: "read",
        about: "reads at any peer while a command commits and leadership moves",
        voters: 3,
        led: true,
        bounds: Bounds {
            proposals: 1,
            reads: 1,
            transfers: 1,
            ..NOTHING
        },
    },
    Named {
        name: "membership",
        about: "a joiner learns, then takes any voter's place",
        voters: 3,
        led: true,
        bounds: Bounds {
            changes: 2,
            ..NOTHING
        },
    },
];
