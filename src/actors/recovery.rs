//! Coordinates a recovery from the loss of a majority: asks everybody, plans, and on a person's word carries it out.
//!
//! What makes it safe is the raft room's (`recovery.rs` there): any node may coordinate, several at once even, and one
//! that dies midway leaves nothing that the next attempt must take up. Evidence of death is another process in a member's
//! place, the cloud's word, or the operator's. Deliberately nothing automatic but where the operator has said so before
//! (`unattended.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};

use self::unattended::Unattended;
use super::archive::{Claim, Listed, Purpose};
use super::caller::{self, CallError, Caller};
use super::claimant::{Claimant, NotOurs};
use super::cloud_word;
use super::doors::Known;
use super::joiner::{Adopt, Joiner};
use super::link_end::{LinkEnd, WhoSpeaks};
use super::messages::{Recover, Recovery};
use super::raft_peer::RaftPeer;
use super::raft_peer::survivor::{
    BeginGeneration, GiveAccount, MakePromise, Promise, PromiseRefused,
};
use super::refusals::stopping;
use super::registration::{nodes, registered};
use super::wire::{Answer, Call, Contact};
use crate::env::clock::Clock;
use crate::env::cloud::Cloud;
use crate::env::entropy::Entropy;
use crate::raft::{
    Account, ClusterId, Configuration, PeerId, Place, Position, RecoveryPlan, RecoveryRefused,
    Testimony, plan_recovery,
};
use crate::resource::nodes::is_ready;
use crate::resource::{Status, time};
use crate::store::Revision;

pub(in crate::actors) mod record;
mod unattended;

/// Who does not answer within this time is silent. Twice what dialling may take.
const ANSWER_MS_MAX: u64 = 2_000;
/// A promise ends a peer's part, and a beginning copies a store: a machine that swaps may take its time.
const DONE_MS_MAX: u64 = 15_000;
/// Looking at the archive's claims, and making one; a store that is slower than this is out of order. Twice this, twice
/// the time above and all rounds of asking are less than the 60 s for which the CLI waits.
const ARCHIVE_MS_MAX: u64 = 8_000;
/// Rounds of asking those whom the last round's answers named; more members than these name are not heard of.
const ROUNDS_MAX: usize = 4;
/// Nodes beside the members that are asked whether they hear a leader: enough to find one, and no flood.
const WITNESSES_MAX: usize = 64;

/// Say who you are and what part you have in consensus.
#[derive(Message)]
#[rtype(result = "Result<Testimony, Status>")]
pub struct Testify;

/// What the coordinator is given at its start.
#[derive(Clone)]
pub struct Around {
    /// This incarnation.
    pub id: PeerId,
    /// How it is reached.
    pub contact: Contact,
    /// Peer addresses that the operator gave.
    pub seeds: Vec<String>,
    /// This node's peer.
    pub peer: Addr<RaftPeer>,
    /// Hears the leader on a node that has no vote.
    pub link: Addr<LinkEnd>,
    /// Learns which generation this node belongs to.
    pub joiner: Addr<Joiner>,
    /// Questions to others.
    pub caller: Addr<Caller>,
    /// Where the next generation is claimed, if anywhere.
    pub claimant: Option<Claimant>,
    /// What this node knows of its cluster.
    pub known: watch::Receiver<Option<Known>>,
    /// Stamps the record.
    pub clock: Rc<dyn Clock>,
    /// Draws the record's UID.
    pub entropy: Entropy,
    /// Is asked of members that do not answer.
    pub cloud: Rc<dyn Cloud>,
    /// Recover without an operator, once everybody who is missing is proven dead.
    pub unattended: bool,
}

/// The actor.
pub struct Recoverer {
    around: Around,
    /// A confirmed recovery is being carried out.
    busy: bool,
    unattended: Unattended,
}

impl Recoverer {
    /// An idle one.
    pub fn new(around: Around) -> Self {
        Self {
            around,
            busy: false,
            unattended: Unattended::default(),
        }
    }
}

impl Actor for Recoverer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if self.around.unattended {
            self.attend(ctx);
        }
    }
}

impl Handler<Testify> for Recoverer {
    type Result = ResponseFuture<Result<Testimony, Status>>;

    fn handle(&mut self, _: Testify, _: &mut Self::Context) -> Self::Result {
        let (around, busy) = (self.around.clone(), self.busy);
        Box::pin(async move {
            let own = around.testify().await?;
            let recovers = busy;
            Ok(Testimony { recovers, ..own })
        })
    }
}

impl Handler<Recover> for Recoverer {
    type Result = ResponseActFuture<Self, Result<Recovery, Status>>;

