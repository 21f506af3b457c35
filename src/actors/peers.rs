//! Takes Raft envelopes to other peers: one outgoing connection a peer, dialled when there is something to say.
//!
//! Loss is allowed, so nothing is queued beyond the connection's own bounded buffer. A refused or reset connection is
//! told to the raft peer as a sign that the process is gone; silence is not.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;

use super::dial::{Connection, DialError, Introduction, dial};
use super::raft_peer::{PeerGone, SendEnvelopes};
use super::wire::{Contact, FromDialler, FromListener};
use crate::env::entropy::Entropy;
use crate::env::frames::{Backoff, Inbox, Outbox, SendError};
use crate::env::network::Network;
use crate::raft::{Envelope, PeerId};
use notices::{NOTICE_MS, Notices};

mod notices;

/// The longest rest between two attempts to dial: a healed partition must not wait long for its leader.
const REST_MS_MAX: u64 = 400;

/// A connection to one peer.
struct Line {
    address: String,
    /// Tells what an earlier line to this peer says from this one's.
    epoch: u64,
    state: State,
    backoff: Backoff,
}

enum State {
    /// Dialling; `latest` is sent as soon as that succeeds, older ones are lost.
    Connecting {
        latest: Vec<Envelope>,
    },
    Open(Outbox<FromDialler>),
    /// Waiting before dialling again.
    Resting,
    /// The next envelope dials.
    Idle,
}

/// The actor.
pub struct Peers {
    own: Introduction,
    network: Rc<dyn Network>,
    entropy: Entropy,
    gone: Recipient<PeerGone>,
    lines: BTreeMap<PeerId, Line>,
    epochs: u64,
    /// While it holds something, a timer is set that sends it. At most one, and it outlives what it was set for: else
    /// every write would set one.
    notices: Notices,
    notices_due: bool,
}

/// A connection ended.
#[derive(Message)]
#[rtype(result = "()")]
struct Disconnected {
    peer: PeerId,
    epoch: u64,
    gone: bool,
}

impl Peers {
    /// Nobody is connected yet.
    pub fn new(
        own: Introduction,
        network: Rc<dyn Network>,
        entropy: Entropy,
        gone: Recipient<PeerGone>,
    ) -> Self {
        Self {
            own,
            network,
            entropy,
            gone,
            lines: BTreeMap::new(),
            epochs: 0,
            notices: Notices::default(),
            notices_due: false,
        }
    }

    fn dial(&mut self, peer: PeerId, epoch: u64, address: String, ctx: &mut Context<Self>) {
        let (network, own) = (self.network.clone(), self.own.clone());
        let dialling = async move { dial(network.as_ref(), &address, Some(own)).await };
        // Connections cannot be sent in a message (they are of this thread), so their arrival is mapped instead.
        ctx.spawn(
            dialling
                .into_actor(self)
                .map(move |result, peers, ctx| peers.on_dialled(peer, epoch, result, ctx)),
        );
    }

    fn on_dialled(
        &mut self,
        peer: PeerId,
        epoch: u64,
        result: Result<Connection, DialError>,
        ctx: &mut Context<Self>,
    ) {
        let Some(line) = self.line(peer, epoch) else {
            return;
        };
        match result {
            Ok((outbox, inbox)) => {
                line.backoff = Backoff::default();
                let previous = std::mem::replace(&mut line.state, State::Open(outbox));
                if let (State::Connecting { latest }, State::Open(outbox)) = (previous, &line.state)
                {
                    transmit(peer, outbox, latest);
                }
                ctx.spawn(watch(inbox, peer, epoch, ctx.address()).into_actor(self));
            }
            Err(error) => {
                tracing::debug!(%peer, %error, "cannot reach a peer");
                if error.is_gone() {
                    self.gone.do_send(PeerGone(peer));
                }
                self.rest(peer, epoch, ctx);
            }
        }
    }

    fn line(&mut self, peer: PeerId, epoch: u64) -> Option<&mut Line> {
        let line = self.lines.get_mut(&peer);
        line.filter(|line| line.epoch == epoch)
    }

