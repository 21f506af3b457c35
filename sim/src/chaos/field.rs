//! Real machines as clients and the injector see them: who runs, where, and what was seen of it.
//!
//! The counterpart of `world.rs`. Deliberately without an opinion of what may be broken when: that is `storm.rs`.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kagero::cli::client::Client;
use kagero::env::tcp::Tcp;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::Signal;
use tokio::time::Instant;

use super::meter::Meter;
use super::network::{Line, Network, address, namespace};
use super::process::{Process, Start};
use crate::checkers::acknowledged::Acknowledged;
use crate::clients::Ground;
use crate::coverage::Coverage;
use crate::history::History;
use crate::truth::Truth;
use crate::world::API_PORT;

/// A process that was asked to stop does within this time: it waits for its leadership's hand-over and for its runtime.
const STOP_MAX: Duration = Duration::from_secs(15);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(20);
/// The timeline, beside the processes' logs.
const TIMELINE: &str = "timeline.txt";

/// A handle on it.
#[derive(Clone)]
pub(super) struct Field {
    inner: Rc<Inner>,
}

struct Inner {
    began: Instant,
    network: Network,
    kagero: PathBuf,
    files: PathBuf,
    /// By number, from 1.
    machines: RefCell<BTreeMap<usize, Machine>>,
    chance: RefCell<StdRng>,
    coverage: RefCell<Coverage>,
    history: RefCell<History>,
    truth: RefCell<Truth>,
    acknowledged: RefCell<Acknowledged>,
    meter: RefCell<Meter>,
    writing: Cell<bool>,
    watching: Cell<bool>,
    broken: RefCell<Option<String>>,
    timeline: RefCell<String>,
}

#[derive(Debug, Default)]
struct Machine {
    process: Option<Process>,
    processes: usize,
    boots: usize,
    line: Line,
}

impl Field {
    /// Machines on this network, none of which runs yet. Logs and all else that processes write goes to `files`.
    pub(super) fn new(
        seed: u64,
        machines: usize,
        network: Network,
        kagero: &Path,
        files: &Path,
    ) -> Self {
        let numbers = 1..=machines;
        let inner = Inner {
            began: Instant::now(),
            network,
            kagero: kagero.to_owned(),
            files: files.to_owned(),
            machines: RefCell::new(numbers.map(|n| (n, Machine::default())).collect()),
            chance: RefCell::new(StdRng::seed_from_u64(seed)),
            coverage: RefCell::default(),
            history: RefCell::default(),
            truth: RefCell::default(),
            acknowledged: RefCell::default(),
            meter: RefCell::default(),
            writing: Cell::new(true),
            watching: Cell::new(true),
            broken: RefCell::default(),
            timeline: RefCell::default(),
        };
        Self {
            inner: Rc::new(inner),
        }
    }

    /// How many machines there are.
    pub(super) fn len(&self) -> usize {
        self.inner.machines.borrow().len()
    }

    /// Since the field was made.
    pub(super) fn elapsed(&self) -> Duration {
        self.inner.began.elapsed()
    }

    /// Writes a line into the timeline.
    pub(super) fn note(&self, what: &str) {
        let seconds = self.elapsed().as_secs_f64();
        let line = format!("{seconds:8.3} {what}\n");
        self.inner.timeline.borrow_mut().push_str(&line);
    }

