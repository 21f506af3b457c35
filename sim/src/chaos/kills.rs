//! Kills whoever leads (SIGKILL), again and again, each time once the cluster is whole, to measure how long it takes until
//! somebody else serves writes, and until the killed voter is replaced once its machine has a process again.
//!
//! Deliberately without other faults.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::field::Field;
use super::scout::Scout;
use super::settle::until_whole;
use crate::clients::Ground;
use crate::faults::Target;

/// How long a whole cluster is left alone before the next kill.
const CALM_MS: (u64, u64) = (300, 1_300);
/// Writes are served again in this time, or the run has failed: many elections.
const SERVED_MAX: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(5);

/// Kills so many leaders.
pub(super) async fn kill_leaders(field: &Field, scout: &mut Scout, times: u64) -> Result<()> {
    for _ in 0..times {
        until_whole(field, scout).await?;
        field.pass(CALM_MS.0..=CALM_MS.1).await;
        field.revive()?;
        let standing = scout.look(field, &[].into()).await?;
        let leader = standing.and_then(|standing| standing.find(Target::Leader));
        let Some(leader) = leader else {
            // It has stepped down since: nothing was broken, and the next round finds another.
            continue;
        };
        let machines = field.machines();
        let number = machines.iter().position(|machine| *machine == leader);
        let number = number.context("a machine of this run")? + 1;
        field.count("fault: leader killed", 1);
        field.note(&format!("{leader} leads and is killed"));
        field.kill(number)?;
        let killed = field.elapsed();
        while field.outage().is_some() {
            if field.elapsed() > killed + SERVED_MAX {
                bail!("no write was served within {SERVED_MAX:?} of the death of {leader}");
            }
            tokio::time::sleep(LOOK).await;
        }
        // Its death is proven by this: only now, so that a start does not take processors from an election.
        field.start(number)?;
        if let Some(broken) = field.broken() {
            bail!("{broken}");
        }
    }
    Ok(())
}
