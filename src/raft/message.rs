//! What peers say to each other. The rules of who says what when live in the files named at each variant.
//!
//! Deliberately without a message for proposals: a follower's shell forwards requests, not log entries.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::types::{Configuration, Entry, Index, Term};

/// A message's body. Its sender's term stands in the envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Would you vote for me in the term after mine? Promises nothing, changes no term (`election.rs`).
    PreVote {
        /// Last index of the asker's log.
        last: Index,
        /// That entry's term.
        last_term: Term,
    },
    /// The answer to a pre-vote asked in `term`.
    PreVoteReply {
        /// The asker's term when it asked.
        term: Term,
        /// Whether the sender would vote for it.
        granted: bool,
    },
    /// Vote for me in this term (`election.rs`).
    Vote {
        /// Last index of the candidate's log.
        last: Index,
        /// That entry's term.
        last_term: Term,
        /// The old leader asked for this election, so nobody needs to be loyal to it.
        transfer: bool,
    },
    /// The answer to a vote request of the envelope's term.
    VoteReply {
        /// Whether the vote was given.
        granted: bool,
    },
    /// Entries to append, or none: then it is a heartbeat and a consistency check (`replication.rs`).
    Append {
        /// The entry before the first one sent; 0 matches any log.
        prev: Index,
        /// Its term.
        prev_term: Term,
        /// The leader's commit index.
        commit: Index,
        /// The leader's newest read round, echoed by the reply (`read.rs`).
        round: u64,
        /// The entries, consecutive from `prev + 1`.
        entries: Vec<Entry>,
    },
    /// The follower's log agrees with the leader's up to `matched`.
    Appended {
        /// The highest index known to agree.
        matched: Index,
        /// The read round of the append answered.
        round: u64,
    },
    /// The follower's log agrees up to here, as it has said in this term, and so far it is committed. Not answered: the
    /// answer to the next heartbeat says as much (`replication.rs`).
    Committed {
        /// Not above what the follower acknowledged.
        index: Index,
    },
    /// The follower lacks the entry before the first one sent, or has another there.
    AppendRefused {
        /// `prev` of the append refused.
        prev: Index,
        /// The highest index at which the logs may agree, as far as the follower can tell.
        hint: Index,
        /// The term of the follower's entry there.
        hint_term: Term,
        /// The read round of the append answered.
        round: u64,
    },
    /// A piece of a snapshot (`snapshot.rs`).
    Chunk(Chunk),
    /// A piece arrived, and more are wanted. (Once installed, the answer is `Appended`.)
    ChunkReceived {
        /// Which snapshot.
        index: Index,
        /// Bytes received without a gap.
        offset: u64,
    },
    /// Stand for election now: the leader hands over (`transfer.rs`).
    TimeoutNow,
    /// A follower asks for a read index for one batch of reads (`read.rs`).
    Read {
        /// The follower's mark on the batch.
        batch: u64,
    },
    /// The read index of that batch, or none if the receiver does not lead.
    ReadReply {
        /// The mark.
        batch: u64,
        /// The index.
        index: Option<Index>,
    },
}

/// A piece of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The last index the snapshot covers.
    pub index: Index,
    /// That entry's term.
    pub term: Term,
    /// The configuration in force there; sent with the first piece only.
    pub configuration: Option<Configuration>,
    /// Bytes of the whole snapshot.
    pub total: u64,
    /// Where this piece begins.
    pub offset: u64,
    /// The piece.
    pub data: Bytes,
}

#[cfg(test)]
mod tests {
    use super::super::types::{ClusterId, Envelope, Payload, PeerId};
    use super::*;

    /// The shells write envelopes as MessagePack with names; nothing may get lost on that way.
    #[test]
    fn an_envelope_survives_the_wire() {
        let configuration = Configuration {
            voters: [PeerId(1), PeerId(u64::MAX)].into(),
            contacts: [(PeerId(1), Bytes::from_static(b"\xff\x00"))].into(),
            ..Configuration::default()
        };
        let entry = |index, payload| Entry {
            index,
            term: 3,
            payload,
        };
        let messages = [
            Message::Append {
                prev: 1,
                prev_term: 1,
                commit: 1,
                round: 9,
                entries: vec![
                    entry(2, Payload::Empty),
                    entry(3, Payload::Command(Bytes::from_static(b"x\xfe"))),
                    entry(4, Payload::Configuration(configuration.clone())),
                ],
            },
            Message::Chunk(Chunk {
                index: 4,
                term: 3,
                configuration: Some(configuration),
                total: 3,
                offset: 0,
                data: Bytes::from_static(b"abc"),
            }),
            Message::TimeoutNow,
            Message::ReadReply {
                batch: 1,
                index: None,
            },
        ];
        for message in messages {
            let envelope = Envelope {
                cluster: ClusterId {
                    id: u64::MAX,
                    generation: 1,
                },
                from: PeerId(1),
                to: PeerId(2),
                term: 3,
                message,
            };
            let bytes = rmp_serde::to_vec_named(&envelope).unwrap();
            let back: Envelope = rmp_serde::from_slice(&bytes).unwrap();
            assert_eq!(back, envelope);
        }
    }
}
