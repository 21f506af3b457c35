//! Pods' volumes as directories of the node, for runtimes that mount paths.
//!
//! Rendered files live under the run directory, which should be a tmpfs: Secrets never reach a disk. Each file is
//! replaced by a rename, so that a reader sees the old or the new one; deliberately not all files of a volume at once.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use super::runtime::{RemoveError, VolumeError};
use crate::agent::{File, Mount, MountSource, Volume, VolumeContent};

/// Suffix of a file that is being written; no ConfigMap key may contain it.
const TEMPORARY: &str = "~kagero";

/// Where a node keeps volumes.
#[derive(Clone, Debug)]
pub struct VolumeStore {
    /// In memory.
    run_dir: PathBuf,
    /// On the node's disk.
    data_dir: PathBuf,
}

impl VolumeStore {
    /// Volumes under `run_dir` (memory) and `data_dir` (disk). Nothing is created yet.
    pub fn new(run_dir: impl Into<PathBuf>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            run_dir: run_dir.into(),
            data_dir: data_dir.into(),
        }
    }

    /// A pod's directory in memory.
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.run_dir.join("pods").join(uid)
    }

    fn disk_dir(&self, uid: &str) -> PathBuf {
        self.data_dir.join("pods").join(uid)
    }

    /// Makes the volumes so.
    pub fn write(&self, uid: &str, volumes: &[Volume]) -> Result<(), VolumeError> {
        for volume in volumes {
            let path = self.pod_dir(uid).join("volumes").join(&volume.name);
            let written = match &volume.content {
                VolumeContent::Files(files) => write_files(&path, files)?,
                VolumeContent::Empty { memory: true } => make_empty(&path),
                VolumeContent::Empty { memory: false } => {
                    make_empty(&self.disk_dir(uid).join("volumes").join(&volume.name))
                }
            };
            written.map_err(|error| VolumeError::Write {
                volume: volume.name.clone(),
                reason: error.to_string(),
            })?;
        }
        Ok(())
    }

    /// The host's path behind a mount, made if it is a directory that may be made.
    pub fn resolve(&self, uid: &str, mount: &Mount) -> io::Result<PathBuf> {
        let base = match &mount.source {
            MountSource::HostPath { path, create } => {
                if *create && !Path::new(path).exists() {
                    fs::create_dir_all(path)?;
                }
                PathBuf::from(path)
            }
            MountSource::Volume(name) => {
                let in_memory = self.pod_dir(uid).join("volumes").join(name);
                if in_memory.exists() {
                    in_memory
                } else {
                    self.disk_dir(uid).join("volumes").join(name)
                }
            }
        };
        if mount.sub_path.is_empty() {
            return Ok(base);
        }
        let path = base.join(&mount.sub_path);
        if !path.exists() {
            fs::create_dir_all(&path)?;
        }
        Ok(path)
    }

    /// Removes all of a pod's.
    pub fn remove(&self, uid: &str) -> Result<(), RemoveError> {
        for dir in [self.pod_dir(uid), self.disk_dir(uid)] {
            match fs::remove_dir_all(&dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(RemoveError::Engine(format!("{}: {error}", dir.display())));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn make_empty(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o777))
}

fn write_files(root: &Path, files: &[File]) -> Result<io::Result<()>, VolumeError> {
    for file in files {
        let mut parts = Path::new(&file.path).components();
        if !parts.all(|part| matches!(part, Component::Normal(_))) {
            return Err(VolumeError::Path(file.path.clone()));
        }
    }
    Ok(replace_files(root, files))
}

fn replace_files(root: &Path, files: &[File]) -> io::Result<()> {
    fs::create_dir_all(root)?;
    let mut kept = BTreeSet::new();
    for file in files {
        let path = root.join(&file.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut name = path.clone().into_os_string();
        name.push(TEMPORARY);
        let temporary = PathBuf::from(name);
        let _ = fs::remove_file(&temporary);
        let mut options = fs::OpenOptions::new();
        let mut out = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        out.write_all(&file.content)?;
        out.set_permissions(fs::Permissions::from_mode(file.mode))?;
        fs::rename(&temporary, &path)?;
        kept.insert(path);
    }
    remove_others(root, &kept)
}

fn remove_others(dir: &Path, kept: &BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            remove_others(&path, kept)?;
        } else if !kept.contains(&path) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, content: &'static str) -> File {
        File {
            path: path.to_owned(),
            mode: 0o640,
            content: content.into(),
        }
    }

    fn volume(files: Vec<File>) -> Vec<Volume> {
        let content = VolumeContent::Files(files);
        let name = "v".to_owned();
        vec![Volume { name, content }]
    }

    #[test]
    fn files_are_replaced_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = VolumeStore::new(dir.path().join("run"), dir.path().join("data"));
        store
            .write("u", &volume(vec![file("a", "1"), file("d/b", "2")]))
            .unwrap();
        store.write("u", &volume(vec![file("d/b", "3")])).unwrap();
        let root = store.pod_dir("u").join("volumes/v");
        assert_eq!(fs::read_to_string(root.join("d/b")).unwrap(), "3");
        assert!(!root.join("a").exists());
        let mode = fs::metadata(root.join("d/b")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        store.remove("u").unwrap();
        assert!(!store.pod_dir("u").exists());
        store.remove("u").unwrap();
    }

    #[test]
    fn no_file_leaves_its_volume() {
        let dir = tempfile::tempdir().unwrap();
        let store = VolumeStore::new(dir.path(), dir.path());
        for path in ["../x", "/etc/x", "a/../../x"] {
            let refused = store.write("u", &volume(vec![file(path, "")]));
            assert_eq!(refused, Err(VolumeError::Path(path.to_owned())));
        }
    }
}
