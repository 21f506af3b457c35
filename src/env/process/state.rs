//! What the process runtime must find again after a restart: small JSON files in the run directory.
//!
//! `pods/<uid>/sandbox.json`, `pods/<uid>/containers/<name>.<attempt>/{state,exit}.json` and its logs. Reads and writes
//! block; on a tmpfs they take microseconds.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::proc::Process;
use crate::agent::{ContainerSpec, PodRef};

/// A sandbox: nothing but a name, since a process has the host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SavedSandbox {
    pub(super) pod: PodRef,
    pub(super) attempt: u32,
    pub(super) created_at: Timestamp,
    pub(super) grace_seconds: u64,
}

/// A container that was started. Its environment is not kept: it may hold secrets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SavedContainer {
    pub(super) pod: PodRef,
    pub(super) name: String,
    pub(super) attempt: u32,
    pub(super) sandbox_id: String,
    pub(super) spec_hash: String,
    pub(super) image: String,
    pub(super) process: Process,
    pub(super) started_at: Timestamp,
}

/// How it ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SavedExit {
    pub(super) code: i32,
    pub(super) finished_at: Timestamp,
    pub(super) reason: Option<String>,
}

/// A container's directory and id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// `<uid>.<name>.<attempt>`.
    pub(super) id: String,
    pub(super) dir: PathBuf,
}

impl Place {
    pub(super) fn of(pods: &Path, spec: &ContainerSpec) -> Self {
        Self::new(pods, &spec.pod.uid, &spec.name, spec.attempt)
    }

    fn new(pods: &Path, uid: &str, name: &str, attempt: u32) -> Self {
        let dir = pods.join(uid).join("containers");
        Self {
            id: format!("{uid}.{name}.{attempt}"),
            dir: dir.join(format!("{name}.{attempt}")),
        }
    }

    /// The place of an id; none if it is no id of this runtime's.
    pub(super) fn parse(pods: &Path, id: &str) -> Option<Self> {
        let mut parts = id.rsplitn(3, '.');
        let attempt = parts.next()?.parse().ok()?;
        let name = parts.next()?;
        let uid = parts.next()?;
        let plain = |part: &str| !part.is_empty() && !part.contains('/') && part != "..";
        (plain(name) && plain(uid)).then(|| Self::new(pods, uid, name, attempt))
    }

    pub(super) fn state(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    pub(super) fn exit(&self) -> PathBuf {
        self.dir.join("exit.json")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// What the container's mounts hang under.
    pub(super) fn root(&self) -> PathBuf {
        self.dir.join("root")
    }
}

/// Reads a file; none if it is missing or half written.
pub(super) fn load<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Writes a file as a whole.
pub(super) fn save(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_vec(value)?;
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, json)?;
    fs::rename(temporary, path)
}

/// The entries of a directory, sorted; none if it is missing.
pub(super) fn entries(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
