//! Answers other nodes: one task a connection, which hands every frame to the actor it concerns.
//!
//! Deliberately without state: who leads, what is planned and what runs here is known elsewhere.

use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::caller::{CallError, Caller, Place};
use super::dial::{Greeted, greet};
use super::joiner::{Form, Joiner, WhichCluster};
use super::link_end::{ANSWERS_MAX, LinkDownReceived, LinkEnd, LinkEnded, LinkOpened};
use super::logs::answer_log;
use super::membership::{Admit, Membership};
use super::messages::OpenLog;
use super::node_agent::NodeAgent;
use super::raft_peer::{EnvelopesReceived, PeerIntroduced, RaftPeer};
use super::refusals;
use super::store_front::{DescribeForwarded, StoreFront, SubmitHere, WhatIsKnown};
use super::wire::{Answer, Call, Contact, FromDialler, FromListener, Identity, LinkDown, LinkUp};
use crate::env::frames::{Inbox, Outbox};
use crate::env::network::Listener;
use crate::raft::{ClusterId, PeerId};
use crate::resource::Status;

/// A forwarded request to join takes at most this long at the leader.
const FORWARD_JOIN_MS_MAX: u64 = 4_000;
/// Pause after a failed accept (file descriptors may be used up), so that it does not spin.
const ACCEPT_PAUSE_MS: u64 = 100;

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
    /// Questions to others.
    pub caller: Addr<Caller>,
    /// The leader's link to this node.
    pub link: Addr<LinkEnd>,
    /// Containers.
    pub agent: Addr<NodeAgent>,
}

/// Accepts connections for ever.
pub async fn serve(mut listener: Box<dyn Listener>, doorman: Doorman) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let doorman = doorman.clone();
                tokio::task::spawn_local(async move {
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
    let mut link = None;
    while let Some(frame) = inbox.next().await {
        match frame {
            Ok(FromDialler::Raft(envelopes)) => doorman.peer.do_send(EnvelopesReceived(envelopes)),
            Ok(FromDialler::Call { id, call }) => {
                let (doorman, outbox) = (doorman.clone(), outbox.clone());
                tokio::task::spawn_local(async move {
                    let answer = doorman.answer(call).await;
                    // The asker may be gone; then its own deadline or disconnection tells it so.
                    let _ = outbox.send(&FromListener::Answer { id, answer });
                });
            }
            Ok(FromDialler::Link(LinkDown::Open { cluster, term, to })) => {
                let (answers, said) = mpsc::channel(ANSWERS_MAX);
                tokio::task::spawn_local(pass_on(said, outbox.clone()));
                link = doorman
                    .link
                    .send(LinkOpened {
                        cluster,
                        term,
                        to,
                        answers,
                    })
                    .await
                    .ok();
            }
            Ok(FromDialler::Link(down)) => {
                let Some(link) = link else { break };
                doorman.link.do_send(LinkDownReceived { link, down });
            }
            Ok(FromDialler::ReadLog(open)) => {
                return answer_log(&doorman.agent, open, &outbox).await;
            }
            Err(error) => {
                tracing::debug!(%error, "a peer's connection ended");
                break;
            }
        }
    }
    if let Some(link) = link {
        doorman.link.do_send(LinkEnded { link });
    }
}

/// Takes what the node says to its leader into the connection.
async fn pass_on(mut said: mpsc::Receiver<LinkUp>, outbox: Rc<Outbox<FromListener>>) {
    while let Some(up) = said.recv().await {
        if let Err(error) = outbox.send_when_ready(&FromListener::Link(up)).await {
            tracing::debug!(%error, "the leader's link broke off");
            return;
        }
    }
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
                    .map_err(|reason| Status::new(403, "Forbidden", reason))
            }
            Call::Join {
                id,
                contact,
                forward,
            } => self.join(id, contact, forward).await.map(Answer::Joined),
            Call::Submit(requests) => {
                let submitted = self
                    .front
                    .send(SubmitHere(requests))
                    .await
                    .map_err(stopping)?;
                submitted.map(Answer::Submitted)
            }
            Call::Describe => self
                .front
                .send(DescribeForwarded)
                .await
                .map_err(stopping)?
                .map(Answer::Described),
        }
    }

    async fn identity(&self) -> Result<Identity, Status> {
        let cluster = self.joiner.send(WhichCluster).await.map_err(stopping)?;
        let known = self.front.send(WhatIsKnown).await.map_err(stopping)?;
        let leader = known
            .as_ref()
            .and_then(|known| known.contact(known.standing.leader?));
        let contacts = known
            .iter()
            .flat_map(|known| known.standing.contacts.keys().map(|id| known.contact(*id)));
        let apis = contacts.flatten().map(|contact| contact.api).collect();
        let leader = leader.map(|contact| contact.address);
        Ok(Identity {
            id: self.id,
            contact: self.contact.clone(),
            cluster,
            leader,
            apis,
        })
    }

    /// Admits an incarnation if this node leads, else asks the leader to, once.
    async fn join(&self, id: PeerId, contact: Contact, forward: bool) -> Result<ClusterId, Status> {
        let admitted = self
            .membership
            .send(Admit {
                id,
                contact: contact.clone(),
            })
            .await
            .map_err(stopping)?;
        match admitted {
            Err(status) if refusals::is_not_leader(&status) && forward => {}
            admitted => return admitted,
        }
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
