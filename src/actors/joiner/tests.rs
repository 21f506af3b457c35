//! What the seeds' answers mean, as a table, and what becomes of a founder that dies midway.

use std::collections::BTreeMap;

use actix::prelude::*;

use super::apis::FindApis;
use super::*;
use crate::actors::formation::founding_configuration;
use crate::actors::raft_peer::survivor::{MakePromise, Promise};
use crate::actors::testing::host::contact;
use crate::actors::testing::network::Wires;
use crate::actors::testing::peer::silent_peer;
use crate::actors::testing::seed::answer_who;

const OURS: u64 = 1;
const OTHERS: u64 = 2;

fn cluster(id: u64) -> ClusterId {
    ClusterId { id, generation: 0 }
}

/// The joiner of node `me`, with all three seeds.
fn joiner(me: u16) -> Joiner {
    joiner_on(&Wires::default(), me)
}

fn joiner_on(wires: &Wires, me: u16) -> Joiner {
    let introduction = Introduction {
        id: PeerId(me.into()),
        contact: contact(me),
        seeds: (1..=3).map(|seed| contact(seed).address).collect(),
        init: false,
        voters_wanted: 3,
    };
    let caller = Caller::new(wires.network()).start();
    let entropy = Entropy::from_seed(1);
    Joiner::new(introduction, caller, silent_peer().recipient(), entropy)
}

/// Answers of seeds: number, incarnation, cluster, whether it knows a leader.
fn answers(said: &[(u16, u64, Option<u64>, bool)]) -> BTreeMap<String, Identity> {
    let identity = |&(seed, id, belongs, knows): &(u16, u64, Option<u64>, bool)| {
        let contact = contact(seed);
        let leader = knows.then(|| "somewhere".to_owned());
        let (id, cluster, apis) = (PeerId(id), belongs.map(cluster), Vec::new());
        (
            contact.address.clone(),
            Identity {
                id,
                contact,
                cluster,
                leader,
                apis,
                members: Vec::new(),
                called: false,
                founds: false,
            },
        )
    };
    said.iter().map(identity).collect()
}

fn attempt() -> (ClusterId, Configuration) {
    let seeds = (1..=3).map(|seed| (PeerId(seed.into()), contact(seed)));
    (cluster(OURS), founding_configuration(seeds.collect(), 3))
}

fn at(seed: u16) -> Next {
    Next::Join(contact(seed).address)
}

#[actix::test]
async fn a_seed_that_belongs_nowhere() {
    let (ours, others) = (Some(OURS), Some(OTHERS));
    let all_empty = answers(&[
        (1, 1, None, false),
        (2, 2, None, false),
        (3, 3, None, false),
    ]);
    let one_silent = answers(&[(1, 1, None, false), (2, 2, None, false)]);
    let one_lives = answers(&[
        (1, 1, None, false),
        (2, 2, others, false),
        (3, 3, others, true),
    ]);
    let replaced = answers(&[
        (1, 1, None, false),
        (2, 22, None, false),
        (3, 3, None, false),
    ]);
    let accepted = answers(&[
        (1, 1, None, false),
        (2, 2, ours, false),
        (3, 33, None, false),
    ]);
    let cases = [
        ("the first founds", 1, false, &all_empty, Next::Found),
        ("another does not", 2, false, &all_empty, Next::Wait),
        (
            "a silent seed may know a cluster",
            1,
            false,
            &one_silent,
            Next::Wait,
        ),
        (
            "who knows a leader is asked first",
            1,
            false,
            &one_lives,
            at(3),
        ),
        ("a cluster ends an attempt", 1, true, &one_lives, at(3)),
        ("an attempt goes on", 1, true, &all_empty, Next::Found),
        (
            "also while a seed is silent",
            1,
            true,
            &one_silent,
            Next::Found,
        ),
        ("a seed restarted", 1, true, &replaced, Next::FoundAnew),
        ("another had accepted", 1, true, &accepted, Next::Found),
    ];
    for (what, me, founding, said, expected) in cases {
        let mut joiner = joiner(me);
        joiner.founding = founding.then(attempt);
        assert_eq!(joiner.next(said), expected, "{what}");
    }
}

