//! Beginnings made by hand, good and bad, of a history made by hand.

use std::sync::Arc;

use kagero::actors::messages::{RecoveryMember, RestoreRecord};
use kagero::raft::PeerId;

use super::super::made::{content, founding, made, operation, record};
use super::*;
use crate::beginnings::Reach;

const BEGUN: Revision = 1 << 40;
/// The entry of revision 0; each later revision is one entry.
const EMPTY: u64 = 10;

type Objects<'a> = &'a [(&'a str, Revision, &'a str)];

/// `a` is created at 2 and replaced at 4, `b` is created at 3 and removed at 5; all of that in term 2.
fn truth() -> Truth {
    let mut truth = made(&[
        (2, "a", None, Some("1")),
        (3, "b", None, Some("2")),
        (4, "a", Some((2, "1")), Some("3")),
        (5, "b", Some((3, "2")), None),
    ]);
    for revision in 1..=5 {
        truth.reach(Reach {
            generation: 0,
            term: 2,
            applied: EMPTY + revision,
            revision,
        });
    }
    truth
}

fn restore(revision: Revision) -> Origin {
    Origin::Restore(RestoreRecord {
        generation: 1,
        time: String::new(),
        founder: "n1".to_owned(),
        source: "snapshot".to_owned(),
        snapshot_time: String::new(),
        age_seconds: 0,
        from_generation: 0,
        last_term: 2,
        last_index: EMPTY + revision,
        revision,
        skipped: Vec::new(),
        may_be_lost: String::new(),
    })
}

/// Of the log of a lone survivor, who knows that what led to revision 4 is committed.
fn recovery(last_term: u64, last_index: u64) -> Origin {
    let member = |name: &str, incarnation: PeerId, dead: &str| RecoveryMember {
        name: name.to_owned(),
        incarnation: incarnation.to_string(),
        role: "voter".to_owned(),
        dead: dead.to_owned(),
        last_term,
        last_index,
    };
    Origin::Recovery(RecoveryRecord {
        generation: 1,
        from_generation: 0,
        time: String::new(),
        coordinator: "n1".to_owned(),
        winner: "n1".to_owned(),
        last_term,
        last_index,
        commit_index: EMPTY + 4,
        may_be_lost: String::new(),
        members: vec![
            member("n1", PeerId(1), ""),
            member("n2", PeerId(2), "the operator's word"),
        ],
    })
}

fn beginning(origin: Origin, objects: Objects<'_>) -> Beginning {
    let key = |name: &str| -> Arc<str> { Arc::from(format!("{WATCHED}{name}")) };
    let stamp = |revision, mark| Stamp::of(&record(revision, mark));
    let mut whole: Whole = objects
        .iter()
        .map(|(name, revision, mark)| (key(name), stamp(*revision, mark)))
        .collect();
    let own = Arc::from("kagero-generation-began/1");
    whole.insert(own, stamp(BEGUN, "own"));
    Beginning {
        whole,
        watched: founding(objects),
        origins: vec![origin],
        committed: Some(4),
    }
}

fn judge(truth: Truth, operations: &[Operation], beginning: Beginning) -> Result<Begun, String> {
    let mut truth = truth;
    truth.begin("n1", BEGUN, beginning).expect("the first");
    let judged = check(&truth, operations).map_err(|wrong| wrong.why.to_owned())?;
    Ok(judged[0])
}

fn restored(revision: Revision, objects: Objects<'_>) -> Result<Begun, String> {
    judge(truth(), &[], beginning(restore(revision), objects))
}

fn recovered(last: (u64, u64), asked: &[Operation], objects: Objects<'_>) -> Result<Begun, String> {
    let (term, index) = last;
    judge(truth(), asked, beginning(recovery(term, index), objects))
}

fn why(why: &str) -> Result<Begun, String> {
    Err(why.to_owned())
}

