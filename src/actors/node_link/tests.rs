//! The leader's link against a node that the test plays.

use prometheus::Registry;

use super::*;
use crate::actors::dial::{Greeted, greet};
use crate::actors::test_leader::Handle;
use crate::actors::testing::network::Wires;
use crate::env::clock::SystemClock;
use crate::env::frames::FRAME_BYTES_MAX;
use crate::env::network::Listener;

const ADDRESS: &str = "[fd00::1]:7443";

struct Ready;

impl Actor for Ready {
    type Context = Context<Self>;
}

impl Handler<LinkReady> for Ready {
    type Result = ();

    fn handle(&mut self, _: LinkReady, _: &mut Self::Context) {}
}

fn target() -> Target {
    Target {
        leader: String::new(),
        name: "n1".into(),
        id: PeerId(1),
        address: ADDRESS.into(),
        cluster: ClusterId {
            id: 1,
            generation: 0,
        },
        term: 1,
        ready: false,
    }
}

/// A link to a node that does not yet exist, and where it listens.
async fn link(leader: &Handle) -> (Addr<NodeLink>, Box<dyn Listener>) {
    let wires = Wires::default();
    let listener = wires.network().listen(ADDRESS).await.unwrap();
    let around = Neighbours {
        network: wires.network(),
        clock: Rc::new(SystemClock::new()),
        entropy: Entropy::from_seed(1),
        submit: leader.0.clone().recipient(),
        ready: Ready.start().recipient(),
        metrics: ClusterMetrics::new(&Registry::new()).unwrap(),
    };
    (NodeLink::new(target(), around).start(), listener)
}

async fn accept(listener: &mut Box<dyn Listener>) -> Greeted {
    greet(listener.accept().await.unwrap().0).await.unwrap()
}

/// The next word that is not a poll.
async fn hear(node: &mut Greeted) -> LinkDown {
    loop {
        match node.inbox.next().await {
            Some(Ok(FromDialler::Link(LinkDown::Poll))) => {}
            Some(Ok(FromDialler::Link(down))) => return down,
            other => panic!("{other:?}"),
        }
    }
}

fn pod(uid: usize, bytes: usize) -> WireAssignment {
    WireAssignment {
        uid: uid.to_string(),
        pod: vec![0; bytes].into(),
        config_maps: Vec::new(),
        secrets: Vec::new(),
    }
}

#[actix::test]
async fn a_connection_without_answers_is_given_up_before_the_node_counts_as_silent() {
    tokio::time::pause();
    let leader = Handle::start();
    let (_link, mut listener) = link(&leader).await;
    let start = Instant::now();
    let mut first = accept(&mut listener).await;
    assert!(matches!(hear(&mut first).await, LinkDown::Open { .. }));
    // It stays open and shows life, but nothing is ever said on it.
    let mut second = accept(&mut listener).await;
    assert!(matches!(hear(&mut second).await, LinkDown::Open { .. }));
    assert!(start.elapsed() < Duration::from_millis(SILENCE_NOT_READY_MS));
}

#[actix::test]
async fn more_pods_than_a_frame_holds_are_told_in_parts() {
    const PODS: usize = 40;
    tokio::time::pause();
    let leader = Handle::start();
    let (link, mut listener) = link(&leader).await;
    let mut node = accept(&mut listener).await;
    hear(&mut node).await;
    link.do_send(Assign {
        full: true,
        upsert: (0..PODS).map(|uid| pod(uid, 1 << 20)).collect(),
        remove: Vec::new(),
    });
    let mut told = Vec::new();
    loop {
        match hear(&mut node).await {
            LinkDown::Part(part) => told.extend(part),
            LinkDown::Assign { full, upsert, .. } => {
                assert!(full);
                told.extend(upsert);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    let uids: Vec<String> = told.into_iter().map(|pod| pod.uid).collect();
    let expected: Vec<String> = (0..PODS).map(|uid| uid.to_string()).collect();
    assert_eq!(uids, expected);
}

#[actix::test]
async fn a_pod_that_no_frame_holds_leaves_the_others_their_link() {
    tokio::time::pause();
    let leader = Handle::start();
    let (link, mut listener) = link(&leader).await;
    let mut node = accept(&mut listener).await;
    hear(&mut node).await;
    link.do_send(Assign {
        full: true,
        upsert: vec![pod(1, FRAME_BYTES_MAX + 1), pod(2, 1)],
        remove: Vec::new(),
    });
    match hear(&mut node).await {
        LinkDown::Assign { upsert, .. } => assert_eq!(upsert, [pod(2, 1)]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_delta_is_one_frame_and_every_assignment_ends_with_one() {
    let small = in_parts(false, vec![pod(1, 10)], vec!["2".into()]);
    assert!(
        matches!(&small[..], [LinkDown::Assign { full: false, upsert, remove }]
        if upsert.len() == 1 && remove.len() == 1)
    );
    let none = in_parts(true, Vec::new(), Vec::new());
    assert!(matches!(&none[..], [LinkDown::Assign { full: true, .. }]));
}
