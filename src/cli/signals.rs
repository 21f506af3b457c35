//! The signals that ask a command to stop: Ctrl-C, SIGTERM, a closed terminal.
//!
//! The first asks for a clean end, the second for one at once. Deliberately without other meanings, such as to reload.

use std::time::Duration;

use anyhow::bail;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The longest that cleaning up may take: a hundred pods at an engine that is busy. What is left then stays.
const CLEAN_UP_DEADLINE: Duration = Duration::from_secs(120);

/// Listens from its making on, so that a signal during start-up is not lost.
///
/// From then on the signals do nothing else: whoever makes one must have all that waits end by it.
#[derive(Debug)]
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Stop {
    /// Starts listening.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The name of the signal that came, or of the next one to come.
    pub async fn received(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hang_up.recv() => "SIGHUP",
        }
    }

    /// Does some work; a signal ends it, and its name is the error.
    pub async fn or<T>(&mut self, work: impl Future<Output = T>) -> Result<T, &'static str> {
        tokio::select! {
            biased;
            signal = self.received() => Err(signal),
            done = work => Ok(done),
        }
    }

    /// Cleans up, unless another signal comes or it takes too long.
    pub async fn clean_up(
        mut self,
        work: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        match tokio::time::timeout(CLEAN_UP_DEADLINE, self.or(work)).await {
            Ok(Ok(done)) => done,
            Ok(Err(signal)) => bail!("{signal} again: ended at once, pods may stay behind"),
            Err(_) => {
                let seconds = CLEAN_UP_DEADLINE.as_secs();
                bail!("not cleaned up within {seconds} s, pods may stay behind")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal as Number, getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn the_first_signal_ends_the_work_and_the_second_the_cleaning() {
        let mut stop = Stop::listen().unwrap();
        assert_eq!(stop.or(async { 7 }).await, Ok(7));
        let tell = async {
            kill_process(getpid(), Number::HUP).unwrap();
            std::future::pending::<()>().await;
        };
        assert_eq!(stop.or(tell).await, Err("SIGHUP"));
        let endless = async {
            kill_process(getpid(), Number::HUP).unwrap();
            std::future::pending().await
        };
        let left = stop.clean_up(endless).await.unwrap_err().to_string();
        assert!(left.contains("SIGHUP again"), "{left}");
    }

    #[tokio::test(start_paused = true)]
    async fn cleaning_up_comes_to_an_end() {
        let stop = Stop::listen().unwrap();
        let left = stop.clean_up(std::future::pending()).await.unwrap_err();
        assert!(left.to_string().contains("120 s"), "{left}");
    }
}
