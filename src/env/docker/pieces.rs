//! A tar archive piece by piece: files are read as they are sent, so that an image of this program never stands in memory.
//!
//! Regular files under relative names only (POSIX ustar, by the crate `tar`'s headers).

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;

/// Bytes read from a file at once: few enough to hold, enough to keep a local socket busy.
const PIECE_BYTES: usize = 256 << 10;
/// Everything in a tar stands on blocks of this size.
const BLOCK_BYTES: usize = 512;
/// The archive's end: two empty blocks.
const END: [u8; 2 * BLOCK_BYTES] = [0; 2 * BLOCK_BYTES];

/// An archive that is being read.
pub(super) struct Pieces {
    /// Files yet to come: where they are and what they are called inside.
    files: VecDeque<(PathBuf, PathBuf)>,
    /// The file being read: what is left of it, and the padding after it.
    open: Option<(io::Take<File>, usize)>,
    ended: bool,
}

impl Pieces {
    /// An archive of these files, in this order.
    pub(super) fn new(files: impl IntoIterator<Item = (PathBuf, PathBuf)>) -> Self {
        Self {
            files: files.into_iter().collect(),
            open: None,
            ended: false,
        }
    }

    fn begin(&mut self, path: &Path, inside: &Path) -> io::Result<Bytes> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        let mut header = tar::Header::new_gnu();
        header.set_metadata(&meta);
        header.set_path(inside)?;
        header.set_cksum();
        let bytes = meta.len();
        let padding = (BLOCK_BYTES - bytes as usize % BLOCK_BYTES) % BLOCK_BYTES;
        self.open = Some((file.take(bytes), padding));
        Ok(Bytes::copy_from_slice(header.as_bytes()))
    }

    /// The next piece of the open file; its padding, with which it closes, when there is no more.
    fn read(&mut self) -> io::Result<Option<Bytes>> {
        let Some((file, padding)) = &mut self.open else {
            return Ok(None);
        };
        let mut piece = Vec::with_capacity(PIECE_BYTES.min(file.limit() as usize));
        file.by_ref()
            .take(PIECE_BYTES as u64)
            .read_to_end(&mut piece)?;
        if !piece.is_empty() {
            return Ok(Some(piece.into()));
        }
        if file.limit() > 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "a file shrank while it was packed",
            ));
        }
        let padding = vec![0; *padding];
        self.open = None;
        Ok(Some(padding.into()))
    }

    fn advance(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(piece) = self.read()? {
            return Ok(Some(piece));
        }
        if let Some((path, inside)) = self.files.pop_front() {
            return self.begin(&path, &inside).map(Some);
        }
        let first = !std::mem::replace(&mut self.ended, true);
        Ok(first.then(|| Bytes::from_static(&END)))
    }
}

impl Iterator for Pieces {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        let piece = self.advance().transpose();
        if matches!(piece, Some(Err(_))) {
            (self.open, self.ended) = (None, true);
            self.files.clear();
        }
        piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_what_an_archive_reader_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let sizes = [0, 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * PIECE_BYTES + 7];
        let content = |size: usize| (0..size).map(|at| at as u8).collect::<Vec<u8>>();
        let files = sizes.map(|size| {
            let path = dir.path().join(size.to_string());
            std::fs::write(&path, content(size)).unwrap();
            (path, PathBuf::from(format!("files/{size}")))
        });
        let packed: Vec<u8> = Pieces::new(files)
            .flat_map(|piece| piece.unwrap().to_vec())
            .collect();
        let mut archive = tar::Archive::new(packed.as_slice());
        let read = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().into_owned(), bytes)
        });
        let expected = sizes.map(|size| (PathBuf::from(format!("files/{size}")), content(size)));
        assert_eq!(read.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn ends_with_the_error_of_a_file_that_is_not_there() {
        let mut pieces = Pieces::new([(PathBuf::from("/nowhere"), PathBuf::from("x"))]);
        assert!(pieces.next().unwrap().is_err());
        assert!(pieces.next().is_none());
    }
}
