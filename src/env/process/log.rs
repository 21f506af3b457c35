//! Logs of processes: files that the processes append to themselves, so that they outlive the agent.
//!
//! Nobody stands between a process and its log, so no line carries its own time: `timestamps` gives lines that were
//! there the file's last change and followed lines the moment they were read; `since` either takes a file whole or,
//! if it was not touched since, not at all. Nor can a process be held back: what it writes between two looks at its log
//! is in memory until the next, charged to the container's own memory limit where it has one.
#![expect(
    clippy::disallowed_methods,
    reason = "no simulation has processes of the host; freeing and searching their logs is other threads' work"
)]

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::super::runtime::{LOG_PIECES_MAX, LogError, LogPieces, LogQuery};
use super::state::Place;

/// What a cut leaves of a log, in bytes; one twice as long is cut. Whole pages, which the kernel frees.
const LOG_BYTES_KEPT: u64 = 4 << 20;
/// How often a running container's log is looked at, lest it grow too long: one `fstat`.
const CUT_POLL: Duration = Duration::from_millis(100);
/// Bytes read at once.
const PIECE_BYTES: usize = 64 << 10;
/// How often a followed file is looked at; a process tells nobody that it wrote.
const POLL: Duration = Duration::from_millis(100);
/// The largest page that a hole in a file is made of, in bytes.
const PAGE_BYTES: u64 = 64 << 10;

/// Keeps a log short for as long as the process runs that writes it, which `ended` waits for.
pub(super) async fn keep_short<T>(place: &Place, ended: impl Future<Output = T>) -> T {
    let log = place.log();
    let cut = async {
        let mut length = 0;
        loop {
            tokio::time::sleep(CUT_POLL).await;
            // Only what has grown is worth a closer look. What is missing was removed with its container.
            let Ok(now) = fs::metadata(&log).map(|meta| meta.len()) else {
                continue;
            };
            if now > 2 * LOG_BYTES_KEPT && (now > length + LOG_BYTES_KEPT || now < length) {
                length = now;
                cut_in_background(log.clone()).await;
            }
        }
    };
    let ended = std::pin::pin!(ended);
    let cut = std::pin::pin!(cut);
    match futures::future::select(ended, cut).await {
        futures::future::Either::Left((value, _)) => value,
        futures::future::Either::Right((never, _)) => never,
    }
}

/// Cuts a log that nobody writes any more: it may have grown much since the last look.
pub(super) async fn cut_last(place: &Place) {
    cut_in_background(place.log()).await;
}

/// Freeing a gigabyte takes a while, which is not the agent's thread to spend.
async fn cut_in_background(log: PathBuf) {
    let shown = log.display().to_string();
    let cut = tokio::task::spawn_blocking(move || cut_if_long(&log)).await;
    match cut {
        Ok(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(log = shown, %error, "a log cannot be cut");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(log = shown, %error, "a log was not cut"),
    }
}

/// Frees the older part of a log that has grown too long: nothing is copied, and what is written meanwhile stays.
fn cut_if_long(log: &Path) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().read(true).write(true).open(log)?;
    let length = file.metadata()?.len();
    let start = first_data(&mut file)?;
    if length - start <= 2 * LOG_BYTES_KEPT {
        return Ok(());
    }
    let end = (length - LOG_BYTES_KEPT) / PAGE_BYTES * PAGE_BYTES;
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(&file, hole, 0, end) {
        // A file system without holes: then the log starts anew.
        Err(Errno::OPNOTSUPP) => file.set_len(0),
        other => Ok(other?),
    }
}

