//! Answers other nodes: one task a connection, which hands every frame to the actor it concerns.
//!
//! Deliberately without state: who leads, what is planned and what runs here is known elsewhere.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::Instant;

use super::caller::{CallError, Caller, Place};
use super::dial::{Greeted, greet};
use super::doors::Known;
use super::formation::VETO;
use super::joiner::{Form, FormRefused, Joiner, Part, WhatPart};
use super::link_end::{ANSWERS_MAX, LinkDownReceived, LinkEnd, LinkEnded, LinkOpened, WhoSpeaks};
use super::logs::answer_log;
use super::membership::{Admit, Membership};
use super::messages::OpenLog;
use super::node_agent::NodeAgent;
use super::raft_peer::{EnvelopesReceived, PeerIntroduced, RaftPeer};
use super::recovery::{self, Recoverer, Testify};
use super::refusals;
use super::store_front::{DescribeForwarded, StoreFront, SubmitHere, SubmitNamedHere, WhatIsKnown};
use super::wire::{Answer, Call, Contact, FromDialler, FromListener, Identity, LinkDown, LinkUp};
use crate::env::frames::{Inbox, Outbox, SendError};
use crate::env::network::Listener;
use crate::raft::{ClusterId, PeerId};
use crate::resource::Status;

/// A forwarded request to join takes at most this long at the leader.
const FORWARD_JOIN_MS_MAX: u64 = 4_000;
/// Pause after a failed accept (file descriptors may be used up), so that it does not spin.
const ACCEPT_PAUSE_MS: u64 = 100;

/// Connections served at once: three from each of 5,000 nodes to a seed, and some to spare. More wait to be accepted.
const CONNECTIONS_MAX: usize = 16_384;
/// Calls of one connection in work at once; more wait unread, so that whoever asks too much is slowed down.
const CALLS_MAX: usize = 1_024;

/// The actors that a connection may concern.
#[derive(Clone)]
pub struct Doorman {
    /// This incarnation.
    pub id: PeerId,
    /// How it is reached.
    pub contact: Contact,
    /// Consensus.
    pub peer: Addr<RaftPeer>,
    /// Writes and reads.
    pub front: Addr<StoreFront>,
    /// Admission.
    pub membership: Addr<Membership>,
    /// Formation.
    pub joiner: Addr<Joiner>,
    /// Recovery from a lost majority.
    pub recoverer: Addr<Recoverer>,
    /// Questions to others.
    pub caller: Addr<Caller>,
    /// The leader's link to this node.
    pub link: Addr<LinkEnd>,
    /// Containers.
    pub agent: Addr<NodeAgent>,
}

/// Accepts connections for ever.
pub async fn serve(mut listener: Box<dyn Listener>, doorman: Doorman) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = places.clone().acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let doorman = doorman.clone();
                tokio::task::spawn_local(async move {
                    let _place = place;
                    match greet(stream).await {
                        Ok(Greeted {
                            outbox,
                            inbox,
                            from,
                        }) => {
                            if let Some(introduction) = from {
                                doorman.peer.do_send(PeerIntroduced(introduction));
                            }
                            converse(outbox, inbox, doorman).await;
                        }
                        Err(error) => tracing::debug!(%error, "a stranger at the peer port"),
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a peer's connection");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            }
        }
    }
}

/// Serves one connection until it ends.
async fn converse(outbox: Outbox<FromListener>, mut inbox: Inbox<FromDialler>, doorman: Doorman) {
    let outbox = Rc::new(outbox);
    let calls = Arc::new(Semaphore::new(CALLS_MAX));
    let given_up = Rc::new(Notify::new());
    let mut link = None;
    loop {
        let frame = tokio::select! {
            biased;
            () = given_up.notified() => break,
            frame = inbox.next() => frame,
        };
        match frame {
            // Waiting for the peer to have taken them slows a sender down that is faster than it.
            Some(Ok(FromDialler::Raft(envelopes))) => {
                if doorman
                    .peer
                    .send(EnvelopesReceived(envelopes))
                    .await
                    .is_err()
                {
                    break;
                }
            }
            Some(Ok(FromDialler::Call { id, call })) => {
                let place = calls.clone().acquire_owned().await;
                let (doorman, outbox) = (doorman.clone(), outbox.clone());
                tokio::task::spawn_local(async move {
                    let _place = place;
                    reply(&outbox, id, doorman.answer(call).await).await;
                });
            }
            Some(Ok(FromDialler::Link(LinkDown::Open {
                cluster,
                term,
                to,
                leader,
            }))) if link.is_none() => {
                let (answers, said) = mpsc::channel(ANSWERS_MAX);
                tokio::task::spawn_local(pass_on(said, outbox.clone(), given_up.clone()));
                let opened = LinkOpened {
                    cluster,
                    term,
                    to,
                    leader,
                    answers,
                };
                link = doorman.link.send(opened).await.ok();
            }
            Some(Ok(FromDialler::Link(down))) => {
                let Some(link) = link else { break };
                doorman.link.do_send(LinkDownReceived { link, down });
            }
            Some(Ok(FromDialler::ReadLog(open))) => {
                let agent = doorman.agent.clone().recipient();
                return answer_log(&agent, open, &outbox, &mut inbox).await;
            }
            Some(Ok(FromDialler::LogTaken(_))) | None => break,
            Some(Err(error)) => {
                tracing::debug!(%error, "a peer's connection ended");
                break;
            }
        }
    }
    if let Some(link) = link {
        doorman.link.do_send(LinkEnded { link });
    }
}