/// Their cluster would take each of them for the other's next process.
#[actix::test]
async fn seeds_of_one_name_found_nothing_and_say_so() {
    let empty = |seed: u16, id| (seed, id, None, false);
    let mut said = answers(&[empty(1, 1), empty(2, 22), empty(3, 3)]);
    said.get_mut(&contact(3).address).unwrap().contact.name = contact(1).name;
    let refused = |joiner: &Joiner| match joiner.next(&said) {
        Next::Refuse(refused) => refused,
        other => panic!("{other:?}"),
    };
    let (one, three) = (contact(1).address, contact(3).address);
    for me in 1..=3 {
        let refused = refused(&joiner(me));
        for named in ["\"n1\"", &one, &three] {
            assert!(refused.contains(named), "{refused}");
        }
    }
    let mut joiner = joiner(1);
    joiner.founding = Some(attempt());
    refused(&joiner);
    let same = said[&one].clone();
    said.insert(three, same);
    joiner.founding = None;
    assert_eq!(joiner.next(&said), Next::Found, "one seed of two addresses");
}

#[actix::test]
async fn a_member_introduces_itself_to_its_own_cluster_only() {
    let joiner = joiner(1);
    joiner.cluster.send_replace(Some(cluster(OURS)));
    let strangers = answers(&[(2, 2, Some(OTHERS), true), (3, 3, None, false)]);
    assert_eq!(joiner.next(&strangers), at(1), "to itself");
    let both = answers(&[(2, 2, Some(OTHERS), true), (3, 3, Some(OURS), false)]);
    assert_eq!(joiner.next(&both), at(3));
}

#[actix::test]
async fn the_latest_generation_is_joined_whoever_knows_a_leader() {
    let joiner = joiner(1);
    let mut said = answers(&[(2, 2, Some(OURS), true), (3, 3, Some(OURS), false)]);
    let recovered = ClusterId {
        id: OURS,
        generation: 1,
    };
    said.get_mut(&contact(3).address).unwrap().cluster = Some(recovered);
    assert_eq!(joiner.next(&said), at(3), "without a cluster");
    joiner.cluster.send_replace(Some(cluster(OURS)));
    assert_eq!(joiner.next(&said), at(3), "in the generation before");
}

#[actix::test]
async fn a_later_generation_is_adopted_and_an_earlier_one_is_not() {
    let of = |id, generation| ClusterId { id, generation };
    let joiner = joiner(1);
    joiner.cluster.send_replace(Some(of(OURS, 1)));
    let known = joiner.subscribe();
    let joiner = joiner.start();
    let cases = [
        (of(OURS, 0), of(OURS, 1)),
        (of(OTHERS, 9), of(OURS, 1)),
        (of(OURS, 2), of(OURS, 2)),
        (of(OURS, 1), of(OURS, 2)),
    ];
    for (heard, expected) in cases {
        joiner.send(Adopt(heard)).await.unwrap();
        assert_eq!(*known.borrow(), Some(expected), "{heard:?}");
    }
}

/// By default every machine's API has the same address, which leads back to the one that asks.
#[actix::test]
async fn a_client_is_never_passed_on_to_the_node_itself() {
    let own = contact(1).api;
    let cases = [
        (vec![own.clone()], vec![own.clone()], vec![]),
        (
            vec![own.clone()],
            vec!["b".to_owned()],
            vec!["b".to_owned()],
        ),
        (vec![own, "a".to_owned()], vec![], vec!["a".to_owned()]),
    ];
    for (second, third, expected) in cases {
        let wires = Wires::default();
        let joiner = joiner_on(&wires, 1).start();
        let said = answers(&[(2, 2, Some(OURS), true), (3, 3, Some(OURS), true)]);
        for (who, apis) in said.into_values().zip([second, third]) {
            answer_who(&wires, Identity { apis, ..who });
        }
        assert_eq!(joiner.send(FindApis).await.unwrap(), expected);
    }
}

/// All seeds may be workers, or gone.
#[actix::test]
async fn who_leads_knows_where_the_api_is() {
    let leader = || {
        let said = answers(&[(5, 5, Some(OURS), true)]);
        let apis = vec!["c".to_owned()];
        said.into_values().map(move |who| Identity {
            apis: apis.clone(),
            ..who
        })
    };
    let wires = Wires::default();
    let joiner = joiner_on(&wires, 1).start();
    assert_eq!(joiner.send(FindApis).await.unwrap(), [""; 0]);
    leader().for_each(|who| answer_who(&wires, who));
    let linked = Linked(Some(contact(5).address));
    joiner.send(linked).await.unwrap();
    assert_eq!(joiner.send(FindApis).await.unwrap(), ["c"], "by its link");
    let wires = Wires::default();
    let joiner = joiner_on(&wires, 1).start();
    leader().for_each(|who| answer_who(&wires, who));
    for who in answers(&[(2, 2, Some(OURS), true)]).into_values() {
        let leader = Some(contact(5).address);
        answer_who(&wires, Identity { leader, ..who });
    }
    assert_eq!(joiner.send(FindApis).await.unwrap(), ["c"], "by a seed");
}