#[test]
fn a_restore_has_what_its_record_says_and_nothing_else() {
    let (a, b) = (("a", 4, "3"), ("b", 3, "2"));
    assert_eq!(restored(4, &[a, b]), Ok(Begun::Restored));
    assert_eq!(restored(5, &[a]), Ok(Begun::Restored));
    assert_eq!(restored(4, &[a]), why("it is lost"));
    assert_eq!(restored(5, &[a, b]), why("it was not there"), "revived");
    assert_eq!(restored(4, &[("a", 2, "1"), b]), why("it was not so"));
    assert_eq!(restored(4, &[a, ("b", 3, "9")]), why("it was not so"));
    let more = restored(4, &[a, b, ("c", 6, "9")]);
    assert_eq!(more, why("it is newer than the log"));
    let own = restored(4, &[a, b, ("c", BEGUN, "9")]);
    assert_eq!(own, why("it was written by nobody"));
}

#[test]
fn a_generation_has_one_record_and_it_is_true() {
    let mut none = beginning(restore(4), &[("a", 4, "3"), ("b", 3, "2")]);
    none.origins.clear();
    let wrong = why("there is not one record of its beginning");
    assert_eq!(judge(truth(), &[], none), wrong);
    let future = restored(BEGUN + 4, &[]);
    let other = "its record's revision is not of the generation before";
    assert_eq!(future, why(other));
    let mut silent = beginning(recovery(2, EMPTY + 5), &[("a", 4, "3")]);
    silent.committed = None;
    let wrong = why("it does not say what was committed");
    assert_eq!(judge(truth(), &[], silent), wrong);
    let mut knew_more = truth();
    knew_more.hold(PeerId(2), 5);
    let good = beginning(recovery(2, EMPTY + 5), &[("a", 4, "3")]);
    let judged = judge(knew_more, &[], good.clone());
    assert_eq!(judged, Ok(Begun::Recovered), "another knew more");
    let mut knew_more = truth();
    knew_more.hold(PeerId(1), 5);
    let wrong = why("its winner had applied more than it says");
    assert_eq!(judge(knew_more, &[], good), wrong);
}

#[test]
fn a_recovery_has_all_that_was_committed_in_its_log() {
    let (a, b) = (("a", 4, "3"), ("b", 3, "2"));
    let all = (2, EMPTY + 5);
    assert_eq!(recovered(all, &[], &[a]), Ok(Begun::Recovered));
    let late = "it was not there";
    assert_eq!(
        recovered(all, &[], &[a, b]),
        why(late),
        "its log had the deletion"
    );
    assert_eq!(recovered(all, &[], &[]), why("it is lost"));
    let before = (2, EMPTY + 4);
    assert_eq!(recovered(before, &[], &[a, b]), Ok(Begun::Recovered));
    assert_eq!(recovered(before, &[], &[a]), why("it is lost"));
    // A log of an older term need not have what a later one committed at the same index; it may.
    let older = (1, EMPTY + 5);
    assert_eq!(recovered(older, &[], &[a]), Ok(Begun::Recovered));
    assert_eq!(recovered(older, &[], &[a, b]), Ok(Begun::Recovered));
    assert_eq!(recovered(older, &[], &[b]), why("it is lost"));
}

#[test]
fn what_comes_true_was_asked_for_and_is_no_more_than_the_log_had() {
    let a = ("a", 4, "3");
    let tail = (2, EMPTY + 7);
    let create = |name| {
        let request = Request::Create {
            content: content("9"),
        };
        operation(name, 1, 2, request, Answer::Unknown)
    };
    let with = [a, ("c", 6, "9")];
    let true_now = recovered(tail, &[create("c")], &with);
    assert_eq!(true_now, Ok(Begun::RecoveredMore));
    let nobody = why("nobody asked for it");
    assert_eq!(recovered(tail, &[], &with), nobody);
    assert_eq!(recovered(tail, &[create("d")], &with), nobody);
    let later = [a, ("c", 8, "9")];
    assert_eq!(
        recovered(tail, &[create("c")], &later),
        why("it is newer than the log")
    );
    let delete = |answer| operation("a", 1, 2, Request::Delete, answer);
    let deleted = recovered(tail, &[delete(Answer::Unknown)], &[]);
    assert_eq!(deleted, Ok(Begun::RecoveredMore));
    assert_eq!(
        recovered(tail, &[delete(Answer::Missing)], &[]),
        why("it is lost")
    );
    assert_eq!(
        recovered((2, EMPTY + 5), &[delete(Answer::Unknown)], &[]),
        why("it is lost"),
        "the log had no room for it"
    );
}
