//! The creations that are under way at the engine, and a door that no more come through.
//!
//! The engine finishes what it was asked to create even if whoever asked is gone, and lists it only then. Deliberately
//! without a deadline: whoever waits has one.

use std::cell::Cell;

use tokio::sync::watch;

/// Counts creations. Invariant: once closed, the count only falls.
#[derive(Debug)]
pub(super) struct Creations {
    closed: Cell<bool>,
    under_way: watch::Sender<usize>,
}

impl Default for Creations {
    fn default() -> Self {
        Self {
            closed: Cell::new(false),
            under_way: watch::Sender::new(0),
        }
    }
}

/// One creation; over when it is dropped.
#[derive(Debug)]
pub(super) struct UnderWay(watch::Sender<usize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Creations {
    /// Begins one; none once the door is closed.
    pub(super) fn begin(&self) -> Option<UnderWay> {
        if self.closed.get() {
            return None;
        }
        self.under_way.send_modify(|count| *count += 1);
        Some(UnderWay(self.under_way.clone()))
    }

    /// Lets none begin any more, and waits for those that did.
    pub(super) async fn close(&self) {
        self.closed.set(true);
        let mut count = self.under_way.subscribe();
        let none = count.wait_for(|count| *count == 0).await;
        none.expect("the sender is this object's own");
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn closing_waits_for_what_began_and_lets_nothing_begin() {
        let creations = Creations::default();
        let first = creations.begin().unwrap();
        let mut closing = Box::pin(creations.close());
        assert!((&mut closing).now_or_never().is_none(), "one is under way");
        assert!(creations.begin().is_none());
        drop(first);
        closing.await;
        assert!(creations.begin().is_none());
    }
}
