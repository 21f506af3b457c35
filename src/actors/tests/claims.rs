//! Whose the archive is, and what claims that came to nothing do: to living clusters, to others, to recoveries.

use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use super::restore::{
    RECOVERY, exists, generation, kept, kept_since, seeds, start, status, three, voters, write,
};
use crate::actors::testing::host::{Host, env, eventually, obtain, options, peer_address};
use crate::actors::testing::network::Wires;
use crate::actors::testing::objects::Shelf;
use crate::cli::client::Client;
use crate::node::{LastState, Options};

/// So long that only the first snapshot of a reign is taken.
const SELDOM: Duration = Duration::from_secs(3_600);

fn claim(shelf: &Shelf, generation: u64) -> Option<Value> {
    let name = format!("generations/{generation:020}.json");
    let objects = shelf.objects.borrow();
    serde_json::from_slice(objects.get(&name)?).ok()
}

/// A node whose only seed is the first one.
fn of_one_seed(number: u16) -> Options {
    Options {
        seeds: vec![peer_address(1)],
        ..options(number)
    }
}

/// The only seed, which can be cut off.
async fn seed(wires: &Wires, shelf: &Shelf, number: u64) -> Host {
    let mut env = env(wires, number);
    env.objects = Some(shelf.edge());
    env.network = wires.network_of(peer_address(1));
    Host::start_in(env, of_one_seed(1)).await
}

/// A cluster of one seed and two others, of which the seed dies. It starts again, cut off from the others, which live;
/// so it hears of no cluster, and claims the next generation. Gives all once the claim is there, its answer is not.
async fn claimed_beside_the_living(wires: &Wires, shelf: &Shelf) -> (Vec<Host>, Host) {
    let first = seed(wires, shelf, 1).await;
    eventually("it leads", || first.leads()).await;
    let mut others = Vec::new();
    for number in [2, 3] {
        others.push(start(wires, shelf, of_one_seed(number), number.into()).await);
    }
    let client = first.client(wires);
    voters(&client, 3).await;
    let written = write(&client, "before").await;
    kept_since(shelf, written).await;
    drop(first);
    eventually("another leader", || others.iter().any(Host::leads)).await;
    // Until all is kept: whoever loads a snapshot begins anew when there is another.
    sleep(Duration::from_secs(60)).await;
    wires.cut_off.borrow_mut().insert(peer_address(1));
    let seed = seed(wires, shelf, 11).await;
    shelf.delay.set(Duration::from_secs(3));
    eventually("a claim", || claim(shelf, 1).is_some()).await;
    assert_eq!(generation(&seed), None, "it has no answer yet");
    wires.cut_off.borrow_mut().clear();
    (others, seed)
}

/// The cluster goes on as if nothing had been claimed: it keeps its state, and it can be recovered.
async fn nothing_came_of_it(wires: &Wires, shelf: &Shelf, others: Vec<Host>, seed: Host) {
    eventually("it joined", || generation(&seed) == Some(0)).await;
    shelf.delay.set(Duration::ZERO);
    let client = others[0].client(wires);
    voters(&client, 3).await;
    let written = write(&client, "after").await;
    kept_since(shelf, written).await;
    let (_, newest) = kept(shelf).pop().unwrap();
    assert_eq!(newest.generation, 0);
    assert_eq!(
        shelf.names("generations/00000000000000000001.void").len(),
        1
    );
    drop(others);
    sleep(Duration::from_secs(10)).await;
    let client = seed.client(wires).with_deadline(Duration::from_secs(60));
    let mut request = json!({"dead": ["n2", "n3"]});
    request["confirm"] = client.post(RECOVERY, &request).await.unwrap()["confirm"].clone();
    client.post(RECOVERY, &request).await.unwrap();
    eventually("it leads", || seed.leads()).await;
    assert_eq!(
        generation(&seed),
        Some(2),
        "the first is another's for ever"
    );
    assert_eq!(claim(shelf, 2).unwrap()["purpose"], "recovery");
    assert!(exists(&client, "after").await);
}

