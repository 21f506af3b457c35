//! What clients asked, when, and what they were answered: the evidence that checkers judge after a run.
//!
//! Plain data; deliberately without any opinion of what is right.

use std::collections::BTreeMap;

use kagero::store::Revision;

use crate::truth::Content;

/// A moment, in the order in which things happened; two events never share one.
pub type Moment = u64;

/// What a client asked of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// POST.
    Create {
        /// What it is to say.
        content: Content,
    },
    /// PUT, if the object still is as it was at this revision.
    Update {
        /// What it is to say.
        content: Content,
        /// `metadata.resourceVersion` of what it replaces.
        base: Revision,
    },
    /// A merge patch of one member of `data`.
    Patch {
        /// Which.
        member: String,
        /// What it is to be.
        value: String,
        /// `metadata.resourceVersion` of what it changes, if it says one.
        base: Option<Revision>,
    },
    /// DELETE.
    Delete,
    /// DELETE of all that carry this label.
    DeleteAll {
        /// The label's key.
        label: String,
        /// The label's value.
        value: String,
    },
    /// Linearizable GET.
    Get,
    /// Linearizable list.
    List,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Written, at this revision, and now it says this.
    Written(Revision, Content),
    /// Deleted.
    Deleted,
    /// It last changed at this revision and says this.
    Found(Revision, Content),
    /// HTTP 404.
    Missing,
    /// HTTP 409 to a POST.
    Exists,
    /// HTTP 409 to anything else.
    Conflict,
    /// A list at a revision: name, revision and content of each.
    Listed(Revision, Vec<(String, Revision, Content)>),
    /// It may have been carried out, or be carried out yet, or not.
    Unknown,
}

/// One request with its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who asked.
    pub client: usize,
    /// Whom.
    pub node: String,
    /// Name of the object; "" for what concerns many.
    pub name: String,
    /// Before the request was sent.
    pub called: Moment,
    /// After the answer was read, or given up.
    pub returned: Moment,
    /// The question.
    pub request: Request,
    /// The answer.
    pub answer: Answer,
}

/// One line of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// ADDED, with the object's name, its revision and content.
    Added(String, Revision, Content),
    /// MODIFIED.
    Modified(String, Revision, Content),
    /// DELETED, with the revision at which it went and what it said last.
    Deleted(String, Revision, Content),
    /// BOOKMARK: whatever changed up to this revision was sent.
    Bookmark(Revision),
    /// A BOOKMARK that says that the initial objects end here.
    InitialEnd(Revision),
}

/// One connection's part of a watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leg {
    /// Whom it asked.
    pub node: String,
    /// The revision it began after; `None` if it asked for the initial objects.
    pub after: Option<Revision>,
    /// What it was sent.
    pub lines: Vec<Line>,
    /// It was refused with 410 Gone: up to this revision the server knows nothing (0 if it named none).
    pub gone: Option<Revision>,
}

/// A watcher's life: legs, each of which goes on where the one before ended, from a list on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Who watched.
    pub watcher: usize,
    /// The label that objects must carry, if only some are watched.
    pub selector: Option<(String, String)>,
    /// Its legs.
    pub legs: Vec<Leg>,
}

/// How far a watcher is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The label that objects must carry, if only some are watched.
    pub selector: Option<(String, String)>,
    /// It has seen everything up to this revision.
    pub revision: Revision,
}

/// Everything of one run.
#[derive(Debug, Default)]
pub struct History {
    moments: Moment,
    /// Requests in order of their answers.
    pub operations: Vec<Operation>,
    /// Watches that ended: with the run, or with a 410.
    pub chains: Vec<Chain>,
    /// Up to where each watcher has seen everything.
    pub positions: BTreeMap<usize, Position>,
}

impl History {
    /// The next moment.
    pub fn moment(&mut self) -> Moment {
        self.moments += 1;
        self.moments
    }
}