#[actix::test]
async fn every_seed_is_asked_in_turn() {
    let mut joiner = joiner(1);
    let said = answers(&[(2, 2, Some(OTHERS), false), (3, 3, Some(OTHERS), false)]);
    let mut asked = Vec::new();
    for attempts in 0..3 {
        joiner.attempts = attempts;
        asked.push(joiner.next(&said));
    }
    assert_eq!(asked, [at(2), at(3), at(2)]);
}

#[actix::test]
async fn init_waits_a_while_for_silent_seeds() {
    tokio::time::pause();
    let mut joiner = joiner(1);
    joiner.introduction.init = true;
    let alone = answers(&[(1, 1, None, false)]);
    assert_eq!(joiner.next(&alone), Next::Wait);
    tokio::time::advance(Duration::from_millis(INIT_PATIENCE_MS)).await;
    assert_eq!(joiner.next(&alone), Next::FoundAlone);
    let known = answers(&[(1, 1, None, false), (2, 2, Some(OTHERS), true)]);
    assert_eq!(joiner.next(&known), at(2));
}

#[test]
fn seeds_named_twice_and_those_who_may_not_vote() {
    let mut seeds: BTreeMap<PeerId, Contact> = BTreeMap::new();
    for (id, may_vote) in [(1, false), (2, true), (3, true), (4, true)] {
        let contact = Contact {
            may_vote,
            ..contact(id)
        };
        seeds.insert(PeerId(id.into()), contact);
    }
    let founded = founding_configuration(seeds, 2);
    assert_eq!(founded.voters, [PeerId(2), PeerId(3)].into());
    assert_eq!(founded.learners, [PeerId(1), PeerId(4)].into());
}

#[actix::test]
async fn a_founder_accepts_no_other_founders_cluster_meanwhile() {
    let mut founder = joiner(1);
    founder.founding = Some(attempt());
    let founder = founder.start();
    let (_, configuration) = attempt();
    let form = |id| Form {
        cluster: cluster(id),
        configuration: configuration.clone(),
    };
    assert!(founder.send(form(OTHERS)).await.unwrap().is_err());
    assert!(founder.send(form(OURS)).await.unwrap().is_ok());
    assert!(founder.send(form(OTHERS)).await.unwrap().is_err());
}

#[actix::test]
async fn nobody_founds_beside_a_cluster_whose_leader_called() {
    let empty = |seed: u16| (seed, u64::from(seed), None, false);
    let all_empty = answers(&[empty(1), empty(2), empty(3)]);
    let mut joiner = joiner(1);
    assert_eq!(joiner.next(&all_empty), Next::Found);
    tokio::time::pause();
    joiner.missed_by = Some((contact(4).address, Instant::now()));
    assert_eq!(joiner.next(&all_empty), Next::Wait);
    joiner.introduction.init = true;
    assert_eq!(joiner.next(&all_empty), Next::Wait, "not alone either");
    joiner.introduction.init = false;
    let with_leader = answers(&[empty(1), empty(2), empty(3), (4, 4, Some(OTHERS), true)]);
    assert_eq!(joiner.next(&with_leader), at(4));
    // That leader is gone too, and nobody has taken its place.
    tokio::time::advance(Duration::from_millis(CALL_LASTS_MS)).await;
    assert_eq!(joiner.next(&all_empty), Next::Found);
}

/// It was seen idle, and had claimed what it then began.
#[actix::test]
async fn nobody_founds_beside_one_who_is_about_to() {
    tokio::time::pause();
    let empty = |seed: u16| (seed, u64::from(seed), None, false);
    let mut said = answers(&[empty(1), empty(2), empty(3)]);
    said.get_mut(&contact(3).address).unwrap().founds = true;
    let mut joiner = joiner(1);
    assert_eq!(joiner.next(&said), Next::Wait);
    joiner.introduction.init = true;
    tokio::time::advance(Duration::from_millis(INIT_PATIENCE_MS)).await;
    assert_eq!(joiner.next(&said), Next::Wait, "not alone either");
    tokio::time::advance(Duration::from_millis(INIT_YIELDS_MS)).await;
    assert_eq!(joiner.next(&said), Next::FoundAlone, "not for ever");
    joiner.introduction.init = false;
    joiner.founding = Some(attempt());
    assert_eq!(joiner.next(&said), Next::Found, "it goes on with its own");
    said.get_mut(&contact(2).address).unwrap().id = PeerId(22);
    assert_eq!(joiner.next(&said), Next::Yield, "which is of no use");
    said.get_mut(&contact(3).address).unwrap().founds = false;
    said.get_mut(&contact(1).address).unwrap().founds = true;
    assert_eq!(joiner.next(&said), Next::FoundAnew, "that is itself");
    let part = joiner.start().send(WhatPart).await.unwrap();
    assert!(part.founds, "and says so");
}

