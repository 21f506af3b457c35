//! Linearizable reads: a read's index covers everything that was committed anywhere before it was asked, it is served
//! from a state no older, and it is answered exactly once (dissertation 6.4).

use std::collections::BTreeMap;

use kagero::raft::{Index, PeerId, Tag};
use kagero::store::Revision;

use super::{Verdict, ensure};

#[derive(Clone, Copy, Debug)]
struct Asked {
    peer: PeerId,
    floor: Index,
    state: Revision,
}

/// An answered read, which is served once its peer has applied so much.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    tag: Tag,
    index: Index,
    state: Revision,
}

/// Reads that are not served yet.
#[derive(Debug, Default)]
pub struct Reads {
    asked: BTreeMap<Tag, Asked>,
    waiting: BTreeMap<PeerId, Vec<Waiting>>,
}

impl Reads {
    /// A client asks a peer, when everything up to `floor` is committed and somebody's state has come to this revision.
    pub fn ask(&mut self, tag: Tag, peer: PeerId, (floor, state): (Index, Revision)) {
        self.asked.insert(tag, Asked { peer, floor, state });
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
        let state = asked.state;
        let read = Waiting { tag, index, state };
        self.waiting.entry(peer).or_default().push(read);
        Ok(())
    }

    /// A peer has applied so much, and its state has come to this revision; how many reads it serves by that.
    pub fn serve(
        &mut self,
        peer: PeerId,
        (applied, shown): (Index, Revision),
    ) -> Result<u64, String> {
        let Some(waiting) = self.waiting.get_mut(&peer) else {
            return Ok(0);
        };
        let served = waiting.extract_if(.., |read| read.index <= applied);
        let served: Vec<Waiting> = served.collect();
        for Waiting { tag, state, .. } in &served {
            ensure(shown >= *state, || {
                let peer = peer.0;
                format!(
                    "n{peer} serves read {tag} at revision {shown}, and {state} was there before it was asked"
                )
            })?;
        }
        Ok(served.len() as u64)
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

#[cfg(test)]
mod tests {
    use super::super::made::refusal;
    use super::*;

    const PEER: PeerId = PeerId(1);

    /// Asked when 5 was committed and the state had come to revision 3.
    fn asked() -> Reads {
        let mut reads = Reads::default();
        reads.ask(9, PEER, (5, 3));
        reads
    }

    #[test]
    fn a_read_that_covers_all_before_it_is_accepted() {
        let mut reads = asked();
        assert_eq!(reads.answer(9, PEER, Some(6)), Ok(()));
        assert_eq!(reads.serve(PEER, (5, 2)), Ok(0), "not yet");
        assert_eq!(reads.open(|_| true), 1);
        assert_eq!(reads.serve(PEER, (6, 3)), Ok(1));
        assert_eq!(reads.open(|_| true), 0);
        assert_eq!(asked().answer(9, PEER, None), Ok(()), "refused is answered");
    }

    #[test]
    fn an_index_before_what_was_committed_is_refused() {
        let stale = asked().answer(9, PEER, Some(4));
        assert!(refusal(stale).contains("n1 read at 4, and 5 was committed"));
    }

    #[test]
    fn a_state_older_than_what_was_there_is_refused() {
        let mut reads = asked();
        assert_eq!(reads.answer(9, PEER, Some(5)), Ok(()));
        let stale = reads.serve(PEER, (5, 2)).map(|_| ());
        assert!(refusal(stale).contains("serves read 9 at revision 2, and 3 was there"));
    }

    #[test]
    fn an_answer_that_nobody_waits_for_is_refused() {
        let mut reads = asked();
        assert_eq!(reads.answer(9, PEER, Some(5)), Ok(()));
        assert!(refusal(reads.answer(9, PEER, Some(5))).contains("nobody asked"));
    }
}
