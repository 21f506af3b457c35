//! Linearizable reads: a read's index covers everything that was committed anywhere before it was asked, it is served
//! from a state no older, and it is answered exactly once (dissertation 6.4).

use std::collections::BTreeMap;

use kagero::raft::{Index, PeerId, Tag};

use super::{Verdict, ensure};

#[derive(Clone, Copy, Debug)]
struct Asked {
    peer: PeerId,
    floor: Index,
}

/// Reads that are not served yet.
#[derive(Debug, Default)]
pub struct Reads {
    asked: BTreeMap<Tag, Asked>,
    waiting: BTreeMap<PeerId, Vec<(Tag, Index)>>,
}

impl Reads {
    /// A client asks a peer, when everything up to `floor` is committed.
    pub fn ask(&mut self, tag: Tag, peer: PeerId, floor: Index) {
        self.asked.insert(tag, Asked { peer, floor });
    }

    /// The core answered.
    pub fn answer(&mut self, tag: Tag, peer: PeerId, index: Option<Index>) -> Verdict {
        let Some(asked) = self.asked.remove(&tag) else {
            return Err(format!("n{} answered a read that nobody asked", peer.0));
        };
        let Some(index) = index else {
            return Ok(());
        };
        ensure(index >= asked.floor, || {
            let (peer, floor) = (peer.0, asked.floor);
            format!("n{peer} read at {index}, and {floor} was committed before it was asked")
        })?;
        self.waiting.entry(peer).or_default().push((tag, index));
        Ok(())
    }

    /// A peer has applied so much; how many reads it serves by that.
    pub fn serve(&mut self, peer: PeerId, applied: Index) -> u64 {
        let Some(waiting) = self.waiting.get_mut(&peer) else {
            return 0;
        };
        let before = waiting.len();
        waiting.retain(|(_, index)| *index > applied);
        (before - waiting.len()) as u64
    }

    /// A peer died, and with it what it was asked.
    pub fn forget(&mut self, peer: PeerId) {
        self.asked.retain(|_, asked| asked.peer != peer);
        self.waiting.remove(&peer);
    }

    /// Reads without an answer, and those that could not be served yet by peers that must get so far.
    pub fn open(&self, must: impl Fn(PeerId) -> bool) -> usize {
        let waiting = self.waiting.iter().filter(|(peer, _)| must(**peer));
        self.asked.len() + waiting.map(|(_, reads)| reads.len()).sum::<usize>()
    }
}
