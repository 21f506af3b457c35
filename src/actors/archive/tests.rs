//! What the archive keeps, claims, finds and removes, over a store in memory.

use super::*;
use crate::actors::testing::objects::Shelf;
use crate::raft::PeerId;
use crate::store::Operation;

fn name(generation: u64, index: u64) -> Name {
    Name {
        generation,
        index,
        term: 1,
        cluster: 7,
    }
}

fn archive() -> (Shelf, Archive) {
    let shelf = Shelf::default();
    let archive = Archive::new(shelf.edge());
    (shelf, archive)
}

fn header(generation: u64, index: u64) -> Header {
    Header {
        cluster: 7,
        generation,
        term: 1,
        index,
        revision: 0,
        time_ms: 0,
        node: "n1".into(),
    }
}

/// Keeps a state of so many keys.
async fn save(archive: &Archive, generation: u64, index: u64, keys: usize) -> String {
    let mut store = Store::new();
    let put = |key: usize| Operation::Put {
        key: key.to_string(),
        value: Bytes::from_static(b"{}"),
    };
    let revision = store.begin_generation(generation, &(0..keys).map(put).collect::<Vec<_>>());
    let header = Header {
        revision,
        ..header(generation, index)
    };
    let body = store.snapshot().encode();
    archive.save(&header, body).await.unwrap();
    header.name().path()
}

fn claim(founder: u64) -> Claim {
    Claim {
        cluster: 7,
        generation: 3,
        purpose: Purpose::Formation,
        founder: PeerId(founder),
        node: format!("n{founder}"),
        address: format!("n{founder}:1"),
        machine: format!("m{founder}"),
        seeds: ["a:1".to_owned()].into(),
        time: String::new(),
    }
}

#[test]
fn the_newest_of_two_generations_are_kept_and_one_of_each_earlier_one() {
    let names: Vec<Name> = [1, 2, 3, 4, 5, 6]
        .into_iter()
        .flat_map(|generation| (1..=5).map(move |index| name(generation, index)))
        .collect();
    let superfluous = superfluous(&names);
    let kept: Vec<_> = names
        .iter()
        .filter(|name| !superfluous.contains(name))
        .collect();
    let kept: Vec<_> = kept
        .iter()
        .map(|name| (name.generation, name.index))
        .collect();
    let newest = |generation| (3..=5).map(move |index| (generation, index));
    let earlier = [(3, 5), (4, 5)].into_iter();
    let kept_now: Vec<_> = earlier.chain(newest(5)).chain(newest(6)).collect();
    assert_eq!(kept, kept_now);
    assert_eq!(super::superfluous(&[]), []);
}

#[tokio::test]
async fn a_generation_is_claimed_once() {
    let (shelf, archive) = archive();
    assert_eq!(archive.lineage().await, Ok(Lineage::default()));
    assert_eq!(archive.claim(&claim(1)).await, Ok(claim(1)));
    assert_eq!(
        archive.claim(&claim(2)).await,
        Ok(claim(1)),
        "the first one's"
    );
    assert_eq!(archive.claim(&claim(1)).await, Ok(claim(1)), "again");
    assert_eq!(archive.claim_of(3).await, Ok(claim(1)));
    let standing = archive.lineage().await.unwrap().standing;
    assert_eq!(standing, [0, 3], "and the first of all");

    // Of another cluster, which begins with a later generation and knows of no claim.
    let other = Claim {
        cluster: 8,
        generation: 9,
        ..claim(2)
    };
    shelf.objects.borrow_mut().clear();
    archive.claim(&claim(1)).await.unwrap();
    let first = Claim {
        generation: 0,
        ..claim(1)
    };
    assert_eq!(
        archive
            .create_claim(&Claim {
                generation: 0,
                ..other
            })
            .await,
        Ok(first)
    );

    archive.make_void(&claim(1)).await.unwrap();
    let lineage = archive.lineage().await.unwrap();
    assert_eq!((lineage.latest, lineage.standing), (Some(3), vec![0]));
}

/// The store carries out what it is asked, and the answer is lost.
#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_read_back() {
    let (shelf, archive) = archive();
    shelf.loses_answers.set(true);
    assert_eq!(archive.claim(&claim(1)).await, Ok(claim(1)));
    assert_eq!(archive.claim(&claim(2)).await, Ok(claim(1)));
    shelf.unreadable.set(true);
    assert!(archive.claim(&claim(1)).await.is_err());
    shelf.objects.borrow_mut().clear();
    assert!(archive.claim(&claim(1)).await.is_err(), "nobody knows");
    shelf.objects.borrow_mut().clear();
    shelf.loses_answers.set(false);
    assert_eq!(archive.claim(&claim(2)).await, Ok(claim(2)), "it was told");
}

