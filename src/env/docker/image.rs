//! Images made of this very program, so that a pod's pause container and the demo need no registry.
//!
//! A tar of the executable and, if it is linked dynamically, of the libraries and the loader that run it now.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::pieces::Pieces;
use crate::agent::render::fingerprint;

/// Bytes of an executable that are looked at for its loader: headers and the name follow the start within a page or two.
const HEADERS_BYTES_MAX: u64 = 64 << 10;

/// The program that an image is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    executable: PathBuf,
    /// Shared libraries, the loader among them.
    libraries: BTreeSet<PathBuf>,
    /// Where the executable expects its loader; absent if it is static.
    interpreter: Option<PathBuf>,
}

impl Program {
    /// This process's own.
    pub fn current() -> io::Result<Self> {
        let executable = std::env::current_exe()?;
        let maps = fs::read_to_string("/proc/self/maps")?;
        let libraries = mapped_libraries(&maps);
        let interpreter = interpreter(&beginning(&executable)?);
        Ok(Self {
            executable,
            libraries,
            interpreter,
        })
    }

    /// A statically linked one.
    pub fn static_file(executable: impl Into<PathBuf>) -> Self {
        Self {
            executable: executable.into(),
            libraries: BTreeSet::new(),
            interpreter: None,
        }
    }

    /// Its path inside an image: the file's name at the root.
    pub fn path_inside(&self) -> String {
        let name = self.executable.file_name().unwrap_or_default();
        format!("/{}", name.to_string_lossy())
    }

    /// A tag that changes whenever the file does.
    pub(super) fn tag(&self, entrypoint: &[String]) -> io::Result<String> {
        let meta = fs::metadata(&self.executable)?;
        let file = (meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ino());
        Ok(format!("{:016x}", fingerprint(&(file, entrypoint))))
    }

    /// A text that changes with what an image of it holds, and with nothing else: a file built anew out of the same
    /// sources counts as the same.
    pub(super) fn content(&self, entrypoint: &[String]) -> io::Result<String> {
        let mut all = Vec::new();
        for (file, inside) in self.files() {
            let mode = fs::metadata(&file)?.mode();
            all.push((inside, mode, file_hash(&file)?));
        }
        Ok(format!("{:016x}", fingerprint(&(all, entrypoint))))
    }

    /// The image's file system, read as it is taken.
    pub(super) fn tar(&self) -> Pieces {
        Pieces::new(self.files())
    }

    /// What is packed: where each file is, and its path inside.
    fn files(&self) -> Vec<(PathBuf, PathBuf)> {
        let own = PathBuf::from(self.path_inside().trim_start_matches('/'));
        let mut files = vec![(self.executable.clone(), own)];
        let mut packed = BTreeSet::new();
        for library in self.libraries.iter().chain(&self.interpreter) {
            for path in names_of(library) {
                let inside = path.strip_prefix("/").unwrap_or(&path).to_path_buf();
                if packed.insert(inside.clone()) {
                    files.push((library.clone(), inside));
                }
            }
        }
        files
    }
}

/// FNV-1a by words of eight bytes instead of by bytes, which a program of a hundred megabytes would take long for: not
/// against malice, only to notice change.
fn file_hash(path: &Path) -> io::Result<u64> {
    const WORD: usize = size_of::<u64>();
    const READ_BYTES: usize = 1 << 20;
    let mut file = fs::File::open(path)?;
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut bytes = Vec::with_capacity(READ_BYTES);
    loop {
        bytes.clear();
        let read = file
            .by_ref()
            .take(READ_BYTES as u64)
            .read_to_end(&mut bytes)?;
        if read == 0 {
            return Ok(hash);
        }
        for word in bytes.chunks(WORD) {
            let mut whole = [0; WORD];
            whole[..word.len()].copy_from_slice(word);
            hash = (hash ^ u64::from_le_bytes(whole)).wrapping_mul(0x0100_0000_01b3);
        }
        hash = (hash ^ read as u64).wrapping_mul(0x0100_0000_01b3);
    }
}

/// A library under its own path and under the names that its neighbours link to it by (`libx.so.1` → `libx.so.1.2`).
fn names_of(library: &Path) -> Vec<PathBuf> {
    let mut names = vec![library.to_path_buf()];
    let (Some(dir), Some(name)) = (library.parent(), library.file_name()) else {
        return names;
    };
    let name = name.to_string_lossy().into_owned();
    let stem = name.split(".so").next().unwrap_or_default().to_owned();
    let Ok(entries) = fs::read_dir(dir) else {
        return names;
    };
    for entry in entries.flatten() {
        let alias = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        let similar = alias.starts_with(&stem) && alias.contains(".so");
        if similar && fs::canonicalize(&path).is_ok_and(|target| target == library) {
            names.push(path);
        }
    }
    names.sort();
    names.dedup();
    names
}

