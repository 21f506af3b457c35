//! Lists in pieces: continue tokens, and the views that keep the pieces of one list consistent.
//!
//! A view costs nothing while the store stands still and only what changed since when it does not, so a node keeps
//! the last few that it handed tokens out for. A token whose view is gone, or is another node's, is answered as
//! Kubernetes answers one whose revision was compacted: 410 with a token that goes on from the newest state.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::resource::Status;
use crate::store::{Revision, View};

/// How long a list may take from its first piece to its last (kubectl reads 500 objects a piece).
const HELD: Duration = Duration::from_secs(60);
/// Views kept at once; each may hold up to a whole old state while everything is rewritten.
const VIEWS_MAX: usize = 8;

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Token {
    /// The format; a token of another one is refused.
    v: String,
    /// The revision of the list, or 0: whatever is newest.
    pub(super) rv: Revision,
    /// The first key of the next piece.
    pub(super) start: String,
}

impl Token {
    /// A token for the piece that starts at a key.
    pub(super) fn new(revision: Revision, start: String) -> Self {
        Self {
            v: "kagero.dev/v1".to_owned(),
            rv: revision,
            start,
        }
    }

    /// As text for a query string.
    pub(super) fn encode(&self) -> String {
        let json = serde_json::to_vec(self).expect("strings and numbers have a JSON form");
        URL_SAFE_NO_PAD.encode(json)
    }

    /// Reads a token for a list of the keys that start with `prefix`; whoever changed it to reach beyond is refused.
    pub(super) fn decode(text: &str, prefix: &str) -> Result<Self, Status> {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
        let token: Option<Self> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        token
            .filter(|token| token.v == "kagero.dev/v1" && token.start.starts_with(prefix))
            .ok_or_else(|| Status::bad_request("continue key is not valid"))
    }
}

struct Kept {
    until: Duration,
    view: View,
}

/// The views behind tokens that may still come back, oldest first.
#[derive(Default)]
pub(super) struct Views(RefCell<VecDeque<Kept>>);

impl Views {
    /// Keeps a view, or keeps it for longer.
    pub(super) fn keep(&self, view: &View, now: Duration) {
        let mut views = self.0.borrow_mut();
        views.retain(|kept| kept.until > now && kept.view.revision() != view.revision());
        if views.len() == VIEWS_MAX {
            views.pop_front();
        }
        views.push_back(Kept {
            until: now + HELD,
            view: view.clone(),
        });
    }

    /// The view of exactly this revision, if it is still kept. Forgets what has expired.
    pub(super) fn find(&self, revision: Revision, now: Duration) -> Option<View> {
        let mut views = self.0.borrow_mut();
        views.retain(|kept| kept.until > now);
        let found = views.iter().find(|kept| kept.view.revision() == revision);
        found.map(|kept| kept.view.clone())
    }

    /// Forgets what has expired, so that a quiet server does not hold old states for ever.
    pub(super) fn expire(&self, now: Duration) {
        self.0.borrow_mut().retain(|kept| kept.until > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_way_out_and_back_and_no_change() {
        let token = Token::new(7, "pods/default/web-1\0".to_owned());
        let text = token.encode();
        assert_eq!(Token::decode(&text, "pods/default/").unwrap(), token);
        assert_eq!(Token::decode(&text, "secrets/").unwrap_err().code, 400);
        assert_eq!(Token::decode("nonsense", "pods/").unwrap_err().code, 400);
    }

    #[test]
    fn views_are_kept_for_their_time_only() {
        let views = Views::default();
        views.keep(&View::default(), Duration::from_secs(1));
        assert!(views.find(0, Duration::from_secs(60)).is_some());
        assert!(views.find(1, Duration::from_secs(60)).is_none());
        assert!(views.find(0, Duration::from_secs(61)).is_none());
    }
}
