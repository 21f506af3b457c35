//! The agent's leases for unique pods: taken from the leader's link, looked after more often than all else, and kept for
//! the process after this one, so that a restart in place stops nothing.
//!
//! What is kept is worth nothing after another boot of the machine: nothing of its containers runs then, and its clock
//! has begun anew. If it cannot be kept, the next process stops the unique pods that it finds.

use std::rc::Rc;

use actix::prelude::*;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::NodeAgent;
use crate::actors::node_messages::LeasePods;
use crate::agent::{Input, Leased, Leases, Seat};
use crate::env::shelf::{NoShelf, Shelf};

/// Where leases are kept, and what was put there last.
pub struct LeaseBook {
    shelf: Rc<dyn Shelf>,
    boot: String,
    written: Leases,
    failed: bool,
}

/// What is put on the shelf.
#[derive(Serialize, Deserialize)]
struct Page {
    boot: String,
    leases: Leases,
}

impl LeaseBook {
    /// The book of this boot of the machine.
    pub fn new(shelf: Rc<dyn Shelf>, boot: String) -> Self {
        Self {
            shelf,
            boot,
            written: Leases::new(),
            failed: false,
        }
    }

    /// One that nobody reads.
    pub(super) fn unread() -> Self {
        Self::new(Rc::new(NoShelf), String::new())
    }

    /// What an earlier process on this boot left.
    pub(super) fn read(&self) -> Leases {
        let page = self.shelf.get();
        let page = page.and_then(|bytes| serde_json::from_slice::<Page>(&bytes).ok());
        let page = page.filter(|page| page.boot == self.boot);
        page.map(|page| page.leases).unwrap_or_default()
    }

    /// Keeps these, if they are news.
    fn write(&mut self, leases: Leases) {
        if leases == self.written {
            return;
        }
        let boot = self.boot.clone();
        let page = Page { boot, leases };
        let bytes = serde_json::to_vec(&page).expect("text and times serialise into memory");
        let put = self.shelf.put(&bytes);
        if let (Err(error), false) = (&put, self.failed) {
            warn!(%error, "cannot keep the leases of unique pods: a restart of this process will stop them");
        }
        self.failed = put.is_err();
        self.written = page.leases;
    }
}

impl NodeAgent {
    /// With leases that outlive the process.
    #[must_use]
    pub fn with_leases(mut self, book: LeaseBook) -> Self {
        self.agent.remember(book.read());
        self.book = book;
        self
    }

    /// Keeps what has become of the leases.
    pub(super) fn keep_leases(&mut self) {
        self.book.write(self.agent.leases());
    }

    /// Stops what has no lease any more.
    pub(super) fn look_at_leases(&mut self, ctx: &mut Context<Self>) {
        if self.agent.has_lapsed(self.clock.since_boot()) {
            info!(
                "no leader has confirmed for too long that it hears this node: unique pods are stopped"
            );
            self.step(Input::Tick, ctx);
        }
    }
}

impl Handler<LeasePods> for NodeAgent {
    type Result = ();

    fn handle(&mut self, lease: LeasePods, ctx: &mut Self::Context) {
        let LeasePods {
            generation,
            term,
            until,
            start,
        } = lease;
        let seat = Seat { generation, term };
        self.step(Input::Leased(Leased { seat, until, start }), ctx);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::env::shelf::MemoryShelf;

    #[test]
    fn the_next_process_of_the_same_boot_reads_what_was_written() {
        let shelf = Rc::new(MemoryShelf::default());
        let book = |boot: &str| LeaseBook::new(shelf.clone(), boot.to_owned());
        let leases = Leases::from([("u".to_owned(), Duration::from_millis(12_345))]);
        book("a").write(leases.clone());
        assert_eq!(book("a").read(), leases);
        assert_eq!(book("b").read(), Leases::new(), "after another boot");
        shelf.put(b"nonsense").unwrap();
        assert_eq!(book("a").read(), Leases::new());
    }
}
