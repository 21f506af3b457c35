//! Shrinks the schedule of a failing run to the faults without which it does not fail.
//!
//! Delta debugging (Zeller and Hildebrandt, Simplifying and isolating failure-inducing input, 2002): leave out ever
//! smaller parts as long as the rest fails. Any failure counts as the failure; which one it was is printed at the end.

use crate::faults::Schedule;

/// Leaves out whatever can be, where `fails` says whether a schedule still makes the run fail. Gives the smallest
/// found, of which no single fault can be left out.
pub fn minimise(schedule: &Schedule, mut fails: impl FnMut(&Schedule) -> bool) -> Schedule {
    let mut smallest = schedule.clone();
    let mut parts = 2;
    while !smallest.is_empty() {
        let size = smallest.len().div_ceil(parts);
        let starts = (0..smallest.len()).step_by(size);
        let mut without = starts.map(|start| smallest.without(start..start + size));
        if let Some(smaller) = without.find(|smaller| fails(smaller)) {
            smallest = smaller;
            parts = parts.saturating_sub(1).max(2);
        } else if size == 1 {
            break;
        } else {
            parts = (2 * parts).min(smallest.len());
        }
    }
    smallest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Fault;
    use crate::faults::draw::{Shape, draw};

    #[test]
    fn what_is_left_is_what_the_failure_needs() {
        let schedule = draw(3, &Shape::storm(7));
        let fails = |schedule: &Schedule| {
            let faults = schedule.faults();
            faults.iter().any(|planned| planned.fault == Fault::Lose)
                && faults.iter().any(|planned| planned.fault == Fault::Pause)
        };
        assert!(fails(&schedule), "a seed that has both");
        let smallest = minimise(&schedule, fails);
        assert_eq!(smallest.len(), 2);
        assert!(fails(&smallest));
    }

    #[test]
    fn a_failure_that_needs_no_fault_leaves_none() {
        let schedule = draw(3, &Shape::storm(7));
        assert!(minimise(&schedule, |_| true).is_empty());
    }
}
