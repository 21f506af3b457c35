//! What a machine's cloud says of it: that its end is announced, if the driver said so.
//!
//! Deliberately silent about other machines: whether they are gone, nodes must find out without the cloud.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use kagero::env::cloud::{Cloud, CloudError, Fate, Notice};

/// One machine's. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct SimCloud(Rc<RefCell<Word>>);

#[derive(Debug, Default)]
struct Word {
    /// In the world's time.
    deadline: Option<Duration>,
    heard: Option<Duration>,
}

impl SimCloud {
    /// From now on it says that the machine will be taken away then, in the world's time.
    pub fn announce(&self, deadline: Duration) {
        *self.0.borrow_mut() = Word {
            deadline: Some(deadline),
            heard: None,
        };
    }

    /// The machine was taken away. What comes in its place is another.
    pub fn forget(&self) {
        *self.0.borrow_mut() = Word::default();
    }

    /// Whether an end is announced.
    pub fn is_announced(&self) -> bool {
        self.0.borrow().deadline.is_some()
    }

    /// When the process on the machine first heard of it, in the world's time.
    pub fn heard(&self) -> Option<Duration> {
        self.0.borrow().heard
    }
}

#[async_trait(?Send)]
impl Cloud for SimCloud {
    async fn notice(&self) -> Result<Option<Notice>, CloudError> {
        let mut word = self.0.borrow_mut();
        let Some(deadline) = word.deadline else {
            return Ok(None);
        };
        let now = turmoil::sim_elapsed().expect("nodes live inside the simulated world only");
        word.heard.get_or_insert(now);
        let within = deadline.saturating_sub(now);
        Ok(Some(Notice { within }))
    }

    async fn fate(&self, _: &str, _: &str) -> Result<Fate, CloudError> {
        Ok(Fate::Unknown)
    }
}