/// Where a file's first bytes are that were not cut off: its end if there are none.
fn first_data(file: &mut fs::File) -> io::Result<u64> {
    match rustix::fs::seek(&*file, rustix::fs::SeekFrom::Data(0)) {
        Ok(start) => Ok(start),
        Err(Errno::NXIO) => Ok(file.metadata()?.len()),
        // A file system that knows no holes has none.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Streams a log; `is_running` tells whether a follower may expect more.
pub(super) fn open(
    place: &Place,
    query: LogQuery,
    is_running: impl Fn() -> bool + 'static,
) -> LogPieces {
    let log = place.log();
    let (sender, receiver) = mpsc::channel(LOG_PIECES_MAX);
    actix_rt::spawn(async move {
        let failed = |error: io::Error| LogError::Engine(error.to_string());
        let (path, asked) = (log.clone(), query.clone());
        // Looking for lines reads up to the whole of it.
        let found = tokio::task::spawn_blocking(move || part(&path, &asked)).await;
        let part = match found.map_err(io::Error::other).and_then(|found| found) {
            Ok(part) => part,
            // Who is no longer there to be told does not mind.
            Err(error) => return drop(sender.send(Err(failed(error))).await),
        };
        let mut reader = Reader {
            path: log,
            offset: part.start,
            timestamps: query.timestamps,
            at_line_start: true,
        };
        let end = if query.follow { u64::MAX } else { part.end };
        if let Err(error) = stream(&mut reader, end, is_running, &sender).await {
            drop(sender.send(Err(failed(error))).await);
        }
    });
    receiver
}

/// The bytes of a log that were asked for, as of now.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    start: u64,
    end: u64,
}

fn part(path: &Path, query: &LogQuery) -> io::Result<Part> {
    let mut file = fs::File::open(path)?;
    let end = file.metadata()?.len();
    if query.since.is_some_and(|since| modified(&file) < since) {
        return Ok(Part { start: end, end });
    }
    let mut first = first_data(&mut file)?;
    if first > 0 {
        // Cut in the midst of a line.
        first = after_line(&mut file, first, end)?;
    }
    let start = match query.tail_lines {
        None => first,
        Some(lines) => tail_start(&mut file, first, end, lines)?,
    };
    Ok(Part { start, end })
}

fn modified(file: &fs::File) -> Timestamp {
    let time = file.metadata().and_then(|meta| meta.modified()).ok();
    time.and_then(|time| Timestamp::try_from(time).ok())
        .unwrap_or(Timestamp::MIN)
}

/// Where the line that `from` is in has ended; `end` if it has not.
fn after_line(file: &mut fs::File, from: u64, end: u64) -> io::Result<u64> {
    let mut at = from;
    while at < end {
        let piece = read_at(file, at, end)?;
        if let Some(place) = piece.iter().position(|byte| *byte == b'\n') {
            return Ok(at + place as u64 + 1);
        }
        if piece.is_empty() {
            break;
        }
        at += piece.len() as u64;
    }
    Ok(end)
}

/// Where the last `lines` lines between two places begin, sought from the end.
fn tail_start(file: &mut fs::File, first: u64, end: u64, lines: u64) -> io::Result<u64> {
    if lines == 0 {
        return Ok(end);
    }
    let (mut at, mut breaks) = (end, 0);
    while at > first {
        let from = at.saturating_sub(PIECE_BYTES as u64).max(first);
        let piece = read_at(file, from, at)?;
        for (place, _) in piece.iter().enumerate().rev().filter(|(_, b)| **b == b'\n') {
            let after = from + place as u64 + 1;
            // The last line's own end is no break between lines.
            if after == end {
                continue;
            }
            breaks += 1;
            if breaks == lines {
                return Ok(after);
            }
        }
        at = from;
    }
    Ok(first)
}

/// The next bytes between two places, a piece at most.
fn read_at(file: &mut fs::File, from: u64, end: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(from))?;
    let mut piece = Vec::new();
    let bytes = end.saturating_sub(from).min(PIECE_BYTES as u64);
    file.take(bytes).read_to_end(&mut piece)?;
    Ok(piece)
}

/// Reads a log onwards.
struct Reader {
    path: PathBuf,
    offset: u64,
    timestamps: bool,
    at_line_start: bool,
}

