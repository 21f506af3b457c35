//! A peer's part in a recovery from a lost majority: it gives account of itself, promises, and begins a generation.
//!
//! The rules are the raft room's (`recovery.rs` there says why they are safe). Deliberately no decision to recover: that
//! is the coordinator's, and in the end a person's.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::prelude::*;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::founding_state;
use super::super::member::{Beginning, Member};
use super::super::messages::LostLeadership;
use super::{Published, RaftPeer, Standing};
use crate::raft::{Account, ClusterId, Configuration, Input, PeerId, Position, Role, Term};
use crate::store::{Operation, Revision};

/// What is your part in consensus? `None` outside of a cluster.
#[derive(Message, Debug)]
#[rtype(result = "Option<Account>")]
pub struct GiveAccount;

/// Take no further part in this generation: a later one begins with a winner's log. Answered with how far the peer's own
/// log reaches, for good.
#[derive(Message, Clone, Debug, Serialize, Deserialize)]
#[rtype(result = "Result<Position, PromiseRefused>")]
pub struct MakePromise {
    /// The cluster.
    pub cluster: u64,
    /// What to promise.
    pub promise: Promise,
}

/// One winner of one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    /// The generation that is to begin.
    pub generation: u64,
    /// Who alone may begin it.
    pub winner: PeerId,
}

/// Why a peer does not promise. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromiseRefused {
    /// It has no part in that cluster.
    #[error("it is no member of that cluster")]
    NotMember,
    /// That generation has begun, or a later one.
    #[error("it belongs to generation {0} already")]
    Begun(u64),
    /// It promised another winner, or a later generation.
    #[error("it promised generation {} to {}", .0.generation, .0.winner)]
    Promised(Promise),
    /// There is a leader after all.
    #[error("it hears a leader")]
    LeaderLives,
}

/// Begin the generation that every survivor has promised this peer.
#[derive(Message, Clone, Debug, Serialize, Deserialize)]
#[rtype(result = "Result<Revision, BeginRefused>")]
pub struct BeginGeneration {
    /// The cluster and the generation that begins.
    pub cluster: ClusterId,
    /// A term that no survivor has passed.
    pub term: Term,
    /// The survivors' contacts, its own among them.
    pub survivors: BTreeMap<PeerId, Bytes>,
    /// The record of the recovery.
    pub record: Vec<Operation>,
}

/// Why a peer does not begin a generation. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BeginRefused {
    /// It has not promised itself that generation, or a later one since.
    #[error("that generation is not promised to it (any more)")]
    NotPromised,
    /// It has nothing to begin with.
    #[error("it holds no state")]
    NoState,
}

impl RaftPeer {
    /// What it has to show: its part in the newest generation that it has a state of.
    pub(super) fn standing_part(&self) -> Option<&Member> {
        let has_state = |member: &&Member| member.has_state();
        let standing = self.member.as_ref().filter(has_state);
        standing.or(self.relic.as_ref()).or(self.member.as_ref())
    }

    /// Its part in the newest generation.
    fn newest_part(&self) -> Option<&Member> {
        self.member.as_ref().or(self.relic.as_ref())
    }

    /// A process goes on to its cluster's generations that it has promised, or later ones, and to none below.
    pub(super) fn has_promised_more(&self, cluster: ClusterId) -> bool {
        let promised = self.promise.map_or(0, |promise| promise.generation);
        // Who has gone on since hears late news only.
        let behind = |own: &Member| own.cluster.generation <= cluster.generation;
        let more = self.newest_part().is_some_and(behind) && cluster.generation < promised;
        if more {
            tracing::error!(
                cluster.generation,
                promised,
                "a generation was promised that another overtook"
            );
        }
        more
    }

    /// A process belongs to one cluster for ever, and goes on to its later generations only.
    pub(super) fn may_go_on_to(&self, cluster: ClusterId) -> bool {
        let own = self.newest_part().map(|member| member.cluster);
        own.is_none_or(|own| own.precedes(cluster))
    }

    /// Gives a new part what the last generation's leaves to it.
    pub(super) fn inherit(&mut self, member: &mut Member) {
        if let Some(relic) = &self.relic {
            // The store it will be sent remembers the last generation's proposals, by number.
            member.next_sequence = relic.next_sequence;
            // The new generation's leader may have introduced itself already; what it said is newer.
            for (id, contact) in relic.contacts.iter() {
                let introduced = self.introduced.entry(*id);
                introduced.or_insert_with(|| contact.clone());
            }
        }
        // There is nothing to be read from it, and it would hide this generation's part for ever on who gets no state.
        self.relic = self.relic.take().filter(Member::has_state);
    }

