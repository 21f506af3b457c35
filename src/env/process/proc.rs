//! Processes of the host by `/proc`: who is alive, what it uses, how it is told to end.
//!
//! A pid alone says nothing, since pids are reused: a process is its pid and its start time. Polled deliberately: waiting
//! on a pidfd needs `unsafe` with today's tokio.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::agent::Usage;

/// Clock ticks of `/proc/<pid>/stat` in a second: 100 on every Linux of today (`getconf CLK_TCK`).
const TICKS_A_SECOND: u64 = 100;
/// A tick in nanoseconds.
const NANOS_A_TICK: u64 = 1_000_000_000 / TICKS_A_SECOND;

/// How often a process that was told to end is looked at: one short read of `/proc`.
pub(super) const STOP_POLL: Duration = Duration::from_millis(20);

/// One process, not just any with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    /// Its pid, which is its process group's too.
    pub(super) pid: i32,
    /// When it started, clock ticks since boot.
    pub(super) start_ticks: u64,
}

struct Stat {
    zombie: bool,
    cpu_ticks: u64,
    start_ticks: u64,
}

/// Reads `/proc/<pid>/stat` (proc_pid_stat(5)); the command's name may contain anything, so fields count after `)`.
fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        zombie: fields
            .first()
            .is_some_and(|state| matches!(*state, "Z" | "X")),
        cpu_ticks: (11..=14).filter_map(number).sum(),
        start_ticks: number(19)?,
    })
}

/// `VmRSS` of `/proc/<pid>/status`, which unlike `stat` needs no page size.
fn resident_bytes(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1_024)
}

impl Process {
    /// The process that has this pid now.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let start_ticks = stat(pid)?.start_ticks;
        Some(Self { pid, start_ticks })
    }

    fn stat(self) -> Option<Stat> {
        stat(self.pid).filter(|stat| stat.start_ticks == self.start_ticks)
    }

    /// Whether it still runs; a zombie does not.
    pub(super) fn is_alive(self) -> bool {
        self.stat().is_some_and(|stat| !stat.zombie)
    }

    /// CPU of itself and of its ended children, its own resident memory: what can be known without a cgroup.
    pub(super) fn usage(self) -> Option<Usage> {
        let stat = self.stat()?;
        Some(Usage {
            cpu_nanos: stat.cpu_ticks * NANOS_A_TICK,
            memory_bytes: resident_bytes(self.pid)?,
        })
    }

    /// Signals its whole process group, also when the process itself has gone and left others behind.
    ///
    /// While any of a group lives its number is given to nobody else; only if another process has the pid by now was
    /// the group gone before, and then there is nobody to tell.
    pub(super) fn signal(self, signal: Signal) {
        let is_anothers = stat(self.pid).is_some_and(|stat| stat.start_ticks != self.start_ticks);
        if !is_anothers && let Some(pid) = Pid::from_raw(self.pid) {
            // An empty group has nobody to tell either.
            let _ = kill_process_group(pid, signal);
        }
    }

    /// Waits until it has ended, looking every so often.
    pub(super) async fn ended(self, look_every: Duration) {
        while self.is_alive() {
            tokio::time::sleep(look_every).await;
        }
    }

    /// SIGTERM, and SIGKILL for whatever is left of the group after the grace.
    pub(super) async fn stop(self, grace: Duration) {
        if !grace.is_zero() {
            self.signal(Signal::TERM);
            // Whether it ended by itself or not, SIGKILL takes what is left of its group.
            let _ = tokio::time::timeout(grace, self.ended(STOP_POLL)).await;
        }
        self.signal(Signal::KILL);
        self.ended(STOP_POLL).await;
    }
}
