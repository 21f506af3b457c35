//! Histories that a search must refuse, and one that needs a search to be allowed.

use super::super::made::{content, made, operation};
use super::*;

/// Of the one object there is an opinion.
const ONE: Opinions = Opinions { given: 1, none: 0 };

fn truth() -> Truth {
    made(&[
        (2, "a", None, Some("1")),
        (3, "a", Some((2, "1")), Some("2")),
    ])
}

fn create() -> Operation {
    let request = Request::Create {
        content: content("1"),
    };
    operation("a", 1, 8, request, Answer::Written(2, content("1")))
}

fn update(called: u64, returned: u64, answer: Answer) -> Operation {
    let request = Request::Update {
        content: content("2"),
        base: 2,
    };
    operation("a", called, returned, request, answer)
}

fn get(called: u64, returned: u64, answer: Answer) -> Operation {
    operation("a", called, returned, Request::Get, answer)
}

#[test]
fn overlapping_requests_may_take_effect_in_any_order() {
    let found = |revision, mark| Answer::Found(revision, content(mark));
    let history = [
        create(),
        get(2, 3, Answer::Missing),
        get(4, 5, found(2, "1")),
        update(6, 20, Answer::Unknown),
        get(9, 10, found(2, "1")),
        get(11, 12, found(3, "2")),
    ];
    assert_eq!(check(&history, &truth()), Ok(ONE));
}

#[test]
fn a_stale_read_and_a_lost_update_have_no_order() {
    let stale = [
        create(),
        update(9, 10, Answer::Written(3, content("2"))),
        get(11, 12, Answer::Found(2, content("1"))),
    ];
    assert!(check(&stale, &truth()).is_err());
    let lost = [create(), get(9, 10, Answer::Missing)];
    assert!(check(&lost, &truth()).is_err());
}

#[test]
fn a_deletion_without_an_answer_may_have_happened_or_not() {
    let delete = operation("a", 9, 10, Request::Delete, Answer::Unknown);
    let found = || Answer::Found(2, content("1"));
    let truth = made(&[(2, "a", None, Some("1"))]);
    let history = [
        create(),
        delete.clone(),
        get(11, 12, found()),
        get(13, 14, Answer::Missing),
    ];
    assert_eq!(check(&history, &truth), Ok(ONE));
    let undone = [
        create(),
        delete,
        get(11, 12, Answer::Missing),
        get(13, 14, found()),
    ];
    assert!(check(&undone, &truth).is_err());
}
