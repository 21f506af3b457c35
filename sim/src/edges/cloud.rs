//! What a machine's cloud says: that its own end is announced, if the driver said so; and, in a world in which it can be
//! asked that, what became of other machines. It takes its time, and now and then it answers with an error.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use kagero::env::entropy::Entropy;
use rand::Rng;
use tokio::time::sleep;

use super::Gate;
use crate::machine::{Boot, Machine};
use kagero::env::cloud::{Cloud, CloudError, Fate, Notice};

/// Half of a question takes so long, from and to.
const HALF_MS: (u64, u64) = (20, 400);
/// So many of a hundred questions get no answer.
const FAILURES_PERCENT: u64 = 10;

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

/// The cloud as a process on one machine sees it.
pub struct CloudView {
    own: SimCloud,
    gate: Gate,
    entropy: Entropy,
    /// All machines, where the cloud tells what became of them.
    machines: Option<Vec<(String, Machine)>>,
}

impl CloudView {
    /// For a process on this machine.
    pub fn new(own: &Machine, entropy: Entropy, machines: Option<Vec<(String, Machine)>>) -> Self {
        Self {
            own: own.cloud().clone(),
            gate: own.gate().clone(),
            entropy,
            machines,
        }
    }

    /// One way of a question.
    async fn pass(&self, chance: &mut Entropy) {
        self.gate.open().await;
        let half = chance.random_range(HALF_MS.0..=HALF_MS.1);
        sleep(Duration::from_millis(half)).await;
        self.gate.open().await;
    }
}

#[async_trait(?Send)]
impl Cloud for CloudView {
    async fn notice(&self) -> Result<Option<Notice>, CloudError> {
        self.gate.open().await;
        let mut word = self.own.0.borrow_mut();
        let Some(deadline) = word.deadline else {
            return Ok(None);
        };
        let now = turmoil::sim_elapsed().expect("nodes live inside the simulated world only");
        word.heard.get_or_insert(now);
        let within = deadline.saturating_sub(now);
        Ok(Some(Notice { within }))
    }

    async fn fate(&self, machine_id: &str, boot_id: &str) -> Result<Fate, CloudError> {
        let Some(machines) = &self.machines else {
            return Ok(Fate::Unknown);
        };
        let mut chance = self.entropy.clone();
        self.pass(&mut chance).await;
        if chance.random_range(0..100) < FAILURES_PERCENT {
            return Err(CloudError("out of order for a moment".to_owned()));
        }
        let mut boots = machines.iter().map(|(name, machine)| machine.boot(name));
        let fate = match boots.find(|boot| boot.machine_id == machine_id) {
            Some(Boot { boot_id: now, .. }) if now == boot_id => Fate::There,
            Some(_) => Fate::Gone,
            None => Fate::Unknown,
        };
        self.pass(&mut chance).await;
        Ok(fate)
    }
}