    fn handle(&mut self, recover: Recover, _: &mut Self::Context) -> Self::Result {
        if self.busy {
            let under_way = conflict("this node coordinates a recovery already");
            return Box::pin(async { Err(under_way) }.into_actor(self));
        }
        let confirmed = recover.confirm.is_some();
        self.busy = confirmed;
        let recovery = self.around.clone().recover(recover);
        Box::pin(recovery.into_actor(self).map(move |result, recoverer, _| {
            recoverer.busy &= !confirmed;
            result
        }))
    }
}

/// Everybody's answers, by the address asked, and where the members that they name are.
#[derive(Default)]
struct Inquiry {
    testimonies: BTreeMap<String, Testimony>,
    contacts: BTreeMap<PeerId, Contact>,
}

impl Inquiry {
    /// Takes an answer; returns the addresses of the members that it names.
    fn hear(&mut self, address: String, said: Testimony) -> BTreeSet<String> {
        let configuration = said.account.as_ref().map(|account| &account.configuration);
        let mut named = BTreeSet::new();
        for (id, contact) in configuration.into_iter().flat_map(contacts) {
            named.insert(contact.address.clone());
            self.contacts.insert(id, contact);
        }
        self.testimonies.insert(address, said);
        named
    }

    /// The members that are named and do not answer.
    fn silent(&self) -> impl Iterator<Item = (PeerId, Listed)> {
        let silent = self
            .contacts
            .iter()
            .filter(|(id, _)| !self.answers(&id.to_string()));
        silent.map(|(id, contact)| (*id, contact.clone().into()))
    }

    /// Whether an incarnation, by its text, answers.
    fn answers(&self, id: &str) -> bool {
        let mut said = self.testimonies.values();
        said.any(|said| said.id.to_string() == id)
    }
}

impl Around {
    /// Plans, and carries the plan out if it is the one that was agreed to.
    async fn recover(mut self, asked: Recover) -> Result<Recovery, Status> {
        let everybody = if asked.unattended {
            self.everybody().await?
        } else {
            BTreeMap::new()
        };
        let heard = self
            .inquire(everybody.values().map(|node| node.address.clone()))
            .await?;
        let gone = cloud_word::gone(&*self.cloud, heard.silent()).await;
        let silent = everybody.into_iter().filter(|(id, _)| !heard.answers(id));
        self.must_be_gone(silent.collect(), &heard).await?;
        let places = heard.contacts.iter();
        let places = places.map(|(id, contact)| (*id, place(contact))).collect();
        let plan = plan_recovery(self.id, &heard.testimonies, &places, &gone, &asked.dead);
        let mut plan = plan.map_err(|refused| conflict(refused.to_string()))?;
        self.look_for_claims(&mut plan).await?;
        let confirm = plan.token();
        let Some(agreed) = asked.confirm else {
            return Ok(Recovery {
                record: record::describe(&plan, &self.contact.name),
                confirm,
                revision: None,
            });
        };
        if agreed != confirm {
            return Err(conflict(
                "what would be done has changed since it was agreed to: look at the new plan",
            ));
        }
        plan.position = self.collect_promises(&plan).await?;
        self.claim(&plan).await?;
        let mut record = record::describe(&plan, &self.contact.name);
        record.time = time::text(self.clock.wall());
        let revision = Some(self.begin(&plan, &record).await?);
        tracing::warn!(
            record.generation,
            record.winner,
            "recovered from the loss of a majority"
        );
        Ok(Recovery {
            record,
            confirm,
            revision,
        })
    }

    /// Where there is an archive: whether nobody else has gone on from this cluster, and which generation can be claimed.
    async fn look_for_claims(&self, plan: &mut RecoveryPlan) -> Result<(), Status> {
        let Some(claimant) = &self.claimant else {
            return Ok(());
        };
        let looked = claimant.next_recovery(plan);
        let bound = Duration::from_millis(ARCHIVE_MS_MAX);
        plan.generation = timeout(bound, looked).await.map_err(slow)??;
        Ok(())
    }

    /// Claims the planned generation for its winner, now that every survivor has promised it.
    async fn claim(&self, plan: &RecoveryPlan) -> Result<(), Status> {
        let Some(claimant) = &self.claimant else {
            return Ok(());
        };
        let winner = &plan.members[&plan.winner].place;
        let wanted = Claim {
            cluster: plan.from.id,
            generation: plan.generation,
            purpose: Purpose::Recovery,
            founder: plan.winner,
            node: winner.name.clone(),
            address: winner.address.clone(),
            machine: winner.machine.clone(),
            seeds: self.seeds.iter().cloned().collect(),
            time: time::text(self.clock.wall()),
        };
        let bound = Duration::from_millis(ARCHIVE_MS_MAX);
        let claimed = timeout(bound, claimant.claim_recovery(&wanted)).await;
        claimed.map_err(slow)?.map_err(|error| match error {
            NotOurs::Archive(error) => Status::unavailable(format!("nothing was begun: {error}")),
            NotOurs::MayNot(refused) => conflict(refused.to_string()),
        })
    }