    /// Rests before the next attempt, a little longer each time.
    fn rest(&mut self, peer: PeerId, epoch: u64, ctx: &mut Context<Self>) {
        let mut entropy = self.entropy.clone();
        let Some(line) = self.line(peer, epoch) else {
            return;
        };
        line.state = State::Resting;
        let rest = line
            .backoff
            .wait(&mut entropy)
            .min(Duration::from_millis(REST_MS_MAX));
        ctx.run_later(rest, move |peers, _| {
            if let Some(line) = peers.line(peer, epoch) {
                line.state = State::Idle;
            }
        });
    }

    /// Sends what was held back to those who are connected; nobody is dialled for it.
    fn send_notices(&mut self) {
        self.notices_due = false;
        for (peer, word) in self.notices.take() {
            if let Some(State::Open(outbox)) = self.lines.get(&peer).map(|line| &line.state) {
                transmit(peer, outbox, vec![word]);
            }
        }
    }

    /// The line to a peer. Its contact is read once: it never changes for an incarnation.
    fn line_to(&mut self, peer: PeerId, contact: &[u8]) -> Result<&mut Line, serde_json::Error> {
        match self.lines.entry(peer) {
            Entry::Occupied(line) => Ok(line.into_mut()),
            Entry::Vacant(vacant) => {
                let address = Contact::decode(contact)?.address;
                self.epochs += 1;
                Ok(vacant.insert(Line {
                    address,
                    epoch: self.epochs,
                    state: State::Idle,
                    backoff: Backoff::default(),
                }))
            }
        }
    }

    fn send(
        &mut self,
        peer: PeerId,
        contact: &[u8],
        envelopes: Vec<Envelope>,
        ctx: &mut Context<Self>,
    ) {
        let line = match self.line_to(peer, contact) {
            Ok(line) => line,
            Err(error) => return tracing::warn!(%peer, %error, "a member's contact cannot be read"),
        };
        match &mut line.state {
            State::Open(outbox) => transmit(peer, outbox, envelopes),
            State::Connecting { latest } => *latest = envelopes,
            State::Resting => {}
            State::Idle => {
                line.state = State::Connecting { latest: envelopes };
                let (epoch, address) = (line.epoch, line.address.clone());
                self.dial(peer, epoch, address, ctx);
            }
        }
    }
}

impl Actor for Peers {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1_024);
    }
}

impl Handler<SendEnvelopes> for Peers {
    type Result = ();

    fn handle(
        &mut self,
        SendEnvelopes {
            envelopes,
            contacts,
        }: SendEnvelopes,
        ctx: &mut Self::Context,
    ) {
        // A line to a peer that left the configuration is of no use; its process is dead or has joined anew.
        self.lines.retain(|peer, _| contacts.contains_key(peer));
        let mut by_peer: BTreeMap<PeerId, Vec<Envelope>> = BTreeMap::new();
        for envelope in envelopes {
            by_peer.entry(envelope.to).or_default().push(envelope);
        }
        for (peer, envelopes) in by_peer {
            let envelopes = self.notices.sift(peer, envelopes);
            if envelopes.is_empty() {
                continue;
            }
            let Some(contact) = contacts.get(&peer) else {
                tracing::debug!(%peer, "a message to one who is no member any more");
                continue;
            };
            self.send(peer, contact, envelopes, ctx);
        }
        if !self.notices.is_empty() && !std::mem::replace(&mut self.notices_due, true) {
            ctx.run_later(Duration::from_millis(NOTICE_MS), |peers, _| {
                peers.send_notices();
            });
        }
    }
}

/// Sends envelopes together, or each by itself if they do not fit into one frame: what is lost because of its size
/// would be sent, and lost, for ever.
fn transmit(peer: PeerId, outbox: &Outbox<FromDialler>, envelopes: Vec<Envelope>) {
    let frame = FromDialler::Raft(envelopes);
    match (outbox.send(&frame), frame) {
        (Err(SendError::TooLarge { .. }), FromDialler::Raft(envelopes)) if envelopes.len() > 1 => {
            for envelope in envelopes {
                transmit(peer, outbox, vec![envelope]);
            }
        }
        (Err(error @ SendError::TooLarge { .. }), _) => {
            tracing::error!(%peer, %error, "an entry can never be replicated");
        }
        // Full or closed: lost, as a network may lose it; raft sends again.
        _ => {}
    }
}

