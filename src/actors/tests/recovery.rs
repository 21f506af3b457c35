//! A majority is lost for good: what recovers, what refuses to, and what stays as it was.

use std::collections::BTreeMap;

use actix::prelude::*;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use crate::actors::caller::{Caller, Place};
use crate::actors::dial::{Connection, dial, greet};
use crate::actors::raft_peer::survivor::{BeginGeneration, MakePromise, Promise};
use crate::actors::testing::host::{Host, eventually, obtain, options, peer_address};
use crate::actors::testing::network::Wires;
use crate::actors::wire::{Answer, Call, FromDialler, FromListener, LinkDown};
use crate::cli::client::{Client, ClientError};
use crate::raft::{ClusterId, PeerId, Role, Testimony};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const RECOVERY: &str = "/kagero/v1/recovery";
const STATUS: &str = "/kagero/v1/status";
/// The first revision of generation 1.
const FIRST: u64 = 1 << 40;

async fn write(client: &Client, name: &str) {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "a": "b" },
    });
    obtain("a write", || client.post(CONFIG_MAPS, &object)).await;
}

/// Three nodes that lead themselves and hold a ConfigMap `before` each.
async fn three(wires: &Wires) -> Vec<Host> {
    let mut hosts = Vec::new();
    for number in 1..=3 {
        hosts.push(Host::start(wires, options(number), number.into()).await);
    }
    eventually("a leader", || hosts.iter().any(Host::leads)).await;
    write(&hosts[0].client(wires), "before").await;
    let has = |host: &Host| {
        let known = host.node.known.borrow();
        let view = known.as_ref().map(|known| known.view.clone());
        view.is_some_and(|view| view.get("configmaps/default/before").is_some())
    };
    eventually("every node has it", || hosts.iter().all(has)).await;
    hosts
}

/// A cluster of which only n1 is left, and which has noticed.
async fn survivor(wires: &Wires) -> Host {
    let mut hosts = three(wires).await;
    hosts.truncate(1);
    let survivor = hosts.remove(0);
    leaderless(&survivor).await;
    survivor
}

async fn leaderless(host: &Host) {
    eventually("no leader", || {
        let known = host.node.known.borrow();
        known
            .as_ref()
            .is_some_and(|known| known.standing.leader.is_none())
    })
    .await;
}

async fn recover(client: &Client, request: Value) -> Result<Value, ClientError> {
    let patient = client.clone().with_deadline(Duration::from_secs(60));
    patient.post(RECOVERY, &request).await
}

/// Plans and confirms.
async fn recover_without(client: &Client, dead: &[&str]) -> Value {
    let plan = recover(client, json!({ "dead": dead })).await.unwrap();
    let confirmed = json!({ "dead": dead, "confirm": plan["confirm"] });
    recover(client, confirmed).await.unwrap()
}

fn revision(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str().unwrap();
    text.parse().unwrap()
}

/// Voters of the node's newest configuration, once they are as many as wanted.
async fn voters(client: &Client, wanted: usize) -> Value {
    obtain("the voters", async || {
        let status = client.get(STATUS).await.map_err(|e| e.to_string())?;
        let members = status["members"].as_array().unwrap();
        let votes = |member: &&Value| member["role"] == "leader" || member["role"] == "voter";
        if members.iter().filter(votes).count() == wanted {
            Ok(status)
        } else {
            Err(status.to_string())
        }
    })
    .await
}