    /// Ends its part in the present generation, if it has one: no message reaches that core any more.
    pub(super) fn freeze(&mut self) {
        self.resting = false;
        let Some(mut member) = self.member.take() else {
            return;
        };
        // Their askers look for another leader; proposals wait for what becomes of the log. What was not even stepped is
        // as good as lost on the way.
        self.drop_waiting();
        member.tags.clear();
        member.reads.clear();
        let led = member.leading.take().is_some();
        if member.has_state() || self.relic.is_none() {
            self.relic = Some(member);
        }
        self.publish_relic();
        if led {
            for neighbour in &self.neighbours.leader_team {
                neighbour.lost.do_send(LostLeadership);
            }
        }
    }

    /// Tells the store front that there is nobody to write to, while what is here can still be read.
    fn publish_relic(&self) {
        let Some(relic) = &self.relic else { return };
        let standing = Standing {
            cluster: relic.cluster,
            id: self.id,
            role: Role::Follower,
            term: relic.raft.status(self.clock.now()).term,
            leader: None,
            configuration: relic.configuration.clone(),
            leads: false,
        };
        self.neighbours.published.do_send(Published {
            view: relic.store.view(),
            events: Arc::default(),
            restored: false,
            standing,
        });
    }

    fn account(&self) -> Option<Account> {
        let now = self.clock.now();
        let (newest, standing) = (self.newest_part()?, self.standing_part()?);
        let (status, shown) = (newest.raft.status(now), standing.raft.status(now));
        let (term, index) = standing.raft.log_end();
        let generation = newest.cluster.generation;
        Some(Account {
            cluster: newest.cluster,
            promised: self.promise.map_or(generation, |p| p.generation),
            frozen: self.member.is_none(),
            hears_leader: self.member.is_some() && status.leader.is_some(),
            term: status.term.max(shown.term),
            position: Position {
                generation: standing.cluster.generation,
                term,
                index,
            },
            commit: shown.commit,
            configuration: shown.configuration,
        })
    }

    /// Why not to promise this.
    fn objection(&self, asked: &MakePromise) -> Option<PromiseRefused> {
        let own = self.newest_part().map(|member| member.cluster);
        let Some(own) = own.filter(|own| own.id == asked.cluster) else {
            return Some(PromiseRefused::NotMember);
        };
        if own.generation >= asked.promise.generation {
            return Some(PromiseRefused::Begun(own.generation));
        }
        if let Some(promise) = self.promise
            && promise != asked.promise
            && promise.generation >= asked.promise.generation
        {
            return Some(PromiseRefused::Promised(promise));
        }
        let leader = self
            .member
            .as_ref()
            .and_then(|member| member.raft.status(self.clock.now()).leader);
        leader.map(|_| PromiseRefused::LeaderLives)
    }
}

impl Handler<GiveAccount> for RaftPeer {
    type Result = MessageResult<GiveAccount>;

    fn handle(&mut self, _: GiveAccount, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.account())
    }
}

impl Handler<MakePromise> for RaftPeer {
    type Result = Result<Position, PromiseRefused>;

    fn handle(&mut self, asked: MakePromise, _: &mut Self::Context) -> Self::Result {
        if let Some(objection) = self.objection(&asked) {
            return Err(objection);
        }
        let Promise { generation, winner } = asked.promise;
        tracing::warn!(generation, %winner, "takes no further part in this generation: another was promised");
        self.freeze();
        self.promise = Some(asked.promise);
        let account = self.account();
        Ok(account.expect("it is a member, as was just seen").position)
    }
}

impl Handler<BeginGeneration> for RaftPeer {
    type Result = Result<Revision, BeginRefused>;

    fn handle(&mut self, begin: BeginGeneration, ctx: &mut Self::Context) -> Self::Result {
        let promised = Promise {
            generation: begin.cluster.generation,
            winner: self.id,
        };
        if self.promise != Some(promised) || self.member.is_some() {
            return Err(BeginRefused::NotPromised);
        }
        let ours = |relic: &mut Member| relic.cluster.precedes(begin.cluster) && relic.has_state();
        let relic = self.relic.take_if(ours).ok_or(BeginRefused::NoState)?;
        let beginning = Beginning {
            cluster: begin.cluster,
            term: begin.term,
            configuration: first_configuration(self.id, begin.survivors),
            record: begin.record,
            more: founding_state::remember,
        };
        let (now, entropy) = (self.clock.now(), self.entropy.fork());
        let config = self.config.clone();
        let member = relic.begin(self.id, config, beginning, now, entropy);
        let revision = member.store.revision();
        self.member = Some(member);
        tracing::warn!(begin.cluster.generation, revision, "begins a generation");
        // Alone, it elects itself at once.
        self.step(Input::Tick, ctx);
        self.arm(ctx);
        Ok(revision)
    }
}

/// The winner votes, the other survivors learn until the membership plan makes voters of them.
fn first_configuration(winner: PeerId, survivors: BTreeMap<PeerId, Bytes>) -> Configuration {
    let learners = survivors.keys().copied().filter(|id| *id != winner);
    Configuration {
        voters: [winner].into(),
        learners: learners.collect(),
        contacts: survivors,
        ..Configuration::default()
    }
}

#[cfg(test)]
mod tests;
