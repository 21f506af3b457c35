//! Histories made by hand, good and bad, against a store's history made by hand.

use super::super::made::{content, founding, made, operation};
use super::*;

/// `a` is created at 2 and replaced at 4, `b` is created at 3, `a` is removed at 5.
fn truth() -> Truth {
    made(&[
        (2, "a", None, Some("1")),
        (3, "b", None, Some("2")),
        (4, "a", Some((2, "1")), Some("3")),
        (5, "a", Some((4, "3")), None),
    ])
}

fn why(operations: &[Operation]) -> &'static str {
    match check(operations, &truth()) {
        Ok(()) => "",
        Err(wrong) => wrong.why,
    }
}

fn create(mark: &str) -> Request {
    Request::Create {
        content: content(mark),
    }
}

fn update(mark: &str, base: Revision) -> Request {
    Request::Update {
        content: content(mark),
        base,
    }
}

fn written(revision: Revision, mark: &str) -> Answer {
    Answer::Written(revision, content(mark))
}

fn found(revision: Revision, mark: &str) -> Answer {
    Answer::Found(revision, content(mark))
}

/// `a` created, and replaced later.
fn history() -> Vec<Operation> {
    vec![
        operation("a", 1, 4, create("1"), written(2, "1")),
        operation("b", 5, 6, create("2"), written(3, "2")),
        operation("a", 7, 10, update("3", 2), written(4, "3")),
    ]
}

fn with(operation: Operation) -> Vec<Operation> {
    let mut history = history();
    history.push(operation);
    history
}

#[test]
fn a_good_history_holds() {
    assert_eq!(why(&history()), "");
    assert_eq!(
        why(&with(operation("a", 8, 9, Request::Get, found(2, "1")))),
        ""
    );
    assert_eq!(
        why(&with(operation("a", 8, 9, Request::Get, found(4, "3")))),
        ""
    );
    assert_eq!(
        why(&with(operation("a", 11, 12, Request::Get, Answer::Missing))),
        ""
    );
    assert_eq!(
        why(&with(operation(
            "a",
            11,
            12,
            Request::Delete,
            Answer::Deleted
        ))),
        ""
    );
    let late = Answer::Conflict;
    assert_eq!(why(&with(operation("a", 8, 9, update("9", 2), late))), "");
}

#[test]
fn a_stale_read_is_found() {
    let stale = operation("a", 11, 12, Request::Get, found(2, "1"));
    assert_eq!(why(&with(stale)), "a stale read");
    let too_late = operation("a", 2, 3, Request::Get, Answer::Missing);
    assert_eq!(why(&with(too_late)), "", "it was open when the object came");
    let missing = operation("b", 11, 12, Request::Get, Answer::Missing);
    assert_eq!(why(&with(missing)), "it was there all the while");
}

#[test]
fn a_read_of_the_future_and_of_what_never_was_are_found() {
    let future = operation("a", 2, 3, Request::Get, found(4, "3"));
    // Judged first: that the writes which follow are late is found as well.
    let mut history = history();
    history.insert(0, future);
    assert_eq!(why(&history), "it was read before it was written");
    let never = operation("a", 8, 9, Request::Get, found(2, "7"));
    assert_eq!(why(&with(never)), "it never was as it was read");
}

#[test]
fn a_lost_update_is_found() {
    let blind = vec![
        operation("a", 1, 4, create("1"), written(2, "1")),
        operation("a", 7, 10, update("3", 1), written(4, "3")),
    ];
    assert!(why(&blind).starts_with("a lost update"));
    let lost = operation("c", 11, 12, create("8"), written(9, "8"));
    assert_eq!(why(&with(lost)), "a write took effect outside of its time");
    let other = operation("b", 5, 6, create("2"), written(4, "2"));
    assert_eq!(
        why(&[other]),
        "an acknowledged write is not in the replicas' history"
    );
}

