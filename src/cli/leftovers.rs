//! The directory of a local cluster, and what clusters that were killed left behind.
//!
//! A directory's owner holds a lock on a file in it for as long as it lives, which the kernel takes away however it
//! ends. A directory that nobody holds is an orphan: the next cluster's start removes its pods, then it. Deliberately
//! blind to what has no directory any more: without one nothing tells the dead from those that live elsewhere and share
//! the engine.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use clap::ValueEnum;
use rand::RngCore;
use rustix::fs::{Mode, OFlags};
use tokio::time::{Instant, sleep, timeout};

use super::run::CLOSE_PATIENCE;
use super::{RuntimeChoice, edges, flag, tell};
use crate::env::entropy::Entropy;
use crate::env::runtime::ContainerRuntime;

/// What a directory's name begins with; eight hexadecimal digits follow.
const PREFIX: &str = "kagero-";
/// The file that an owner locks.
const LOCK: &str = "lock";
/// The file that says what runs the pods.
const RUNTIME: &str = "runtime";
/// A directory without a lock is being made, unless it is older than this.
const MADE_WITHIN: Duration = Duration::from_secs(60);
/// Names tried for a directory. Each has 32 random bits, so that a second is needed once in a lifetime.
const NAME_TRIES_MAX: usize = 8;
/// What the container engine may need to list or to remove one thing, on a machine that has much to do.
const ENGINE_PATIENCE: Duration = Duration::from_secs(30);
/// How long after a node's death by a signal the engine may still bring forth what it was asked to create: nobody waits
/// for the answer any more, so nothing but time tells. As long as a node waits that ends by itself.
const BIRTHS_AFTER_DEATH: Duration = CLOSE_PATIENCE;
/// Between two looks for such.
const BIRTHS_POLL: Duration = Duration::from_millis(250);

/// A directory that goes away with its owner.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Says, while it is open, that somebody lives here.
    _lock: File,
    /// Whether it outlives its owner, for the next start to find.
    kept: bool,
}

impl Directory {
    /// In memory where there is a tmpfs for it; for nodes whose pods run on `runtime`.
    pub fn create(entropy: &mut Entropy, runtime: RuntimeChoice) -> anyhow::Result<Self> {
        // Root's processes may be other users', who must get to what is theirs in it.
        let is_root = rustix::process::geteuid().is_root();
        let passable = runtime == RuntimeChoice::Process && is_root;
        let mode = if passable { 0o711 } else { 0o700 };
        let mut last = None;
        for parent in parents() {
            for _ in 0..NAME_TRIES_MAX {
                let path = parent.join(format!("{PREFIX}{:08x}", entropy.next_u32()));
                match Self::make(&path, mode) {
                    Ok(Some(lock)) => {
                        let directory = Self {
                            path,
                            _lock: lock,
                            kept: false,
                        };
                        fs::write(directory.path.join(RUNTIME), flag(runtime))?;
                        return Ok(directory);
                    }
                    Ok(None) => {} // taken for an orphan in the moment before it was locked
                    Err(error) => {
                        last = Some((path, error));
                        break;
                    }
                }
            }
        }
        let (path, error) = last.context("no name for a directory is free")?;
        Err(error).with_context(|| format!("creating {}", path.display()))
    }