    /// What was measured.
    pub(super) fn meter(&self) -> RefMut<'_, Meter> {
        self.inner.meter.borrow_mut()
    }

    /// What was shown of the watched objects' changes.
    pub(super) fn truth(&self) -> RefMut<'_, Truth> {
        self.inner.truth.borrow_mut()
    }

    /// What happened so far.
    pub(super) fn coverage(&self) -> Coverage {
        self.inner.coverage.borrow().clone()
    }

    /// What a client saw broken, if any.
    pub(super) fn broken(&self) -> Option<String> {
        self.inner.broken.borrow().clone()
    }

    /// Tells the clients that write to come to an end.
    pub(super) fn stop_writing(&self) {
        self.inner.writing.set(false);
    }

    /// Tells the watchers to come to an end.
    pub(super) fn stop_watching(&self) {
        self.inner.watching.set(false);
    }

    /// Starts a machine's process.
    pub(super) fn start(&self, number: usize) -> Result<()> {
        let mut machines = self.inner.machines.borrow_mut();
        let machine = machines.get_mut(&number).context("no such machine")?;
        machine.processes += 1;
        let process = Process::start(&Start {
            kagero: &self.inner.kagero,
            files: &self.inner.files,
            number,
            boot: machine.boots,
            process: machine.processes,
        })?;
        machine.process = Some(process);
        drop(machines);
        self.meter().on_start(&namespace(number), self.elapsed());
        self.note(&format!("{} starts", namespace(number)));
        Ok(())
    }

    /// Kills a machine's process (SIGKILL).
    pub(super) fn kill(&self, number: usize) -> Result<()> {
        let process = self.take(number)?;
        self.meter().on_death(&namespace(number), self.elapsed());
        process.kill()?;
        self.note(&format!("{} was killed", namespace(number)));
        Ok(())
    }

    /// A machine vanishes and is another boot when it comes back.
    pub(super) async fn lose(&self, number: usize) -> Result<()> {
        // Dead first, so that nobody hears the connections close: a lost machine says nothing.
        self.set_line(number, |line| line.dead = true).await?;
        self.kill(number)?;
        let mut machines = self.inner.machines.borrow_mut();
        machines.get_mut(&number).context("no such machine")?.boots += 1;
        Ok(())
    }

    /// Asks a machine's process to stop (SIGTERM) and waits until it has.
    pub(super) async fn stop(&self, number: usize) -> Result<()> {
        let mut process = self.take(number)?;
        let asked = Instant::now();
        process.signal(Signal::TERM)?;
        let status = loop {
            if let Some(status) = process.ended()? {
                break status;
            }
            if asked.elapsed() > STOP_MAX {
                process.kill()?;
                bail!(
                    "{} did not stop within {STOP_MAX:?} of SIGTERM",
                    namespace(number)
                );
            }
            tokio::time::sleep(LOOK).await;
        };
        self.meter().on_end(&namespace(number), self.elapsed());
        let took = asked.elapsed();
        self.note(&format!(
            "{} stopped after {took:?}: {status}",
            namespace(number)
        ));
        if !status.success() {
            bail!("{} stopped on SIGTERM with {status}", namespace(number));
        }
        Ok(())
    }

    /// Stops a machine's process (SIGSTOP), or continues it.
    pub(super) fn pause(&self, number: usize, paused: bool) -> Result<()> {
        let machines = self.inner.machines.borrow();
        let process = machines[&number].process.as_ref();
        let signal = if paused { Signal::STOP } else { Signal::CONT };
        process.context("it does not run")?.signal(signal)
    }

    /// Changes a machine's line.
    pub(super) async fn set_line(
        &self,
        number: usize,
        change: impl FnOnce(&mut Line),
    ) -> Result<()> {
        let line = {
            let mut machines = self.inner.machines.borrow_mut();
            let machine = machines.get_mut(&number).context("no such machine")?;
            change(&mut machine.line);
            machine.line
        };
        self.inner.network.set(number, line).await
    }

    /// Starts processes again that ended by themselves, as a service manager does. One that panicked is an error.
    pub(super) fn revive(&self) -> Result<()> {
        let mut ended = Vec::new();
        for (number, machine) in self.inner.machines.borrow_mut().iter_mut() {
            let Some(process) = &mut machine.process else {
                continue;
            };
            let Some(status) = process.ended()? else {
                continue;
            };
            let log = process.log()?;
            if let Some(panic) = panic(&log) {
                bail!("{} panicked: {panic}", namespace(*number));
            }
            let last = log.lines().last().unwrap_or_default().to_owned();
            if status.code().is_none() {
                bail!("{} died of itself, {status}: {last}", namespace(*number));
            }
            machine.process = None;
            ended.push((*number, format!("{status}: {last}")));
        }
        for (number, how) in ended {
            self.meter().on_end(&namespace(number), self.elapsed());
            self.note(&format!("{} ended by itself, {how}", namespace(number)));
            self.count("process: ended by itself", 1);
            self.start(number)?;
        }
        Ok(())
    }

    /// No process must have panicked, also none that was killed or stopped since.
    pub(super) fn check_panics(&self) -> Result<()> {
        for path in self.logs()? {
            let log = fs::read(&path)?;
            if let Some(panic) = panic(&String::from_utf8_lossy(&log)) {
                bail!("{} tells of a panic: {panic}", path.display());
            }
        }
        Ok(())
    }

    /// The logs of all processes that ever ran.
    fn logs(&self) -> Result<Vec<PathBuf>> {
        let mut logs = Vec::new();
        for entry in fs::read_dir(&self.inner.files)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                logs.push(path);
            }
        }
        Ok(logs)
    }

    /// Incarnations of the processes that run and have said so, by name.
    pub(super) fn incarnations(&self) -> Result<BTreeMap<String, String>> {
        let mut all = BTreeMap::new();
        for (number, machine) in self.inner.machines.borrow_mut().iter_mut() {
            if let Some(process) = &mut machine.process
                && let Some(incarnation) = process.incarnation()?
            {
                all.insert(namespace(*number), incarnation.to_owned());
            }
        }
        Ok(all)
    }

    /// Puts all logs and the timeline into a directory.
    pub(super) fn keep_logs(&self, directory: &Path) -> Result<()> {
        fs::create_dir_all(directory)?;
        for path in self.logs()? {
            let name = path.file_name().context("a file has a name")?;
            fs::copy(&path, directory.join(name))?;
        }
        let timeline = self.inner.timeline.borrow();
        fs::write(directory.join(TIMELINE), timeline.as_bytes())?;
        Ok(())
    }

    fn take(&self, number: usize) -> Result<Process> {
        let mut machines = self.inner.machines.borrow_mut();
        let machine = machines.get_mut(&number).context("no such machine")?;
        machine.process.take().context("it does not run")
    }
}

