//! What a peer promises, and that only what it promised itself can begin.

use super::super::{EnvelopesReceived, PeerIntroduced, Propose, ProposeError, TakePart};
use super::*;
use crate::actors::dial::Introduction;
use crate::actors::testing::peer::{counted_peer, silent_peer};
use crate::raft::{Envelope, Message};

const CLUSTER: ClusterId = ClusterId {
    id: 7,
    generation: 0,
};
/// The peer under test.
const OWN: PeerId = PeerId(1);
const OTHER: PeerId = PeerId(2);

/// The next generation.
fn recovered() -> ClusterId {
    ClusterId {
        generation: 1,
        ..CLUSTER
    }
}

/// One of three founders, of whom the others never speak.
async fn survivor() -> Addr<RaftPeer> {
    let peer = silent_peer();
    let founders = || (1..=3).map(PeerId);
    let founding = Some(Configuration {
        voters: founders().collect(),
        contacts: founders().map(|id| (id, Bytes::new())).collect(),
        ..Configuration::default()
    });
    let cluster = CLUSTER;
    peer.send(TakePart { cluster, founding }).await.unwrap();
    peer
}

async fn promise(
    peer: &Addr<RaftPeer>,
    generation: u64,
    winner: PeerId,
) -> Result<Position, PromiseRefused> {
    let promise = Promise { generation, winner };
    let cluster = CLUSTER.id;
    peer.send(MakePromise { cluster, promise }).await.unwrap()
}

async fn begin(peer: &Addr<RaftPeer>, generation: u64) -> Result<Revision, BeginRefused> {
    let begin = BeginGeneration {
        cluster: ClusterId {
            generation,
            ..CLUSTER
        },
        term: 5,
        survivors: [(OWN, Bytes::new())].into(),
        record: Vec::new(),
    };
    peer.send(begin).await.unwrap()
}

async fn account(peer: &Addr<RaftPeer>) -> Account {
    peer.send(GiveAccount).await.unwrap().unwrap()
}

#[actix::test]
async fn one_winner_of_a_generation_is_promised_and_nothing_earlier() {
    let peer = survivor().await;
    let first = Promise {
        generation: 2,
        winner: OTHER,
    };
    assert_eq!(promise(&peer, 0, OWN).await, Err(PromiseRefused::Begun(0)));
    let position = promise(&peer, 2, OTHER).await.unwrap();
    assert_eq!(promise(&peer, 2, OTHER).await, Ok(position), "again");
    for (generation, winner) in [(2, OWN), (1, OWN), (1, OTHER)] {
        let refused = promise(&peer, generation, winner).await;
        assert_eq!(refused, Err(PromiseRefused::Promised(first)));
    }
    assert_eq!(promise(&peer, 3, OWN).await, Ok(position), "a later one");
    let promise = Promise {
        generation: 9,
        winner: OWN,
    };
    let elsewhere = MakePromise {
        cluster: CLUSTER.id + 1,
        promise,
    };
    let refused = peer.send(elsewhere).await.unwrap();
    assert_eq!(refused, Err(PromiseRefused::NotMember));
}

#[actix::test]
async fn who_promised_takes_no_further_part() {
    let peer = survivor().await;
    assert!(!account(&peer).await.frozen);
    promise(&peer, 1, OTHER).await.unwrap();
    let account = account(&peer).await;
    assert!(account.frozen && !account.hears_leader);
    assert_eq!((account.promised, account.cluster), (1, CLUSTER));
    let refused = peer.send(super::super::ReadIndex).await.unwrap();
    assert_eq!(refused.unwrap_err(), ProposeError::NotMember);
    // The winner's generation is followed, an earlier one than was promised is not.
    for (promised, generation, follows) in [(2, 1, false), (2, 2, true)] {
        promise(&peer, promised, OTHER).await.ok();
        let cluster = ClusterId {
            generation,
            ..CLUSTER
        };
        let founding = None;
        let may = peer.send(TakePart { cluster, founding }).await.unwrap();
        assert_eq!(may, follows);
        let now = self::account(&peer).await;
        assert_eq!(now.cluster.generation == generation, follows);
        assert_eq!(now.position.generation, 0, "it has nothing newer yet");
    }
    let (cluster, founding) = (CLUSTER, None);
    let may = peer.send(TakePart { cluster, founding }).await.unwrap();
    assert!(may, "late news of what it has left behind end nothing");
    let generation = self::account(&peer).await.cluster.generation;
    assert_eq!(generation, 2);
}

/// It may dial before this node hears of its generation; it alone can say how it is reached.
#[actix::test]
async fn a_leader_that_introduced_itself_before_its_generation_is_answered() {
    let (peer, said) = counted_peer();
    let (cluster, founding) = (CLUSTER, None);
    peer.send(TakePart { cluster, founding }).await.unwrap();
    promise(&peer, 1, OTHER).await.unwrap();
    let introduction = Introduction {
        id: OTHER,
        contact: Bytes::from_static(b"contact"),
    };
    peer.send(PeerIntroduced(introduction)).await.unwrap();
    let (cluster, founding) = (recovered(), None);
    peer.send(TakePart { cluster, founding }).await.unwrap();
    let append = Envelope {
        cluster: recovered(),
        from: OTHER,
        to: OWN,
        term: 9,
        message: Message::Append {
            prev: 5,
            prev_term: 5,
            commit: 5,
            round: 0,
            entries: Vec::new(),
        },
    };
    peer.send(EnvelopesReceived(vec![append])).await.unwrap();
    // Behind the flush that steps it.
    account(&peer).await;
    tokio::task::yield_now().await;
    assert_eq!(said.envelopes.get(), 1);
    assert_eq!(*said.reachable.borrow(), [OTHER]);
}

/// A worker never gets a state; what it shows of itself must not stop with the generation in which it was started.
#[actix::test]
async fn who_has_no_state_shows_its_part_in_a_later_generation() {
    tokio::time::pause();
    let (peer, said) = counted_peer();
    for cluster in [CLUSTER, recovered()] {
        let founding = None;
        peer.send(TakePart { cluster, founding }).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(*said.published.borrow(), Some(cluster));
        assert_eq!(account(&peer).await.cluster, cluster);
    }
}

#[actix::test]
async fn only_what_was_promised_to_itself_begins_and_once() {
    let peer = survivor().await;
    let refused = Err(BeginRefused::NotPromised);
    assert_eq!(begin(&peer, 1).await, refused, "nothing was promised");
    promise(&peer, 1, OTHER).await.unwrap();
    assert_eq!(begin(&peer, 1).await, refused, "to another");
    promise(&peer, 2, OWN).await.unwrap();
    assert_eq!(begin(&peer, 1).await, refused, "too late");
    promise(&peer, 3, OWN).await.unwrap();
    assert_eq!(begin(&peer, 2).await, refused, "passed over");
    assert_eq!(begin(&peer, 3).await, Ok(3 << 40));
    assert_eq!(begin(&peer, 3).await, refused, "it has begun");
    assert_eq!(promise(&peer, 3, OWN).await, Err(PromiseRefused::Begun(3)));
    let account = account(&peer).await;
    assert!(account.hears_leader && !account.frozen);
    assert!(account.term > 5, "later than every survivor's");
    assert_eq!(
        promise(&peer, 4, OTHER).await,
        Err(PromiseRefused::LeaderLives)
    );
    let written = Propose {
        time_ms: 0,
        term: None,
        transactions: vec![(None, crate::store::Transaction::default())],
    };
    assert!(peer.send(written).await.unwrap()[0].is_ok());
}
