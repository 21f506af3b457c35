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

/// Directories of a volume of files, as in Kubernetes: what may be read is each file's own mode to say, since a
/// container may have any user.
const VOLUME_MODE: u32 = 0o755;
/// An emptyDir, as in Kubernetes.
const EMPTY_MODE: u32 = 0o777;
/// What leads to the volumes: no other user of the node gets there. Containers have the volumes themselves mounted.
pub(super) const CLOSED_MODE: u32 = 0o700;
/// The same where containers walk there as users of the node: they may pass, but not look for others' names.
pub(super) const PASSABLE_MODE: u32 = 0o711;

/// Where a node keeps volumes.
#[derive(Clone, Debug)]
pub struct VolumeStore {
    /// In memory.
    run_dir: PathBuf,
    /// On the node's disk.
    data_dir: PathBuf,
    /// Of the directories that lead to volumes.
    parents_mode: u32,
}

impl VolumeStore {
    /// Volumes under `run_dir` (memory) and `data_dir` (disk), closed to other users. Nothing is created yet.
    pub fn new(run_dir: impl Into<PathBuf>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            run_dir: run_dir.into(),
            data_dir: data_dir.into(),
            parents_mode: CLOSED_MODE,
        }
    }

    /// The same with this mode on the directories that lead to volumes.
    #[must_use]
    pub(super) fn with_parents(self, parents_mode: u32) -> Self {
        Self {
            parents_mode,
            ..self
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
            let pod = match &volume.content {
                VolumeContent::Empty { memory: false } => self.disk_dir(uid),
                VolumeContent::Empty { memory: true } => self.pod_dir(uid),
                VolumeContent::Files(files) => {
                    stay_inside(files)?;
                    self.pod_dir(uid)
                }
            };
            let volumes = pod.join("volumes");
            let path = volumes.join(&volume.name);
            let made = make_dirs(&volumes, self.parents_mode);
            let written = made.and_then(|()| match &volume.content {
                VolumeContent::Files(files) => replace_files(&path, files),
                VolumeContent::Empty { .. } => make_dir(&path, EMPTY_MODE),
            });
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
                    make_dirs(Path::new(path), VOLUME_MODE)?;
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
            // As open as the volume itself, as in Kubernetes.
            let mode = fs::metadata(&base).map_or(VOLUME_MODE, |base| base.permissions().mode());
            make_dirs(&path, mode & 0o7777)?;
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

/// Makes a directory with this mode, or gives it to the one that is there.
fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Not left to the umask, which is a service's to choose for its own files.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Makes a directory and those above it that are missing, all with this mode; what is there stays as it is.
pub(super) fn make_dirs(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_dirs(parent, mode)?;
    }
    make_dir(path, mode)
}

fn stay_inside(files: &[File]) -> Result<(), VolumeError> {
    for file in files {
        let mut parts = Path::new(&file.path).components();
        if !parts.all(|part| matches!(part, Component::Normal(_))) {
            return Err(VolumeError::Path(file.path.clone()));
        }
    }
    Ok(())
}

fn replace_files(root: &Path, files: &[File]) -> io::Result<()> {
    make_dir(root, VOLUME_MODE)?;
    let mut kept = BTreeSet::new();
    for file in files {
        let path = root.join(&file.path);
        if let Some(parent) = path.parent() {
            make_dirs(parent, VOLUME_MODE)?;
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
    fn any_user_of_a_container_may_enter_a_volume_and_none_of_the_node() {
        let dir = tempfile::tempdir().unwrap();
        let store = VolumeStore::new(dir.path().join("run"), dir.path().join("data"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        store.write("u", &volume(vec![file("d/b", "")])).unwrap();
        let root = store.pod_dir("u").join("volumes/v");
        // Whoever made it, and with whatever umask, the next writing puts it right.
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
        store.write("u", &volume(vec![file("d/b", "")])).unwrap();
        let empty = Volume {
            name: "e".to_owned(),
            content: VolumeContent::Empty { memory: false },
        };
        store.write("u", &[empty]).unwrap();
        assert_eq!((mode(&root), mode(&root.join("d"))), (0o755, 0o755));
        let empty = store.disk_dir("u").join("volumes/e");
        assert_eq!(mode(&empty), 0o777);
        for closed in ["run/pods", "run/pods/u", "data/pods", "data/pods/u"] {
            assert_eq!(mode(&dir.path().join(closed)), 0o700, "{closed}");
        }
        let mount = Mount {
            target: "/e".to_owned(),
            source: MountSource::Volume("e".to_owned()),
            sub_path: "a/b".to_owned(),
            read_only: false,
        };
        assert_eq!(mode(&store.resolve("u", &mount).unwrap()), 0o777);
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