    async fn testify(&self) -> Result<Testimony, Status> {
        let account = self.peer.send(GiveAccount).await.map_err(|_| stopping())?;
        let speaker = self.link.send(WhoSpeaks).await.map_err(|_| stopping())?;
        // To a node without a vote, and to a member that was removed behind its back, a leader speaks over its link only.
        let account = account.map(|account| Account {
            hears_leader: account.hears_leader
                || speaker.is_some_and(|speaker| speaker.cluster.id == account.cluster.id),
            ..account
        });
        Ok(Testimony {
            id: self.id,
            place: place(&self.contact),
            contact: self.contact.encode(),
            recovers: false,
            account,
        })
    }

    /// Asks the members, those whom they name, the seeds, some of the nodes that this one knows, and whoever else is to be.
    async fn inquire(&self, more: impl Iterator<Item = String>) -> Result<Inquiry, Status> {
        let mut inquiry = Inquiry::default();
        let own = self.contact.address.clone();
        let mut next = inquiry.hear(own.clone(), self.testify().await?);
        next.extend(self.seeds.iter().cloned());
        next.extend(self.witnesses()?);
        next.extend(more);
        let mut asked = BTreeSet::from([own]);
        for _ in 0..ROUNDS_MAX {
            next.retain(|address| asked.insert(address.clone()));
            let questions = next.iter().map(|address| self.ask(address));
            let answers = join_all(questions).await;
            let addresses = std::mem::take(&mut next);
            for (address, said) in addresses.into_iter().zip(answers) {
                // Under another of its addresses this node is no second witness.
                if let Some(said) = said.filter(|said| said.id != self.id) {
                    next.extend(inquiry.hear(address, said));
                }
            }
        }
        Ok(inquiry)
    }

    /// Nodes that may hear a leader although no member that this one knows of does, those first that were ready last.
    /// Who knows none, because it was told that it is no member, cannot know that nobody hears one.
    fn witnesses(&self) -> Result<Vec<String>, Status> {
        let known = self.known.borrow();
        let no_replica = || conflict(RecoveryRefused::NoReplica.to_string());
        let known = known.as_ref().ok_or_else(no_replica)?;
        let contacts = nodes(&known.view)
            .filter_map(|node| Some((!is_ready(&node), registered(&node)?.1.address)));
        let mut contacts: Vec<_> = contacts.collect();
        contacts.sort();
        let addresses = contacts.into_iter().map(|(_, address)| address);
        Ok(addresses.take(WITNESSES_MAX).collect())
    }

    async fn ask(&self, address: &str) -> Option<Testimony> {
        match self.call(address, Call::Testify, ANSWER_MS_MAX).await {
            Ok(Answer::Testified(said)) => Some(said),
            Ok(other) => {
                tracing::warn!(address, ?other, "a node answered another question");
                None
            }
            Err(error) => {
                tracing::info!(address, %error, "a node does not answer");
                None
            }
        }
    }

    async fn call(&self, address: &str, call: Call, ms_max: u64) -> Result<Answer, CallError> {
        let question = caller::Place {
            address: address.to_owned(),
            call,
            deadline: Instant::now() + Duration::from_millis(ms_max),
        };
        let answer = self.caller.send(question).await;
        answer.unwrap_or_else(|_| Err(CallError::Refused(stopping())))
    }

    /// Every survivor's promise. They are frozen now, so the winner's log must still be the greatest.
    async fn collect_promises(&self, plan: &RecoveryPlan) -> Result<Position, Status> {
        let promise = MakePromise {
            cluster: plan.from.id,
            promise: Promise {
                generation: plan.generation,
                winner: plan.winner,
            },
        };
        let asked = plan.survivors().map(async |(id, member, _)| {
            let promised = self
                .promised(id, &member.place.address, promise.clone())
                .await;
            promised.map(|position| (id, position)).map_err(|status| {
                let name = &member.place.name;
                conflict(format!(
                    "{name} did not promise ({}); nothing was begun, ask again",
                    status.message
                ))
            })
        });
        let promised: Result<BTreeMap<_, _>, _> = join_all(asked).await.into_iter().collect();
        let promised = promised?;
        let winners = promised[&plan.winner];
        if promised.values().any(|position| *position > winners) {
            return Err(conflict(
                "a log grew while the survivors were asked; nothing was begun, ask again",
            ));
        }
        Ok(winners)
    }