/// The leader calls while the claim is being made.
#[actix::test]
async fn a_formation_that_a_leader_interrupts_is_in_nobodys_way() {
    tokio::time::pause();
    let (wires, shelf) = (Wires::default(), Shelf::default());
    let (others, seed) = claimed_beside_the_living(&wires, &shelf).await;
    nothing_came_of_it(&wires, &shelf, others, seed).await;
}

/// The founder dies as soon as it has claimed.
#[actix::test]
async fn a_formation_whose_founder_dies_is_in_nobodys_way() {
    tokio::time::pause();
    let (wires, shelf) = (Wires::default(), Shelf::default());
    let (others, dies) = claimed_beside_the_living(&wires, &shelf).await;
    drop(dies);
    // Until somebody proves its death, the founder may live on elsewhere.
    shelf.delay.set(Duration::ZERO);
    let written = write(&others[0].client(&wires), "meanwhile").await;
    sleep(Duration::from_secs(60)).await;
    let (_, newest) = kept(&shelf).pop().unwrap();
    assert!(newest.revision < written, "it keeps what may be another's");
    let leader = others.iter().find(|host| host.leads()).unwrap();
    let problem = status(&leader.client(&wires)).await["snapshots"]["problem"].clone();
    let problem = problem.as_str().unwrap().to_owned();
    assert!(problem.contains("start a process on n1 again"), "{problem}");
    let back = seed(&wires, &shelf, 21).await;
    nothing_came_of_it(&wires, &shelf, others, back).await;
}

/// The store has the claim, and is slow to say so: another, by more seeds, sees it, and its founder without a cluster.
#[actix::test]
async fn nobody_goes_on_after_a_claim_that_may_be_begun_yet() {
    tokio::time::pause();
    let (wires, shelf) = (Wires::default(), Shelf::default());
    let seeds = |of: &[u16]| of.iter().map(|number| peer_address(*number)).collect();
    let own = Options {
        seeds: seeds(&[2]),
        ..options(2)
    };
    shelf.answers_after.set(Duration::from_secs(18));
    let founder = start(&wires, &shelf, own, 2).await;
    eventually("a claim", || claim(&shelf, 0).is_some()).await;
    shelf.answers_after.set(Duration::ZERO);
    let more = Options {
        seeds: seeds(&[1, 2]),
        ..options(1)
    };
    let other = start(&wires, &shelf, more, 1).await;
    sleep(Duration::from_secs(17)).await;
    assert_eq!((generation(&founder), generation(&other)), (None, None));
    eventually("it begins", || founder.leads()).await;
    eventually("the other joins", || generation(&other) == Some(0)).await;
    assert_eq!(claim(&shelf, 1), None);
}

/// While everything is loaded, before anything is claimed, a leader calls.
#[actix::test]
async fn a_formation_that_loads_claims_nothing() {
    tokio::time::pause();
    let (wires, shelf) = (Wires::default(), Shelf::default());
    let first = seed(&wires, &shelf, 1).await;
    eventually("it leads", || first.leads()).await;
    let second = start(&wires, &shelf, of_one_seed(2), 2).await;
    let third = start(&wires, &shelf, of_one_seed(3), 3).await;
    let client = first.client(&wires);
    voters(&client, 3).await;
    let written = write(&client, "kept").await;
    kept_since(&shelf, written).await;
    drop(first);
    eventually("another leader", || second.leads() || third.leads()).await;
    wires.cut_off.borrow_mut().insert(peer_address(1));
    let back = seed(&wires, &shelf, 11).await;
    // It waits 3 s, and then for the store.
    sleep(Duration::from_secs(2)).await;
    shelf.delay.set(Duration::from_secs(10));
    sleep(Duration::from_secs(15)).await;
    wires.cut_off.borrow_mut().clear();
    eventually("it joins", || generation(&back) == Some(0)).await;
    shelf.delay.set(Duration::ZERO);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(shelf.names("generations/").len(), 1, "nothing was claimed");
}

