//! cgroup limits for plain processes, where this process may write them (v1 and v2); else there are none.
//!
//! A process is put into its group right after it was started, since nothing may run between fork and exec without
//! `unsafe`: what it forks within that moment stays outside. Deliberately absent: any other controller.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use super::super::cgroup_usage;
use crate::agent::{CPU_PERIOD_US, Limits, Usage};

/// Where the kernel shows cgroups.
const ROOT: &str = "/sys/fs/cgroup";
/// The group that all of ours are in.
const PARENT: &str = "kagero";

/// Which hierarchy the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cgroups {
    /// One tree for each controller.
    V1,
    /// One tree for all.
    V2,
    /// Not writable here.
    None,
}

/// Finds out which cgroups can be used.
pub(super) fn detect() -> Cgroups {
    let root = Path::new(ROOT);
    if root.join("cgroup.controllers").exists() {
        let parent = root.join(PARENT);
        // Controllers must be switched on for children at each level; refusals show in the group's missing files.
        let _ = fs::write(root.join("cgroup.subtree_control"), "+cpu +memory");
        let made = fs::create_dir_all(&parent).is_ok()
            && fs::write(parent.join("cgroup.subtree_control"), "+cpu +memory").is_ok();
        return if made { Cgroups::V2 } else { Cgroups::None };
    }
    let writable = |controller: &str| {
        let dir = root.join(controller);
        dir.join("cgroup.procs").exists() && fs::create_dir_all(dir.join(PARENT)).is_ok()
    };
    if writable("cpu") && writable("memory") && writable("cpuacct") {
        Cgroups::V1
    } else {
        Cgroups::None
    }
}

impl Cgroups {
    fn dirs(self, id: &str) -> Vec<PathBuf> {
        let group = |controller: &str| Path::new(ROOT).join(controller).join(PARENT).join(id);
        match self {
            Self::V1 => ["cpu", "memory", "cpuacct"].map(group).to_vec(),
            Self::V2 => vec![Path::new(ROOT).join(PARENT).join(id)],
            Self::None => Vec::new(),
        }
    }

    /// Makes a container's group with its limits.
    pub(super) fn create(self, id: &str, limits: &Limits) -> io::Result<()> {
        let dirs = self.dirs(id);
        for dir in &dirs {
            fs::create_dir_all(dir)?;
        }
        match (self, dirs.as_slice()) {
            (Self::V1, [cpu, memory, _]) => {
                fs::write(cpu.join("cpu.shares"), limits.cpu_shares.to_string())?;
                if let Some(quota) = limits.cpu_quota_us {
                    fs::write(cpu.join("cpu.cfs_period_us"), CPU_PERIOD_US.to_string())?;
                    fs::write(cpu.join("cpu.cfs_quota_us"), quota.to_string())?;
                }
                if let Some(bytes) = limits.memory_bytes {
                    fs::write(memory.join("memory.limit_in_bytes"), bytes.to_string())?;
                }
            }
            (Self::V2, [group]) => {
                // The kernel's own mapping of v1's 2–262144 to v2's 1–10000, as runc has it.
                let weight = 1 + (limits.cpu_shares.max(2) - 2) * 9_999 / 262_142;
                fs::write(group.join("cpu.weight"), weight.to_string())?;
                if let Some(quota) = limits.cpu_quota_us {
                    fs::write(group.join("cpu.max"), format!("{quota} {CPU_PERIOD_US}"))?;
                }
                if let Some(bytes) = limits.memory_bytes {
                    fs::write(group.join("memory.max"), bytes.to_string())?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Puts a process into the group.
    pub(super) fn enter(self, id: &str, pid: i32) -> io::Result<()> {
        for dir in self.dirs(id) {
            fs::write(dir.join("cgroup.procs"), pid.to_string())?;
        }
        Ok(())
    }

    /// What the group uses; none without one.
    pub(super) fn usage(self, id: &str) -> Option<Usage> {
        match (self, self.dirs(id).as_slice()) {
            (Self::V1, [_, memory, cpuacct]) => cgroup_usage::of_v1(cpuacct, memory),
            (Self::V2, [group]) => cgroup_usage::of_v2(group),
            _ => None,
        }
    }

    /// Whether the kernel killed something in the group for want of memory.
    pub(super) fn was_out_of_memory(self, id: &str) -> bool {
        let (index, file) = match self {
            Self::V1 => (1, "memory.oom_control"),
            Self::V2 => (0, "memory.events"),
            Self::None => return false,
        };
        let text = fs::read_to_string(self.dirs(id)[index].join(file));
        text.is_ok_and(|text| cgroup_usage::field(&text, "oom_kill").is_some_and(|kills| kills > 0))
    }

    /// Kills whatever is in the group, also what left its process group.
    pub(super) fn kill(self, id: &str) {
        for dir in self.dirs(id) {
            // Linux 5.14 kills all of a v2 group at once; elsewhere there is only the list of those in it.
            if fs::write(dir.join("cgroup.kill"), "1").is_ok() {
                continue;
            }
            let pids = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            for pid in pids.lines().filter_map(|line| line.parse().ok()) {
                if let Some(pid) = Pid::from_raw(pid) {
                    // Who ended meanwhile need not be killed.
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
        }
    }

    /// Removes the group. While a process is in it, the kernel refuses: `ResourceBusy`.
    pub(super) fn remove(self, id: &str) -> io::Result<()> {
        for dir in self.dirs(id) {
            match fs::remove_dir(dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}
