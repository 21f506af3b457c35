//! The gate between a process and its network, shut while the process is paused.
//!
//! turmoil steps every host or crashes it; it cannot leave one out. So a pause is made of what a process that is not
//! scheduled shows to others and sees itself: nothing leaves, nothing is read, its clock stands still (`clock.rs`), and
//! then all of it comes at once. Deliberately not stopped are tokio's timers inside; what they do stays inside too.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Open at first. Clones are the same gate.
#[derive(Clone, Debug, Default)]
pub struct Gate(Rc<RefCell<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    shut: bool,
    waiting: Vec<Waker>,
}

impl Gate {
    /// Nothing passes from now on.
    pub fn shut(&self) {
        self.0.borrow_mut().shut = true;
    }

    /// Whatever waited passes, and what comes.
    pub fn reopen(&self) {
        let waiting = {
            let mut inner = self.0.borrow_mut();
            inner.shut = false;
            std::mem::take(&mut inner.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Ready while it is open.
    pub fn poll_open(&self, cx: &Context<'_>) -> Poll<()> {
        let mut inner = self.0.borrow_mut();
        if !inner.shut {
            return Poll::Ready(());
        }
        if !inner
            .waiting
            .iter()
            .any(|waker| waker.will_wake(cx.waker()))
        {
            inner.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Waits until it is open.
    pub async fn open(&self) {
        poll_fn(|cx| self.poll_open(cx)).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn nothing_passes_a_shut_gate() {
        let gate = Gate::default();
        assert_eq!(gate.open().now_or_never(), Some(()));
        gate.shut();
        assert_eq!(gate.open().now_or_never(), None);
        gate.clone().reopen();
        assert_eq!(gate.open().now_or_never(), Some(()));
    }
}
