//! A peer that is no member any more rests: it asks nobody for votes, until a leader speaks to it again.
//!
//! Deliberately not deaf: it answers what it is asked, since the verdict is about its part in elections only.

use actix::prelude::*;

use super::RaftPeer;
use crate::raft::ClusterId;

/// A leader of this generation names members without this peer: stop standing for election.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "()")]
pub struct Rest(pub ClusterId);

impl Handler<Rest> for RaftPeer {
    type Result = ();

    fn handle(&mut self, Rest(cluster): Rest, _: &mut Self::Context) {
        let member = self.member.as_ref();
        self.resting = member
            .is_some_and(|member| member.cluster == cluster && member.raft.leader().is_none());
    }
}

impl RaftPeer {
    /// A leader speaks again, or another generation has begun.
    pub(super) fn wake_for_a_leader(&mut self) {
        let member = self.member.as_ref();
        self.resting &= member.is_some_and(|member| member.raft.leader().is_none());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::time::sleep;

    use super::super::{EnvelopesReceived, TakePart};
    use super::*;
    use crate::actors::testing::peer::counted_peer;
    use crate::raft::{BOOTSTRAP_INDEX, BOOTSTRAP_TERM, Configuration, Envelope, Message, PeerId};

    const CLUSTER: ClusterId = ClusterId {
        id: 7,
        generation: 0,
    };

    #[actix::test]
    async fn who_was_removed_asks_for_no_votes_until_a_leader_speaks() {
        tokio::time::pause();
        let (peer, said) = counted_peer();
        let founders = || (1..=3).map(PeerId);
        let founding = Some(Configuration {
            voters: founders().collect(),
            contacts: founders().map(|id| (id, Bytes::new())).collect(),
            ..Configuration::default()
        });
        let cluster = CLUSTER;
        peer.send(TakePart { cluster, founding }).await.unwrap();
        let asks = async || {
            let before = said.envelopes.get();
            sleep(Duration::from_secs(2)).await;
            said.envelopes.get() > before
        };
        assert!(asks().await, "nobody leads");
        let other = ClusterId {
            generation: 1,
            ..CLUSTER
        };
        peer.send(Rest(other)).await.unwrap();
        assert!(asks().await, "that was another generation");
        peer.send(Rest(CLUSTER)).await.unwrap();
        assert!(!asks().await);
        let heartbeat = Envelope {
            cluster: CLUSTER,
            from: PeerId(2),
            to: PeerId(1),
            term: 99,
            message: Message::Append {
                prev: BOOTSTRAP_INDEX,
                prev_term: BOOTSTRAP_TERM,
                commit: BOOTSTRAP_INDEX,
                round: 0,
                entries: Vec::new(),
            },
        };
        peer.send(EnvelopesReceived(vec![heartbeat])).await.unwrap();
        assert!(asks().await, "that leader is silent again");
    }
}
