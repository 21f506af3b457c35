//! What recent proposals came to, so that a retried one is answered and not executed again.
//!
//! Part of the replicated state: the table must be equal on all replicas, so it is bounded by count, first in first
//! out, never by time. A retry that comes later than the bound would be executed; [`Store::recall`] says of which
//! proposals the table cannot tell any more, and those are not retried.
//!
//! [`Store::recall`]: super::Store::recall

use std::ops::RangeInclusive;

use imbl::{OrdMap, Vector};

use super::{Outcome, ProposalId, Revision};

/// Proposals whose outcome is remembered: some seconds of retries at a full load of thousands of writes a second, for
/// about 1 MiB. All replicas must agree on it, so a change needs a new [`COMMAND_VERSION`](super::COMMAND_VERSION).
pub const OUTCOMES_REMEMBERED_MAX: usize = 16_384;

/// The table. O(1) to clone.
///
/// Invariants: `order` holds exactly the keys of `outcomes`, oldest first; at most [`OUTCOMES_REMEMBERED_MAX`].
#[derive(Clone, Debug, Default)]
pub(super) struct Outcomes {
    outcomes: OrdMap<ProposalId, Outcome>,
    order: Vector<ProposalId>,
}

impl Outcomes {
    pub(super) fn get(&self, id: ProposalId) -> Option<&Outcome> {
        self.outcomes.get(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Those with these names, by name.
    pub(super) fn among(
        &self,
        names: RangeInclusive<ProposalId>,
    ) -> impl Iterator<Item = (ProposalId, &Outcome)> {
        (self.outcomes.range(names)).map(|(id, outcome)| (*id, outcome))
    }

    /// Whether a proposal that committed later than `since` may have been forgotten. What was forgotten came before all
    /// that is remembered, so none of it committed later than the first that is.
    pub(super) fn may_lack_commits_after(&self, since: Revision) -> bool {
        let committed = |(_, outcome): (ProposalId, &Outcome)| match outcome {
            Outcome::Committed { revision } => Some(*revision),
            Outcome::Conflict { .. } => None,
        };
        let full = self.len() == OUTCOMES_REMEMBERED_MAX;
        full && self
            .iter()
            .find_map(committed)
            .is_none_or(|first| first > since)
    }

    /// Remembers a new proposal's outcome and forgets the oldest beyond the bound.
    pub(super) fn remember(&mut self, id: ProposalId, outcome: Outcome) {
        let known = self.outcomes.insert(id, outcome);
        assert!(known.is_none(), "a known proposal is not executed again");
        self.order.push_back(id);
        if self.order.len() > OUTCOMES_REMEMBERED_MAX {
            let oldest = self.order.pop_front().expect("just found longer than 0");
            self.outcomes.remove(&oldest);
        }
        assert_eq!(self.order.len(), self.outcomes.len());
    }

    /// All of them, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ProposalId, &Outcome)> {
        self.order.iter().map(|id| (*id, &self.outcomes[id]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_the_oldest_first_whatever_their_names() {
        let mut outcomes = Outcomes::default();
        let id = |n: u64| ProposalId {
            origin: u64::MAX - n,
            sequence: 1,
        };
        let last = OUTCOMES_REMEMBERED_MAX as u64 + 2;
        for n in 0..last {
            outcomes.remember(id(n), Outcome::Committed { revision: n });
        }
        assert_eq!(outcomes.len(), OUTCOMES_REMEMBERED_MAX);
        assert_eq!(outcomes.get(id(1)), None);
        let kept = Outcome::Committed { revision: 2 };
        assert_eq!(outcomes.get(id(2)), Some(&kept));
        assert_eq!(outcomes.iter().next(), Some((id(2), &kept)));
    }
}
