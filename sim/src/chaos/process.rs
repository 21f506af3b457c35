//! One machine's `kagero run`: started, killed, stopped and continued; its log says which incarnation it is.
//!
//! Deliberately without a supervisor: whoever breaks things (`field.rs`) decides when a process comes back.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::network::{address, namespace};
use crate::world::API_PORT;

const PEER_PORT: u16 = 7443;
/// Its log's line at the start, which names the incarnation.
const STARTS: &str = "incarnation starts";

/// A process that was started and not yet seen dead.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    log: PathBuf,
    incarnation: Option<String>,
}

/// What a process is started with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start<'a> {
    /// The program.
    pub(super) kagero: &'a Path,
    /// Where its files and its log go.
    pub(super) files: &'a Path,
    /// The machine, from 1.
    pub(super) number: usize,
    /// Which boot of the machine it is.
    pub(super) boot: usize,
    /// Which process of the machine it is.
    pub(super) process: usize,
}

impl Process {
    /// Starts one in its machine's namespace.
    pub(super) fn start(start: &Start<'_>) -> Result<Self> {
        let Start {
            kagero,
            files,
            number,
            boot,
            process,
        } = start;
        let name = namespace(*number);
        let log = files.join(format!("{name}-{process}.log"));
        let seeds = (1..=3).map(|seed| format!("{}:{PEER_PORT}", address(seed)));
        let seeds: Vec<String> = seeds.collect();
        let here = |port: u16| format!("{}:{port}", address(*number));
        let child = Command::new("ip")
            .args(["netns", "exec", &name])
            .arg(kagero)
            .args(["run", "--runtime", "process", "--insecure-listen"])
            .args(["--name", &name, "--machine-id", &name])
            .args(["--boot-id", &format!("{name}-{boot}")])
            .args(["--listen", &here(PEER_PORT), "--api", &here(API_PORT)])
            .args(["--seeds", &seeds.join(",")])
            .arg("--run-dir")
            .arg(files.join(format!("{name}.run")))
            .arg("--data-dir")
            .arg(files.join(format!("{name}.data")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("cannot start a machine's process")?;
        Ok(Self {
            child,
            log,
            incarnation: None,
        })
    }

    /// Its incarnation, once it has said so.
    pub(super) fn incarnation(&mut self) -> Result<Option<&str>> {
        if self.incarnation.is_none() {
            self.incarnation = incarnation(&self.log()?);
        }
        Ok(self.incarnation.as_deref())
    }

    /// What it logged.
    pub(super) fn log(&self) -> Result<String> {
        let bytes = fs::read(&self.log).context("its log is ours")?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Sends it a signal; whoever is dead already does not mind.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let id = id.context("a process has an id")?;
        match kill_process(id, signal) {
            Err(error) if error != rustix::io::Errno::SRCH => {
                Err(error).context("it cannot be signalled")
            }
            _ => Ok(()),
        }
    }

    /// Kills it, and waits until it is gone.
    pub(super) fn kill(mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.child.wait().context("it cannot be waited for")?;
        Ok(())
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("it cannot be waited for")
    }
}

/// What the log says of it, without the colours of a terminal.
fn incarnation(log: &str) -> Option<String> {
    let line = log.lines().find(|line| line.contains(STARTS))?;
    let (_, id) = line.split_once(" id=")?;
    id.split_whitespace().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_names_the_incarnation() {
        let log = "2026-11-22T05:56:53Z  INFO kagero::cli::run: starting name=n1 runtime=\"process\"\n\
                   2026-11-22T05:56:53Z  INFO kagero::node: incarnation starts name=\"n1\" id=f4cf09d8ca0b6127 address=\"x\"\n";
        assert_eq!(incarnation(log).as_deref(), Some("f4cf09d8ca0b6127"));
        assert_eq!(incarnation(""), None);
    }
}
