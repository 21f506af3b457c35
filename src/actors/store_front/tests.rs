//! What a front takes for a replica, and writes that nobody can take.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::*;
use crate::actors::dial::{Greeted, greet};
use crate::actors::leader_door::LeaderDoor;
use crate::actors::raft_peer::{Standing, TakePart};
use crate::actors::testing::host::{contact, env, peer_address};
use crate::actors::testing::network::Wires;
use crate::actors::testing::peer::{counted_peer, silent_peer};
use crate::actors::testing::seed::answer_who;
use crate::actors::wire::{Answer, Call, FromDialler, FromListener, Identity};
use crate::env::network::Listener;
use crate::raft::{ClusterId, Configuration, PeerId, Role};
use crate::resource::{Deletion, Options, ResourceName, Verb};
use crate::store::Store;

fn front(wires: &Wires) -> (Addr<StoreFront>, watch::Receiver<Option<Known>>) {
    front_of(wires, silent_peer())
}

fn front_of(
    wires: &Wires,
    peer: Addr<RaftPeer>,
) -> (Addr<StoreFront>, watch::Receiver<Option<Known>>) {
    let (tell, known) = watch::channel(None);
    let caller = Caller::new(wires.network()).start();
    let front = StoreFront::new(PeerId(1), tell, peer, caller, &env(wires, 1), 3);
    (front.start(), known)
}

/// News for peer 1, where these are members and that one leads.
fn published(members: &[u16], leader: Option<u64>) -> Published {
    let contacts = members
        .iter()
        .map(|number| (PeerId((*number).into()), contact(*number).encode()));
    let configuration = Configuration {
        contacts: contacts.collect(),
        ..Configuration::default()
    };
    Published {
        view: Store::new().view(),
        events: Arc::default(),
        restored: false,
        standing: Standing {
            cluster: ClusterId {
                id: 1,
                generation: 0,
            },
            id: PeerId(1),
            role: Role::Follower,
            term: 1,
            leader: leader.map(PeerId),
            configuration: Arc::new(configuration),
            leads: false,
        },
    }
}

fn request() -> Request {
    Request {
        resource: ResourceName::new("", "v1", "namespaces"),
        namespace: None,
        name: None,
        subresource: None,
        verb: Verb::Create(serde_json::json!({ "metadata": { "name": "a" } })),
        options: Options::default(),
        user: "test".into(),
    }
}

#[actix::test]
async fn only_a_member_holds_a_replica() {
    let (front, known) = front(&Wires::default());
    let cases: [(&[u16], bool); 4] = [(&[], false), (&[1, 2], true), (&[2], false), (&[1], true)];
    for (members, replica) in cases {
        front.send(published(members, None)).await.unwrap();
        assert_eq!(known.borrow().is_some(), replica, "{members:?}");
    }
}

#[actix::test]
async fn who_is_no_member_any_more_ends_its_watches() {
    let (front, _) = front(&Wires::default());
    front.send(published(&[1, 2], None)).await.unwrap();
    let watch = Watch {
        prefix: "pods/".into(),
        after: 0,
    };
    let mut watch = front.send(watch).await.unwrap().unwrap();
    front.send(published(&[2], None)).await.unwrap();
    assert!(watch.events.recv().await.is_none());
}

#[actix::test]
async fn a_write_ends_at_its_deadline_though_the_leader_is_known_but_out_of_reach() {
    tokio::time::pause();
    let (front, _) = front(&Wires::default());
    front.send(published(&[1, 2], Some(2))).await.unwrap();
    let start = Instant::now();
    let submitted = timeout(Duration::from_secs(60), front.send(Submit(vec![request()])));
    let replies = submitted.await.expect("it ends").unwrap();
    assert_eq!(replies[0].as_ref().unwrap_err().code, 503);
    assert!(start.elapsed() < Duration::from_secs(12));
}

/// Deposed without having heard of it, a node sees a state in which much may be missing.
#[actix::test]
async fn a_leader_that_nobody_confirms_answers_nothing_from_its_own_state() {
    tokio::time::pause();
    let (front, _) = front(&Wires::default());
    let mut leading = published(&[1, 2], Some(1));
    leading.standing.leads = true;
    front.send(leading).await.unwrap();
    let mut absent = request();
    absent.name = Some("none".into());
    absent.verb = Verb::Delete(Deletion::default());
    let mut senseless = request();
    senseless.verb = Verb::Create(serde_json::json!([]));
    let submitted = front.send(Submit(vec![absent, senseless]));
    let replies = timeout(Duration::from_secs(60), submitted).await;
    let codes = replies.expect("it ends").unwrap().into_iter();
    let codes: Vec<_> = codes.map(|reply| reply.unwrap_err().code).collect();
    assert_eq!(codes, [503, 400]);
}

