//! What the cloud says of machines: that this one's end is announced, and that another one is gone.
//!
//! Deliberately without the clouds' own services so far: [`NoCloud`] knows nothing, and an operator says it
//! (`kagero evict`, `kagero recover --dead`).

use std::time::Duration;

use async_trait::async_trait;

/// This machine will be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Time left, by the cloud's word; zero if it may happen at any moment.
    pub within: Duration,
}

/// What the cloud knows of another machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It does not say. No evidence of anything.
    Unknown,
    /// It is there, or may come back as it was.
    There,
    /// It was stopped or deleted: no process of it will ever speak again. Proof of death.
    Gone,
}

/// The cloud could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cloud does not answer: {0}")]
pub struct CloudError(pub String);

/// Asks the cloud that this machine is part of. An implementation bounds its own waiting.
#[async_trait(?Send)]
pub trait Cloud {
    /// The announced end of this machine, if there is one. Asked every second.
    async fn notice(&self) -> Result<Option<Notice>, CloudError>;
    /// What became of the boot of a machine, by the ids that its node was started with: a machine that was stopped and
    /// started again has another boot, and the former is gone. Asked only of members that are silent: a voter that is
    /// gone is replaced at once, and recovery from the loss of a majority takes the cloud's word for a death.
    async fn fate(&self, machine_id: &str, boot_id: &str) -> Result<Fate, CloudError>;
}

/// No cloud, or none that can be asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCloud;

#[async_trait(?Send)]
impl Cloud for NoCloud {
    async fn notice(&self) -> Result<Option<Notice>, CloudError> {
        Ok(None)
    }

    async fn fate(&self, _: &str, _: &str) -> Result<Fate, CloudError> {
        Ok(Fate::Unknown)
    }
}
