//! Which leaders a node obeys, and that its descriptions keep their order.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::actors::caller::Caller;
use crate::actors::joiner::Introduction;
use crate::actors::testing::host::contact;
use crate::actors::testing::network::Wires;
use crate::actors::testing::peer::silent_peer;
use crate::actors::testing::runtime::IdleRuntime;
use crate::agent::NodeInfo;
use crate::env::clock::SystemClock;
use crate::env::entropy::Entropy;

const OWN: PeerId = PeerId(1);

/// A node's end whose container engine answers after a delay.
fn end(delay: &Rc<Cell<Duration>>) -> Addr<LinkEnd> {
    let entropy = Entropy::from_seed(1);
    let introduction = Introduction {
        id: OWN,
        contact: contact(1),
        seeds: Vec::new(),
        init: false,
        voters_wanted: 1,
    };
    let caller = Caller::new(Wires::default().network()).start();
    let peer = silent_peer().recipient();
    let joiner = Joiner::new(introduction, caller, peer, entropy.clone()).start();
    let info = NodeInfo {
        name: "n1".into(),
        addresses: Vec::new(),
        cpu_millis: 1,
        memory_bytes: 1,
        pods_max: 1,
        runtime: "idle",
    };
    let runtime = Rc::new(IdleRuntime::new(delay.clone()));
    LinkEnd::create(|ctx| {
        let (reports, clock) = (ctx.address().recipient(), Rc::new(SystemClock::new()));
        let agent = NodeAgent::new(info, runtime, clock, entropy, reports).start();
        LinkEnd::new(OWN, agent, joiner)
    })
}

async fn open(
    end: &Addr<LinkEnd>,
    cluster: u64,
    term: Term,
    to: PeerId,
) -> (LinkId, mpsc::Receiver<LinkUp>) {
    let (answers, said) = mpsc::channel(ANSWERS_MAX);
    let cluster = ClusterId {
        id: cluster,
        generation: 0,
    };
    let opened = LinkOpened {
        leader: String::new(),
        cluster,
        term,
        to,
        answers,
    };
    (end.send(opened).await.unwrap(), said)
}

#[actix::test]
async fn only_the_newest_leader_of_its_own_cluster_is_obeyed() {
    tokio::time::pause();
    let end = end(&Rc::default());
    let cases = [
        ("the first", 1, 5, OWN, true),
        ("an older leader", 1, 4, OWN, false),
        ("another incarnation's", 1, 6, PeerId(2), false),
        ("another cluster's", 2, 6, OWN, false),
        ("the same again", 1, 5, OWN, true),
        ("a newer one", 1, 6, OWN, true),
    ];
    for (what, cluster, term, to, obeyed) in cases {
        let (_, mut said) = open(&end, cluster, term, to).await;
        let answer = said.recv().await;
        assert_eq!(matches!(answer, Some(LinkUp::Opened(_))), obeyed, "{what}");
        if !obeyed {
            assert!(matches!(answer, Some(LinkUp::Refused(_))), "{what}");
            assert!(said.recv().await.is_none(), "{what}: the connection ends");
        }
    }
}

#[actix::test]
async fn a_newer_link_ends_the_older_ones_connection() {
    tokio::time::pause();
    let end = end(&Rc::default());
    let (_, mut older) = open(&end, 1, 1, OWN).await;
    assert!(matches!(older.recv().await, Some(LinkUp::Opened(_))));
    let (_, mut newer) = open(&end, 1, 1, OWN).await;
    assert!(matches!(newer.recv().await, Some(LinkUp::Opened(_))));
    assert!(older.recv().await.is_none());
}

#[actix::test]
async fn a_late_description_does_not_overtake_a_later_one() {
    tokio::time::pause();
    let delay = Rc::new(Cell::new(Duration::ZERO));
    let end = end(&delay);
    let (link, mut said) = open(&end, 1, 1, OWN).await;
    assert!(matches!(said.recv().await, Some(LinkUp::Opened(_))));
    let poll = || LinkDownReceived {
        link,
        down: LinkDown::Poll,
    };
    // The engine hangs until the agent gives it up, and is well again meanwhile.
    delay.set(Duration::from_secs(3_600));
    end.send(poll()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    delay.set(Duration::ZERO);
    end.send(poll()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    end.send(poll()).await.unwrap();
    let mut problems = Vec::new();
    tokio::time::sleep(Duration::from_secs(10)).await;
    while let Ok(LinkUp::Alive(description)) = said.try_recv() {
        problems.push(description.problem.is_some());
    }
    assert_eq!(problems, [true, false]);
}