/// Peers never answer on this connection; reading it shows when it ends, and how.
async fn watch(mut inbox: Inbox<FromListener>, peer: PeerId, epoch: u64, peers: Addr<Peers>) {
    let gone = loop {
        match inbox.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error.is_gone(),
            None => break false,
        }
    };
    peers.do_send(Disconnected { peer, epoch, gone });
}

impl Handler<Disconnected> for Peers {
    type Result = ();

    fn handle(
        &mut self,
        Disconnected { peer, epoch, gone }: Disconnected,
        ctx: &mut Self::Context,
    ) {
        if gone {
            self.gone.do_send(PeerGone(peer));
        }
        self.rest(peer, epoch, ctx);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::actors::dial::greet;
    use crate::actors::testing::host::contact;
    use crate::actors::testing::network::Wires;
    use crate::env::frames;
    use crate::raft::{ClusterId, Entry, Message, Payload};

    /// Fits into a frame alone, but not together with another.
    const LARGE: usize = 5 << 20;

    fn envelope(bytes: usize) -> Envelope {
        let payload = Payload::Command(vec![0; bytes].into());
        let entry = Entry {
            index: 1,
            term: 1,
            payload,
        };
        Envelope {
            cluster: ClusterId {
                id: 1,
                generation: 0,
            },
            from: PeerId(1),
            to: PeerId(2),
            term: 1,
            message: Message::Append {
                prev: 0,
                prev_term: 0,
                commit: 0,
                round: 0,
                entries: vec![entry],
            },
        }
    }

    #[actix::test]
    async fn what_is_too_large_together_goes_one_by_one() {
        let network = Wires::default().network();
        let mut listener = network.listen("[::1]:1").await.unwrap();
        let stream = network.connect("[::1]:1").await.unwrap();
        let (near, _kept) = frames::open::<_, FromListener>(stream);
        let (stream, _) = listener.accept().await.unwrap();
        let (_far, mut inbox) = frames::open::<FromListener, FromDialler>(stream);
        let sent = [envelope(LARGE), envelope(LARGE), envelope(1)];
        transmit(PeerId(2), &near, sent.to_vec());
        let mut received = Vec::new();
        while received.len() < sent.len() {
            match inbox.next().await {
                Some(Ok(FromDialler::Raft(envelopes))) => received.extend(envelopes),
                other => panic!("{other:?}"),
            }
        }
        assert!(received == sent);
    }

    struct Nobody;

    impl Actor for Nobody {
        type Context = Context<Self>;
    }

    impl Handler<PeerGone> for Nobody {
        type Result = ();

        fn handle(&mut self, gone: PeerGone, _: &mut Self::Context) {
            panic!("{gone:?}");
        }
    }

    #[actix::test]
    async fn word_of_what_is_committed_goes_by_itself_if_no_append_follows() {
        let network = Wires::default().network();
        let to = contact(2);
        let mut listener = network.listen(&to.address).await.unwrap();
        let own = Introduction {
            id: PeerId(1),
            contact: contact(1).encode(),
        };
        let gone = Nobody.start().recipient();
        let peers = Peers::new(own, network, Entropy::from_seed(1), gone).start();
        let contacts = Arc::new(BTreeMap::from([(PeerId(2), to.encode())]));
        let send = |envelope| {
            peers.do_send(SendEnvelopes {
                envelopes: vec![envelope],
                contacts: contacts.clone(),
            });
        };
        let append = envelope(1);
        send(append.clone());
        let stream = listener.accept().await.unwrap().0;
        let mut greeted = greet(stream).await.unwrap();
        let mut next = async || match greeted.inbox.next().await {
            Some(Ok(FromDialler::Raft(envelopes))) => envelopes,
            other => panic!("{other:?}"),
        };
        assert!(next().await == [append.clone()]);
        let word = Envelope {
            message: Message::Committed { index: 1 },
            ..append
        };
        send(word.clone());
        assert_eq!(next().await, [word]);
    }
}