    fn make(path: &Path, mode: u32) -> io::Result<Option<File>> {
        fs::DirBuilder::new().mode(0o700).create(path)?;
        // Not left to the umask.
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        let lock = match create_private(&path.join(LOCK)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            lock => lock?,
        };
        Ok(held(&lock)?.then_some(lock))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A name that no other cluster on this machine has.
    pub fn id(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Lets it stay when its owner ends, because not all that it names is gone.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// Removes it now.
    pub fn remove(self) -> anyhow::Result<()> {
        let removed = fs::remove_dir_all(&self.path);
        removed.with_context(|| format!("removing {}", self.path.display()))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.kept {
            // Whoever drops this is ending; the next start finds a remnant.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Where directories are made: the first of these that can be written to.
fn parents() -> Vec<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let shared = PathBuf::from("/dev/shm");
    runtime
        .into_iter()
        .chain([shared, std::env::temp_dir()])
        .collect()
}

/// Locks a file that still has a name; false if another holds it or has removed it.
fn held(lock: &File) -> io::Result<bool> {
    match lock.try_lock() {
        Ok(()) => Ok(lock.metadata()?.nlink() > 0),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Removes what clusters that were killed left in the directories that this user can open. Says so, a line each; what
/// cannot be removed now is no reason not to start.
pub async fn collect() {
    for parent in parents().into_iter().collect::<BTreeSet<_>>() {
        for (path, _lock) in orphans(&parent) {
            let shown = path.display();
            match remove_orphan(&path).await {
                Ok(containers) => tell(format_args!(
                    "removed what a killed cluster left: {shown} and {containers} containers"
                )),
                Err(error) => tell(format_args!(
                    "cannot remove what a killed cluster left in {shown}: {error:#}"
                )),
            }
        }
    }
}

/// Directories that nobody lives in, locked, so that no other start collects them too.
fn orphans(parent: &Path) -> Vec<(PathBuf, File)> {
    let Ok(entries) = fs::read_dir(parent) else {
        return Vec::new(); // not there, or another user's
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let orphan = |path: PathBuf| {
        let lock = is_ours(&path).then(|| orphaned(&path)).flatten()?;
        Some((path, lock))
    };
    let mut found: Vec<_> = paths.filter_map(orphan).collect();
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found
}

/// Of this program's shape, and this user's: whoever may write to a shared directory can name something so, and what an
/// orphan holds decides what is removed in whose name.
fn is_ours(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let digits = name.strip_prefix(PREFIX);
    digits.is_some_and(|digits| {
        digits.len() == 8 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    }) && fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir() && is_own(&meta))
}

/// This user's, and nobody else may put anything into it.
fn is_own(meta: &fs::Metadata) -> bool {
    meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o022 == 0
}

/// The lock of a directory that nobody holds. What cannot be told counts as living.
fn orphaned(path: &Path) -> Option<File> {
    let lock = match open_plain(&path.join(LOCK)) {
        // Its owner was killed before it made one, or is about to.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = fs::metadata(path).and_then(|meta| meta.modified());
            age_of(made.ok()?).filter(|age| *age > MADE_WITHIN)?;
            create_private(&path.join(LOCK)).ok()?
        }
        lock => lock.ok()?,
    };
    let meta = lock.metadata().ok()?;
    let plain = meta.is_file() && is_own(&meta);
    (plain && held(&lock).unwrap_or(false)).then_some(lock)
}

/// Makes a file that only this user can read and write, whatever the umask.
fn create_private(path: &Path) -> io::Result<File> {
    let mut private = File::options();
    private.read(true).write(true).create_new(true).mode(0o600);
    private.open(path)
}

/// Opens a file neither through a link nor, should it be a pipe, waiting for its other end.
fn open_plain(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a file's age is told by the wall clock, and no simulation runs this"
)]
fn age_of(time: SystemTime) -> Option<Duration> {
    SystemTime::now().duration_since(time).ok()
}

/// Removes an orphan's pods, then it. Returns how many containers there were.
async fn remove_orphan(path: &Path) -> anyhow::Result<usize> {
    let entries = fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
    let is_dir = |entry: &&fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let nodes = entries.iter().filter(is_dir).map(fs::DirEntry::path);
    // Its nodes died with it. The last thing that one wrote is the latest known of its life.
    let newest = newest(path).and_then(age_of).unwrap_or_default();
    let died = Instant::now().checked_sub(newest);
    let mut containers = 0;
    if let Some(choice) = ran(path)? {
        for node in nodes {
            let runtime = edges::runtime(choice, &edges::Place::below(&node)).await?;
            let died = died.filter(|_| choice == RuntimeChoice::Docker);
            containers += clear(&*runtime, died).await?;
        }
    }
    fs::remove_dir_all(path)?;
    Ok(containers)
}

/// What ran an orphan's pods; none if it had not come to that.
fn ran(path: &Path) -> anyhow::Result<Option<RuntimeChoice>> {
    match fs::read_to_string(path.join(RUNTIME)) {
        Ok(name) => RuntimeChoice::from_str(&name, false)
            .map(Some)
            .map_err(|error| anyhow::anyhow!("{RUNTIME}: {error}")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// When anything in a directory or in its directories was last written.
fn newest(path: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(path).ok()?.flatten();
    let times = entries.flat_map(|entry| {
        let meta = entry.metadata().ok();
        let below = meta
            .as_ref()
            .filter(|meta| meta.is_dir())
            .and_then(|_| newest(&entry.path()));
        [meta.and_then(|meta| meta.modified().ok()), below]
    });
    times.flatten().max()
}

/// Takes all pods away, running or not, of a node that does not run, and waits for what its engine may yet bring forth
/// if it `died` otherwise than by itself. Returns how many containers that were.
pub async fn clear(runtime: &dyn ContainerRuntime, died: Option<Instant>) -> anyhow::Result<usize> {
    let until = died.map(|died| died + BIRTHS_AFTER_DEATH);
    let mut all = 0;
    loop {
        let found = wipe(runtime).await?;
        all += found;
        if found == 0 && until.is_none_or(|until| Instant::now() >= until) {
            return Ok(all);
        }
        sleep(BIRTHS_POLL).await;
    }
}

/// Takes the pods away that there are now. Returns how many containers that were.
pub async fn wipe(runtime: &dyn ContainerRuntime) -> anyhow::Result<usize> {
    let inventory = in_time(runtime.list()).await??;
    let mut uids = BTreeSet::new();
    for container in &inventory.containers {
        uids.insert(container.pod.uid.clone());
        in_time(runtime.remove_container(&container.id)).await??;
    }
    for sandbox in &inventory.sandboxes {
        uids.insert(sandbox.pod.uid.clone());
        in_time(runtime.remove_sandbox(&sandbox.id)).await??;
    }
    for uid in &uids {
        in_time(runtime.remove_pod(uid)).await??;
    }
    Ok(inventory.containers.len() + inventory.sandboxes.len())
}

/// What the container engine answers, unless it hangs.
async fn in_time<T>(asked: impl Future<Output = T>) -> anyhow::Result<T> {
    let answered = timeout(ENGINE_PATIENCE, asked).await;
    answered.with_context(|| {
        let seconds = ENGINE_PATIENCE.as_secs();
        format!("the container engine does not answer in {seconds} s")
    })
}

#[cfg(test)]
mod tests {
    use rustix::fs::FileType;

    use super::*;

    #[test]
    fn a_directory_is_private_and_goes_with_its_owner() {
        let directory =
            Directory::create(&mut Entropy::from_seed(7), RuntimeChoice::Docker).unwrap();
        let path = directory.path().to_owned();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(is_ours(&path), "{}", path.display());
        assert_eq!(ran(&path).unwrap(), Some(RuntimeChoice::Docker));
        drop(directory);
        assert!(!path.exists());
    }

    #[test]
    fn only_what_nobody_holds_is_an_orphan() {
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        let living = Directory::make(&at("kagero-00000001"), 0o700)
            .unwrap()
            .unwrap();
        let killed = Directory::make(&at("kagero-00000002"), 0o700)
            .unwrap()
            .unwrap();
        drop(killed);
        // Being made; not of this program's shape.
        fs::create_dir(at("kagero-00000003")).unwrap();
        fs::create_dir(at("kagero-notes")).unwrap();
        let found = orphans(parent.path());
        let paths: Vec<_> = found.iter().map(|(path, _)| path.clone()).collect();
        assert_eq!(paths, [at("kagero-00000002")]);
        assert!(orphans(parent.path()).is_empty(), "another collects it");
        drop((living, found));
        assert_eq!(orphans(parent.path()).len(), 2);
    }

    #[test]
    fn what_another_may_have_made_is_no_orphan() {
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        let killed = |name: &str| drop(Directory::make(&at(name), 0o700).unwrap().unwrap());
        let no_lock = |name: &str| {
            killed(name);
            fs::remove_file(at(name).join(LOCK)).unwrap();
            at(name).join(LOCK)
        };
        killed("kagero-00000001");
        // A link to a lock elsewhere; a pipe, whose opening waits for a writer; a directory that anybody may fill.
        let elsewhere = at("kagero-00000001").join(LOCK);
        std::os::unix::fs::symlink(elsewhere, no_lock("kagero-00000002")).unwrap();
        let pipe = no_lock("kagero-00000003");
        rustix::fs::mknodat(rustix::fs::CWD, pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        killed("kagero-00000004");
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(at("kagero-00000004"), open).unwrap();
        let found = orphans(parent.path());
        let paths: Vec<_> = found.iter().map(|(path, _)| path.clone()).collect();
        assert_eq!(paths, [at("kagero-00000001")]);
    }

    #[test]
    fn what_is_another_users_is_no_orphan() {
        if !rustix::process::geteuid().is_root() {
            return; // only root can give things away
        }
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        for name in ["kagero-00000001", "kagero-00000002", "kagero-00000003"] {
            drop(Directory::make(&at(name), 0o700).unwrap().unwrap());
        }
        let give = |path| std::os::unix::fs::chown(path, Some(65_534), None).unwrap();
        give(at("kagero-00000002"));
        give(at("kagero-00000003").join(LOCK));
        let found = orphans(parent.path());
        let paths: Vec<_> = found.iter().map(|(path, _)| path.clone()).collect();
        assert_eq!(paths, [at("kagero-00000001")]);
    }

    #[test]
    fn a_lock_of_a_removed_directory_is_none() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("kagero-00000001");
        let lock = Directory::make(&path, 0o700).unwrap().unwrap();
        drop(lock);
        let lock = File::open(path.join(LOCK)).unwrap();
        fs::remove_dir_all(&path).unwrap();
        assert!(!held(&lock).unwrap());
    }
}