#[actix::test]
async fn a_write_that_no_frame_holds_is_refused_at_once() {
    tokio::time::pause();
    let wires = Wires::default();
    let _leader = wires.network().listen(&contact(2).address).await.unwrap();
    let (front, _) = front(&wires);
    front.send(published(&[1, 2], Some(2))).await.unwrap();
    let mut large = request();
    large.verb = Verb::Create(serde_json::json!({ "data": "x".repeat(9 << 20) }));
    let start = Instant::now();
    let replies = front.send(Submit(vec![large])).await.unwrap();
    assert_eq!(replies[0].as_ref().unwrap_err().code, 413);
    assert!(start.elapsed() < Duration::from_secs(1));
}

/// The other end of a node's connection, and the first call on it.
async fn called(leader: &mut Box<dyn Listener>) -> (Greeted, u64, Call) {
    let stream = leader.accept().await.unwrap().0;
    let mut node = greet(stream).await.unwrap();
    match node.inbox.next().await {
        Some(Ok(FromDialler::Call { id, call })) => (node, id, call),
        other => panic!("{other:?}"),
    }
}

#[actix::test]
async fn a_write_whose_answer_is_lost_is_not_asked_for_again_while_that_leader_may_lead() {
    tokio::time::pause();
    let wires = Wires::default();
    let mut leader = wires.network().listen(&contact(2).address).await.unwrap();
    let (front, _) = front(&wires);
    front.send(published(&[1, 2], Some(2))).await.unwrap();
    let submitted = tokio::task::spawn_local(front.send(Submit(vec![request()])));
    drop(called(&mut leader).await);
    let again = timeout(Duration::from_secs(30), leader.accept()).await;
    assert!(again.is_err(), "nobody asks again");
    let replies = submitted.await.unwrap().unwrap();
    assert_eq!(replies[0].as_ref().unwrap_err().code, 504);
}

#[actix::test]
async fn a_later_leader_is_asked_under_the_same_name() {
    tokio::time::pause();
    let wires = Wires::default();
    let listen = async |number| wires.network().listen(&contact(number).address).await;
    let (mut first, mut second) = (listen(2).await.unwrap(), listen(3).await.unwrap());
    let (front, _) = front(&wires);
    front.send(published(&[1, 2, 3], Some(2))).await.unwrap();
    let submitted = tokio::task::spawn_local(front.send(Submit(vec![request()])));
    let (_silent, _, call) = called(&mut first).await;
    let Call::SubmitNamed(before) = call else {
        panic!("{call:?}");
    };
    assert_eq!((before.term, before.again), (1, false));
    let mut now = published(&[1, 2, 3], None);
    now.standing.term = 2;
    front.send(now.clone()).await.unwrap();
    now.standing.leader = Some(PeerId(3));
    front.send(now).await.unwrap();
    let (node, id, call) = called(&mut second).await;
    let Call::SubmitNamed(after) = call else {
        panic!("{call:?}");
    };
    assert_eq!((after.term, after.again), (2, true));
    assert_eq!((after.id, after.since), (before.id, before.since));
    assert_eq!(after.request, request());
    let reply = Reply {
        code: 201,
        body: "{}".into(),
        warnings: Vec::new(),
        revision: 7,
    };
    let answer = Ok(Answer::Submitted(vec![Ok(reply.clone())]));
    (node.outbox.send(&FromListener::Answer { id, answer })).unwrap();
    assert_eq!(submitted.await.unwrap().unwrap(), [Ok(reply)]);
}

/// Many transactions have no name, and a program before this one knows none.
#[actix::test]
async fn what_has_no_name_is_of_unknown_outcome_at_once() {
    tokio::time::pause();
    let mut collection = request();
    collection.verb = Verb::DeleteCollection {
        label_selector: String::new(),
        field_selector: String::new(),
        deletion: Deletion::default(),
    };
    for (request, takes_named) in [(collection, true), (request(), false)] {
        let wires = Wires::default();
        let mut leader = wires.network().listen(&contact(2).address).await.unwrap();
        let (front, _) = front(&wires);
        let mut news = published(&[1, 2], Some(2));
        let older = crate::actors::wire::Contact {
            takes_named,
            ..contact(2)
        };
        let configuration = Arc::make_mut(&mut news.standing.configuration);
        configuration.contacts.insert(PeerId(2), older.encode());
        front.send(news).await.unwrap();
        let started = Instant::now();
        let submitted = tokio::task::spawn_local(front.send(Submit(vec![request])));
        let (node, _, call) = called(&mut leader).await;
        assert!(matches!(call, Call::Submit(_)), "{call:?}");
        drop(node);
        let replies = submitted.await.unwrap().unwrap();
        assert_eq!(replies[0].as_ref().unwrap_err().code, 504);
        assert!(started.elapsed() < Duration::from_secs(1));
    }
}

