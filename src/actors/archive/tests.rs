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

/// Keeps a state of so many keys.
async fn save(archive: &Archive, generation: u64, index: u64, keys: usize) -> String {
    let mut store = Store::new();
    let put = |key: usize| Operation::Put {
        key: key.to_string(),
        value: Bytes::from_static(b"{}"),
    };
    let revision = store.begin_generation(generation, &(0..keys).map(put).collect::<Vec<_>>());
    let header = Header {
        cluster: 7,
        generation,
        term: 1,
        index,
        revision,
        time_ms: 0,
        node: "n1".into(),
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
        seeds: ["a:1".to_owned()].into(),
        time: String::new(),
    }
}

#[test]
fn the_newest_are_kept_and_one_of_each_earlier_generation() {
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
    assert_eq!(kept, [(3, 5), (4, 5), (5, 5), (6, 3), (6, 4), (6, 5)]);
    assert_eq!(super::superfluous(&[]), []);
}

#[tokio::test]
async fn a_generation_is_claimed_once() {
    let (_, archive) = archive();
    assert_eq!(archive.newest_claim().await, Ok(None));
    assert_eq!(archive.claim(&claim(1)).await, Ok(claim(1)));
    assert_eq!(
        archive.claim(&claim(2)).await,
        Ok(claim(1)),
        "the first one's"
    );
    assert_eq!(archive.claim(&claim(1)).await, Ok(claim(1)), "again");
    assert_eq!(archive.newest_claim().await, Ok(Some(claim(1))));
}

#[tokio::test]
async fn the_newest_that_is_whole_is_found() {
    let (shelf, archive) = archive();
    assert!(archive.newest_snapshot().await.unwrap().is_none());
    let oldest = save(&archive, 1, 9, 1).await;
    let older = save(&archive, 2, 5, 2).await;
    let newest = save(&archive, 2, 10, 3).await;
    let found = archive.newest_snapshot().await.unwrap().unwrap();
    assert_eq!((found.name, found.store.view().len()), (newest.clone(), 3));
    assert_eq!(found.skipped, [""; 0]);

    // Damaged, and another one's content under its name.
    shelf.damage(&newest);
    let content = shelf.objects.borrow()[&oldest].clone();
    shelf.objects.borrow_mut().insert(older.clone(), content);
    let found = archive.newest_snapshot().await.unwrap().unwrap();
    assert_eq!((found.name, found.store.view().len()), (oldest.clone(), 1));
    assert_eq!(found.skipped.len(), 2);
    assert!(found.skipped[0].contains("checksum"), "{:?}", found.skipped);
    assert!(
        found.skipped[1].contains("another snapshot"),
        "{:?}",
        found.skipped
    );

    shelf.damage(&oldest);
    let refused = archive.newest_snapshot().await.unwrap_err().to_string();
    assert!(
        refused.contains("none of the snapshots in test://shelf"),
        "{refused}"
    );
    shelf.broken.set(true);
    let refused = archive.newest_snapshot().await.unwrap_err().to_string();
    assert!(refused.contains("out of order"), "{refused}");
}
