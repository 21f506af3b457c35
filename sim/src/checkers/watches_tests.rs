//! One bad chain for each promise.

use super::super::made::{content, made};
use super::*;

/// `a` created, `b` created, both removed at once, `a` created again and changed.
fn truth() -> Truth {
    made(&[
        (2, "a", None, Some("left")),
        (3, "b", None, Some("right")),
        (4, "a", Some((2, "left")), None),
        (4, "b", Some((3, "right")), None),
        (5, "a", None, Some("left")),
        (6, "a", Some((5, "left")), Some("right")),
    ])
}

fn added(name: &str, revision: Revision, mark: &str) -> Line {
    Line::Added(name.to_owned(), revision, content(mark))
}

fn modified(name: &str, revision: Revision, mark: &str) -> Line {
    Line::Modified(name.to_owned(), revision, content(mark))
}

fn deleted(name: &str, revision: Revision, mark: &str) -> Line {
    Line::Deleted(name.to_owned(), revision, content(mark))
}

/// All that a watcher without a selector is due after revision 1.
fn all() -> Vec<Line> {
    vec![
        added("a", 2, "left"),
        added("b", 3, "right"),
        deleted("a", 4, "left"),
        deleted("b", 4, "right"),
        added("a", 5, "left"),
        modified("a", 6, "right"),
    ]
}

fn leg(after: Option<Revision>, lines: Vec<Line>) -> Leg {
    let node = "n1".to_owned();
    Leg {
        node,
        after,
        lines,
        gone: None,
    }
}

fn judged(selector: Option<&str>, legs: Vec<Leg>) -> Option<Promise> {
    let chain = Chain {
        watcher: 0,
        selector: selector.map(|value| ("side".to_owned(), value.to_owned())),
        legs,
    };
    check(&[chain], &truth()).err().map(|broken| broken.promise)
}

fn broken(lines: Vec<Line>) -> Option<Promise> {
    judged(None, vec![leg(Some(1), lines)])
}

#[test]
fn a_good_chain_holds_over_connections_and_selectors() {
    assert_eq!(broken(all()), None);
    let (one, other) = (all()[..2].to_vec(), all()[2..].to_vec());
    let mut marked = one;
    marked.push(Line::Bookmark(3));
    assert_eq!(
        judged(None, vec![leg(Some(1), marked), leg(Some(3), other)]),
        None
    );
    let left = vec![
        added("a", 2, "left"),
        deleted("a", 4, "left"),
        added("a", 5, "left"),
        deleted("a", 6, "left"),
    ];
    assert_eq!(judged(Some("left"), vec![leg(Some(1), left)]), None);
    let initial = vec![
        added("b", 3, "right"),
        added("a", 2, "left"),
        Line::InitialEnd(3),
    ];
    let rest = leg(Some(3), all()[2..].to_vec());
    assert_eq!(judged(None, vec![leg(None, initial), rest]), None);
}

#[test]
fn each_broken_promise_is_found_by_its_name() {
    let mut lines = all();
    lines.remove(1);
    assert_eq!(broken(lines), Some(Promise::Reliable));

    let mut lines = all();
    lines.insert(2, added("b", 3, "right"));
    assert_eq!(broken(lines), Some(Promise::Unique));

    let lines = vec![added("b", 3, "right")];
    let backwards = vec![
        leg(Some(2), lines),
        leg(Some(3), vec![added("a", 2, "left")]),
    ];
    assert_eq!(judged(None, backwards), Some(Promise::Ordered));

    let mut lines = all();
    lines.remove(3);
    assert_eq!(broken(lines), Some(Promise::Atomic));

    let gap = vec![
        leg(Some(1), all()[..1].to_vec()),
        leg(Some(2), all()[2..].to_vec()),
    ];
    assert_eq!(judged(None, gap), Some(Promise::Resumable));

    let lines = vec![added("a", 2, "left"), Line::Bookmark(3)];
    assert_eq!(broken(lines), Some(Promise::Bookmarkable));

    let unselected = vec![added("a", 2, "left"), added("b", 3, "right")];
    assert_eq!(
        judged(Some("left"), vec![leg(Some(1), unselected)]),
        Some(Promise::Filter)
    );

    let mut lines = all();
    lines[0] = modified("a", 2, "left");
    assert_eq!(broken(lines), Some(Promise::IsCreate));

    let mut lines = all();
    lines[2] = deleted("a", 4, "right");
    assert_eq!(broken(lines), Some(Promise::PrevKv));
}

#[test]
fn initial_objects_of_no_revision_are_found() {
    let missing = vec![added("a", 2, "left"), Line::InitialEnd(3)];
    assert_eq!(
        judged(None, vec![leg(None, missing)]),
        Some(Promise::Reliable)
    );
    let gone = vec![added("a", 2, "left"), Line::InitialEnd(4)];
    assert_eq!(judged(None, vec![leg(None, gone)]), Some(Promise::Filter));
}

#[test]
fn a_watcher_that_lacks_a_selected_change_has_not_caught_up() {
    let at = |selector: Option<&str>, revision| {
        let selector = selector.map(|value| ("side".to_owned(), value.to_owned()));
        BTreeMap::from([(0, Position { selector, revision })])
    };
    assert!(have_caught_up(&truth(), &at(None, 6)));
    assert!(!have_caught_up(&truth(), &at(None, 5)));
    let never = at(Some("elsewhere"), 1);
    assert!(have_caught_up(&truth(), &never));
}
