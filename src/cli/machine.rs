//! What this machine has and what a process on it uses, read from /proc and the cgroup file system.
//!
//! Deliberately without cgroup v1: where only that exists, the machine's own figures are taken.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use procfs::process::Process;

use crate::env::machine;

/// What pods could use if nothing were reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Thousandths of a CPU.
    pub cpu_millis: u64,
    /// Bytes.
    pub memory_bytes: u64,
}

impl Capacity {
    /// The machine's, or the lowest limit of a cgroup that this process is in.
    pub fn read() -> anyhow::Result<Self> {
        let processors = std::thread::available_parallelism().context("counting processors")?;
        let total = machine::memory_total_bytes().context("reading the machine's memory")?;
        let mut capacity = Self {
            cpu_millis: processors.get() as u64 * 1_000,
            memory_bytes: total,
        };
        for directory in own_cgroups(Path::new("/sys/fs/cgroup")) {
            capacity.limit(&directory);
        }
        Ok(capacity)
    }

    fn limit(&mut self, cgroup: &Path) {
        let read = |file: &str| fs::read_to_string(cgroup.join(file)).unwrap_or_default();
        if let Some(millis) = cpu_limit(&read("cpu.max")) {
            self.cpu_millis = self.cpu_millis.min(millis);
        }
        if let Ok(bytes) = read("memory.max").trim().parse() {
            self.memory_bytes = self.memory_bytes.min(bytes);
        }
    }
}

/// This process's cgroup (v2) and those above it.
fn own_cgroups(root: &Path) -> Vec<PathBuf> {
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = membership
        .lines()
        .find_map(|line| line.strip_prefix("0::/"));
    let own = own.map(|path| root.join(path)).unwrap_or_default();
    let within = own.ancestors().take_while(|above| above.starts_with(root));
    within.map(Path::to_owned).collect()
}

/// `cpu.max`: "quota period" in microseconds, or "max period".
fn cpu_limit(text: &str) -> Option<u64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    quota.saturating_mul(1_000).checked_div(period)
}

/// The host's name, "" if it has none.
pub fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_lowercase()
}

/// What stays when the machine restarts; its node's name where it has no such id.
pub fn machine_id(name: &str) -> String {
    let id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    match id.trim() {
        "" => name.to_owned(),
        id => id.to_owned(),
    }
}

/// What changes when the machine restarts; "" where the kernel does not say.
pub fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// What a process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory, bytes.
    pub resident_bytes: u64,
    /// Bytes towards a disk since it started ([`machine::disk_written_bytes`] says what counts).
    pub disk_written_bytes: u64,
}

impl Usage {
    /// Of a process; `None` if it is gone or another user's.
    pub fn of(pid: u32) -> Option<Self> {
        let process = Process::new(pid.try_into().ok()?).ok()?;
        // A zombie's memory is gone already: so is the process, for whoever asks here.
        let resident_bytes = machine::resident_bytes(&process)
            .ok()
            .filter(|bytes| *bytes > 0)?;
        Some(Self {
            resident_bytes,
            disk_written_bytes: machine::disk_written_bytes(&process).ok()?,
        })
    }
}

/// A CPU quantity: `2`, `1.5` or `500m`, in millicores.
pub fn cpu_millis(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is no CPU quantity: expected e.g. 2, 1.5 or 500m");
    if let Some(millis) = text.strip_suffix('m') {
        return millis.parse().map_err(|_| bad());
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.is_empty() || fraction.len() > 3 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    let whole: u64 = whole.parse().map_err(|_| bad())?;
    let fraction: u64 = format!("{fraction:0<3}").parse().map_err(|_| bad())?;
    let millis = whole
        .checked_mul(1_000)
        .and_then(|whole| whole.checked_add(fraction));
    millis.ok_or_else(bad)
}

/// A memory quantity: bytes, or with a suffix `Ki`, `Mi`, `Gi`, `Ti`, `k`, `M`, `G`, `T`.
pub fn memory_bytes(text: &str) -> Result<u64, String> {
    const SUFFIXES: [(&str, u64); 8] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
    ];
    let scaled = SUFFIXES
        .iter()
        .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)));
    let (number, unit) = scaled.unwrap_or((text, 1));
    let number: Option<u64> = number.parse().ok();
    number
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| {
            format!("`{text}` is no memory quantity: expected e.g. 268435456, 256Mi or 1G")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_something() {
        let capacity = Capacity::read().unwrap();
        assert!(capacity.cpu_millis > 0);
        assert!(capacity.memory_bytes > 1 << 20);
    }

    #[test]
    fn a_cgroup_lowers_and_never_raises() {
        let directory = tempfile::tempdir().unwrap();
        let mut capacity = Capacity {
            cpu_millis: 2_000,
            memory_bytes: 1 << 30,
        };
        fs::write(directory.path().join("cpu.max"), "150000 100000\n").unwrap();
        fs::write(directory.path().join("memory.max"), "536870912\n").unwrap();
        capacity.limit(directory.path());
        let lowered = Capacity {
            cpu_millis: 1_500,
            memory_bytes: 1 << 29,
        };
        assert_eq!(capacity, lowered);
        fs::write(directory.path().join("cpu.max"), "max 100000\n").unwrap();
        fs::write(directory.path().join("memory.max"), "max\n").unwrap();
        capacity.limit(directory.path());
        assert_eq!(capacity, lowered);
    }

    #[test]
    fn this_process_uses_memory() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.resident_bytes > 1 << 16);
        assert_eq!(Usage::of(u32::MAX), None);
    }

    #[test]
    fn quantities() {
        assert_eq!(cpu_millis("2"), Ok(2_000));
        assert_eq!(cpu_millis("1.25"), Ok(1_250));
        assert_eq!(cpu_millis("500m"), Ok(500));
        assert_eq!(memory_bytes("0"), Ok(0));
        assert_eq!(memory_bytes("256Mi"), Ok(256 << 20));
        assert_eq!(memory_bytes("1G"), Ok(1_000_000_000));
        for bad in [
            "",
            "m",
            "1.",
            "1.2345",
            "-1",
            "1.+5",
            "99999999999999999999",
        ] {
            assert!(cpu_millis(bad).is_err(), "{bad}");
        }
        for bad in ["", "Mi", "1.5Gi", "1Xi", "99999999999999Gi"] {
            assert!(memory_bytes(bad).is_err(), "{bad}");
        }
    }
}
