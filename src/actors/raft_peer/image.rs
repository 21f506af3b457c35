//! Snapshots for members whose next entry is gone from the log: the state is taken in O(1), and encoded piece by piece.
//!
//! In one go, 100 MB take 0.1 s of a fast core and several times that of one that others use, too: long enough for the
//! leader's followers to choose another, and the newcomer would ask that one for the same. Deliberately one at a time, and
//! without a second look at whether it is still wanted: the core drops what it has no use for.

use actix::prelude::*;
use bytes::Bytes;

use super::super::member::Member;
use super::RaftPeer;
use crate::raft::{ClusterId, Index, Input};
use crate::store::Snapshot;

/// Encoded without a pause: some milliseconds at some 100 MB/s.
const PIECE_BYTES: usize = 256 << 10;

/// Encodes a state; after each piece everything else on this thread has its turn.
pub async fn encode(snapshot: Snapshot) -> Bytes {
    let mut encoder = snapshot.encoder();
    while encoder.advance(PIECE_BYTES) {
        tokio::task::yield_now().await;
    }
    encoder.finish()
}

/// A state is encoded.
#[derive(Message)]
#[rtype(result = "()")]
struct Encoded {
    cluster: ClusterId,
    /// The last entry that is in it.
    index: Index,
    data: Bytes,
}

impl RaftPeer {
    /// Answers the core's wish for a snapshot of the applied state, in a while. A wish that comes again meanwhile has the
    /// same answer: the core keeps the log since it asked first.
    pub(super) fn make_image(&mut self, ctx: &mut Context<Self>) {
        let idle = |member: &&Member| member.encoding.is_none();
        let Some(member) = self.member.as_ref().filter(idle) else {
            return;
        };
        let (cluster, index, snapshot) = (member.cluster, member.applied, member.store.snapshot());
        let me = ctx.address();
        let encoding = async move {
            let data = encode(snapshot).await;
            me.do_send(Encoded {
                cluster,
                index,
                data,
            });
        };
        let under_way = ctx.spawn(encoding.into_actor(self));
        if let Some(member) = &mut self.member {
            member.encoding = Some(under_way);
        }
    }
}

impl Handler<Encoded> for RaftPeer {
    type Result = ();

    /// Another generation has no use for it: its log goes on elsewhere.
    fn handle(&mut self, encoded: Encoded, ctx: &mut Self::Context) {
        let Encoded {
            cluster,
            index,
            data,
        } = encoded;
        let member = self.member.as_mut();
        let Some(member) = member.filter(|member| member.cluster == cluster) else {
            return;
        };
        member.encoding = None;
        tracing::debug!(index, bytes = data.len(), "snapshot for a lagging member");
        self.step(Input::Snapshot { index, data }, ctx);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EnvelopesReceived, GetStatus, Propose, Reconfigure, TakePart};
    use super::*;
    use crate::actors::testing::peer::silent_peer;
    use crate::raft::{Change, Configuration, Envelope, Message as Word, PeerId, Status};
    use crate::store::{Operation, Transaction};

    const CLUSTER: ClusterId = ClusterId {
        id: 7,
        generation: 0,
    };
    const LEADER: PeerId = PeerId(1);
    const NEWCOMER: PeerId = PeerId(2);
    /// A state of 80 pieces.
    const VALUES: usize = 320;
    const VALUE_BYTES: usize = 64 << 10;

    /// A voter that leads alone and holds a large state.
    async fn leader() -> Addr<RaftPeer> {
        let peer = silent_peer();
        let founding = Some(Configuration {
            voters: [LEADER].into(),
            contacts: [(LEADER, Bytes::new())].into(),
            ..Configuration::default()
        });
        let cluster = CLUSTER;
        assert!(peer.send(TakePart { cluster, founding }).await.unwrap());
        let put = |number: usize| Transaction {
            operations: vec![Operation::Put {
                key: format!("configmaps/default/{number}"),
                value: vec![b'x'; VALUE_BYTES].into(),
            }],
            ..Transaction::default()
        };
        for number in 0..VALUES {
            let proposed = Propose {
                time_ms: 0,
                term: None,
                transactions: vec![(None, put(number))],
            };
            let outcomes = peer.send(proposed).await.unwrap();
            assert!(outcomes[0].is_ok(), "{outcomes:?}");
        }
        peer
    }

    async fn status(peer: &Addr<RaftPeer>) -> Status {
        peer.send(GetStatus).await.unwrap().unwrap().1
    }

    /// The newcomer says that it has nothing at all.
    async fn ask(peer: &Addr<RaftPeer>) {
        let Status { last, term, .. } = status(peer).await;
        let change = Change::AddLearner(NEWCOMER, Bytes::new());
        peer.send(Reconfigure(change)).await.unwrap().unwrap();
        let refusal = Envelope {
            cluster: CLUSTER,
            from: NEWCOMER,
            to: LEADER,
            term,
            message: Word::AppendRefused {
                prev: last,
                hint: 0,
                hint_term: 0,
                round: 0,
            },
        };
        peer.send(EnvelopesReceived(vec![refusal])).await.unwrap();
    }

    /// How often the peer answers before it has made a snapshot for the newcomer.
    async fn turns_until_made(peer: &Addr<RaftPeer>) -> usize {
        let mut turns = 0;
        while status(peer).await.progress[&NEWCOMER].snapshot.is_none() {
            turns += 1;
            assert!(turns < 100_000, "never made");
        }
        turns
    }

    #[actix::test]
    async fn a_leader_goes_on_while_it_encodes_a_large_state() {
        tokio::time::pause();
        let peer = leader().await;
        ask(&peer).await;
        let turns = turns_until_made(&peer).await;
        assert!(turns > 20, "it answered {turns} times meanwhile");
        let total = status(&peer).await.progress[&NEWCOMER].snapshot.unwrap().1;
        assert!(total > (VALUES * VALUE_BYTES) as u64, "{total} bytes");
    }

    /// The core wishes for a snapshot, again; answered with what is under way.
    #[derive(Message)]
    #[rtype(result = "Option<SpawnHandle>")]
    struct Wish;

    impl Handler<Wish> for RaftPeer {
        type Result = Option<SpawnHandle>;

        fn handle(&mut self, _: Wish, ctx: &mut Self::Context) -> Self::Result {
            self.make_image(ctx);
            self.member.as_ref()?.encoding
        }
    }

    #[actix::test]
    async fn one_snapshot_is_made_at_a_time() {
        tokio::time::pause();
        let peer = leader().await;
        ask(&peer).await;
        let first = peer.send(Wish).await.unwrap();
        assert!(first.is_some());
        assert_eq!(peer.send(Wish).await.unwrap(), first);
        turns_until_made(&peer).await;
        assert_ne!(peer.send(Wish).await.unwrap(), first, "then the next one");
    }

    /// Its index means nothing here: the core would not survive it.
    #[actix::test]
    async fn another_generations_snapshot_is_dropped() {
        tokio::time::pause();
        let peer = leader().await;
        let under_way = peer.send(Wish).await.unwrap();
        let late = Encoded {
            cluster: ClusterId {
                generation: 1,
                ..CLUSTER
            },
            index: 1_000_000,
            data: Bytes::new(),
        };
        peer.send(late).await.unwrap();
        assert_eq!(peer.send(Wish).await.unwrap(), under_way);
    }
}
