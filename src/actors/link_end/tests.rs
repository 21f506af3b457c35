//! Which leaders a node obeys, and that its descriptions keep their order.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::actors::caller::Caller;
use crate::actors::joiner::Introduction;
use crate::actors::node_agent::LeaseBook;
use crate::actors::testing::host::contact;
use crate::actors::testing::network::Wires;
use crate::actors::testing::peer::silent_peer;
use crate::actors::testing::runtime::IdleRuntime;
use crate::agent::NodeInfo;
use crate::env::clock::SystemClock;
use crate::env::entropy::Entropy;
use crate::env::shelf::{MemoryShelf, NoShelf, Shelf};

const OWN: PeerId = PeerId(1);

/// A node's end whose container engine answers after a delay.
fn end(delay: &Rc<Cell<Duration>>) -> Addr<LinkEnd> {
    end_and_agent(delay).0
}

fn end_and_agent(delay: &Rc<Cell<Duration>>) -> (Addr<LinkEnd>, Addr<NodeAgent>) {
    end_with(delay, Rc::new(NoShelf))
}

fn end_with(delay: &Rc<Cell<Duration>>, shelf: Rc<dyn Shelf>) -> (Addr<LinkEnd>, Addr<NodeAgent>) {
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
    let mut started = None;
    let end = LinkEnd::create(|ctx| {
        let (reports, clock) = (ctx.address().recipient(), Rc::new(SystemClock::new()));
        let agent = NodeAgent::new(info, runtime, clock.clone(), entropy, reports);
        let book = LeaseBook::new(shelf, "boot".to_owned());
        let agent = agent.with_leases(book).start();
        started = Some(agent.clone());
        LinkEnd::new(OWN, clock, agent, joiner)
    });
    (end, started.unwrap())
}

async fn open(
    end: &Addr<LinkEnd>,
    cluster: u64,
    term: Term,
    to: PeerId,
) -> (LinkId, mpsc::Receiver<LinkUp>) {
    let cluster = ClusterId {
        id: cluster,
        generation: 0,
    };
    open_of(end, cluster, term, to).await
}

