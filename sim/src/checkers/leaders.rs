//! Election safety, from outside: in one term of one generation at most one peer leads, over the whole run.

use std::collections::BTreeMap;

use kagero::actors::doors::Known;
use kagero::raft::{PeerId, Role, Term};

/// Who led which (generation, term).
#[derive(Debug, Default)]
pub struct Leaders(BTreeMap<(u64, Term), PeerId>);

/// Two peers led one term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two leaders in term {term} of generation {generation}: {first} and {second}")]
pub struct TwoLeaders {
    /// The generation.
    pub generation: u64,
    /// The term.
    pub term: Term,
    /// Seen first.
    pub first: PeerId,
    /// Seen later.
    pub second: PeerId,
}

impl Leaders {
    /// Remembers a node that leads now.
    pub fn look(&mut self, known: &Known) -> Result<(), TwoLeaders> {
        let standing = &known.standing;
        if standing.role == Role::Leader {
            self.add(standing.cluster.generation, standing.term, standing.id)?;
        }
        Ok(())
    }

    /// Remembers who led a term.
    pub(crate) fn add(
        &mut self,
        generation: u64,
        term: Term,
        second: PeerId,
    ) -> Result<(), TwoLeaders> {
        let first = *self.0.entry((generation, term)).or_insert(second);
        if first == second {
            return Ok(());
        }
        Err(TwoLeaders {
            generation,
            term,
            first,
            second,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_leader_of_a_term_is_found_however_late() {
        let mut leaders = Leaders::default();
        assert_eq!(leaders.add(0, 1, PeerId(1)), Ok(()));
        assert_eq!(leaders.add(0, 2, PeerId(2)), Ok(()));
        assert_eq!(leaders.add(1, 1, PeerId(3)), Ok(()), "another generation");
        assert!(leaders.add(0, 1, PeerId(2)).is_err());
    }
}