impl Reader {
    /// The next piece; empty at the end. A file that became shorter is read from its start, and of one that was cut
    /// beyond the reader what is left is read.
    fn next(&mut self, end: u64) -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(&self.path)?;
        if file.metadata()?.len() < self.offset {
            self.offset = 0;
        }
        self.offset = self.offset.max(first_data(&mut file)?);
        let piece = read_at(&mut file, self.offset, end)?;
        self.offset += piece.len() as u64;
        if !self.timestamps {
            return Ok(piece);
        }
        let time = modified(&file);
        let mut stamped = Vec::with_capacity(piece.len());
        for line in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.at_line_start {
                stamped.extend(format!("{time:.9} ").into_bytes());
            }
            stamped.extend(line);
            self.at_line_start = line.ends_with(b"\n");
        }
        Ok(stamped)
    }
}

/// Sends what there is up to `end`, and, if that lies ahead, what comes for as long as the process runs.
async fn stream(
    reader: &mut Reader,
    end: u64,
    is_running: impl Fn() -> bool,
    sender: &mpsc::Sender<Result<Bytes, LogError>>,
) -> io::Result<()> {
    loop {
        // Asked before reading: what a process wrote before its end is then still read.
        let last = end < u64::MAX || !is_running();
        let piece = match reader.next(end) {
            // Removed with its container.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            piece => piece?,
        };
        if !piece.is_empty() {
            if sender.send(Ok(piece.into())).await.is_err() {
                return Ok(());
            }
        } else if last {
            return Ok(());
        } else {
            tokio::select! {
                biased;
                () = sender.closed() => return Ok(()),
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn found(path: &Path, tail_lines: Option<u64>) -> String {
        let query = LogQuery {
            tail_lines,
            ..LogQuery::default()
        };
        let part = part(path, &query).unwrap();
        let mut file = fs::File::open(path).unwrap();
        let mut text = Vec::new();
        let mut at = part.start;
        while at < part.end {
            let piece = read_at(&mut file, at, part.end).unwrap();
            at += piece.len() as u64;
            text.extend(piece);
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn tail_counts_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "a\nbb\nccc\n").unwrap();
        for (lines, expected) in [(0, ""), (1, "ccc\n"), (2, "bb\nccc\n"), (9, "a\nbb\nccc\n")] {
            assert_eq!(found(&path, Some(lines)), expected);
        }
        fs::write(&path, "a\nb").unwrap();
        assert_eq!(found(&path, Some(1)), "b");
        fs::write(&path, "").unwrap();
        assert_eq!(found(&path, Some(3)), "");
    }

    #[test]
    fn a_long_tail_is_found_over_many_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let lines: Vec<String> = (0..50_000).map(|n| format!("line {n}\n")).collect();
        fs::write(&path, lines.concat()).unwrap();
        assert_eq!(found(&path, Some(30_000)), lines[20_000..].concat());
        assert_eq!(found(&path, None), lines.concat());
    }

    #[test]
    fn a_long_log_loses_its_older_part_and_nothing_of_the_newer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let lines: Vec<String> = (0..2_000_000).map(|n| format!("line {n}\n")).collect();
        let text = lines.concat();
        assert!(text.len() as u64 > 4 * LOG_BYTES_KEPT);
        fs::write(&path, &text).unwrap();
        cut_if_long(&path).unwrap();
        let kept = fs::metadata(&path).unwrap().blocks() * 512;
        assert!(kept <= LOG_BYTES_KEPT + 2 * PAGE_BYTES, "{kept} bytes");
        assert_eq!(found(&path, Some(2)), "line 1999998\nline 1999999\n");
        let left = found(&path, None);
        assert!(left.len() as u64 > LOG_BYTES_KEPT - PAGE_BYTES);
        assert!(left.starts_with("line ") && text.ends_with(&left));
        // Cut again, with nothing to cut.
        cut_if_long(&path).unwrap();
        assert_eq!(found(&path, None), left);
    }
}