/// The shared objects in a `/proc/<pid>/maps` (proc_pid_maps(5)).
fn mapped_libraries(maps: &str) -> BTreeSet<PathBuf> {
    let paths = maps
        .lines()
        .filter_map(|line| line.find('/').map(|at| &line[at..]));
    let shared = |path: &&str| {
        path.rsplit('/')
            .next()
            .is_some_and(|name| name.contains(".so"))
    };
    paths.filter(shared).map(PathBuf::from).collect()
}

/// The part of an executable in which linkers put its program headers and its interpreter's name.
fn beginning(executable: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(executable)?
        .take(HEADERS_BYTES_MAX)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// `PT_INTERP` of a 64-bit little-endian ELF file (elf(5)).
fn interpreter(elf: &[u8]) -> Option<PathBuf> {
    const PT_INTERP: u64 = 3;
    let number = |at: usize, bytes: usize| -> Option<usize> {
        let mut wide = [0; 8];
        wide[..bytes].copy_from_slice(elf.get(at..at + bytes)?);
        usize::try_from(u64::from_le_bytes(wide)).ok()
    };
    if elf.get(..5)? != b"\x7fELF\x02" {
        return None;
    }
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for header in (0..count).map(|index| table + index * size) {
        if number(header, 4)? as u64 == PT_INTERP {
            let (offset, length) = (number(header + 8, 8)?, number(header + 32, 8)?);
            let text = elf.get(offset..offset + length)?;
            let text = std::str::from_utf8(text).ok()?;
            return Some(PathBuf::from(text.trim_end_matches('\0')));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn finds_its_own_libraries_and_loader() {
        let program = Program::current().unwrap();
        let tar: Vec<u8> = program
            .tar()
            .flat_map(|piece| piece.unwrap().to_vec())
            .collect();
        let mut archive = tar::Archive::new(tar.as_slice());
        let names: BTreeSet<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert!(names.contains(program.path_inside().trim_start_matches('/')));
        for library in &program.libraries {
            assert!(names.contains(library.display().to_string().trim_start_matches('/')));
        }
        if let Some(interpreter) = &program.interpreter {
            assert!(names.contains(interpreter.display().to_string().trim_start_matches('/')));
        }
    }

    #[test]
    fn the_same_content_is_the_same_under_another_time_and_no_other_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        let write = |content: &[u8]| {
            fs::remove_file(&path)
                .or_else(|_| fs::write(&path, ""))
                .unwrap();
            fs::write(&path, content).unwrap();
            let program = Program::static_file(&path);
            let entry = ["/program".to_owned()];
            (
                program.tag(&entry).unwrap(),
                program.content(&entry).unwrap(),
            )
        };
        let content = vec![7; (1 << 20) + 3];
        let (first, again) = (write(&content), write(&content));
        assert_ne!(first.0, again.0, "another file");
        assert_eq!(first.1, again.1);
        for at in [0, 9, content.len() - 1] {
            let mut other = content.clone();
            other[at] = 8;
            assert_ne!(write(&other).1, first.1, "byte {at}");
        }
        let closed = fs::Permissions::from_mode(0o600);
        let before = write(&content).1;
        fs::set_permissions(&path, closed).unwrap();
        let program = Program::static_file(&path);
        let after = program.content(&["/program".to_owned()]).unwrap();
        assert_ne!(before, after, "it could not be executed");
        let mut longer = content;
        longer.push(0);
        assert_ne!(write(&longer).1, first.1);
    }

    #[test]
    fn reads_maps_and_refuses_what_is_no_elf() {
        let maps = "7f00-7f01 r-xp 0 08:01 12   /usr/lib/libc.so.6\n7f02-7f03 rw-p 0 0 0 [heap]\n\
                    7f04-7f05 r--p 0 08:01 13   /usr/bin/kagero\n";
        let found = mapped_libraries(maps);
        assert_eq!(found, BTreeSet::from([PathBuf::from("/usr/lib/libc.so.6")]));
        assert_eq!(interpreter(b"#!/bin/sh"), None);
        assert_eq!(interpreter(b"\x7fELF\x02"), None);
    }
}