/// Answers a call. If the asker is gone, its own deadline or disconnection tells it so.
async fn reply(outbox: &Outbox<FromListener>, id: u64, answer: Result<Answer, Status>) {
    let answer = FromListener::Answer { id, answer };
    if let Err(SendError::TooLarge { bytes }) = outbox.send_when_ready(&answer).await {
        let reason = format!("done, but the answer of {bytes} bytes cannot be passed on");
        let answer = Err(Status::internal(reason));
        drop(outbox.send(&FromListener::Answer { id, answer }));
    }
}

/// Takes what the node says to its leader into the connection. The connection is given up once the node has: it obeys
/// another leader, or its words pile up.
async fn pass_on(
    mut said: mpsc::Receiver<LinkUp>,
    outbox: Rc<Outbox<FromListener>>,
    given_up: Rc<Notify>,
) {
    while let Some(up) = said.recv().await {
        if let Err(error) = outbox.send_when_ready(&FromListener::Link(up)).await {
            tracing::debug!(%error, "the leader's link broke off");
            break;
        }
    }
    given_up.notify_one();
}

fn stopping(_: MailboxError) -> Status {
    refusals::stopping()
}

impl Doorman {
    async fn answer(self, call: Call) -> Result<Answer, Status> {
        match call {
            Call::Who => self.identity().await.map(Answer::Who),
            Call::Form {
                cluster,
                configuration,
            } => {
                let formed = self
                    .joiner
                    .send(Form {
                        cluster,
                        configuration,
                    })
                    .await
                    .map_err(stopping)?;
                formed
                    .map(|()| Answer::Formed)
                    .map_err(|refused| match refused {
                        FormRefused::Elsewhere(_) => {
                            Status::new(VETO, "Conflict", refused.to_string())
                        }
                        FormRefused::Otherwise(_) => {
                            Status::new(403, "Forbidden", refused.to_string())
                        }
                    })
            }
            Call::Join {
                id,
                contact,
                again,
                forward,
            } => {
                let admit = Admit { id, contact, again };
                self.join(admit, forward).await.map(Answer::Joined)
            }
            Call::Submit(requests) => {
                let submitted = self
                    .front
                    .send(SubmitHere(requests))
                    .await
                    .map_err(stopping)?;
                submitted.map(Answer::Submitted)
            }
            Call::SubmitNamed(named) => {
                let submitted = self.front.send(SubmitNamedHere(named)).await;
                let reply = submitted.map_err(stopping)?;
                reply.map(|reply| Answer::Submitted(vec![reply]))
            }
            Call::Describe => self
                .front
                .send(DescribeForwarded)
                .await
                .map_err(stopping)?
                .map(Answer::Described),
            Call::Testify => {
                let said = self.recoverer.send(Testify).await.map_err(stopping)?;
                said.map(Answer::Testified)
            }
            Call::Promise(promise) => {
                let promised = recovery::promise_here(&self.peer, &self.link, promise).await;
                promised.map(Answer::Promised)
            }
            Call::Begin(begin) => {
                let revision =
                    recovery::begin_here(&self.peer, &self.link, &self.joiner, begin).await;
                revision.map(Answer::Begun)
            }
        }
    }

    async fn identity(&self) -> Result<Identity, Status> {
        let Part {
            cluster,
            called,
            founds,
        } = self.joiner.send(WhatPart).await.map_err(stopping)?;
        let known = self.front.send(WhatIsKnown).await.map_err(stopping)?;
        let leader = known
            .as_ref()
            .and_then(|known| known.contact(known.standing.leader?));
        let contacts = known.iter().flat_map(Known::contacts);
        let apis = contacts.map(|contact| contact.api).collect();
        let leader = leader.map(|contact| contact.address);
        // To who has no vote, or is no member any more, the leader speaks over its link only.
        let speaker = self.link.send(WhoSpeaks).await.map_err(stopping)?;
        let speaker = speaker.filter(|speaker| !speaker.address.is_empty());
        let leads = known.as_ref().filter(|known| known.standing.leads);
        let members = leads.map(|known| &known.standing.configuration.contacts);
        Ok(Identity {
            id: self.id,
            contact: self.contact.clone(),
            cluster,
            called,
            founds,
            leader: leader.or(speaker.map(|speaker| speaker.address)),
            members: members.into_iter().flatten().map(|(id, _)| *id).collect(),
            apis,
        })
    }

    /// Admits an incarnation if this node leads, else asks the leader to, once.
    async fn join(&self, admit: Admit, forward: bool) -> Result<ClusterId, Status> {
        let admitted = self.membership.send(admit.clone()).await;
        match admitted.map_err(stopping)? {
            Err(status) if refusals::is_not_leader(&status) && forward => {}
            admitted => return admitted,
        }
        let Admit { id, contact, again } = admit;
        let leader = self
            .identity()
            .await?
            .leader
            .filter(|leader| *leader != self.contact.address);
        let address = leader.ok_or_else(refusals::no_leader)?;
        let deadline = Instant::now() + Duration::from_millis(FORWARD_JOIN_MS_MAX);
        let call = Call::Join {
            id,
            contact,
            again,
            forward: false,
        };
        match self
            .caller
            .send(Place {
                address,
                call,
                deadline,
            })
            .await
            .map_err(stopping)?
        {
            Ok(Answer::Joined(cluster)) => Ok(cluster),
            Ok(other) => Err(Status::internal(format!(
                "the leader answered another question: {other:?}"
            ))),
            Err(CallError::Refused(status)) => Err(status),
            Err(error) => Err(Status::unavailable(error.to_string())),
        }
    }
}

impl OpenLog {
    /// What an error message calls the container.
    pub(super) fn container_path(&self) -> String {
        format!("{}/{}/{}", self.namespace, self.pod, self.container)
    }
}