#[test]
fn writes_out_of_real_time_order_are_found() {
    let swapped = vec![
        operation("b", 1, 2, create("2"), written(3, "2")),
        operation("a", 3, 4, create("1"), written(2, "1")),
    ];
    assert_eq!(why(&swapped), "a write took effect outside of its time");
}

#[test]
fn a_torn_list_is_found() {
    let item = |name: &str, revision, mark| (name.to_owned(), revision, content(mark));
    let list =
        |revision, items| operation("", 8, 9, Request::List, Answer::Listed(revision, items));
    let good = list(3, vec![item("a", 2, "1"), item("b", 3, "2")]);
    assert_eq!(why(&with(good)), "");
    let torn = list(3, vec![item("a", 4, "3"), item("b", 3, "2")]);
    assert_eq!(why(&with(torn)), "a list that no revision shows");
    let old = list(2, vec![item("a", 2, "1")]);
    assert_eq!(why(&with(old)), "a list of another time");
}

#[test]
fn refusals_must_have_a_reason_and_no_effect() {
    let spurious = operation("b", 11, 12, update("9", 3), Answer::Conflict);
    assert_eq!(
        why(&with(spurious)),
        "it was what it was to replace all the while"
    );
    let absent = operation("c", 11, 12, create("9"), Answer::Exists);
    assert_eq!(why(&with(absent)), "it was not there all the while");
    let effect = operation("a", 1, 4, create("1"), Answer::Missing);
    assert_eq!(why(&[effect]), "a write was refused and carried out");
}

#[test]
fn two_deletions_need_two_removals() {
    let twice = vec![
        operation("a", 1, 2, Request::Delete, Answer::Deleted),
        operation("a", 3, 4, Request::Delete, Answer::Deleted),
    ];
    assert_eq!(why(&twice[..1]), "");
    assert_eq!(
        why(&twice),
        "a deletion was acknowledged and did not happen"
    );
}

/// Generation 1 began without what was written at 3 and 4, and with a write to `c` that nobody was seen applying.
fn founded(operations: &[Operation]) -> &'static str {
    const BEGUN: Revision = 1 << 40;
    let mut truth = made(&[
        (2, "a", None, Some("1")),
        (3, "b", None, Some("2")),
        (4, "a", Some((2, "1")), Some("3")),
        (BEGUN + 1, "d", None, Some("5")),
    ]);
    assert!(!truth.gaps().is_empty());
    let objects = founding(&[("a", 2, "1"), ("c", 3, "4")]);
    assert_eq!(truth.found("n1", BEGUN, objects), Ok(true));
    assert_eq!(truth.gaps(), [(0, 2)], "of those from the first seen on");
    check(operations, &truth).map_or_else(|wrong| wrong.why, |()| "")
}

#[test]
fn what_a_generation_began_without_is_gone_and_does_not_come_back() {
    const NEWS: Revision = (1 << 40) + 1;
    let with = |later: &[Operation]| {
        let mut all = history();
        all.extend_from_slice(later);
        founded(&all)
    };
    let read = |name, at, answer| operation(name, at, at + 1, Request::Get, answer);
    let told = operation("d", 11, 12, create("5"), written(NEWS, "5"));
    assert_eq!(with(&[]), "", "what was lost was true before");
    let good = [
        told.clone(),
        read("a", 13, found(2, "1")),
        read("b", 13, Answer::Missing),
        read("c", 13, found(3, "4")),
    ];
    assert_eq!(with(&good), "");
    let lost = [told.clone(), read("a", 13, found(4, "3"))];
    assert_eq!(with(&lost), "a stale read");
    let early = [read("b", 9, Answer::Missing), told.clone()];
    assert_eq!(
        with(&early),
        "",
        "whoever asked may have asked the later generation"
    );
    let both = [told, read("b", 13, found(3, "2"))];
    assert_eq!(with(&both), "a stale read");
    assert_eq!(
        founded(&[read("c", 1, found(3, "5"))]),
        "it never was as it was read"
    );
}