/// Waits until the members have these roles.
async fn members(client: &Client, wanted: &[&str]) {
    obtain("the members", async || {
        let status = client.get(STATUS).await.map_err(|e| e.to_string())?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let member =
            |member: &Value| format!("{} {}", text(&member["name"]), text(&member["role"]));
        let members = status["members"].as_array().unwrap().iter().map(member);
        let members: Vec<String> = members.collect();
        if members == wanted {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await;
}

#[actix::test]
async fn the_last_survivor_recovers_and_grows_again() {
    tokio::time::pause();
    let wires = Wires::default();
    // The one that led: its proposals of this generation are remembered by the next, and must not be taken for those.
    let mut hosts = three(&wires).await;
    let leader = hosts.iter().position(Host::leads).unwrap();
    let one = hosts.swap_remove(leader);
    drop(hosts);
    leaderless(&one).await;
    let name = |number: usize| format!("n{number}");
    let dead: Vec<usize> = (1..=3).filter(|number| *number != leader + 1).collect();
    let client = one.client(&wires);
    let mut watch = client
        .watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion=0"))
        .await
        .unwrap();
    let names: Vec<String> = dead.iter().copied().map(name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let recovered = recover_without(&client, &names).await;
    assert_eq!(recovered["revision"], FIRST);
    assert_eq!(recovered["record"]["winner"], name(leader + 1));
    assert_eq!(recovered["record"]["generation"], 1);

    // Open watches end, and old ones are told to list anew.
    while let Some(event) = watch.next(Duration::from_secs(30)).await.unwrap() {
        assert_eq!(event["type"], "ADDED");
    }
    let mut expired = client
        .watch(&format!("{CONFIG_MAPS}?watch=true&resourceVersion=3"))
        .await
        .unwrap();
    let event = expired.next(Duration::from_secs(30)).await.unwrap();
    assert_eq!(event.unwrap()["object"]["code"], 410);

    write(&client, "after").await;
    let list = obtain("the list", || client.get(CONFIG_MAPS)).await;
    assert!(revision(&list) > FIRST, "{}", list["metadata"]);
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    let record = "/api/v1/namespaces/kube-system/configmaps/kagero-recovery-1";
    let record = client.get(record).await.unwrap();
    assert_eq!(revision(&record), FIRST);

    assert_eq!(*one.node.ended.borrow(), None, "the winner goes on");

    // Two newcomers find the new generation by the seeds, and make it whole.
    let number = |at: usize| u16::try_from(dead[at]).unwrap();
    let two = Host::start(&wires, options(number(0)), 22).await;
    let _three = Host::start(&wires, options(number(1)), 33).await;
    let status = voters(&client, 3).await;
    assert_eq!(status["generation"], 1);
    assert_eq!(status["recovery"], recovered["record"]);
    let two = two.client(&wires);
    for name in ["before", "after"] {
        let path = format!("{CONFIG_MAPS}/{name}");
        obtain("both", || two.get(&path)).await;
    }
}

#[actix::test]
async fn silence_refuses_and_a_process_in_its_place_is_proof() {
    tokio::time::pause();
    let wires = Wires::default();
    let one = survivor(&wires).await;
    let client = one.client(&wires);
    let refused = recover(&client, json!({})).await.unwrap_err();
    assert_eq!(refused.code(), Some(409));
    let text = refused.to_string();
    assert!(text.contains("n2 (voter), n3 (voter)"), "{text}");

    let two = Host::start(&wires, options(2), 22).await;
    let refused = recover(&client, json!({})).await.unwrap_err().to_string();
    assert!(refused.contains("n3 (voter) does not answer"), "{refused}");
    assert!(!refused.contains("n2"), "{refused}");
    let refused = recover(&client, json!({"dead": ["n3", "n4"]})).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("no member is called n4"), "{refused}");
    // Whoever holds no replica recovers nothing.
    let refused = recover(&two.client(&wires), json!({"dead": ["n3"]})).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("holds no replica"), "{refused}");

    let plan = recover(&client, json!({"dead": ["n3"]})).await.unwrap();
    let superseded = format!("superseded by incarnation {}", two.node.id);
    let fate = |name: &str| {
        let members = plan["record"]["members"].as_array().unwrap();
        let member = members.iter().find(|member| member["name"] == name);
        member.unwrap()["dead"].clone()
    };
    assert_eq!(fate("n1"), "");
    assert_eq!(fate("n2"), superseded);
    assert_eq!(fate("n3"), "the operator's word");
    // A look changes nothing, nor does a wrong token.
    let wrong = json!({"dead": ["n3"], "confirm": "something"});
    let refused = recover(&client, wrong).await.unwrap_err().to_string();
    assert!(refused.contains("look at the new plan"), "{refused}");
    assert_eq!(
        one.node
            .known
            .borrow()
            .as_ref()
            .unwrap()
            .standing
            .cluster
            .generation,
        0
    );
    recover_without(&client, &["n3"]).await;
    // Two voters survive no more losses than one, so the newcomer learns until there is a third.
    members(&client, &["n1 leader", "n2 learner"]).await;
}

/// Asks a node over the peers' protocol.
async fn ask(wires: &Wires, number: u16, call: Call) -> Option<Answer> {
    let question = Place {
        address: peer_address(number),
        call,
        deadline: Instant::now() + Duration::from_secs(1),
    };
    let answer = Caller::new(wires.network()).start().send(question).await;
    answer.unwrap().ok()
}

/// A leader whom nobody elected opens a link to n1, in its own cluster.
async fn open_link(wires: &Wires, one: &Host) -> (Connection, ClusterId) {
    let cluster = one.node.known.borrow().as_ref().unwrap().standing.cluster;
    let open = LinkDown::Open {
        cluster,
        term: 99,
        to: one.node.id,
        leader: String::new(),
    };
    let network = wires.network();
    let dialled = dial(network.as_ref(), &peer_address(1), None).await;
    let connection = dialled.unwrap();
    connection.0.send(&FromDialler::Link(open)).unwrap();
    (connection, cluster)
}

/// Generation 1 is to begin with this winner's log.
fn promise(cluster: ClusterId, winner: PeerId) -> Call {
    Call::Promise(MakePromise {
        cluster: cluster.id,
        promise: Promise {
            generation: 1,
            winner,
        },
    })
}

/// The voters moved on to machines that it never heard of; their leader still has a link to it.
#[actix::test]
async fn who_hears_a_leader_over_its_link_alone_recovers_nothing() {
    tokio::time::pause();
    let wires = Wires::default();
    let one = survivor(&wires).await;
    let (client, dead) = (one.client(&wires), json!({"dead": ["n2", "n3"]}));
    let ((leader, _answers), cluster) = open_link(&wires, &one).await;
    let say = |word: LinkDown| leader.send(&FromDialler::Link(word)).unwrap();
    for _ in 0..5 {
        let refused = recover(&client, dead.clone()).await.unwrap_err();
        assert!(refused.to_string().contains("hears a leader"), "{refused}");
        let promised = ask(&wires, 1, promise(cluster, one.node.id)).await;
        assert!(promised.is_none(), "{promised:?}");
        sleep(Duration::from_secs(2)).await;
        say(LinkDown::Poll);
    }
    // A leader that says nothing any more may be none.
    sleep(Duration::from_secs(5)).await;
    recover(&client, dead).await.unwrap();
}

/// Who was called dead lived, and the recovery was broken off after the promises: nothing else would ever free this node.
#[actix::test]
async fn who_promised_a_generation_that_never_began_ends_when_its_leader_speaks_again() {
    tokio::time::pause();
    for opens_again in [false, true] {
        let wires = Wires::default();
        let one = survivor(&wires).await;
        let ((leader, _answers), cluster) = open_link(&wires, &one).await;
        sleep(Duration::from_secs(5)).await;
        let promised = ask(&wires, 1, promise(cluster, one.node.id)).await;
        assert!(
            matches!(promised, Some(Answer::Promised(_))),
            "{promised:?}"
        );
        sleep(Duration::from_secs(60)).await;
        assert_eq!(*one.node.ended.borrow(), None, "nobody speaks to it");
        let mut opened = None;
        if opens_again {
            opened = Some(open_link(&wires, &one).await);
        } else {
            leader.send(&FromDialler::Link(LinkDown::Poll)).unwrap();
        }
        eventually("its end", || one.node.ended.borrow().is_some()).await;
        let reason = one.node.ended.borrow().clone().unwrap();
        assert!(reason.contains("promised a later generation"), "{reason}");
        drop(opened);
    }
}

/// A coordinator's last word may come long after the promises.
#[actix::test]
async fn nothing_begins_where_a_leader_speaks() {
    tokio::time::pause();
    let wires = Wires::default();
    let one = survivor(&wires).await;
    let (_leader, cluster) = open_link(&wires, &one).await;
    sleep(Duration::from_secs(1)).await;
    let begin = Call::Begin(BeginGeneration {
        cluster: ClusterId {
            generation: 1,
            ..cluster
        },
        term: 100,
        survivors: BTreeMap::new(),
        record: Vec::new(),
    });
    let question = Place {
        address: peer_address(1),
        call: begin,
        deadline: Instant::now() + Duration::from_secs(1),
    };
    let answer = Caller::new(wires.network()).start().send(question).await;
    let refused = answer.unwrap().unwrap_err().to_string();
    assert!(refused.contains("hears a leader"), "{refused}");
}

#[actix::test]
async fn who_has_no_vote_testifies_to_the_leader_of_its_link() {
    tokio::time::pause();
    let wires = Wires::default();
    let _voters = three(&wires).await;
    let mut four = options(4);
    four.may_vote = false;
    let _four = Host::start(&wires, four, 4).await;
    obtain("a witness", async || {
        let said = ask(&wires, 4, Call::Testify).await;
        let account = match &said {
            Some(Answer::Testified(four)) => four.account.as_ref(),
            _ => None,
        };
        let hears = account.is_some_and(|account| account.hears_leader);
        hears.then_some(()).ok_or(said)
    })
    .await;
}

/// A survivor that takes these seconds to promise, and those to begin.
async fn slow_winner(wires: &Wires, said: Testimony, (promises, begins): (u64, u64)) {
    let network = wires.network();
    let mut listener = network.listen(&said.place.address).await.unwrap();
    tokio::task::spawn_local(async move {
        loop {
            let mut asker = greet(listener.accept().await.unwrap().0).await.unwrap();
            let said = said.clone();
            tokio::task::spawn_local(async move {
                while let Some(Ok(FromDialler::Call { id, call })) = asker.inbox.next().await {
                    let position = said.account.as_ref().unwrap().position;
                    let (answer, takes) = match call {
                        Call::Testify => (Answer::Testified(said.clone()), 0),
                        Call::Promise(_) => (Answer::Promised(position), promises),
                        Call::Begin(begin) => {
                            (Answer::Begun(begin.cluster.generation << 40), begins)
                        }
                        _ => continue,
                    };
                    sleep(Duration::from_secs(takes)).await;
                    let answer = Ok(answer);
                    let answer = FromListener::Answer { id, answer };
                    // Whoever asked may have given up.
                    let _ = asker.outbox.send_when_ready(&answer).await;
                }
            });
        }
    });
}

#[actix::test]
async fn a_winner_is_given_time_and_one_that_does_not_answer_may_have_begun() {
    tokio::time::pause();
    let cases = [
        ((3, 3), None),
        ((14, 14), None),
        ((20, 0), Some("n2 did not promise")),
        ((0, 20), Some("n2 may have begun generation 2 or not")),
    ];
    for (takes, refused) in cases {
        let wires = Wires::default();
        let mut hosts = three(&wires).await;
        let Some(Answer::Testified(mut said)) = ask(&wires, 2, Call::Testify).await else {
            panic!("n2 lives");
        };
        hosts.truncate(1);
        leaderless(&hosts[0]).await;
        let account = said.account.as_mut().unwrap();
        // It has promised before, so the two are no majority.
        (account.hears_leader, account.frozen, account.promised) = (false, true, 1);
        account.position.index += 1_000;
        slow_winner(&wires, said, takes).await;
        let client = hosts[0].client(&wires);
        let dead = json!(["n3"]);
        let plan = recover(&client, json!({ "dead": dead })).await.unwrap();
        assert_eq!(plan["record"]["winner"], "n2");
        let confirmed = json!({ "dead": dead, "confirm": plan["confirm"] });
        let recovered = recover(&client, confirmed).await;
        match refused {
            None => assert_eq!(recovered.unwrap()["revision"], 2 * FIRST, "{takes:?}"),
            Some(expected) => {
                let refused = recovered.unwrap_err().to_string();
                assert!(refused.contains(expected), "{refused}");
            }
        }
    }
}

#[actix::test]
async fn a_living_majority_is_not_recovered() {
    tokio::time::pause();
    let wires = Wires::default();
    let mut hosts = three(&wires).await;
    let asked = |hosts: &[Host]| hosts[0].client(&wires);
    let refused = recover(&asked(&hosts), json!({"dead": ["n3"]})).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("nothing to recover"), "{refused}");
    drop(hosts.pop());
    sleep(Duration::from_secs(2)).await;
    let refused = recover(&asked(&hosts), json!({"dead": ["n3"]})).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("nothing to recover"), "{refused}");
}