/// A cluster of nodes of which the first has no archive, and dies.
async fn told_later(wires: &Wires, shelf: &Shelf, numbers: [u16; 3]) -> Vec<Host> {
    let own = |number| Options {
        seeds: vec![peer_address(numbers[0])],
        ..options(number)
    };
    let first = Host::start(wires, own(numbers[0]), numbers[0].into()).await;
    eventually("it leads", || first.leads()).await;
    let mut others = Vec::new();
    for number in &numbers[1..] {
        others.push(start(wires, shelf, own(*number), (*number).into()).await);
    }
    voters(&first.client(wires), 3).await;
    drop(first);
    eventually("another leader", || others.iter().any(Host::leads)).await;
    others
}

async fn event(client: &Client, reason: &str) -> String {
    obtain("an event", async || {
        let events = client.get("/api/v1/namespaces/default/events").await;
        let events = events.map_err(|error| error.to_string())?;
        let mut events = events["items"].as_array().unwrap().iter();
        let found = events.find(|event| event["reason"] == reason);
        found
            .map(|event| event["message"].to_string())
            .ok_or_else(|| reason.to_owned())
    })
    .await
}

#[actix::test]
async fn a_cluster_claims_what_it_keeps_and_another_keeps_nothing_there() {
    tokio::time::pause();
    let (wires, far, shelf) = (Wires::default(), Wires::default(), Shelf::default());
    let hosts = told_later(&wires, &shelf, [1, 2, 3]).await;
    let client = hosts[0].client(&wires);
    let written = write(&client, "kept").await;
    kept_since(&shelf, written).await;
    let of_first = claim(&shelf, 0).unwrap();
    assert_eq!(of_first["purpose"], "keeping");
    let cluster = kept(&shelf).pop().unwrap().1.cluster;
    assert_eq!(of_first["cluster"], cluster);

    let others = told_later(&far, &shelf, [7, 8, 9]).await;
    let client = others[0].client(&far);
    write(&client, "other").await;
    let refused = event(&client, "SnapshotFailed").await;
    let id = format!("{cluster:016x}");
    assert!(
        refused.contains("one URL keeps one cluster") && refused.contains(&id),
        "{refused}"
    );
    let leader = others.iter().find(|host| host.leads()).unwrap();
    let metrics = leader.client(&far).text("/metrics").await.unwrap();
    assert!(
        metrics.contains("\nkagero_snapshot_refused 1\n"),
        "{metrics}"
    );
    let problem = status(&client).await["snapshots"]["problem"].to_string();
    assert!(problem.contains("one URL keeps one cluster"), "{problem}");
    sleep(Duration::from_secs(60)).await;
    let strangers = kept(&shelf)
        .into_iter()
        .filter(|(_, header)| header.cluster != cluster);
    assert_eq!(strangers.count(), 0);
    let id = format!("rosters/{id}/");
    assert_eq!(shelf.names("rosters/").len(), shelf.names(&id).len());
    assert_eq!(shelf.names("generations/").len(), 1);

    // The operator gives the other one up.
    drop(hosts);
    shelf.objects.borrow_mut().clear();
    let written = write(&client, "own").await;
    kept_since(&shelf, written).await;
    assert_ne!(claim(&shelf, 0).unwrap()["cluster"], cluster);
    event(&client, "SnapshotSaved").await;
}

