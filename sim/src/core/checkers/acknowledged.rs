//! No acknowledged proposal is lost: what a client was told to be done is in the committed log where it was said to be,
//! and in the state for good.

use bytes::Bytes;
use kagero::raft::{Index, Payload, Term};
use kagero::store::ProposalId;

use super::model::Model;
use super::{Verdict, ensure};
use crate::core::history::History;

/// What clients were told.
#[derive(Debug, Default)]
pub struct Acknowledged(Vec<(ProposalId, Index, Term)>);

impl Acknowledged {
    /// A client is told that its command was applied at this index.
    pub fn acknowledge(
        &mut self,
        id: ProposalId,
        command: &Bytes,
        (index, term): (Index, Term),
        history: &History,
    ) -> Verdict {
        let committed = history.committed_at(index).map(|c| &c.entry);
        let same = committed.is_some_and(|entry| {
            entry.term == term && entry.payload == Payload::Command(command.clone())
        });
        ensure(same, || {
            format!("{id:?} was acknowledged at {index}@{term} and is not there")
        })?;
        self.0.push((id, index, term));
        Ok(())
    }

    /// Looks at everything once more, at the end, when the cluster has applied up to `applied`.
    pub fn check(&self, model: &Model, history: &History, applied: Index) -> Verdict {
        for (id, index, term) in &self.0 {
            let committed = history.committed_at(*index).map(|c| c.entry.term);
            let kept = model.knows(*id) && committed == Some(*term) && *index <= applied;
            ensure(kept, || {
                format!("{id:?}, acknowledged at {index}@{term}, is lost")
            })?;
        }
        Ok(())
    }
}
