//! No acknowledged proposal is lost: what a client was told to be done is in the committed log where it was said to be,
//! and in the state for good: proposed again, it changes nothing.

use bytes::Bytes;
use kagero::raft::{Index, Payload, Term};
use kagero::store::{Command, ProposalId, Store};

use super::model::Model;
use super::{Verdict, ensure};
use crate::core::history::History;

/// What clients were told.
#[derive(Debug, Default)]
pub struct Acknowledged(Vec<Told>);

#[derive(Debug)]
struct Told {
    id: ProposalId,
    command: Bytes,
    index: Index,
    term: Term,
}

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
        let command = command.clone();
        self.0.push(Told {
            id,
            command,
            index,
            term,
        });
        Ok(())
    }

    /// Looks at everything once more, at the end, when the leader has applied up to `applied` and holds this state.
    pub fn check(
        &self,
        model: &Model,
        history: &History,
        (applied, store): (Index, &Store),
    ) -> Verdict {
        let copy = Store::restore(&store.snapshot().encode());
        let mut copy = copy.map_err(|error| format!("the leader's state: {error}"))?;
        for Told {
            id,
            command,
            index,
            term,
        } in &self.0
        {
            let committed = history.committed_at(*index).map(|c| c.entry.term);
            let known = model.knows(*id) && committed == Some(*term) && *index <= applied;
            let command = Command::decode(command).map_err(|error| format!("{id:?}: {error}"))?;
            let kept = known && copy.apply(&command).events.is_empty();
            ensure(kept, || {
                format!("{id:?}, acknowledged at {index}@{term}, is lost")
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kagero::store::{Operation, Transaction};

    use super::super::made::{refusal, remembered};
    use super::*;
    use kagero::raft::Entry;

    const ID: ProposalId = ProposalId {
        origin: 1,
        sequence: 1,
    };

    fn command(value: &'static str) -> Command {
        let put = Operation::Put {
            key: "a".into(),
            value: Bytes::from_static(value.as_bytes()),
        };
        Command {
            id: ID,
            time_ms: 0,
            transaction: Transaction {
                compare: Vec::new(),
                operations: vec![put],
            },
        }
    }

    /// Index 2 of term 2 is committed with this.
    fn committed(value: &'static str) -> History {
        let mut history = remembered(&[1], &[]);
        let entry = Entry {
            index: 2,
            term: 2,
            payload: Payload::Command(command(value).encode()),
        };
        history.commit(&entry, 2);
        history
    }

    fn told(history: &History) -> (Acknowledged, Verdict) {
        let mut checker = Acknowledged::default();
        let verdict = checker.acknowledge(ID, &command("v").encode(), (2, 2), history);
        (checker, verdict)
    }

    fn applied() -> (Model, Store) {
        let (mut model, mut store) = (Model::default(), Store::new());
        model.apply(&command("v"));
        store.apply(&command("v"));
        (model, store)
    }

    #[test]
    fn what_is_committed_and_kept_is_accepted() {
        let history = committed("v");
        let (checker, verdict) = told(&history);
        assert_eq!(verdict, Ok(()));
        let (model, store) = applied();
        assert_eq!(checker.check(&model, &history, (2, &store)), Ok(()));
    }

    #[test]
    fn what_is_not_committed_there_is_refused() {
        let (_, verdict) = told(&remembered(&[1], &[]));
        assert!(refusal(verdict).contains("is not there"));
        let (_, verdict) = told(&committed("another"));
        assert!(refusal(verdict).contains("is not there"));
    }

    #[test]
    fn what_is_gone_at_the_end_is_refused() {
        let history = committed("v");
        let (checker, _) = told(&history);
        let (model, store) = applied();
        let forgot = checker.check(&Model::default(), &history, (2, &store));
        assert!(refusal(forgot).contains("is lost"));
        let behind = checker.check(&model, &history, (1, &store));
        assert!(refusal(behind).contains("is lost"));
        let unapplied = checker.check(&model, &history, (2, &Store::new()));
        assert!(refusal(unapplied).contains("is lost"));
    }
}
