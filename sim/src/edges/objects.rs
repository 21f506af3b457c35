//! An object store that outlives every machine of the world: slow, and now and then it answers with an error.
//!
//! What it says it did it has done, and some of what it says failed it has done too: the answer was lost. Deliberately not
//! simulated: a store that forgets or serves old content, since those of the clouds promise not to.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use kagero::env::entropy::Entropy;
use kagero::env::objects::{Objects, ObjectsError};
use rand::Rng;
use tokio::time::sleep;

use super::Gate;

/// Half of an operation takes so long, from and to.
const HALF_MS: (u64, u64) = (5, 100);
/// So many of a hundred operations fail before they are done, and as many after.
const FAILURES_PERCENT: u64 = 2;
const URL: &str = "sim://bucket";

/// What is kept. Clones are the same bucket.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    objects: Rc<RefCell<BTreeMap<String, Bytes>>>,
    slower: Rc<Cell<Duration>>,
}

impl Bucket {
    /// Names of all objects that begin so, in order.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let objects = self.objects.borrow();
        let names = objects.keys().filter(|name| name.starts_with(prefix));
        names.cloned().collect()
    }

    /// An object.
    pub fn content(&self, name: &str) -> Option<Bytes> {
        self.objects.borrow().get(name).cloned()
    }

    /// From now on half of an operation takes so much longer.
    pub fn slow(&self, by: Duration) {
        self.slower.set(by);
    }

    /// Flips a bit in the middle of an object.
    pub fn damage(&self, name: &str) {
        if let Some(content) = self.objects.borrow_mut().get_mut(name) {
            let mut damaged = content.to_vec();
            let middle = damaged.len() / 2;
            damaged[middle] ^= 1;
            *content = damaged.into();
        }
    }
}

/// The bucket as a process on one machine sees it.
pub struct SimObjects {
    bucket: Bucket,
    gate: Gate,
    entropy: Entropy,
}

impl SimObjects {
    /// For a process behind this gate.
    pub fn new(bucket: Bucket, gate: Gate, entropy: Entropy) -> Self {
        Self {
            bucket,
            gate,
            entropy,
        }
    }

    /// One way of an operation.
    async fn pass(&self, operation: &'static str, name: &str) -> Result<(), ObjectsError> {
        self.gate.open().await;
        let mut chance = self.entropy.clone();
        sleep(Duration::from_millis(
            chance.random_range(HALF_MS.0..=HALF_MS.1),
        ))
        .await;
        sleep(self.bucket.slower.get()).await;
        self.gate.open().await;
        if chance.random_range(0..100) >= FAILURES_PERCENT {
            return Ok(());
        }
        Err(ObjectsError {
            operation,
            name: name.to_owned(),
            store: URL.to_owned(),
            reason: "out of order for a moment".to_owned(),
        })
    }

    async fn perform<T>(
        &self,
        operation: &'static str,
        name: &str,
        done: impl FnOnce(&mut BTreeMap<String, Bytes>) -> T,
    ) -> Result<T, ObjectsError> {
        self.pass(operation, name).await?;
        let result = done(&mut self.bucket.objects.borrow_mut());
        self.pass(operation, name).await?;
        Ok(result)
    }
}

#[async_trait(?Send)]
impl Objects for SimObjects {
    fn url(&self) -> &str {
        URL
    }

    async fn create(&self, name: &str, pieces: Vec<Bytes>) -> Result<bool, ObjectsError> {
        let content = Bytes::from(pieces.concat());
        let create = |objects: &mut BTreeMap<String, Bytes>| {
            let absent = !objects.contains_key(name);
            if absent {
                objects.insert(name.to_owned(), content);
            }
            absent
        };
        self.perform("write", name, create).await
    }

    async fn read(&self, name: &str) -> Result<Option<Bytes>, ObjectsError> {
        let read = |objects: &mut BTreeMap<String, Bytes>| objects.get(name).cloned();
        self.perform("read", name, read).await
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>, ObjectsError> {
        let list = |objects: &mut BTreeMap<String, Bytes>| {
            let names = objects.keys().filter(|name| name.starts_with(folder));
            names.cloned().collect()
        };
        self.perform("list", folder, list).await
    }

    async fn delete(&self, name: &str) -> Result<(), ObjectsError> {
        let delete = |objects: &mut BTreeMap<String, Bytes>| drop(objects.remove(name));
        self.perform("delete", name, delete).await
    }
}