/// Its leader reached one seed in time, and not the founder.
#[actix::test]
async fn a_seed_that_was_called_helps_nobody_to_found() {
    tokio::time::pause();
    let empty = |seed: u16| (seed, u64::from(seed), None, false);
    let mut said = answers(&[empty(1), empty(2), empty(3)]);
    said.get_mut(&contact(2).address).unwrap().called = true;
    let mut founder = joiner(1);
    assert_eq!(founder.next(&said), Next::Wait);
    founder.founding = Some(attempt());
    assert_eq!(founder.next(&said), Next::Wait, "nor goes on with it");

    let called = joiner(2).start();
    let leader = contact(4).address;
    called.send(Missed { leader }).await.unwrap();
    let form = || {
        let (cluster, configuration) = attempt();
        Form {
            cluster,
            configuration,
        }
    };
    assert!(called.send(WhatPart).await.unwrap().called);
    assert!(called.send(form()).await.unwrap().is_err());
    tokio::time::sleep(Duration::from_millis(CALL_LASTS_MS)).await;
    assert!(!called.send(WhatPart).await.unwrap().called, "it lapses");
    assert!(called.send(form()).await.unwrap().is_ok());
}

/// One accepts and another was called in that moment: a majority, but there is a cluster.
#[actix::test]
async fn a_founder_gives_up_when_a_seed_knows_of_a_living_cluster() {
    tokio::time::pause();
    let founder = joiner(1);
    let known = founder.subscribe();
    let founder = founder.start();
    let (cluster, configuration) = attempt();
    let founded = |vetoed| founding::Founded {
        cluster,
        configuration: configuration.clone(),
        accepted: [PeerId(1), PeerId(3)].into(),
        vetoed,
    };
    founder.send(founded(true)).await.unwrap();
    let form = Form {
        cluster,
        configuration: configuration.clone(),
    };
    let refused = founder.send(form).await.unwrap();
    assert!(matches!(refused, Err(FormRefused::Elsewhere(_))));
    assert_eq!(*known.borrow(), None);
    founder.send(founded(false)).await.unwrap();
    assert_eq!(*known.borrow(), Some(cluster));
}

/// No later word helps it: only the next incarnation can belong to anything else.
#[actix::test]
async fn who_belongs_to_a_cluster_that_can_never_live_ends() {
    let founders = |said: &[(u16, u64, Option<u64>, bool)]| {
        let mut joiner = joiner(1);
        let ended = joiner.ends();
        joiner.cluster.send_replace(Some(cluster(OURS)));
        joiner.founding = Some(attempt());
        joiner.end_if_stillborn(&answers(said), &attempt().1);
        ended.borrow().is_some()
    };
    let own = (1, 1, Some(OURS), false);
    let (lives, died) = ((2, 2, Some(OURS), false), (2, 22, None, false));
    let elsewhere = (3, 3, Some(OTHERS), true);
    assert!(
        !founders(&[own, lives, elsewhere]),
        "two of three can elect"
    );
    assert!(!founders(&[own, died]), "the third may live");
    assert!(founders(&[own, died, elsewhere]));
}

/// It promised generation 3 when the winner of 2 was about to begin.
#[actix::test]
async fn who_may_not_follow_its_cluster_ends() {
    let peer = silent_peer();
    let (first, configuration) = attempt();
    let founding = Some(configuration);
    let cluster = first;
    assert!(peer.send(TakePart { cluster, founding }).await.unwrap());
    let promise = Promise {
        generation: 3,
        winner: PeerId(2),
    };
    let cluster = first.id;
    let promised = peer.send(MakePromise { cluster, promise }).await;
    promised.unwrap().unwrap();
    let mut joiner = joiner(1);
    joiner.peer = peer.recipient();
    joiner.cluster.send_replace(Some(first));
    let mut ended = joiner.ends();
    let joiner = joiner.start();
    let generation = |generation| ClusterId {
        generation,
        ..first
    };
    joiner.send(Adopt(generation(2))).await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(5), ended.wait_for(Option::is_some));
    assert!(end.await.is_ok());
}

#[actix::test]
async fn who_is_about_to_found_waits_for_a_leaders_call() {
    tokio::time::pause();
    let mut patience = Patience::default();
    assert!(!patience.lasts(false));
    assert!(patience.lasts(true));
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(patience.lasts(true));
    assert!(!patience.lasts(false), "a seed fell silent");
    assert!(patience.lasts(true), "and the wait begins anew");
    tokio::time::advance(Duration::from_secs(3)).await;
    assert!(!patience.lasts(true));
}