/// The newest snapshot knows nothing of it.
#[actix::test]
async fn a_survivor_that_registered_late_is_asked_too() {
    tokio::time::pause();
    let (wires, shelf) = (Wires::default(), Shelf::default());
    let seldom = |number| Options {
        snapshot_interval: SELDOM,
        ..options(number)
    };
    let mut hosts = Vec::new();
    for number in 1..=3 {
        hosts.push(start(&wires, &shelf, seldom(number), number.into()).await);
    }
    eventually("it is kept", || !kept(&shelf).is_empty()).await;
    let before = kept(&shelf);
    let four = start(&wires, &shelf, seldom(4), 4).await;
    let written = write(&hosts[0].client(&wires), "late").await;
    let holds = || {
        let known = four.node.known.borrow();
        let known = known.as_ref();
        known.is_some_and(|known| known.view.revision() >= written)
    };
    eventually("the standby has it", holds).await;
    // Once a second at most.
    sleep(Duration::from_secs(1)).await;
    assert_eq!(kept(&shelf), before, "no snapshot knows of it");
    let rosters = shelf.names("rosters/");
    assert_eq!(rosters.len(), 1, "the newest alone");
    let asked = shelf.asked.get();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(shelf.asked.get(), asked, "nobody asks for nothing");
    drop(hosts);
    let hosts = seeds(&wires, &shelf, 100).await;
    sleep(Duration::from_secs(60)).await;
    assert!(hosts.iter().all(|host| generation(host).is_none()));
    assert!(holds(), "the survivor still has it");
    drop(four);
    eventually("a leader", || hosts.iter().any(Host::leads)).await;
    assert!(!exists(&hosts[0].client(&wires), "late").await);
}

/// Whoever would follow asks the founder, though it is none of its seeds.
#[actix::test]
async fn a_claim_names_its_founder() {
    tokio::time::pause();
    let (wires, far, shelf) = (Wires::default(), Wires::default(), Shelf::default());
    let alone = Options {
        init: true,
        ..options(9)
    };
    let alone = start(&far, &shelf, alone, 9).await;
    eventually("it leads", || alone.leads()).await;
    let named = claim(&shelf, 0).unwrap()["seeds"].clone();
    let named = named.as_array().unwrap();
    assert!(named.contains(&json!(peer_address(9))), "{named:?}");
    let hosts = seeds(&wires, &shelf, 100).await;
    sleep(Duration::from_secs(60)).await;
    assert!(hosts.iter().all(|host| generation(host).is_none()));
}

#[actix::test]
async fn a_lone_voter_keeps_its_state_before_it_ends() {
    tokio::time::pause();
    let (wires, shelf) = (Wires::default(), Shelf::default());
    let alone = Options {
        snapshot_interval: SELDOM,
        seeds: vec![peer_address(1)],
        ..options(1)
    };
    let mut host = start(&wires, &shelf, alone, 1).await;
    eventually("it is kept", || !kept(&shelf).is_empty()).await;
    let client = host.client(&wires);
    let written = write(&client, "last").await;
    assert!(!host.node.hand_over(Duration::from_secs(1)).await);
    assert!(host.node.is_last_voter());
    assert!(kept(&shelf).pop().unwrap().1.revision < written);
    let patience = Duration::from_secs(5);
    assert_eq!(host.node.keep_state(patience).await, LastState::Kept);
    assert!(kept(&shelf).pop().unwrap().1.revision >= written);
    write(&client, "lost").await;
    shelf.delay.set(Duration::from_secs(3));
    let late = LastState::Lost("it took more than 5 s".to_owned());
    assert_eq!(host.node.keep_state(patience).await, late);

    let mut hosts = three(&Wires::default(), &Shelf::default(), 100).await;
    let leader = hosts.iter().position(Host::leads).unwrap();
    let mut leader = hosts.swap_remove(leader);
    assert!(leader.node.hand_over(Duration::from_secs(1)).await);
    assert_eq!(leader.node.keep_state(patience).await, LastState::NotOurs);
    let other = Host::start(&Wires::default(), of_one_seed(2), 2).await;
    assert_eq!(other.node.keep_state(patience).await, LastState::NoArchive);
}
