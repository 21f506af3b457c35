//! Does a schedule's faults to real machines when their time has come, and undoes them.
//!
//! A fault that is not safe yet waits: the first of each kind for as long as it takes, others for a while. Deliberately
//! the only judge of what is safe, by what a leader said a moment ago (`scout.rs`); one fault a machine at a time.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::field::Field;
use super::schedule::{Kind, Planned};
use super::scout::{Scout, Standing};
use crate::clients::Ground;

/// How often it is looked what is to do.
const TICK: Duration = Duration::from_millis(20);
/// A fault that is not the first of its kind is left out after this time.
const WAIT: Duration = Duration::from_secs(8);
/// The last first faults have waited for at most so long, beyond the storm's own time: a silent voter is replaced after
/// 10 s, and three of them in turn may have to be.
const OVERTIME: Duration = Duration::from_secs(90);

/// A fault that goes on.
struct Active {
    kind: Kind,
    number: usize,
    name: String,
    until: Duration,
}

/// A storm under way.
pub(super) struct Storm<'a> {
    field: &'a Field,
    scout: &'a mut Scout,
    began: Duration,
    seconds: u64,
    /// Latest first.
    due: Vec<Planned>,
    waiting: Vec<Planned>,
    active: Vec<Active>,
}

impl<'a> Storm<'a> {
    /// Begins now.
    pub(super) fn new(
        field: &'a Field,
        scout: &'a mut Scout,
        schedule: Vec<Planned>,
        seconds: u64,
    ) -> Self {
        Self {
            field,
            scout,
            began: field.elapsed(),
            seconds,
            due: schedule.into_iter().rev().collect(),
            waiting: Vec::new(),
            active: Vec::new(),
        }
    }

    /// Until all is done and undone.
    pub(super) async fn rage(mut self) -> Result<()> {
        let over = Duration::from_secs(self.seconds);
        loop {
            self.field.revive()?;
            if let Some(broken) = self.field.broken() {
                bail!("{broken}");
            }
            self.undo().await?;
            self.collect();
            if !self.waiting.is_empty() {
                self.begin_one().await?;
            }
            if self.due.is_empty() && self.waiting.is_empty() && self.active.is_empty() {
                return Ok(());
            }
            if self.now() > over + OVERTIME {
                let waiting: Vec<String> = self.waiting.iter().map(Planned::to_string).collect();
                bail!("it never was safe for {waiting:?}");
            }
            tokio::time::sleep(TICK).await;
        }
    }

    fn now(&self) -> Duration {
        self.field.elapsed().saturating_sub(self.began)
    }

    fn hampered(&self) -> BTreeSet<String> {
        let active = self.active.iter();
        active.map(|active| active.name.clone()).collect()
    }

    /// Those whose time has come wait from now on, and those that waited for too long do no more.
    fn collect(&mut self) {
        let now = self.now();
        let at = |planned: &Planned| Duration::from_millis(planned.at_ms);
        while let Some(next) = self.due.pop_if(|next| at(next) <= now) {
            self.waiting.push(next);
        }
        let field = self.field;
        self.waiting.retain(|planned| {
            let stays = planned.first || now < at(planned) + WAIT;
            if !stays {
                field.count(&format!("left out: {}", planned.kind.name()), 1);
                field.note(&format!("left out: {planned}"));
            }
            stays
        });
    }

    /// Begins the first of the waiting faults that is safe, if one is.
    async fn begin_one(&mut self) -> Result<()> {
        let hampered = self.hampered();
        let Some(standing) = self.scout.look(self.field, &hampered).await? else {
            return Ok(());
        };
        let victim = |planned: &Planned, standing: &Standing| {
            let name = standing.find(planned.target)?;
            let may = !hampered.contains(&name) && standing.is_safe(&name, &hampered);
            may.then_some(name)
        };
        let mut found = self.waiting.iter().enumerate();
        let found = found.find_map(|(at, planned)| Some((at, victim(planned, &standing)?)));
        let Some((at, name)) = found else {
            return Ok(());
        };
        let planned = self.waiting.remove(at);
        self.begin(&planned, &name).await
    }

    async fn begin(&mut self, planned: &Planned, name: &str) -> Result<()> {
        let field = self.field;
        let machines = field.machines();
        let number = machines.iter().position(|machine| machine == name);
        let number = number.context("a machine of this run")? + 1;
        field.count(&format!("fault: {}", planned.kind.name()), 1);
        field.note(&format!("planned {planned} hits {name}"));
        match planned.kind {
            Kind::Lose => field.lose(number).await?,
            Kind::Restart => {
                field.kill(number)?;
                field.start(number)?;
            }
            Kind::Stop => field.stop(number).await?,
            Kind::Pause => field.pause(number, true)?,
            Kind::Slow(ms) => field.set_line(number, |line| line.slow_ms = ms).await?,
            Kind::Lossy(percent) => {
                field
                    .set_line(number, |line| line.loss_percent = percent)
                    .await?;
            }
            Kind::CutOff => {
                let cut = field.set_line(number, |line| (line.mute, line.deaf) = (true, true));
                cut.await?;
            }
            Kind::Mute => field.set_line(number, |line| line.mute = true).await?,
            Kind::Deaf => field.set_line(number, |line| line.deaf = true).await?,
        }
        if planned.kind != Kind::Restart {
            self.active.push(Active {
                kind: planned.kind,
                number,
                name: name.to_owned(),
                until: self.now() + Duration::from_millis(planned.for_ms),
            });
        }
        Ok(())
    }

    async fn undo(&mut self) -> Result<()> {
        let now = self.now();
        while let Some(at) = self.active.iter().position(|active| active.until <= now) {
            let Active {
                kind, number, name, ..
            } = self.active.remove(at);
            let field = self.field;
            field.note(&format!("{} of {name} is over", kind.name()));
            match kind {
                Kind::Restart | Kind::Stop => field.start(number)?,
                Kind::Pause => field.pause(number, false)?,
                Kind::Lose => {
                    field.set_line(number, |line| line.dead = false).await?;
                    field.start(number)?;
                }
                Kind::Slow(_) | Kind::Lossy(_) | Kind::CutOff | Kind::Mute | Kind::Deaf => {
                    field
                        .set_line(number, |line| *line = super::network::Line::default())
                        .await?;
                }
            }
        }
        Ok(())
    }
}
