//! What is under way: messages and the simulation's own events, by the time they arrive.
//!
//! Draws nothing and loses nothing itself; equal times keep the order of sending.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

use kagero::raft::{Envelope, PeerId};

/// Something that will happen.
#[derive(Clone, Debug)]
pub enum Event {
    /// A message arrives, with its number among all that were sent.
    Arrive(Box<Envelope>, u64),
    /// A state machine has encoded the snapshot that its core asked for.
    SnapshotEncoded(PeerId),
    /// A paused peer goes on.
    Resume(PeerId),
}

#[derive(Debug)]
struct Due {
    at: Duration,
    number: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Everything under way.
#[derive(Debug, Default)]
pub struct Queue {
    due: BinaryHeap<Reverse<Due>>,
    numbers: u64,
}

impl Queue {
    /// Lets something happen at a time.
    pub fn push(&mut self, at: Duration, event: Event) {
        self.numbers += 1;
        let number = self.numbers;
        self.due.push(Reverse(Due { at, number, event }));
    }

    /// When the next thing happens.
    pub fn next_at(&self) -> Option<Duration> {
        self.due.peek().map(|due| due.0.at)
    }

    /// The next thing, if its time has come.
    pub fn pop(&mut self, now: Duration) -> Option<Event> {
        let due = self.due.peek().is_some_and(|due| due.0.at <= now);
        due.then(|| self.due.pop()).flatten().map(|due| due.0.event)
    }

    /// Messages under way, in no particular order.
    pub fn messages(&self) -> impl Iterator<Item = &Envelope> {
        self.due.iter().filter_map(|due| match &due.0.event {
            Event::Arrive(envelope, _) => Some(&**envelope),
            _ => None,
        })
    }
}