    async fn promised(
        &self,
        id: PeerId,
        address: &str,
        promise: MakePromise,
    ) -> Result<Position, Status> {
        if id == self.id {
            return promise_here(&self.peer, &self.link, promise).await;
        }
        match self
            .call(address, Call::Promise(promise), DONE_MS_MAX)
            .await
        {
            Ok(Answer::Promised(position)) => Ok(position),
            Ok(other) => Err(unexpected(&other)),
            Err(CallError::Refused(status)) => Err(status),
            Err(error) => Err(Status::unavailable(error.to_string())),
        }
    }

    /// Has the winner begin.
    async fn begin(
        &mut self,
        plan: &RecoveryPlan,
        record: &super::messages::RecoveryRecord,
    ) -> Result<Revision, Status> {
        let operations = record::operations(record, &mut self.entropy);
        let survivors = plan.survivors();
        let survivors = survivors.map(|(id, member, _)| (id, member.contact.clone()));
        let cluster = ClusterId {
            generation: plan.generation,
            ..plan.from
        };
        let begin = BeginGeneration {
            cluster,
            term: plan.term,
            survivors: survivors.collect(),
            record: operations,
        };
        if plan.winner == self.id {
            return begin_here(&self.peer, &self.link, &self.joiner, begin).await;
        }
        let place = &plan.members[&plan.winner].place;
        match self
            .call(&place.address, Call::Begin(begin), DONE_MS_MAX)
            .await
        {
            Ok(Answer::Begun(revision)) => Ok(revision),
            Ok(other) => Err(unexpected(&other)),
            Err(CallError::Refused(status)) => Err(status),
            Err(CallError::Lost(reason)) => Err(Status::new(
                504,
                "Timeout",
                format!(
                    "{} may have begun generation {} or not ({reason}): ask again to see",
                    place.name, plan.generation
                ),
            )),
            Err(error) => Err(Status::unavailable(format!(
                "nothing was begun, ask again: {error}"
            ))),
        }
    }
}

/// Promises on this node, whoever coordinates, unless a leader of the cluster speaks to it.
pub(super) async fn promise_here(
    peer: &Addr<RaftPeer>,
    link: &Addr<LinkEnd>,
    promise: MakePromise,
) -> Result<Position, Status> {
    nobody_leads(link, promise.cluster).await?;
    let promised = peer.send(promise).await.map_err(|_| stopping())?;
    promised.map_err(|refused| conflict(refused.to_string()))
}

/// Unless a leader of the cluster speaks to this node.
async fn nobody_leads(link: &Addr<LinkEnd>, cluster: u64) -> Result<(), Status> {
    let speaker = link.send(WhoSpeaks).await.map_err(|_| stopping())?;
    let lives = speaker.is_some_and(|speaker| speaker.cluster.id == cluster);
    let refused = || conflict(PromiseRefused::LeaderLives.to_string());
    if lives { Err(refused()) } else { Ok(()) }
}

/// Begins a generation on this node, whoever coordinates, and however long ago it asked for the promises.
pub(super) async fn begin_here(
    peer: &Addr<RaftPeer>,
    link: &Addr<LinkEnd>,
    joiner: &Addr<Joiner>,
    begin: BeginGeneration,
) -> Result<Revision, Status> {
    let cluster = begin.cluster;
    nobody_leads(link, cluster.id).await?;
    let revision = peer.send(begin).await.map_err(|_| stopping())?;
    let revision = revision.map_err(|refused| conflict(refused.to_string()))?;
    joiner.do_send(Adopt(cluster));
    Ok(revision)
}

/// A refusal that an operator reads as it stands.
fn conflict(message: impl Into<String>) -> Status {
    Status::new(409, "Conflict", message)
}

/// It was asked, and perhaps did what it was asked; the next attempt will see.
fn slow(_: Elapsed) -> Status {
    let seconds = Duration::from_millis(ARCHIVE_MS_MAX).as_secs();
    Status::unavailable(format!(
        "nothing was begun: the object store of the snapshots takes more than {seconds} s; ask again"
    ))
}

fn unexpected(answer: &Answer) -> Status {
    Status::internal(format!("a node answered another question: {answer:?}"))
}

fn place(contact: &Contact) -> Place {
    Place {
        name: contact.name.clone(),
        machine: contact.machine_id.clone(),
        address: contact.address.clone(),
    }
}

/// The members' contacts; one that cannot be read is a node that this version cannot reach.
fn contacts(configuration: &Configuration) -> impl Iterator<Item = (PeerId, Contact)> {
    configuration
        .contacts
        .iter()
        .filter_map(|(id, bytes)| Some((*id, Contact::decode(bytes).ok()?)))
}
