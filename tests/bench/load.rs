//! The load: so many requests outstanding, closed loop, the same for every store; and what came of it.
//!
//! Deliberately closed loop: the figures are throughput at a concurrency and the latency seen at it, not latency at an
//! offered rate.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use tokio::time::Instant;

/// How many different values there are.
const STREAM_BYTES: usize = 1 << 16;

/// A future of this thread.
pub type Local<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

/// A connected client of some store; cheap to clone, many requests at a time.
pub trait Store {
    /// Writes; done when the store says that it is committed.
    fn put(&self, key: String, value: Bytes) -> Local<'_, ()>;
    /// Reads, linearizably; the value's length.
    fn get(&self, key: String) -> Local<'_, usize>;
    /// Opens so many watches of everything; every change seen by any of them adds 1 to the count.
    fn watch(&self, watches: usize, seen: Rc<Cell<u64>>) -> Local<'_, ()>;
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Writes.
    Put,
    /// Linearizable reads.
    Get,
}

/// What came of a round.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Requests done.
    pub done: u64,
    /// How long the round took.
    pub took: Duration,
    /// Each request's time, microseconds, unordered.
    pub micros: Vec<u32>,
}

/// Keys and values of the load.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Different keys.
    pub keys: u64,
    /// Bytes of a value.
    pub value_bytes: usize,
}

impl Shape {
    /// A key of the shape, spread over all of them by a multiplicative walk that every store is led on alike.
    pub fn key(&self, turn: u64) -> String {
        let place = turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
        format!("bench/key/{:010}", place % self.keys)
    }

    /// A value of the shape: a piece of one stream of bytes that no store compresses, so that to make it costs nothing.
    pub fn value(&self, turn: u64) -> Bytes {
        static STREAM: OnceLock<Bytes> = OnceLock::new();
        let stream = STREAM.get_or_init(|| {
            let mut state = 1_u64;
            let bytes = (0..self.value_bytes + STREAM_BYTES).map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            });
            bytes.collect()
        });
        let start = turn as usize % STREAM_BYTES;
        stream.slice(start..start + self.value_bytes)
    }
}

/// Keeps `outstanding` requests going over the connections for so long.
pub async fn drive(
    connections: &[Rc<dyn Store>],
    work: Work,
    shape: Shape,
    outstanding: usize,
    lasting: Duration,
) -> Result<Outcome> {
    let began = Instant::now();
    let until = began + lasting;
    let turns = Rc::new(Cell::new(0_u64));
    let micros = Rc::new(RefCell::new(Vec::new()));
    let mut runners = Vec::new();
    for runner in 0..outstanding {
        let store = connections[runner % connections.len()].clone();
        let (turns, micros) = (turns.clone(), micros.clone());
        runners.push(tokio::task::spawn_local(async move {
            while Instant::now() < until {
                let turn = turns.replace(turns.get() + 1);
                let (key, value) = (shape.key(turn), shape.value(turn));
                let asked = Instant::now();
                match work {
                    Work::Put => store.put(key, value).await?,
                    Work::Get => {
                        let bytes = store.get(key).await?;
                        anyhow::ensure!(bytes == shape.value_bytes, "a value of {bytes} bytes");
                    }
                }
                micros.borrow_mut().push(asked.elapsed().as_micros() as u32);
            }
            Ok(())
        }));
    }
    for runner in runners {
        runner.await??;
    }
    let micros = micros.take();
    Ok(Outcome {
        done: micros.len() as u64,
        took: began.elapsed(),
        micros,
    })
}

/// Writes every key once, so that reads find what they ask for.
pub async fn fill(store: &dyn Store, shape: Shape) -> Result<()> {
    for key in 0..shape.keys {
        // The walk of `Shape::key` meets every key only in the long run.
        let name = format!("bench/key/{key:010}");
        store.put(name, shape.value(key)).await?;
    }
    Ok(())
}

impl Outcome {
    /// Requests a second.
    pub fn rate(&self) -> f64 {
        self.done as f64 / self.took.as_secs_f64()
    }

    /// The time, in microseconds, within which this share of the requests was done.
    pub fn percentile(&self, share: f64) -> u32 {
        let mut sorted = self.micros.clone();
        sorted.sort_unstable();
        let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
        sorted.get(at).copied().unwrap_or(0)
    }

    /// This round and another as one.
    pub fn merge(&mut self, other: Self) {
        self.done += other.done;
        self.took += other.took;
        self.micros.extend(other.micros);
    }
}
