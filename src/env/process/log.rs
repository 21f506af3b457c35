//! Logs of processes: files that the processes append to themselves, so that they outlive the agent.
//!
//! Nobody stands between a process and its log, so no line carries its own time: `timestamps` gives lines that were
//! there the file's last change and followed lines the moment they were read; `since` either takes a file whole or,
//! if it was not touched since, not at all.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::super::runtime::{LOG_PIECES_MAX, LogError, LogPieces, LogQuery};
use super::state::Place;

/// A log longer than this is cut: the older part goes to `log.old`, so that memory holds twice this at most.
pub(super) const LOG_BYTES_MAX: u64 = 4 << 20;
/// Bytes read at once.
const PIECE_BYTES: usize = 64 << 10;
/// How often a followed file is looked at; a process tells nobody that it wrote.
const POLL: Duration = Duration::from_millis(100);

/// Cuts a log that has grown too long. What a process writes between copy and cut is lost, as with `copytruncate`.
pub(super) fn cut_if_long(place: &Place) -> io::Result<()> {
    let log = place.log();
    if fs::metadata(&log).is_ok_and(|meta| meta.len() > LOG_BYTES_MAX) {
        fs::copy(&log, place.old_log())?;
        fs::OpenOptions::new().write(true).open(&log)?.set_len(0)?;
    }
    Ok(())
}

/// Streams a log; `is_running` tells whether a follower may expect more.
pub(super) fn open(
    place: &Place,
    query: LogQuery,
    is_running: impl Fn() -> bool + 'static,
) -> Result<LogPieces, LogError> {
    let backlog = backlog(place, &query).map_err(|error| LogError::Engine(error.to_string()))?;
    let log = place.log();
    let (sender, receiver) = mpsc::channel(LOG_PIECES_MAX);
    actix_rt::spawn(async move {
        for piece in backlog.bytes.chunks(PIECE_BYTES) {
            if sender
                .send(Ok(Bytes::copy_from_slice(piece)))
                .await
                .is_err()
            {
                return;
            }
        }
        if query.follow {
            follow(log, backlog.offset, query.timestamps, is_running, &sender).await;
        }
    });
    Ok(receiver)
}

struct Backlog {
    bytes: Vec<u8>,
    /// Bytes of the newest file that are in it.
    offset: u64,
}

fn backlog(place: &Place, query: &LogQuery) -> io::Result<Backlog> {
    let mut bytes = Vec::new();
    let mut offset = 0;
    for path in [place.old_log(), place.log()] {
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        offset = text.len() as u64;
        let changed = modified(&path)?;
        if query.since.is_some_and(|since| changed < since) {
            continue;
        }
        if query.timestamps {
            stamp(&text, changed, &mut bytes);
        } else {
            bytes.extend(text);
        }
    }
    if let Some(lines) = query.tail_lines {
        bytes.drain(..tail_start(&bytes, lines));
    }
    Ok(Backlog { bytes, offset })
}

fn modified(path: &Path) -> io::Result<Timestamp> {
    let time = fs::metadata(path)?.modified()?;
    Ok(Timestamp::try_from(time).unwrap_or(Timestamp::MIN))
}

fn stamp(text: &[u8], time: Timestamp, out: &mut Vec<u8>) {
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        out.extend(format!("{time:.9} ").into_bytes());
        out.extend(line);
    }
}

/// Where the last `lines` lines begin.
fn tail_start(bytes: &[u8], lines: u64) -> usize {
    if lines == 0 {
        return bytes.len();
    }
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let breaks = body.iter().enumerate().rev().filter(|(_, b)| **b == b'\n');
    let nth = usize::try_from(lines - 1).unwrap_or(usize::MAX);
    breaks.map(|(at, _)| at + 1).nth(nth).unwrap_or(0)
}

async fn follow(
    path: PathBuf,
    mut offset: u64,
    timestamps: bool,
    is_running: impl Fn() -> bool,
    sender: &mpsc::Sender<Result<Bytes, LogError>>,
) {
    loop {
        // Asked before reading: what a process wrote before its end is then still read.
        let last = !is_running();
        match read_from(&path, &mut offset) {
            Ok(piece) if piece.is_empty() && last => return,
            Ok(piece) if piece.is_empty() => {
                tokio::select! {
                    biased;
                    () = sender.closed() => return,
                    () = tokio::time::sleep(POLL) => {}
                }
            }
            Ok(piece) => {
                let piece = if timestamps {
                    let mut stamped = Vec::new();
                    let now = modified(&path).unwrap_or(Timestamp::MIN);
                    stamp(&piece, now, &mut stamped);
                    stamped
                } else {
                    piece
                };
                if sender.send(Ok(piece.into())).await.is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                let _ = sender.send(Err(LogError::Engine(error.to_string()))).await;
                return;
            }
        }
    }
}

/// The next bytes; a file that became shorter was cut and is read from its start.
fn read_from(path: &Path, offset: &mut u64) -> io::Result<Vec<u8>> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    if length < *offset {
        *offset = 0;
    }
    file.seek(SeekFrom::Start(*offset))?;
    let mut piece = Vec::new();
    file.take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
    *offset += piece.len() as u64;
    Ok(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_counts_lines() {
        let text = b"a\nbb\nccc\n";
        for (lines, expected) in [(0, ""), (1, "ccc\n"), (2, "bb\nccc\n"), (9, "a\nbb\nccc\n")] {
            let start = tail_start(text, lines);
            assert_eq!(std::str::from_utf8(&text[start..]).unwrap(), expected);
        }
        assert_eq!(tail_start(b"a\nb", 1), 2);
        assert_eq!(tail_start(b"", 3), 0);
    }
}
