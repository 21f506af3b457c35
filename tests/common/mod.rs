//! A directory for a process runtime that leaves no process behind, also when its test fails.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// A temporary directory; dropping it kills what was started from it.
pub struct Home(tempfile::TempDir);

impl Home {
    /// A fresh one.
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for pod in entries(&self.path().join("run/pods")) {
            let uid = name(&pod);
            for container in entries(&pod.join("containers")) {
                kill(&container);
                // Version 1's groups; version 2 has one tree. What was never made need not go.
                for controller in ["cpu", "memory", "cpuacct", "."] {
                    let group = format!(
                        "/sys/fs/cgroup/{controller}/kagero/{uid}.{}",
                        name(&container)
                    );
                    let _ = std::fs::remove_dir(group);
                }
            }
        }
    }
}

fn kill(container: &Path) {
    let exited = container.join("exit.json").exists();
    let Ok(text) = std::fs::read_to_string(container.join("state.json")) else {
        return;
    };
    let state: Value = serde_json::from_str(&text).unwrap_or_default();
    if let (false, Some(pid)) = (exited, state["process"]["pid"].as_i64()) {
        let group = format!("-{pid}");
        let mut kill = Command::new("kill");
        let _ = kill
            .args(["-KILL", "--", &group])
            .stderr(Stdio::null())
            .status();
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
