//! What a cgroup uses, read from the kernel's files: an engine's own statistics take a second each.

use std::fs;
use std::path::Path;

use crate::agent::Usage;

/// From version 1's two hierarchies.
pub(super) fn of_v1(cpuacct: &Path, memory: &Path) -> Option<Usage> {
    let nanos = fs::read_to_string(cpuacct.join("cpuacct.usage")).ok()?;
    Some(Usage {
        cpu_nanos: nanos.trim().parse().ok()?,
        memory_bytes: working_set(memory, "memory.usage_in_bytes", "total_inactive_file")?,
    })
}

/// From version 2's one.
pub(super) fn of_v2(group: &Path) -> Option<Usage> {
    let stat = fs::read_to_string(group.join("cpu.stat")).ok()?;
    Some(Usage {
        cpu_nanos: field(&stat, "usage_usec")? * 1_000,
        memory_bytes: working_set(group, "memory.current", "inactive_file")?,
    })
}

/// Memory in use without the file cache that could go, as the kubelet counts it.
fn working_set(dir: &Path, total: &str, inactive: &str) -> Option<u64> {
    let used = fs::read_to_string(dir.join(total)).ok()?;
    let used: u64 = used.trim().parse().ok()?;
    let stat = fs::read_to_string(dir.join("memory.stat")).ok()?;
    Some(used.saturating_sub(field(&stat, inactive).unwrap_or(0)))
}

/// The number after `name` in a file of `name number` lines.
pub(super) fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(key, _)| *key == name)?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn working_set_leaves_the_idle_cache_out() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("cpu.stat", "usage_usec 1500\nuser_usec 1\n");
        write("memory.current", "1000\n");
        write("memory.stat", "anon 1\ninactive_file 300\n");
        let usage = of_v2(dir.path()).unwrap();
        assert_eq!((usage.cpu_nanos, usage.memory_bytes), (1_500_000, 700));
        assert_eq!(of_v1(dir.path(), dir.path()), None);
    }
}
