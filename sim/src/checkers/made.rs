//! Small histories for the checkers' own tests.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use kagero::actors::doors::Known;
use kagero::actors::raft_peer::Standing;
use kagero::raft::{ClusterId, PeerId, Role, Term};
use kagero::store::{
    Command, Event, Operation as StoreOperation, ProposalId, Record, Revision, Store, Transaction,
};
use serde_json::json;

use crate::clients::contenders::{MARK, POOL};
use crate::history::{Answer, Moment, Operation, Request};
use crate::truth::{Content, Founding, State, Truth, WATCHED};

/// One change: when, of what, what it was (and since when), what it says now.
pub(super) type Made<'a> = (
    Revision,
    &'a str,
    Option<(Revision, &'a str)>,
    Option<&'a str>,
);

/// What an object with this mark says.
pub(super) fn content(mark: &str) -> Content {
    let pair = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    Content {
        labels: BTreeMap::from([pair(POOL), pair(("side", mark))]),
        data: BTreeMap::from([pair((MARK, mark))]),
    }
}

/// An object as the store has it.
pub(super) fn record(revision: Revision, mark: &str) -> Record {
    let Content { labels, data } = content(mark);
    let object = json!({ "metadata": { "labels": labels }, "data": data });
    Record {
        create_revision: revision,
        mod_revision: revision,
        version: 1,
        value: Bytes::from(object.to_string()),
    }
}

/// A store's history; changes of one revision stand together.
pub(super) fn made(changes: &[Made<'_>]) -> Truth {
    let mut truth = Truth::default();
    let event = |(revision, name, was, is): &Made<'_>| Event {
        revision: *revision,
        key: Arc::from(format!("{WATCHED}{name}")),
        previous: was.map(|(since, mark)| record(since, mark)),
        current: is.map(|mark| record(*revision, mark)),
    };
    for changes in changes.chunk_by(|one, next| one.0 == next.0) {
        let events: Vec<Event> = changes.iter().map(event).collect();
        truth.add("n1", &events).expect("made once");
    }
    truth
}

/// What a generation begins with: names, since when they are so, what they say.
pub(super) fn founding(objects: &[(&str, Revision, &str)]) -> Founding {
    let object = |(name, revision, mark): &(&str, Revision, &str)| {
        let state = State {
            revision: *revision,
            content: Rc::new(content(mark)),
        };
        ((*name).to_owned(), state)
    };
    objects.iter().map(object).collect()
}

/// A request with its answer.
pub(super) fn operation(
    name: &str,
    called: Moment,
    returned: Moment,
    request: Request,
    answer: Answer,
) -> Operation {
    Operation {
        client: 0,
        node: "n1".to_owned(),
        name: name.to_owned(),
        called,
        returned,
        request,
        answer,
    }
}

/// A store in which these were written, one a revision.
pub(super) fn store(objects: &[(&str, &str)]) -> Store {
    let mut store = Store::new();
    for (sequence, (key, value)) in (1..).zip(objects) {
        let put = StoreOperation::Put {
            key: (*key).to_owned(),
            value: Bytes::from((*value).to_owned()),
        };
        let applied = store.apply(&Command {
            id: ProposalId {
                origin: 1,
                sequence,
            },
            time_ms: 0,
            transaction: Transaction {
                compare: Vec::new(),
                operations: vec![put],
            },
        });
        assert_eq!(applied.events.len(), 1, "each is a change");
    }
    store
}

/// What a node knows that has this store, in this term, as a leader or not.
pub(super) fn known(id: u64, (term, leads): (Term, bool), store: &Store) -> Known {
    let standing = Standing {
        cluster: ClusterId {
            id: 7,
            generation: 0,
        },
        id: PeerId(id),
        role: if leads { Role::Leader } else { Role::Follower },
        term,
        leader: None,
        configuration: Arc::default(),
        leads,
    };
    let view = store.view();
    Known { view, standing }
}