#[actix::test]
async fn what_the_leaders_own_actors_write_is_never_forwarded() {
    tokio::time::pause();
    let wires = Wires::default();
    let mut successor = wires.network().listen(&contact(2).address).await.unwrap();
    let (front, _) = front(&wires);
    front.send(published(&[1, 2], Some(2))).await.unwrap();
    let door = LeaderDoor::new(front).start();
    let replies = door.send(Submit(vec![request(), request()])).await.unwrap();
    let reasons = replies.into_iter().map(|reply| reply.unwrap_err().reason);
    assert_eq!(reasons.collect::<Vec<_>>(), ["NotLeader", "NotLeader"]);
    let forwarded = timeout(Duration::from_secs(30), successor.accept()).await;
    assert!(forwarded.is_err());
}

/// What a node says that hears this leader over its link, or that leads these.
fn identity(number: u16, leader: u16, members: &[u16]) -> Identity {
    Identity {
        id: PeerId(number.into()),
        contact: contact(number),
        cluster: Some(published(&[1], None).standing.cluster),
        leader: Some(peer_address(leader)),
        called: false,
        founds: false,
        apis: vec![contact(1).api; members.len()],
        members: members.iter().map(|n| PeerId((*n).into())).collect(),
    }
}

/// Nobody who was a member then is one now, and all API addresses are equal.
#[actix::test]
async fn who_was_removed_is_told_by_the_leader_that_others_name() {
    tokio::time::pause();
    let cases: [(&str, &[u16], bool); 2] = [
        ("it was replaced", &[4, 5, 6], true),
        ("it is a member still", &[1, 4, 5], false),
    ];
    for (what, members, removed) in cases {
        let wires = Wires::default();
        answer_who(&wires, identity(2, 4, &[]));
        answer_who(&wires, identity(4, 4, members));
        let (front, known) = front(&wires);
        front.send(published(&[1, 2, 3], None)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(known.borrow().is_none(), removed, "{what}");
    }
}

/// It would ask everybody that it ever knew, for ever.
#[actix::test]
async fn who_was_removed_asks_for_no_votes() {
    tokio::time::pause();
    let (peer, said) = counted_peer();
    let standing = published(&[1, 2, 3], None).standing;
    let (cluster, id) = (standing.cluster, standing.id);
    let configuration = Configuration {
        voters: standing.configuration.contacts.keys().copied().collect(),
        ..(*standing.configuration).clone()
    };
    let founding = Some(configuration);
    peer.send(TakePart { cluster, founding }).await.unwrap();
    let (front, _) = front_of(&Wires::default(), peer);
    front.send(published(&[1, 2, 3], None)).await.unwrap();
    for removed in [false, true] {
        let verdict = RemovalAsked {
            cluster,
            id,
            removed,
        };
        front.send(verdict).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = said.envelopes.get();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(said.envelopes.get() == before, removed);
    }
}

/// Who does not lead may lag behind.
#[actix::test]
async fn who_merely_follows_proves_nothing() {
    tokio::time::pause();
    let wires = Wires::default();
    answer_who(&wires, identity(2, 3, &[]));
    let (front, known) = front(&wires);
    front.send(published(&[1, 2, 3], None)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(known.borrow().is_some());
}

/// A verdict on the last generation says nothing of this one.
#[actix::test]
async fn a_late_verdict_does_not_hit_the_next_generation() {
    let (front, known) = front(&Wires::default());
    let mut now = published(&[1, 2], None);
    now.standing.cluster.generation = 1;
    front.send(now.clone()).await.unwrap();
    for (generation, stays) in [(0, true), (1, false)] {
        let cluster = ClusterId {
            generation,
            ..now.standing.cluster
        };
        let (id, removed) = (PeerId(1), true);
        let verdict = RemovalAsked {
            cluster,
            id,
            removed,
        };
        front.send(verdict).await.unwrap();
        assert_eq!(known.borrow().is_some(), stays);
    }
}

#[test]
fn every_turn_of_leadership_is_told_once() {
    let standing = |leader, role, leads| Standing {
        role,
        leads,
        ..published(&[1, 2, 3], leader).standing
    };
    let path = [
        (standing(None, Role::Follower, false), vec![]),
        (
            standing(None, Role::PreCandidate, false),
            vec!["this node hears no leader and stands for election"],
        ),
        (standing(None, Role::Candidate, false), vec![]),
        // It does not lead before it has committed an entry of its own term.
        (standing(Some(1), Role::Leader, false), vec![]),
        (
            standing(Some(1), Role::Leader, true),
            vec!["this node leads"],
        ),
        (standing(Some(1), Role::Leader, true), vec![]),
        (
            standing(Some(2), Role::Follower, false),
            vec!["this node leads no more", "this node follows n2"],
        ),
        (
            standing(Some(3), Role::Follower, false),
            vec!["this node follows n3"],
        ),
        (standing(Some(3), Role::Follower, false), vec![]),
    ];
    let mut before = None;
    for (now, lines) in path {
        assert_eq!(turns(before.as_ref(), &now), lines, "{now:?}");
        before = Some(now);
    }
}