async fn open_of(
    end: &Addr<LinkEnd>,
    cluster: ClusterId,
    term: Term,
    to: PeerId,
) -> (LinkId, mpsc::Receiver<LinkUp>) {
    let (answers, said) = mpsc::channel(ANSWERS_MAX);
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

/// A generation ends all terms of the one before, however high they were, and there is no way back.
#[actix::test]
async fn a_later_generation_is_obeyed_and_an_earlier_one_refused() {
    tokio::time::pause();
    let end = end(&Rc::default());
    let cases = [(0, 9, true), (1, 2, true), (0, 99, false), (1, 1, false)];
    for (generation, term, obeyed) in cases {
        let cluster = ClusterId { id: 1, generation };
        let (_, mut said) = open_of(&end, cluster, term, OWN).await;
        let answer = said.recv().await;
        let opened = matches!(answer, Some(LinkUp::Opened(_)));
        assert_eq!(opened, obeyed, "generation {generation}, term {term}");
    }
}

fn report(uid: &str, gone: bool) -> PodReport {
    PodReport {
        namespace: "default".into(),
        name: uid.into(),
        uid: uid.into(),
        status: format!("status of {uid}").into(),
        gone,
    }
}

fn told(uid: &str) -> WireAssignment {
    WireAssignment {
        uid: uid.into(),
        pod: format!("pod {uid}").into(),
        config_maps: Vec::new(),
        secrets: Vec::new(),
        fresh: false,
    }
}

/// What a node says when a leader's link opens, up to `Opened`.
async fn said_at_opening(end: &Addr<LinkEnd>, generation: u64) -> (LinkId, Vec<HeldPod>) {
    let cluster = ClusterId { id: 1, generation };
    let (link, mut said) = open_of(end, cluster, 1, OWN).await;
    let mut held = Vec::new();
    loop {
        match said.recv().await {
            Some(LinkUp::Holds(pods)) => held.extend(pods),
            Some(LinkUp::Opened(_)) => return (link, held),
            other => panic!("{other:?}"),
        }
    }
}

/// A leader's full set.
fn assign(link: LinkId, uids: &[&str]) -> LinkDownReceived {
    LinkDownReceived {
        link,
        down: LinkDown::Assign {
            full: true,
            upsert: uids.iter().map(|uid| told(uid)).collect(),
            remove: Vec::new(),
        },
    }
}

/// A later generation may begin with a state from before a deletion: to that, what is gone by it is not.
#[actix::test]
async fn what_is_gone_is_not_told_to_a_later_generation_that_wants_it() {
    tokio::time::pause();
    for (generation, hears) in [(0, true), (1, false)] {
        let end = end(&Rc::default());
        let (link, _) = said_at_opening(&end, 0).await;
        end.send(assign(link, &["a", "gone"])).await.unwrap();
        let reports = vec![report("a", false), report("gone", true)];
        end.send(PodReports(reports)).await.unwrap();
        let cluster = ClusterId { id: 1, generation };
        let (link, mut said) = open_of(&end, cluster, 2, OWN).await;
        end.send(assign(link, &["a", "gone"])).await.unwrap();
        let heard: Vec<PodReport> = loop {
            match said.recv().await {
                Some(LinkUp::Reports(reports)) => break reports,
                Some(LinkUp::Opened(_) | LinkUp::Holds(_)) => {}
                other => panic!("{other:?}"),
            }
        };
        let gone = heard.iter().any(|report| report.gone);
        assert_eq!(gone, hears, "generation {generation}: {heard:?}");
    }
}

/// A recovered store may not know what this node runs; until its leader has said what is wanted, every leader is told.
#[actix::test]
async fn a_later_generations_leader_hears_what_the_node_holds_until_it_has_spoken() {
    tokio::time::pause();
    let end = end(&Rc::default());
    let (link, held) = said_at_opening(&end, 0).await;
    assert!(held.is_empty());
    end.send(assign(link, &["a", "b", "gone"])).await.unwrap();
    let reports = vec![report("a", false), report("gone", true)];
    end.send(PodReports(reports)).await.unwrap();
    let (_, held) = said_at_opening(&end, 0).await;
    assert!(held.is_empty(), "the generation's own leader knows");
    for _ in 0..2 {
        let (_, held) = said_at_opening(&end, 1).await;
        let expected = HeldPod {
            uid: "a".into(),
            pod: "pod a".into(),
            status: "status of a".into(),
        };
        assert_eq!(held, [expected], "neither what never ran nor what is gone");
    }
    let (link, _) = said_at_opening(&end, 1).await;
    end.send(assign(link, &["a"])).await.unwrap();
    let (_, held) = said_at_opening(&end, 1).await;
    assert!(held.is_empty());
}

/// The leader takes what was refused for told; only everything anew helps.
#[actix::test]
async fn an_assignment_that_the_agent_refuses_ends_the_link_and_counts_as_not_told() {
    tokio::time::pause();
    let (end, agent) = end_and_agent(&Rc::default());
    let assign = |term| AssignPods {
        generation: 0,
        term,
        full: true,
        upsert: vec![told("a")],
        remove: Vec::new(),
    };
    agent.send(assign(2)).await.unwrap().unwrap();
    let (link, mut said) = open(&end, 1, 1, OWN).await;
    assert!(matches!(said.recv().await, Some(LinkUp::Opened(_))));
    let AssignPods {
        full,
        upsert,
        remove,
        ..
    } = assign(1);
    let down = LinkDown::Assign {
        full,
        upsert,
        remove,
    };
    end.send(LinkDownReceived { link, down }).await.unwrap();
    end.send(PodReports(vec![report("a", false)]))
        .await
        .unwrap();
    assert!(said.recv().await.is_none(), "the connection ends");
    let (_, held) = said_at_opening(&end, 1).await;
    assert!(held.is_empty(), "it was never taken");
}

#[actix::test]
async fn more_pods_than_any_node_runs_end_the_link() {
    tokio::time::pause();
    let end = end(&Rc::default());
    let (link, mut said) = open(&end, 1, 1, OWN).await;
    assert!(matches!(said.recv().await, Some(LinkUp::Opened(_))));
    for _ in 0..=PODS_MAX / 1_000 {
        let down = LinkDown::Part(vec![told("a"); 1_000]);
        end.send(LinkDownReceived { link, down }).await.unwrap();
    }
    assert!(said.recv().await.is_none());
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

#[actix::test]
async fn every_leader_hears_that_the_machines_end_is_announced_and_that_it_is_not() {
    tokio::time::pause();
    let end = end(&Rc::default());
    let deadline = Instant::now() + Duration::from_secs(30);
    end.send(Announced(Some(deadline))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    for term in 1..=2 {
        let (_, mut said) = open(&end, 1, term, OWN).await;
        match said.recv().await {
            Some(LinkUp::Evicting(Some(left))) => assert!(left.abs_diff(20_000) < 100, "{left}"),
            other => panic!("{other:?}"),
        }
    }
    let (_, mut said) = open(&end, 1, 3, OWN).await;
    assert!(matches!(said.recv().await, Some(LinkUp::Evicting(Some(_)))));
    assert!(matches!(said.recv().await, Some(LinkUp::Opened(_))));
    end.send(Announced(None)).await.unwrap();
    assert!(matches!(said.recv().await, Some(LinkUp::Evicting(None))));
    let (_, mut said) = open(&end, 1, 4, OWN).await;
    assert!(matches!(said.recv().await, Some(LinkUp::Evicting(None))));
}

/// The leader counts from when it heard the node; its word may have been under way for longer than a lease lasts.
#[actix::test]
async fn a_lease_counts_from_the_reply_that_was_sent_not_from_the_word_that_acknowledges_it() {
    tokio::time::pause();
    let shelf = Rc::new(MemoryShelf::default());
    let (end, _) = end_with(&Rc::default(), shelf.clone());
    let (link, mut said) = open(&end, 1, 1, OWN).await;
    let down = async |down| end.send(LinkDownReceived { link, down }).await.unwrap();
    let number = |up| match up {
        Some(LinkUp::Opened(node) | LinkUp::Alive(node)) => node.number,
        other => panic!("{other:?}"),
    };
    let owner =
        r#"{"apiVersion":"apps/v1","kind":"StatefulSet","name":"db","uid":"s","controller":true}"#;
    let meta =
        format!(r#"{{"name":"db-0","namespace":"default","uid":"u","ownerReferences":[{owner}]}}"#);
    let pod = format!(r#"{{"metadata":{meta},"spec":{{"containers":[{{"name":"c"}}]}}}}"#);
    let assigned = WireAssignment {
        pod: pod.into(),
        ..told("u")
    };
    down(LinkDown::Assign {
        full: true,
        upsert: vec![assigned],
        remove: Vec::new(),
    })
    .await;
    let first = number(said.recv().await);
    tokio::time::sleep(LEASE + Duration::from_secs(1)).await;
    let start = true;
    let acknowledged = LinkDown::Lease {
        number: first,
        start,
    };
    down(acknowledged).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(shelf.get(), None, "it was over when it came");
    down(LinkDown::Poll).await;
    let second = loop {
        if let Some(LinkUp::Alive(node)) = said.recv().await {
            break node.number;
        }
    };
    let never_sent = LinkDown::Lease {
        number: second + 1,
        start,
    };
    down(never_sent).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(shelf.get(), None, "of a reply that it has not sent");
    down(LinkDown::Poll).await;
    let third = loop {
        if let Some(LinkUp::Alive(node)) = said.recv().await {
            break node.number;
        }
    };
    down(LinkDown::Lease {
        number: third,
        start,
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(shelf.get().is_some());
}