/// What a log says of a panic: where, and why.
fn panic(log: &str) -> Option<String> {
    let mut lines = log.lines().skip_while(|line| !line.contains("panicked at"));
    let (place, why) = (lines.next()?, lines.next().unwrap_or_default());
    Some(format!("{place} {why}"))
}

impl Ground for Field {
    fn machines(&self) -> Vec<String> {
        (1..=self.len()).map(namespace).collect()
    }

    fn running(&self) -> Vec<String> {
        let machines = self.inner.machines.borrow();
        let running = machines.iter().filter(|(_, of)| of.process.is_some());
        running.map(|(number, _)| namespace(*number)).collect()
    }

    fn client(&self, node: &str) -> Client {
        let number = (1..=self.len()).find(|number| namespace(*number) == node);
        let host = address(number.expect("clients ask machines that there are"));
        Client::new(Rc::new(Tcp), format!("{host}:{API_PORT}"))
    }

    fn chance(&self, range: RangeInclusive<u64>) -> u64 {
        self.inner.chance.borrow_mut().random_range(range)
    }

    fn writing(&self) -> bool {
        self.inner.writing.get()
    }

    fn watching(&self) -> bool {
        self.inner.watching.get()
    }

    fn history(&self) -> RefMut<'_, History> {
        self.inner.history.borrow_mut()
    }

    fn acknowledged(&self) -> RefMut<'_, Acknowledged> {
        self.inner.acknowledged.borrow_mut()
    }

    fn count(&self, what: &str, times: u64) {
        self.inner.coverage.borrow_mut().add(what, times);
    }

    fn report_broken(&self, what: String) {
        self.note(&format!("broken: {what}"));
        self.inner.broken.borrow_mut().get_or_insert(what);
    }

    fn measure_write(&self, _revision: u64) {
        // A request may have been sent before the leader died; only the probe knows when its own were.
    }

    fn outage(&self) -> Option<u64> {
        self.meter().outage()
    }

    fn measure_probe(&self, outage: u64, _revision: u64) {
        let now = self.elapsed();
        if let Some(took) = self.meter().on_served(outage, now) {
            self.note(&format!("served again after {took:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_with_its_place_and_its_reason() {
        let log = "INFO starting\n\nthread 'main' (38) panicked at src/raft/snapshot.rs:42:9:\n\
                   nobody has applied what is not committed\nstack backtrace:\n";
        let told = panic(log).unwrap();
        assert!(told.ends_with("snapshot.rs:42:9: nobody has applied what is not committed"));
        assert_eq!(panic("INFO starting\nINFO stopping\n"), None);
    }
}
