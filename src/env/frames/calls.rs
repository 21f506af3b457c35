//! Requests that wait for their answers: numbers to put into messages, and who gets which answer.
//!
//! Deliberately knows nothing of connections. Drop the [`Calls`] with the connection, and every waiter learns of it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

/// Calls that wait at once on one connection: a node's HTTP requests in flight, with room to spare.
pub const CALLS_WAITING_MAX: usize = 4_096;

/// Why a call has no answer. It may have been executed nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// [`CALLS_WAITING_MAX`] others wait; this one was not begun.
    #[error("too many calls wait for their answers")]
    Full,
    /// The connection ended first.
    #[error("the connection ended before the answer came")]
    Closed,
    /// The deadline passed first.
    #[error("no answer in time")]
    Late,
}

/// The calls of one connection that wait for an answer `T`.
#[derive(Debug)]
pub struct Calls<T> {
    next: u64,
    waiting: BTreeMap<u64, oneshot::Sender<T>>,
}

impl<T> Default for Calls<T> {
    fn default() -> Self {
        Self {
            next: 1,
            waiting: BTreeMap::new(),
        }
    }
}

impl<T> Calls<T> {
    /// A number for the request's message, never used before here, and the promise of its answer.
    pub fn begin(&mut self) -> Result<(u64, Answer<T>), CallError> {
        if self.waiting.len() >= CALLS_WAITING_MAX {
            self.waiting.retain(|_, waiter| !waiter.is_closed());
        }
        if self.waiting.len() >= CALLS_WAITING_MAX {
            return Err(CallError::Full);
        }
        let number = self.next;
        self.next += 1;
        let (waiter, answer) = oneshot::channel();
        self.waiting.insert(number, waiter);
        Ok((number, Answer(answer)))
    }

    /// An answer came. False if nobody waits for it, or no longer.
    pub fn finish(&mut self, number: u64, answer: T) -> bool {
        let waiter = self.waiting.remove(&number);
        waiter.is_some_and(|waiter| waiter.send(answer).is_ok())
    }
}

/// The promise of an answer. Dropping it gives the call up.
#[derive(Debug)]
pub struct Answer<T>(oneshot::Receiver<T>);

impl<T> Answer<T> {
    /// Waits for it.
    pub async fn within(self, deadline: Duration) -> Result<T, CallError> {
        match timeout(deadline, self.0).await {
            Ok(answer) => answer.map_err(|_| CallError::Closed),
            Err(_) => Err(CallError::Late),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn each_answer_finds_its_caller() {
        let mut calls = Calls::default();
        let (first, one) = calls.begin().unwrap();
        let (second, other) = calls.begin().unwrap();
        assert!(calls.finish(second, "second"));
        assert!(calls.finish(first, "first"));
        assert!(!calls.finish(first, "again"));
        assert_eq!(one.within(SOON).await, Ok("first"));
        assert_eq!(other.within(SOON).await, Ok("second"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_finds_nobody() {
        let mut calls = Calls::default();
        let (number, answer) = calls.begin().unwrap();
        assert_eq!(answer.within(SOON).await, Err(CallError::Late));
        assert!(!calls.finish(number, ()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_connection_ends_its_calls() {
        let mut calls = Calls::<()>::default();
        let (_, answer) = calls.begin().unwrap();
        drop(calls);
        assert_eq!(answer.within(SOON).await, Err(CallError::Closed));
    }

    #[test]
    fn calls_given_up_make_room() {
        let mut calls = Calls::<()>::default();
        let mut answers: Vec<_> = (0..CALLS_WAITING_MAX)
            .map(|_| calls.begin().unwrap())
            .collect();
        assert_eq!(calls.begin().unwrap_err(), CallError::Full);
        answers.pop();
        assert!(calls.begin().is_ok());
    }
}