/// Five members of which two survive, the one asked being another than the one whose log wins.
#[actix::test]
async fn survivors_follow_the_winner_whoever_is_asked() {
    tokio::time::pause();
    let wires = Wires::default();
    let mut hosts = three(&wires).await;
    for number in 4..=5 {
        hosts.push(Host::start(&wires, options(number), number.into()).await);
    }
    let count = |host: &Host| {
        let known = host.node.known.borrow();
        known
            .as_ref()
            .map_or(0, |known| known.standing.configuration.contacts.len())
    };
    eventually("five members", || hosts.iter().all(|host| count(host) == 5)).await;
    write(&hosts[0].client(&wires), "later").await;
    sleep(Duration::from_secs(2)).await;
    // The voters are n1 to n3; the standbys n4 and n5 live on, and with them n1.
    hosts.drain(1..3);
    leaderless(&hosts[0]).await;
    leaderless(&hosts[2]).await;
    let client = hosts[2].client(&wires);
    let refused = recover(&client, json!({"dead": ["n2", "n3", "n4"]})).await;
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("n4 was said to be dead, but it answers"),
        "{refused}"
    );

    let recovered = recover_without(&client, &["n2", "n3"]).await;
    assert_eq!(recovered["record"]["winner"], "n1", "a voter among equals");
    assert_eq!(recovered["record"]["coordinator"], "n5");
    write(&client, "after").await;
    voters(&client, 3).await;
    // The dead are tried again where the recovered store calls their nodes ready, and given up.
    members(&client, &["n1 leader", "n4 voter", "n5 voter"]).await;
    for host in &hosts {
        eventually("everybody is in the new generation", || {
            let known = host.node.known.borrow();
            known.as_ref().is_some_and(|known| {
                known.standing.cluster.generation == 1 && known.view.revision() > FIRST
            })
        })
        .await;
        assert_eq!(*host.node.ended.borrow(), None, "it goes on");
        let list = host.client(&wires).get(CONFIG_MAPS).await.unwrap();
        assert_eq!(list["items"].as_array().unwrap().len(), 3);
    }
    // The second loss is a minority's, and ordinary again.
    let leader = hosts.iter().position(Host::leads).unwrap();
    drop(hosts.remove(leader));
    eventually("another leader", || hosts.iter().any(Host::leads)).await;
    write(&hosts[0].client(&wires), "last").await;
}

/// The winner dies at once: the survivors still hold the last generation, and recover into the one after.
#[actix::test]
async fn a_generation_that_dies_young_is_passed_over() {
    tokio::time::pause();
    let wires = Wires::default();
    let one = survivor(&wires).await;
    let client = one.client(&wires);
    recover_without(&client, &["n2", "n3"]).await;
    let two = Host::start(&wires, options(2), 22).await;
    let three = Host::start(&wires, options(3), 33).await;
    voters(&client, 3).await;
    write(&client, "after").await;
    drop(one);
    drop(two);
    leaderless(&three).await;
    let client = three.client(&wires);
    let recovered = recover_without(&client, &["n1", "n2"]).await;
    assert_eq!(recovered["record"]["generation"], 2);
    assert_eq!(recovered["revision"], 2_u64 << 40);
    let status = obtain("the status", || client.get(STATUS)).await;
    assert_eq!(status["generation"], 2);
    for name in ["before", "after"] {
        let path = format!("{CONFIG_MAPS}/{name}");
        obtain("both", || client.get(&path)).await;
    }
    assert_eq!(
        three.node.known.borrow().as_ref().unwrap().standing.role,
        Role::Leader
    );
}
