//! A few bytes that outlive the process but are worth nothing after the machine's boot.
//!
//! Deliberately not durable: a file in the run directory, which is best on a tmpfs, so that no disk is written to.

use std::fs;
use std::io;
use std::path::PathBuf;

/// Keeps the bytes that were put there last.
pub trait Shelf {
    /// Puts these in the place of what is there, as a whole.
    fn put(&self, bytes: &[u8]) -> io::Result<()>;
    /// What is there, if anything can be read.
    fn get(&self) -> Option<Vec<u8>>;
}

/// A file.
#[derive(Clone, Debug)]
pub struct FileShelf {
    path: PathBuf,
}

impl FileShelf {
    /// The file of this path; its folder is made when something is put there.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

impl Shelf for FileShelf {
    fn put(&self, bytes: &[u8]) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let temporary = self.path.with_extension("tmp");
        fs::write(&temporary, bytes)?;
        fs::rename(temporary, &self.path)
    }

    fn get(&self) -> Option<Vec<u8>> {
        fs::read(&self.path).ok()
    }
}

/// Forgets what is put there: whoever comes next begins without.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoShelf;

impl Shelf for NoShelf {
    fn put(&self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn get(&self) -> Option<Vec<u8>> {
        None
    }
}

/// Keeps it as long as a test lasts.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct MemoryShelf(std::cell::RefCell<Option<Vec<u8>>>);

#[cfg(test)]
impl Shelf for MemoryShelf {
    fn put(&self, bytes: &[u8]) -> io::Result<()> {
        self.0.replace(Some(bytes.to_vec()));
        Ok(())
    }

    fn get(&self) -> Option<Vec<u8>> {
        self.0.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_last_is_there() {
        let folder = std::env::temp_dir().join(format!("kagero-shelf-{}", std::process::id()));
        let shelf = FileShelf::new(folder.join("run").join("leases"));
        assert_eq!(shelf.get(), None);
        for bytes in [b"a much longer text".as_slice(), b"b"] {
            shelf.put(bytes).unwrap();
            assert_eq!(shelf.get().as_deref(), Some(bytes));
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