#[tokio::test]
async fn only_the_own_clusters_snapshots_are_removed() {
    let (shelf, archive) = archive();
    for index in 1..=5 {
        save(&archive, 1, index, 1).await;
        save(&archive, 2, index, 1).await;
    }
    let header = Header {
        cluster: 8,
        generation: 9,
        ..header(9, 1)
    };
    archive.save(&header, Bytes::new()).await.unwrap();
    let own = |generation| ClusterId { id: 7, generation };
    assert_eq!(
        archive.prune(own(1)).await,
        Ok(2),
        "the later generation's are not its own"
    );
    assert_eq!(
        archive.prune(own(2)).await,
        Ok(2),
        "the one before has three"
    );
    assert_eq!(archive.prune(own(2)).await, Ok(0));
    assert_eq!(shelf.names("snapshots/").len(), 3 + 3 + 1);
    for generation in 3..=5 {
        save(&archive, generation, 6, 1).await;
    }
    assert_eq!(
        archive.prune(own(5)).await,
        Ok(3 + 2),
        "all of 1, all but one of 2"
    );
    assert_eq!(shelf.names("snapshots/").len(), 1 + 3 + 1);
}

#[tokio::test]
async fn what_is_kept_of_several_clusters_is_not_chosen_from() {
    let (_, archive) = archive();
    save(&archive, 1, 1, 1).await;
    assert!(archive.newest_snapshot(Some(7)).await.is_ok());
    let refused = archive.newest_snapshot(Some(8)).await.unwrap_err();
    let clusters = ["0000000000000007", "0000000000000008"].map(str::to_owned);
    let clusters = clusters.to_vec();
    let store = "test://shelf".to_owned();
    assert_eq!(refused, ArchiveError::Several { store, clusters });
}

#[tokio::test]
async fn the_newest_roster_is_kept_alone() {
    let (shelf, archive) = archive();
    let roster = |cluster, generation, index| Roster {
        cluster,
        generation,
        term: 1,
        index,
        node: "n1".into(),
        nodes: [(
            format!("{index}"),
            Listed {
                name: "n1".into(),
                address: "a:1".into(),
                machine_id: "m".into(),
                boot_id: "b".into(),
            },
        )]
        .into(),
    };
    assert_eq!(archive.newest_roster(7).await, Ok(None));
    for roster in [
        roster(7, 1, 9),
        roster(8, 4, 1),
        roster(7, 2, 3),
        roster(7, 1, 12),
    ] {
        archive.save_roster(&roster).await.unwrap();
    }
    assert_eq!(archive.newest_roster(7).await, Ok(Some(roster(7, 2, 3))));
    assert_eq!(archive.newest_roster(8).await, Ok(Some(roster(8, 4, 1))));
    assert_eq!(archive.is_kept(4).await, Ok(true));
    assert_eq!(archive.is_kept(5).await, Ok(false));
    shelf.damage(&roster(7, 2, 3).name().path());
    let damaged = archive.newest_roster(7).await.unwrap_err().to_string();
    assert!(damaged.contains("cannot be read"), "{damaged}");
}

#[tokio::test]
async fn the_newest_that_is_whole_is_found() {
    let (shelf, archive) = archive();
    assert!(archive.newest_snapshot(None).await.unwrap().is_none());
    let oldest = save(&archive, 1, 9, 1).await;
    let older = save(&archive, 2, 5, 2).await;
    let newest = save(&archive, 2, 10, 3).await;
    let found = archive.newest_snapshot(None).await.unwrap().unwrap();
    assert_eq!((found.name, found.store.view().len()), (newest.clone(), 3));
    assert_eq!(found.skipped, [""; 0]);

    // Damaged, and another one's content under its name.
    shelf.damage(&newest);
    let content = shelf.objects.borrow()[&oldest].clone();
    shelf.objects.borrow_mut().insert(older.clone(), content);
    let found = archive.newest_snapshot(None).await.unwrap().unwrap();
    assert_eq!((found.name, found.store.view().len()), (oldest.clone(), 1));
    assert_eq!(found.skipped.len(), 2);
    assert!(found.skipped[0].contains("checksum"), "{:?}", found.skipped);
    assert!(
        found.skipped[1].contains("another snapshot"),
        "{:?}",
        found.skipped
    );

    shelf.damage(&oldest);
    let refused = archive.newest_snapshot(None).await.unwrap_err().to_string();
    assert!(
        refused.contains("none of the snapshots in test://shelf"),
        "{refused}"
    );
    shelf.broken.set(true);
    let refused = archive.newest_snapshot(None).await.unwrap_err().to_string();
    assert!(refused.contains("out of order"), "{refused}");
}
