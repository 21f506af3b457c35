//! A watch is told 410 Gone only where the server cannot know what came since: another generation began, the replica was
//! sent a snapshot instead of what came before, or the changes since are more than the product keeps (`HistoryBounds`).
//!
//! A refusal names the revision from which on the server knows everything, and that must be one of those. Whose replica
//! answered is not asked: a node without one passes its clients on.

use kagero::store::{HistoryBounds, Revision};

use crate::beginnings::{first_revision, generation_of};
use crate::history::{Chain, Leg};
use crate::truth::{Truth, Weight};

/// What weighs less than so many percent of the bounds must be kept.
const MARGIN_PERCENT: usize = 90;

/// A watch that could have gone on was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{node} answered 410 to a watch after {after:?}, since it knows nothing up to {floor}: {why}; since then came {weight:?}"
)]
pub struct Refused {
    /// Who was asked.
    pub node: String,
    /// Where the watch was to begin.
    pub after: Option<Revision>,
    /// What it says.
    pub floor: Revision,
    /// What is wrong with that.
    pub why: &'static str,
    /// All changes since.
    pub weight: Weight,
}

/// Why refusals were right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Excused {
    /// Another generation had begun.
    pub by_generation: u64,
    /// The replica began with a snapshot.
    pub by_snapshot: u64,
    /// There was no room.
    pub by_bounds: u64,
}

/// Judges all refusals of a product that keeps so much.
pub fn check(chains: &[Chain], truth: &Truth, kept: HistoryBounds) -> Result<Excused, Refused> {
    let mut excused = Excused::default();
    let legs = chains.iter().flat_map(|chain| &chain.legs);
    for (leg, floor) in legs.filter_map(|leg| Some((leg, leg.gone?))) {
        judge(leg, floor, truth, kept, &mut excused)?;
    }
    Ok(excused)
}

fn judge(
    leg: &Leg,
    floor: Revision,
    truth: &Truth,
    kept: HistoryBounds,
    excused: &mut Excused,
) -> Result<(), Refused> {
    let weight = truth.weight_since(leg.after.unwrap_or_default());
    let refused = |why| Refused {
        node: leg.node.clone(),
        after: leg.after,
        floor,
        why,
        weight,
    };
    let Some(after) = leg.after else {
        return Err(refused("it was to begin with what there is"));
    };
    if after >= floor {
        return Err(refused("all that was asked for is later"));
    }
    let begun = first_revision(generation_of(floor));
    if floor == begun && truth.foundings().contains_key(&begun) {
        excused.by_generation += 1;
    } else if truth.floors().contains(&floor) {
        excused.by_snapshot += 1;
    } else if weight.events * 100 > kept.events_max * MARGIN_PERCENT
        || weight.bytes * 100 > kept.bytes_max * MARGIN_PERCENT
    {
        excused.by_bounds += 1;
    } else {
        return Err(refused("no replica begins there, and there was room"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::made::{founding, made};
    use super::*;

    const BEGUN: Revision = 1 << 40;
    const KEPT: HistoryBounds = HistoryBounds {
        events_max: 1_000,
        bytes_max: 1 << 20,
    };

    fn truth() -> Truth {
        let mut truth = made(&[
            (2, "a", None, Some("1")),
            (3, "b", None, Some("2")),
            (4, "a", Some((2, "1")), Some("3")),
        ]);
        truth.add_floor(3);
        truth
    }

    fn gone(after: Option<Revision>, floor: Revision) -> Vec<Chain> {
        let leg = Leg {
            node: "n1".to_owned(),
            after,
            lines: Vec::new(),
            gone: Some(floor),
        };
        let legs = vec![leg];
        vec![Chain {
            legs,
            ..Chain::default()
        }]
    }

    #[test]
    fn a_refusal_needs_a_snapshot_or_a_generation_after_what_was_seen() {
        let why = |after, floor, truth: &Truth| {
            check(&gone(after, floor), truth, KEPT).map_err(|refused| refused.why)
        };
        let by_snapshot = Excused {
            by_snapshot: 1,
            ..Excused::default()
        };
        assert_eq!(why(Some(2), 3, &truth()), Ok(by_snapshot));
        let later = "all that was asked for is later";
        assert_eq!(why(Some(3), 3, &truth()), Err(later));
        assert_eq!(why(Some(4), 3, &truth()), Err(later));
        let room = "no replica begins there, and there was room";
        assert_eq!(why(Some(2), 4, &truth()), Err(room));
        let initial = "it was to begin with what there is";
        assert_eq!(why(None, 3, &truth()), Err(initial));
        assert_eq!(why(Some(4), BEGUN, &truth()), Err(room));
        let mut later = truth();
        assert_eq!(later.found("n1", BEGUN, founding(&[])), Ok(true));
        let by_generation = Excused {
            by_generation: 1,
            ..Excused::default()
        };
        assert_eq!(why(Some(4), BEGUN, &later), Ok(by_generation));
        assert_eq!(why(Some(4), BEGUN + 1, &later), Err(room));
    }

    #[test]
    fn a_refusal_for_want_of_room_needs_more_than_there_is_room_for() {
        let bytes = KEPT.bytes_max * MARGIN_PERCENT / 100;
        // An object of these marks has them twice.
        let mark = "x".repeat(bytes / 4);
        let mark = mark.as_str();
        let truth = made(&[
            (2, "a", None, Some(mark)),
            (3, "a", Some((2, mark)), Some(mark)),
            (4, "a", Some((3, mark)), Some("small")),
            (5, "a", Some((4, "small")), None),
        ]);
        let by_bounds = Excused {
            by_bounds: 1,
            ..Excused::default()
        };
        assert_eq!(check(&gone(Some(2), 3), &truth, KEPT), Ok(by_bounds));
        assert!(
            check(&gone(Some(3), 4), &truth, KEPT).is_err(),
            "half as much"
        );
    }
}
